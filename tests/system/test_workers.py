"""Workers: results and errors come back, nothing of the caller's program is loaded, nobody outlives its parent."""

import os
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image
from support import worker_tasks
from support.processes import is_gone, wait_until

import codec
from codec.system import workers

ROOT = Path(__file__).parents[2]


def results(work, tasks, processes=2, report=lambda images: None):
    with closing(workers.run(work, tasks, lambda task: 1, processes, report)) as done:
        return list(done)


def test_results_come_in_order_and_prints_do_not_disturb_them(capfd):
    reported = []
    found = results(worker_tasks.double, range(12), report=reported.append)
    assert [value for value, _, _ in found] == list(range(0, 24, 2))
    assert {threads for _, threads, _ in found} == {1}
    processes = {pid for _, _, pid in found}
    assert len(processes) == 2
    assert os.getpid() not in processes
    assert reported == [1] * 12
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("what a library prints") == 12  # lines of two processes may run into each other


def test_one_task_and_a_program_without_python_use_this_process(monkeypatch, capfd):
    assert results(worker_tasks.double, [4])[0] == (8, None, os.getpid())
    monkeypatch.setattr(sys, "executable", None)
    assert {pid for _, _, pid in results(worker_tasks.double, range(3))} == {os.getpid()}


def test_errors_come_back_even_those_that_cannot_travel():
    with pytest.raises(RuntimeError, match=r"^UnportableError: one and two$"):
        results(worker_tasks.fail, range(5))
    with pytest.raises(ValueError, match=r"^five$"):
        results(worker_tasks.fail, [0, 5, 1])


def test_leaving_ends_the_tasks_at_once():
    begin = time.monotonic()
    with closing(workers.run(worker_tasks.sleep, [0, 1, 1, 1], lambda task: 1, 2, lambda images: None)) as done:
        next(done)
    assert time.monotonic() - begin < 5


PARENT = """
import sys
sys.path[:] = {path!r}
from support import worker_tasks
from codec.system import workers
list(workers.run(worker_tasks.sleep, [1, 1, 1], lambda task: 1, 2, lambda images: None))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_killed_parent_leaves_no_worker():
    command = [sys.executable, "-c", PARENT.format(path=sys.path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, cwd=ROOT) as parent:  # noqa: S603
        pids = [int(parent.stderr.readline()) for _ in range(2)]
        parent.kill()
        parent.stderr.read()  # ends when no process has the pipe
    wait_until(lambda: all(map(is_gone, pids)), 2)


WRITING = """
import sys
sys.path[:] = {path!r}
from support import worker_tasks
from codec.system import workers
list(workers.run_each(worker_tasks.write_for_ever, ["a", "b"], 2, 1, print))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_the_workers_of_a_killed_parent_leave_no_file(tmp_path):
    command = [sys.executable, "-c", WRITING.format(path=[*sys.path, str(ROOT), str(ROOT / "tests")])]
    with subprocess.Popen(command, stderr=subprocess.PIPE, cwd=tmp_path) as parent:  # noqa: S603
        pids = [int(parent.stderr.readline()) for _ in range(2)]
        assert len(list(tmp_path.iterdir())) == 2
        parent.kill()
        parent.stderr.read()
    wait_until(lambda: all(map(is_gone, pids)), 5)
    assert list(tmp_path.iterdir()) == []


def test_leaving_undoes_what_workers_have_begun(tmp_path, capfd):
    tasks = [tmp_path / "a", tmp_path / "b"]

    def begin():
        yield from workers.run_each(worker_tasks.write_or_end, tasks, 2, 1, print)

    with closing(begin()) as done:
        assert next(done) == tasks[1]
        wait_until(lambda: list(tmp_path.iterdir()), 20)
    assert list(tmp_path.iterdir()) == []
    assert "Traceback" not in capfd.readouterr().err


def test_results_come_when_they_are_done_and_processes_have_their_threads():
    found = list(workers.run_each(worker_tasks.double, [2, 0, 1], 3, 5, print))
    assert sorted(value for value, _, _ in found) == [0, 2, 4]
    assert {threads for _, threads, _ in found} == {5}
    assert [threads for _, threads, _ in workers.run_each(worker_tasks.double, [1], 1, None, print)] == [None]


UNGUARDED = """
import multiprocessing, sys
import codec

def make(name):
    codec.create_archive(name, {str(n): sys.argv[1] for n in range(3)}, lossless=True, block=1, processes=2)
    return name

if len(sys.argv) > 2:
    with multiprocessing.get_context("fork").Pool(1) as pool:
        print(pool.apply(make, ("pool.vlar",)))
print(make("main.vlar"))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_a_script_needs_no_guard_nor_a_file_and_may_be_a_pools_worker(tmp_path):
    Image.new("1", (9, 5), 1).save(tmp_path / "bits.png")
    script = tmp_path / "script.py"
    script.write_text(UNGUARDED)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for command, text, names in (
        ([script, "bits.png"], None, ["main"]),
        (["-", "bits.png", "pool"], UNGUARDED, ["pool", "main"]),
    ):
        for path in tmp_path.glob("*.vlar"):
            path.unlink()
        done = subprocess.run(  # noqa: S603
            [sys.executable, *command],
            input=text,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.split() == [f"{name}.vlar" for name in names]
        assert done.stderr == ""
        for name in names:
            with codec.Archive(tmp_path / f"{name}.vlar") as archive:
                assert list(archive) == ["0", "1", "2"]
