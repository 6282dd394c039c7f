"""A line between a driver and a board that can be noisy or pulled out."""

import select
import socket
import threading
from collections.abc import Callable

Mangle = Callable[[bytes], bytes | None]
"""What becomes of bytes on their way; None: the cable is pulled."""


def keep(data: bytes) -> bytes:
    return data


class Line:
    """Carries bytes of one connection to the server at `url`. A context manager; its own `url` leads here.

    Args:
        url: where to. None: nobody answers, but what is sent goes through `there`, and back.
        there, back: what becomes of bytes to and from the server.
    """

    def __init__(self, url: str | None, there: Mangle = keep, back: Mangle = keep):
        self._server = None if url is None else socket.create_connection(_address(url))
        self._mangle = (there, back)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"socket://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self) -> "Line":
        return self

    def __exit__(self, *_) -> None:
        self._listener.close()
        if self._server:
            self._server.close()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        try:
            client, _ = self._listener.accept()
            with client:
                sides = [client] if self._server is None else [client, self._server]
                while True:
                    for source in select.select(sides, [], [])[0]:
                        data = source.recv(4096)
                        mangled = self._mangle[source is not client](data) if data else None
                        if mangled is None:
                            return
                        sides[(sides.index(source) + 1) % len(sides)].sendall(mangled)
        except (OSError, ValueError):  # closed
            return
        finally:
            if self._server:
                self._server.close()


def _address(url: str) -> tuple[str, int]:
    host, port = url.removeprefix("socket://").split(":")
    return host, int(port)
