"""Functions for tests of several processes."""

import time
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
