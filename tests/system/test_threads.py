"""Threads: a single worker is the thread that asks, and those of numpy's products stay as they are."""

import threading
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import pytest
import threadpoolctl

from codec.encoder.encoding import encode
from codec.format.headers import Latents
from codec.frozen.shipped import load_model
from codec.system.threads import pool_of
from codec.vlae.decoding import decode_bands
from codec.vlae.image import Image


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


def test_products_of_numpy_have_as_many_threads_as_before_after_calls_that_overlap():
    model = load_model()
    samples = np.random.default_rng(0).integers(0, 256, (3 * model.tile, 5, 3)).astype(np.uint8)
    seen = []

    def code():
        encoded = encode(model, samples, 0, Latents.BITS_BACK, progress=lambda *_: seen.append(blas_threads()))
        image = Image.blank(model, samples.shape, 0, encoded.lanes)
        decode_bands(image, encoded.payload, encoded.lane_table, encoded.latents)

    with threadpoolctl.threadpool_limits(2, "blas"):
        assert blas_threads() == [2]
        with ThreadPoolExecutor(2) as pool:
            wait([pool.submit(code), pool.submit(code)])
        assert seen
        assert {tuple(threads) for threads in seen} == {(2,)}
        assert blas_threads() == [2]
