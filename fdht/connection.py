"""The host's side of spec.protocol: requests over a port of bytes, repeated until they are answered."""

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

import serial
from serial.tools.list_ports import comports

from spec.errors import FdhtError
from spec.protocol import FLAG, REFUSED, VERSION, WINDOW, Reason, Request, Status, decode, encode

ATTEMPTS = 4
"""How often in a row a request may be lost or damaged."""


TURN, WRITE = 0.05, 5.0
"""Seconds in which a port gives up reading, to look at the time, and writing."""


class DeviceError(FdhtError):
    """A board that is not there, is not what was expected, or no longer answers."""


class Port(Protocol):
    """What a port must offer, after pyserial; each may raise an OSError."""

    @property
    def in_waiting(self) -> int:
        """Bytes that are there (or whether there are any)."""
        ...

    def read(self, size: int, /) -> bytes:
        """So many bytes, or fewer after `TURN` seconds."""
        ...

    def write(self, data: bytes, /) -> int | None:
        """Sends bytes."""
        ...

    def close(self) -> None: ...


def open_port(url: str, baud: int) -> Port:
    """Opens a serial port, or whatever pyserial's URLs name.

    Raises:
        DeviceError: it is not there, in use, or may not be used.
    """
    try:
        port = serial.serial_for_url(url, baudrate=baud, timeout=TURN, write_timeout=WRITE, do_not_open=True)
        if "://" not in url:
            port.exclusive = True
        port.open()
    except (OSError, ValueError) as error:  # pyserial's own errors are OSErrors
        raise DeviceError(_why(url, str(error))) from None
    return port


def _why(url: str, message: str) -> str:
    low = message.lower()
    if "lock" in low or "busy" in low or "resource temporarily unavailable" in low:
        return f"port {url} is in use by another program; close that, or choose another port"
    if "permission" in low or "denied" in low:
        return f"port {url} may not be opened by this user; on Linux: sudo usermod -aG dialout $USER, then log in anew"
    if "no such file" in low or "filenotfound" in low or "cannot find" in low:
        return f"there is no port {url}; {_ports()}"
    return f"port {url} cannot be opened ({message}); {_ports()}"


def _ports() -> str:
    names = sorted(port.device for port in comports())
    return f"plugged in: {', '.join(names)}" if names else "no board is plugged in: look at the cable"


@dataclass
class _Window:
    """Requests of one kind on their way, the oldest first.

    Attributes:
        payloads: those without an answer. sent: how many of them are sent (again, if they were refused).
        flying: frames in the device or on the line.
    """

    payloads: deque[bytes] = field(default_factory=deque)
    sent: int = 0
    flying: int = 0


