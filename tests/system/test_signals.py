"""Signals end the command at once, and leave neither a file nor a process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.processes import is_gone, wait_until

from codec.commands import warm_up

ROOT = Path(__file__).parents[2]
SECONDS = 2

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]


@pytest.fixture(scope="module", autouse=True)
def compiled():
    """Let no command compile."""
    for lossy in (False, True):
        warm_up.prepare(lambda line: None, for_lossy=lossy)


@pytest.fixture(scope="module", autouse=True)
def heeded():
    """Let commands react to signals even if the process that runs the tests ignores them, as after ``&`` in a shell."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (1, 2, 15)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Return a folder of images that take a while."""
    folder = tmp_path_factory.mktemp("photos")
    noise = np.random.default_rng(0).integers(0, 256, (1200, 2000, 3), np.uint8)
    for name in ("a.bmp", "b.bmp", "c.bmp"):
        Image.fromarray(noise).save(folder / name)
    return folder


class Command:
    """A command in a folder of its own, which would work for a while."""

    def __init__(self, folder, line, *signals):
        self.folder, self.signals = folder, signals
        folder.mkdir()
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "codec", *line.split()], cwd=folder, env=environment, stderr=subprocess.PIPE
        )

    def children(self):
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    def is_at_work(self):
        """Return whether the image was read, of archives whether workers run."""
        assert self.process.poll() is None
        if "archive" in self.process.args:
            return len(self.children()) == 2 and list(self.folder.glob(".vlae-*.tmp"))
        return self.seconds() > 1.5

    def seconds(self):
        """Return the time that the processor has spent on it."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self):
        """Send the signals, and return the exit code and what was said; nothing may be left."""
        workers = self.children()
        begin = time.monotonic()
        for number in self.signals:
            self.process.send_signal(number)
        said = self.process.stderr.read().decode()  # ends when no process has the pipe
        code = self.process.wait()
        assert time.monotonic() - begin < SECONDS
        wait_until(lambda: all(map(is_gone, workers)), SECONDS)
        self.process.stderr.close()
        assert list(self.folder.iterdir()) == []
        return code, said


def test_commands_end_at_once(tmp_path, photos):
    archive = f"archive create out.vlar {photos} --lossless --block 1 --processes 2"
    compress = f"compress {photos / 'a.bmp'} -o out.vlae"
    cases = [
        ("twice", archive, ["SIGINT", "SIGINT"], "vlae: interrupted\n"),
        ("workers", archive, ["SIGTERM"], "vlae: ended by SIGTERM\n"),
        ("one thread", f"{compress} --lossless --threads 1", ["SIGINT"], "vlae: interrupted\n"),
        ("threads", f"{compress} --threads 2", ["SIGHUP"], "vlae: ended by SIGHUP\n"),
    ]
    commands = [Command(tmp_path / name, line, *(signal.Signals[s] for s in sent)) for name, line, sent, _ in cases]
    for command, (name, _, sent, expected) in zip(commands, cases, strict=True):
        wait_until(command.is_at_work, 60)
        assert command.end() == (128 + signal.Signals[sent[0]], expected), name


def run(command, **options):
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, **options)  # noqa: S603


WRITING = """
import io, os, signal, sys
from codec.system import outputs
from codec.system.signals import end_on_signals
end_on_signals()
with outputs.output("out") as file, outputs.spooled(io.BytesIO(b"1")):
    assert len(os.listdir()) == 2
    file.write(b"half")
    signal.raise_signal(int(sys.argv[1]))
    signal.pause()
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGPIPE"])
def test_a_signal_leaves_no_file(tmp_path, name):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    number = signal.Signals[name]
    command = [sys.executable, "-c", WRITING, str(int(number))]
    done = run(command, cwd=tmp_path, env=environment)
    assert done.returncode == 128 + number
    assert list(tmp_path.iterdir()) == []


def test_the_message_may_say_how_to_go_on_or_there_is_none():
    code = "import signal; from codec.system.signals import advising, end_on_signals; "
    code += "end_on_signals({silent})\nwith advising('before'): pass\n"
    code += "with advising('go on'):\n    signal.raise_signal(2); signal.pause()"
    for silent, said in ((False, "vlae: interrupted; go on\n"), (True, "")):
        done = run([sys.executable, "-c", code.format(silent=silent)], cwd=ROOT)
        assert (done.returncode, done.stderr) == (130, said)


def test_what_the_caller_has_ignored_stays_ignored(tmp_path):
    code = "import signal; from codec.system.signals import end_on_signals; signal.signal(1, signal.SIG_IGN); "
    code += "end_on_signals(); "
    code += "signal.raise_signal(1); print('nohup', flush=True); signal.raise_signal(15); signal.pause()"
    done = run([sys.executable, "-c", code], cwd=ROOT)
    assert (done.returncode, done.stdout) == (143, "nohup\n")


def test_an_interrupted_addition_leaves_the_archive_as_it_was(tmp_path):
    code = """
import os, signal, sys
from PIL import Image
import codec
from codec.system.signals import end_on_signals

end_on_signals()
image = Image.new("1", (9, 5))
codec.create_archive("a.vlar", {"1": image}, lossless=True)
before = open("a.vlar", "rb").read()
print(before.hex(), flush=True)
def interrupt(images):
    if os.path.getsize("a.vlar") > len(before):
        signal.raise_signal(signal.SIGINT)
        signal.pause()
images = {str(n): image for n in range(2, 9)}
codec.add_to_archive("a.vlar", images, lossless=True, block=1, processes=1, report=interrupt)
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    done = run(command, cwd=tmp_path, env=environment)
    assert (done.returncode, done.stderr) == (130, "vlae: interrupted\n")
    assert (tmp_path / "a.vlar").read_bytes() == bytes.fromhex(done.stdout)


def test_commands_of_other_packages_handle_signals_themselves():
    code = """
import signal
from codec.system.signals import end_on_signals, leave_to_python
end_on_signals(); leave_to_python()
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("own", flush=True)
signal.raise_signal(signal.SIGTERM)
"""
    done = run([sys.executable, "-c", code], cwd=ROOT)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "own\n")
