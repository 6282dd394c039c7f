"""Chromium without a window, led through a pipe by its DevTools protocol: no package is needed for it."""

import base64
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
"""The one of the system, if there is any."""

_CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]

_SANDBOX = [] if os.geteuid() else ["--no-sandbox"]  # which Chromium lacks where root starts it


class Browser:
    """A page in Chromium.

    Args:
        url: of the page. width, height: of its window. dark: whether the system is. camera: give it Chromium's own
            moving picture as a camera, which nobody is asked to allow.
    """

    def __init__(self, url: str, width: int = 1280, height: int = 900, *, dark: bool = False, camera: bool = False):
        assert CHROMIUM is not None
        self._profile = tempfile.TemporaryDirectory(prefix="fdht-chromium-", ignore_cleanup_errors=True)
        (to, self._write), (self._read, back) = os.pipe(), os.pipe()
        options = ["--headless=new", "--remote-debugging-pipe", "--disable-gpu", "--no-first-run", "--mute-audio"]
        options += [*_SANDBOX, *(_CAMERA if camera else ()), f"--user-data-dir={self._profile.name}"]
        self._process = subprocess.Popen(
            # The protocol's pipes are 3 and 4.
            ["sh", "-c", f'exec "$@" 3</dev/fd/{to} 4>/dev/fd/{back}', "sh", CHROMIUM, *options, "about:blank"],
            pass_fds=(to, back),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to)
        os.close(back)
        self._number, self._left = 0, b""
        self.errors, self.requests = list[str](), list[str]()
        try:
            self._open(url, width, height, dark)
        except BaseException:
            self.close()
            raise

    def _open(self, url: str, width: int, height: int, dark: bool) -> None:
        target = self._send("Target.createTarget", {"url": "about:blank"})["targetId"]
        self._session = self._send("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.send("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", {"features": [scheme]})
        for domain in ("Runtime", "Page", "Log", "Network"):
            self.send(f"{domain}.enable")
        self.send("Page.navigate", {"url": url})
        self.evaluate("new Promise(go => document.readyState === 'complete' ? go() : addEventListener('load', go))")

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends it, and leaves nothing."""
        self._process.terminate()
        self._process.wait(20)
        os.close(self._write)
        os.close(self._read)
        self._profile.cleanup()

    def send(self, method: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
        """A command to the page, and its result."""
        return self._send(method, parameters, self._session)

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page; of a promise, what it is fulfilled with."""
        options = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        found = self.send("Runtime.evaluate", options)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def mouse(self, kind: str, x: float, y: float) -> None:
        """The pointer: mousePressed, mouseMoved or mouseReleased, with its left button."""
        held = {"type": kind, "x": x, "y": y, "button": "left", "buttons": int(kind != "mouseReleased")}
        self.send("Input.dispatchMouseEvent", held | {"clickCount": int(kind != "mouseMoved")})

    def key(self, key: str) -> None:
        """A key, pressed and let go."""
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", {"type": kind, "key": key})

    def screenshot(self, path: Path) -> None:
        """The whole page as a PNG."""
        shot = self.send("Page.captureScreenshot", {"captureBeyondViewport": True})
        path.write_bytes(base64.b64decode(shot["data"]))

    def _send(self, method: str, parameters: dict[str, Any] | None, session: str | None = None) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters or {}}
        if session is not None:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != self._number:
            self._note(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def _note(self, event: dict[str, Any]) -> None:
        """Keeps what went wrong in the page, and what it asked the network for."""
        told = event.get("params", {})
        match event.get("method"):
            case "Runtime.exceptionThrown":
                self.errors.append(str(told["exceptionDetails"]))
            case "Log.entryAdded" if told["entry"]["level"] == "error":
                self.errors.append(told["entry"]["text"])
            case "Network.requestWillBeSent":
                self.requests.append(told["request"]["url"])

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._left:
            piece = os.read(self._read, 1 << 16)
            assert piece, "Chromium has ended"
            self._left += piece
        message, _, self._left = self._left.partition(b"\0")
        return json.loads(message)
