"""Functions for tests of several processes."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path


def is_gone(pid):
    """Return whether a process has ended, even if its parent has not waited for it. It works on Linux."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_until(condition, seconds):
    """Wait until a condition holds, and fail after some seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


ROOT = Path(__file__).parents[2]


@contextmanager
def viewing(arguments):
    """Yield the address that ``vlae view`` prints, then interrupt it as Ctrl-C does, and see that it ends so."""
    code = "import sys; from codec.commands import cli; sys.exit(cli.main())"
    command = [sys.executable, "-c", code, "view", *arguments, "--no-browser"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)  # a process that is started with & ignores it
    started = subprocess.Popen(command, env=environment, **pipes)  # noqa: S603
    signal.signal(signal.SIGINT, before)
    with started:
        try:
            yield started.stdout.readline().strip()
        finally:
            started.send_signal(signal.SIGINT)
        out, messages = started.communicate(timeout=60)
    assert (started.returncode, out) == (128 + signal.SIGINT, "")
    assert messages.endswith("vlae: interrupted\n")
