"""A page in a real browser: Chromium without a window, told what to do over a pair of pipes.

Chromium reads commands of its DevTools protocol from descriptor 3 and writes answers and events to 4, each a
JSON object that a zero byte ends.
"""

import json
import os
import select
import shutil
import subprocess
import time

NAMES = ("chromium", "chromium-browser", "google-chrome")
PATIENCE_S = 60


def find():
    """Return the path of a browser, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """A tab of a browser that runs for as long as the ``with`` block.

    Attributes
    ----------
    events : list of dict
        All that the tab reported so far: ``method`` and ``params``.
    """

    def __init__(self, path, profile):
        self.path = path
        self.profile = profile
        self.events = []
        self._received = b""
        self._number = 0
        self._session = None

    def __enter__(self):
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        options = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
            "--remote-debugging-pipe",
            f"--user-data-dir={self.profile}",
        ]
        # A shell puts the pipes where they are expected: the interpreter may need the descriptors 3 and 4 itself.
        moved = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
        self._process = subprocess.Popen(  # noqa: S603
            ["/bin/bash", "-c", moved, "browser", self.path, *options, "about:blank"],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        (target,) = (t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *_):
        os.close(self._out)
        os.close(self._in)
        self._process.terminate()
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _receive(self, deadline):
        """Return the next message."""
        while b"\0" not in self._received:
            ready, _, _ = select.select([self._in], [], [], max(0, deadline - time.monotonic()))
            chunk = os.read(self._in, 1 << 20) if ready else b""
            if not chunk:
                raise RuntimeError("browser: no answer")
            self._received += chunk
        message, _, self._received = self._received.partition(b"\0")
        return json.loads(message)

    def call(self, method, **parameters):
        """Return the result of a command."""
        self._number += 1
        command = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            command["sessionId"] = self._session
        data = json.dumps(command).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data) :]
        deadline = time.monotonic() + PATIENCE_S
        while True:
            message = self._receive(deadline)
            if "id" not in message:
                self.events.append(message)
            elif message["id"] == self._number:
                if "error" in message:
                    raise RuntimeError(f"browser: {method}: {message['error']}")
                return message["result"]

    def wait_for(self, method):
        """Return the first event of a name."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            for event in self.events:
                if event["method"] == method:
                    return event
            message = self._receive(deadline)
            if "id" not in message:
                self.events.append(message)

    def open(self, url):
        """Load a page, of which all events are then known."""
        self.events.clear()
        self.call("Page.navigate", url=url)
        self.wait_for("Page.loadEventFired")

    def evaluate(self, expression):
        """Return the value of a JavaScript expression, awaited if it is a promise."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"browser: {result['exceptionDetails']}")
        return result["result"].get("value")
