"""Threads: a single worker is the thread that asks, and numpy's products take one."""

import threading
from concurrent.futures import ThreadPoolExecutor, wait

import numpy  # noqa: F401, the library that the tests watch
import pytest
import threadpoolctl

from codec.system import threads
from codec.system.threads import one_blas_thread, pool_of


@pytest.mark.parametrize("workers", [1, 2])
def test_a_pool_gives_results_and_errors(workers):
    with pool_of(workers) as pool:
        assert list(pool.map(divmod, [7, 8, 9], [2, 3, 4])) == [(3, 1), (2, 2), (2, 1)]
        failed = pool.submit(divmod, 1, 0)
        wait([failed, pool.submit(divmod, 1, 1)])
        with pytest.raises(ZeroDivisionError):
            failed.result()


@pytest.mark.parametrize(("workers", "same"), [(1, True), (2, False)])
def test_one_worker_is_the_thread_that_asks(workers, same):
    with pool_of(workers) as pool:
        assert (pool.submit(threading.get_ident).result() == threading.get_ident()) == same


def test_an_interruption_is_not_kept_as_a_result():
    def interrupt():
        raise KeyboardInterrupt

    with pool_of(1) as pool, pytest.raises(KeyboardInterrupt):
        pool.submit(interrupt)


def blas_threads():
    """Return the threads of numpy's library for products; other packages bring libraries of their own."""
    libraries = [library for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]
    return [library["num_threads"] for library in libraries if "numpy" in library["filepath"]]


def test_products_take_one_thread_within_and_as_many_as_before_afterwards():
    with threadpoolctl.threadpool_limits(2, "blas"):
        before = blas_threads()
        assert before == [2]
        with one_blas_thread():
            assert set(blas_threads()) <= {1}
            with one_blas_thread():
                assert set(blas_threads()) <= {1}
            assert set(blas_threads()) <= {1}
        assert blas_threads() == before


def test_contexts_of_several_threads_leave_as_many_as_before():
    """The first to begin is the first to end, so that the second would restore what the first had set."""
    first_began, second_began, first_ended = (threading.Event() for _ in range(3))
    within = []

    def first():
        with one_blas_thread():
            first_began.set()
            assert second_began.wait(10)
        first_ended.set()

    def second():
        assert first_began.wait(10)
        with one_blas_thread():
            second_began.set()
            assert first_ended.wait(10)
            within.extend(blas_threads())
            raise ZeroDivisionError

    with threadpoolctl.threadpool_limits(2, "blas"):
        before = blas_threads()
        assert before == [2]
        with ThreadPoolExecutor(2) as pool:
            done = [pool.submit(first), pool.submit(second)]
            done[0].result()
            with pytest.raises(ZeroDivisionError):
                done[1].result()
        assert set(within) <= {1}
        assert blas_threads() == before


def test_libraries_are_looked_for_once(monkeypatch):
    threads._libraries.cache_clear()
    made = []
    find = threadpoolctl.ThreadpoolController
    monkeypatch.setattr(threadpoolctl, "ThreadpoolController", lambda: made.append(1) or find())
    for _ in range(3):
        with one_blas_thread():
            pass
    assert made == [1]
    threads._libraries.cache_clear()