class Connection:
    """Sends requests and gives their replies.

    Args:
        url: of the port, as pyserial takes it.
        baud: of a serial port.
        timeout: seconds in which a device that is there answers.

    Raises:
        DeviceError: the port cannot be opened, or nothing answers.
    """

    def __init__(self, url: str, baud: int, timeout: float):
        self.url, self._baud, self._timeout = url, baud, timeout
        self._port = open_port(url, baud)
        self._received = bytearray()
        self._number = 0  # of the last ordered request that is done

    def close(self) -> None:
        self._port.close()

    def identify(self) -> Status:
        """Starts numbering anew.

        Raises:
            DeviceError: nothing answers, or what speaks another version of the protocol.
        """
        self._write(bytes([FLAG]))
        try:
            reply = self._ask(Request.IDENTIFY)
        except _SilenceError:
            raise DeviceError(
                f"nothing on {self.url} answers as an fdht engine does; look whether it is the right port and its rate "
                f"{self._baud} baud, and load the bitstream with: fdht program --board NAME"
            ) from None
        if len(reply) < 4 or reply[3] != VERSION:
            version = reply[3] if len(reply) > 3 else "?"
            raise DeviceError(
                f"the bitstream on {self.url} speaks version {version} of the protocol, this fdht version {VERSION}; "
                "load its own with: fdht program --board NAME"
            )
        return Status.parse(reply)

    def status(self) -> Status:
        """The device's status."""
        return Status.parse(self._ask(Request.STATUS))

    def _ask(self, kind: Request) -> bytes:
        """The reply to a request that has no place in the order."""
        for _ in range(ATTEMPTS):
            self._write(encode(kind, self._number))
            deadline = time.monotonic() + self._timeout
            while (body := self._frame(deadline)) is not None:
                reply = decode(body)
                if reply is None or reply[0] & REFUSED:
                    break  # this one's reply, as far as one can tell
                if reply[:2] == (kind, self._number):
                    return reply[2]
        raise self._silence()

    def do(
        self, kind: Request, payloads: Iterable[bytes] = (b"",), waiting: Callable[[], object] = lambda: None
    ) -> bytes:
        """Has requests done in order, two under way at once; the payload of the last one's reply.

        Args:
            waiting: called when the engine takes no more for now, and may have other requests done. It raises when
                that lasts too long.

        Raises:
            DeviceError: refused, or no longer answered.
        """
        window, coming, failures, answer = _Window(), iter(payloads), 0, b""
        wait = False  # the engine does: let nothing be under way, then try again
        while True:
            while len(window.payloads) < WINDOW and (payload := next(coming, None)) is not None:
                window.payloads.append(payload)
            if not window.payloads:
                return answer
            if wait and window.flying == 0:
                waiting()
                wait = False
            while not wait and window.flying < WINDOW and window.sent < len(window.payloads):
                window.sent += 1
                window.flying += 1
                self._write(encode(kind, self._number + window.sent, window.payloads[window.sent - 1]))

            body = self._frame(time.monotonic() + self._timeout)
            reply = None if body is None else decode(body)
            if reply is None:
                failures += 1
                if failures == ATTEMPTS:
                    raise self._silence()
                window.flying, window.sent, wait = max(0, window.flying - 1) if body else 0, 0, False
                continue
            replied, number, data = reply
            reason = data[0] & 7 if replied & REFUSED and data else 0
            if reason != Reason.DAMAGED and replied & ~REFUSED != kind:
                continue  # an answer to a request before these
            window.flying = max(0, window.flying - 1)
            if not reason:
                done = (number - self._number) % 16
                if 1 <= done <= len(window.payloads):
                    for _ in range(done):
                        window.payloads.popleft()
                    window.sent = max(0, window.sent - done)
                    self._number, answer, failures = number, data, 0
                continue
            window.sent = 0
            if reason == Reason.WAIT:
                wait = True
            elif reason == Reason.DAMAGED:
                failures += 1
                if failures == ATTEMPTS:
                    raise self._silence()
            elif reason != Reason.SEQUENCE:
                raise DeviceError(
                    f"the engine on {self.url} refuses {kind.name} ({Reason(reason).name}); another program may be "
                    "using it: stop that and start again"
                )

    def _silence(self) -> "DeviceError":
        return _SilenceError(
            f"the board on {self.url} no longer answers; look at its power and cable, then start again"
        )

    def _write(self, data: bytes) -> None:
        try:
            self._port.write(data)
        except OSError:
            raise self._lost() from None

    def _frame(self, deadline: float) -> bytes | None:
        """What comes before the next flag, if that is anything; None when time is up."""
        while True:
            end = self._received.find(FLAG)
            if end > 0:
                body = bytes(self._received[:end])
                del self._received[: end + 1]
                return body
            if end == 0:
                del self._received[0]
                continue
            if time.monotonic() > deadline:
                return None
            try:
                self._received += self._port.read(max(1, self._port.in_waiting))
            except OSError:
                raise self._lost() from None

    def _lost(self) -> DeviceError:
        return DeviceError(f"the connection to {self.url} is lost; look at cable and power, then start again")


class _SilenceError(DeviceError):
    """Nothing answers."""
