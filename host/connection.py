"""The host's side of fdht.spec.protocol: requests over a port of bytes, repeated until they are answered."""

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol
from urllib.parse import urlsplit

import serial
from serial.tools.list_ports import comports

from fdht.spec.errors import FdhtError
from fdht.spec.protocol import FLAG, REFUSED, STATUS_BYTES, VERSION, WINDOW, Reason, Request, Status, decode, encode
from fdht.spec.tallies import INDEX_BITS, TALLY_BITS

ATTEMPTS = 4
"""How often in a row nothing may be heard."""

DAMAGES = 16
"""How often in a row what is heard may be damaged."""


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
    if url.startswith("socket://") and not _is_address(url):
        raise DeviceError(f"port {url} is no address of a board in simulation or on a network; say socket://HOST:PORT")
    try:
        port = serial.serial_for_url(url, baudrate=baud, timeout=TURN, write_timeout=WRITE, do_not_open=True)
        if "://" not in url:
            port.exclusive = True
        port.open()
    except (OSError, ValueError) as error:  # pyserial's own errors are OSErrors
        raise DeviceError(_why(url, str(error))) from None
    return port


def _is_address(url: str) -> bool:
    """Whether a URL has a host and a number of a port."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port is not None
    except ValueError:
        return False


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


Reply = tuple[int, int, bytes]
"""Kind (with REFUSED), number, payload."""


class _Trouble:
    """Counts what went wrong since the last good reply; raises `error` at `ATTEMPTS` × `turns` silences or `DAMAGES`
    damages.
    """

    def __init__(self, error: Callable[[], "DeviceError"], turns: int = 1):
        self._error, self._most = error, ATTEMPTS * turns
        self.none()

    def none(self) -> None:
        self._silences = self._damages = 0

    def some(self, silent: bool) -> None:
        self._silences += silent
        self._damages += not silent
        if self._silences == self._most or self._damages == DAMAGES:
            raise self._error()


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
        self._tag = 0  # of the last STATUS
        self._unsure = False  # a reply was lost or damaged: requests may be on their way that nobody waits for

    def close(self) -> None:
        self._port.close()

    def identify(self, turns: int = 1) -> Status:
        """Starts numbering anew.

        Args:
            turns: how often a device is asked in the time in which it answers, if it is busy with itself until then.

        Raises:
            DeviceError: nothing answers, or what speaks another version of the protocol.
        """
        self._write(bytes([FLAG]))
        try:
            reply = self._ask(Request.IDENTIFY, 0, turns=turns)
        except _SilenceError:
            reply = b""
        if len(reply) < 4:
            raise DeviceError(
                f"nothing on {self.url} answers as an fdht engine does; look whether it is the right port and its rate "
                f"{self._baud} baud, and load the bitstream with: fdht program --board NAME"
            )
        if reply[3] != VERSION:
            raise DeviceError(
                f"the bitstream on {self.url} speaks version {reply[3]} of the protocol, this fdht version {VERSION}; "
                "load its own with: fdht program --board NAME"
            )
        self._number = 0
        return Status.parse(reply) if turns == 1 else self._settle()

    def status(self) -> Status:
        """The device's status. Afterwards no reply to an earlier request is on its way any more."""
        return self._settle()

    def tallies(self, first: int) -> list[int]:
        """Counts from one on, see fdht.spec.tallies; none of an engine without the feature of this name."""
        self._tag = (self._tag + 1) % 16
        reply = self._ask(Request.STATUS, self._tag, payload=first.to_bytes(INDEX_BITS // 8, "little"))
        size = TALLY_BITS // 8
        return [int.from_bytes(reply[at : at + size], "little") for at in range(STATUS_BYTES, len(reply), size)]

    def _settle(self, other: Callable[[Reply], object] = lambda reply: None) -> Status:
        """Asks for the status until this very question is answered: replies come in order, so no earlier one follows.

        Args:
            other: called with each reply to something else.
        """
        self._tag = (self._tag + 1) % 16
        status = Status.parse(self._ask(Request.STATUS, self._tag, other))
        self._unsure = False
        return status

    def _ask(
        self,
        kind: Request,
        number: int,
        other: Callable[[Reply], object] = lambda reply: None,
        payload: bytes = b"",
        turns: int = 1,
    ) -> bytes:
        """Sends a request that the device answers whatever its number, and returns the reply with this number.

        A late reply to an earlier request of the same number would be taken, too; but 16 numbers take turns.
        """
        request, trouble = encode(kind, number, payload), _Trouble(self._silence, turns)
        while True:
            self._write(request)
            deadline, again = time.monotonic() + self._timeout / turns, False
            while not again and (body := self._frame(deadline)) is not None:
                reply = decode(body)
                if reply is None or _reason(reply) == Reason.DAMAGED:
                    trouble.some(silent=False)
                    again = True
                elif reply[:2] == (kind, number):
                    return reply[2]
                else:
                    other(reply)
            if not again:
                trouble.some(silent=True)

    def read(self) -> bytes:
        """The device's results so far.

        Raises:
            DeviceError: it no longer answers.
        """
        number, trouble = (self._number + 1) % 16, _Trouble(self._silence)
        request = encode(Request.READ, number)
        # A repeated READ may bring more bytes, and the next one forgets them all: there must be only one on its way.
        while True:
            if self._unsure:
                self._settle()
            self._write(request)
            deadline = time.monotonic() + self._timeout
            while True:
                body = self._frame(deadline)
                reply = None if body is None else decode(body)
                if reply is None or _reason(reply):
                    self._unsure = True
                    trouble.some(silent=body is None)
                    break
                if reply[:2] == (Request.READ, number):
                    self._number = number
                    return reply[2]

    def do(
        self, kind: Request, payloads: Iterable[bytes] = (b"",), waiting: Callable[[], object] = lambda: None
    ) -> None:
        """Has requests done in order, two under way at once.

        Args:
            waiting: called when the engine takes no more for now, and may read. It raises when that lasts too long.

        Raises:
            DeviceError: refused, or no longer answered.
        """
        coming, trouble = iter(payloads), _Trouble(self._silence)
        undone: deque[bytes] = deque()
        sent = flying = 0  # of the undone ones, those that are sent (again); frames that the device has not answered
        wait, width = False, WINDOW  # after a WAIT one frame at a time, which the engine may take

        def done(reply: Reply) -> None:
            nonlocal sent, width
            count = (reply[1] - self._number) % 16
            if reply[0] == kind and 1 <= count <= len(undone):
                for _ in range(count):
                    undone.popleft()
                sent, self._number = max(0, sent - count), reply[1]
                width = WINDOW
                trouble.none()

        while True:
            while len(undone) < WINDOW and (payload := next(coming, None)) is not None:
                undone.append(payload)
            if not undone:
                return
            if wait and flying == 0:
                if self._unsure:  # what was refused may be on its way once more, under a number that is now another's
                    self._settle(done)
                waiting()
                wait, sent = False, 0
                continue
            while not wait and flying < width and sent < len(undone):
                sent, flying = sent + 1, flying + 1
                self._write(encode(kind, self._number + sent, undone[sent - 1]))

            body = self._frame(time.monotonic() + self._timeout)
            reply = None if body is None else decode(body)
            if reply is None:
                self._unsure, wait = True, False
                flying, sent = 0 if body is None else max(0, flying - 1), 0
                trouble.some(silent=body is None)
                continue
            reason = _reason(reply)
            if reason != Reason.DAMAGED and reply[0] & ~REFUSED != kind:
                continue  # an answer to a request before these
            flying = max(0, flying - 1)
            if not reason:
                done(reply)
                continue
            sent = 0
            if reason == Reason.WAIT:
                wait, width = True, 1
            elif reason in (Reason.DAMAGED, Reason.SEQUENCE):
                self._unsure |= reason == Reason.DAMAGED
                trouble.some(silent=False)
            else:
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


def _reason(reply: Reply) -> int:
    """Why a request was refused; 0 if it was not."""
    return reply[2][0] & 7 if reply[0] & REFUSED and reply[2] else 0
