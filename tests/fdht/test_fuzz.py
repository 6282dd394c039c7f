"""Whatever comes in at the link: it never hangs, never changes what is loaded, and understands the next good frame."""

import random
import socket
import time
from collections.abc import Iterator

import numpy as np
import pytest
from bundles import random_bundle

from fdht import Device
from fdht.compiler.image import Image, compile_bundle
from fdht.compiler.planner import plan
from fdht.model.golden import GoldenLSTM
from fdht.sim.simulated_board import Pins, SimulatedBoard, build_system
from fdht.spec.bundle import Bundle
from fdht.spec.lstm import fdht_lstm
from fdht.spec.pipeline import COMPACT
from fdht.spec.protocol import ESCAPE, FLAG, MAX_PAYLOAD, Request, decode, encode, start_payload
from fdht.spec.target import Target

SEED = 7
TIMEOUT = 60
SOON = 1.0
"""Seconds after which a question is asked again that may have met a device still busy with what came before."""

FREE, GOOD = 8, 15
"""Numbers from here on are not drawn for requests that have no place in the order; the last one is that of the good
frame."""

LOOKS = 8
"""Bursts between two looks at what is loaded."""

SMALL = Target(
    "small",
    4,
    1,
    factor_width=8,
    accumulator_width=32,
    pipeline=COMPACT,
    bank_words=256,
    single_port=True,
    factor_words=256,
    result_words=64,
    bias_words=64,
    hidden=16,
    program_words=256,
)


def small_bundle() -> Bundle:
    spec = fdht_lstm(16, 4, 3, (3, 2, 2, 2), (2, 2, 2, 2), 2)
    return random_bundle(np.random.default_rng(SEED), spec, plan(spec, SMALL), clips=1, steps=3)


