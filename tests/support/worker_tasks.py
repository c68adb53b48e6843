"""Tasks of `test_workers`: workers import this module, which loads fast."""

import os
import time

from codec.system.outputs import output


class UnportableError(Exception):
    """An error that takes two arguments but is pickled with one."""

    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


def double(task, threads, report):
    print("what a library prints", flush=True)  # noqa: T201
    os.write(1, b"or its C code")
    time.sleep(0.02 * (task % 3))
    report(1)
    return 2 * task, threads, os.getpid()


def fail(task, threads, report):
    if task == 3:
        raise UnportableError("one", "two")
    if task == 5:
        raise ValueError("five")
    return task


def sleep(task, threads, report):
    if task:
        os.write(2, b"%d\n" % os.getpid())
        time.sleep(600)


def end_if_negative(task, threads, report):
    if task < 0:
        os.kill(os.getpid(), 9)
    return task


def write_for_ever(path, threads, report):
    with output(path) as file:
        file.write(b"half")
        file.flush()
        os.write(2, b"%d\n" % os.getpid())
        time.sleep(600)


def write_or_end(path, threads, report):
    if path.name == "a":
        write_for_ever(path, threads, report)
    return path