def session(draw: random.Random, words: bytes) -> Iterator[tuple[Request, bytes]]:
    """Frames of a host that has something to do, numbered in order after an IDENTIFY."""
    number = draw.randrange(16)
    yield Request.IDENTIFY, encode(Request.IDENTIFY, number)
    for _ in range(draw.randrange(1, 12)):
        kind = draw.choice([*Request, Request.X, Request.X, Request.IMAGE, Request.IMAGE])
        flags = [draw.random() < 0.3 for _ in range(3)]
        payload = {
            Request.IMAGE: words[: 2 * draw.randrange(1, MAX_PAYLOAD // 2)],
            Request.START: start_payload(draw.randrange(4), *flags),
            Request.X: draw.randbytes(draw.randrange(1, MAX_PAYLOAD)),
            Request.STATE: draw.randbytes(2 * draw.randrange(1, MAX_PAYLOAD // 2)),
        }.get(kind, b"")
        if kind in (Request.STATUS, Request.IDENTIFY):
            yield kind, encode(kind, draw.randrange(FREE))
            continue
        number += 1
        yield kind, encode(kind, number, payload)


def damaged(draw: random.Random, frame: bytes) -> bytes:
    """Up to three bits of what is inside are wrong, which CRC-32 always finds."""
    body, escape = bytearray(), False
    for byte in frame[1:-1]:
        if byte == ESCAPE:
            escape = True
        else:
            body.append(byte ^ 0x20 if escape else byte)
            escape = False
    for bit in draw.sample(range(8 * len(body)), draw.randrange(1, 4)):
        body[bit // 8] ^= 1 << bit % 8
    return b"\x7e" + b"".join(bytes([ESCAPE, b ^ 0x20]) if b in (FLAG, ESCAPE) else bytes([b]) for b in body) + b"\x7e"


def cut(draw: random.Random, frame: bytes) -> bytes:
    return frame[: draw.randrange(1, len(frame) - 1)]


def burst(draw: random.Random, words: bytes, size: int) -> Iterator[bytes]:
    """Pieces of what may come in; b"" is silence. No image frame is whole: it would be the host's wish."""
    total = 0
    while total < size:
        frames = list(session(draw, words))
        if draw.random() < 0.3:
            draw.shuffle(frames)
        for kind, frame in frames:
            fate = draw.random()
            if fate < 0.1:
                piece = draw.randbytes(draw.randrange(1, 300))
            elif fate < 0.15:
                piece = bytes(draw.choices([FLAG, ESCAPE, 0, 0xFF], k=draw.randrange(1, 40)))
            elif fate < 0.2:
                piece = damaged(draw, encode(kind, 0, draw.randbytes(draw.randrange(MAX_PAYLOAD, 700))))
            elif fate < 0.4 or kind == Request.IMAGE:
                piece = draw.choice([damaged, cut])(draw, frame)
            else:
                piece = frame
            if fate > 0.97:
                yield b""
            total += len(piece)
            yield piece


class Host:
    """A host that sends without looking."""

    def __init__(self, url: str):
        address, port = url.removeprefix("socket://").split(":")
        self._socket = socket.create_connection((address, int(port)))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()

    def send(self, pieces: Iterator[bytes]) -> int:
        """How many bytes that was."""
        total = 0
        for piece in pieces:
            if piece:
                self._socket.sendall(piece)
            else:
                time.sleep(0.02)
            self._hear(0)
            total += len(piece)
        return total

    def hangs(self) -> bool:
        """Asks for the status again and again, until the answer to the last time is there: it is the last of all."""
        waits = {number: SOON for number in range(FREE, GOOD - 1)} | {GOOD - 1: TIMEOUT}
        return not any(self.is_answered(number, seconds) for number, seconds in waits.items())

    def is_answered(self, number: int, seconds: float) -> bool:
        """Whether STATUS is answered, asked once."""
        self._socket.sendall(encode(Request.STATUS, number))
        heard, deadline = b"", time.monotonic() + seconds
        while time.monotonic() < deadline:
            heard += self._hear(0.1)
            replies = [decode(body) for body in heard.split(bytes([FLAG])) if body]
            if any(reply is not None and reply[:2] == (Request.STATUS, number) for reply in replies):
                return True
        return False

    def _hear(self, seconds: float) -> bytes:
        self._socket.settimeout(seconds)
        try:
            return self._socket.recv(1 << 16)
        except (TimeoutError, BlockingIOError):
            return b""


def fuzz(url: str, bundle: Bundle, image: Image, size: int, burst_size: int) -> None:
    """At least `size` bytes in bursts; the image is looked at and used again and again."""
    draw, words, golden = random.Random(SEED), image.stream().astype("<u2").tobytes(), GoldenLSTM(bundle)
    expected = golden.run(bundle.clips[:1]).logits.tolist()
    with Device(url, timeout=TIMEOUT) as device:
        device.load(image)
    total = bursts = errors = 0
    while total < size or bursts % LOOKS:
        with Host(url) as host:
            total += host.send(burst(draw, words, burst_size))
            assert not host.hangs(), f"after {total} bytes"
            total += host.send(iter([draw.choice([damaged, cut])(draw, encode(Request.IMAGE, 0, words[:100]))]))
            assert host.is_answered(GOOD, TIMEOUT), f"a good frame is lost after {total} bytes"
        bursts += 1
        with Device(url, timeout=TIMEOUT) as device:
            errors += device.status().errors > 0
            if bursts % LOOKS == 0:
                assert not device.load(image), f"after {total} bytes another image is loaded"
                assert [result.logits.tolist() for result in device.run(bundle.clips[:1])] == expected
    assert errors > bursts // 2
    print(f"{total} bytes in {bursts} bursts")


def test_pins(digits, board, simulated):
    """The board, through its serial port."""
    fuzz(simulated.url, digits, compile_bundle(digits, board.engine), 5_000, 600)


def test_spi_pins(digits, board, simulated):
    """And through SPI, where flags never end."""
    fuzz(simulated.spi_url, digits, compile_bundle(digits, board.engine), 5_000, 600)


@pytest.mark.slow
def test_bytes():
    """A small engine behind the link, a byte every few cycles."""
    bundle, pins = small_bundle(), Pins(divisor=None)
    with SimulatedBoard(build_system(SMALL, pins), pins) as board:
        fuzz(board.url, bundle, compile_bundle(bundle, SMALL), 1_000_000, 8_000)
