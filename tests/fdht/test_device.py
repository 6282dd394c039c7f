"""The driver on a board's whole design in simulation, through its pins: the golden model's integers, and every way in
which a connection fails."""

import os
import random
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import exchange
import numpy as np
import pytest
import torch
from bundles import random_bundle

from fdht import Device
from fdht.boards.top import build_id
from fdht.compiler.image import Image, compile_bundle
from fdht.compiler.planner import plan
from fdht.host.connection import DeviceError
from fdht.host.device import Result
from fdht.host.drift import Inputs
from fdht.model.golden import GoldenLSTM, Trace
from fdht.spec.errors import SpecError
from fdht.spec.formats import PIXELS
from fdht.spec.lstm import fdht_lstm
from fdht.spec.protocol import (
    REFUSED,
    VERSION,
    Reason,
    Request,
    Status,
    decode,
    encode,
    image_check,
    start_payload,
    target_id,
)
from fdht.spec.scaling import Scaling
from fdht.spec.target import Target, find_target
from fdht.spec.task import Task
from tests.fdht.line import Line

TIMEOUT = 60
"""Seconds, for a simulator on a busy machine."""

PORTS = ("url", "spi_url")


@pytest.fixture(scope="session")
def image(digits, board) -> Image:
    return compile_bundle(digits, board.engine)


def connect(url: str) -> Device:
    return Device(url, timeout=TIMEOUT)


def assert_golden(results: list[Result], trace: Trace) -> None:
    """Logits, and h and c of the last step."""
    assert [result.logits.tolist() for result in results] == trace.logits.tolist()
    assert [result.hidden.tolist() for result in results] == trace.h[:, -1].tolist()
    assert [result.cells.tolist() for result in results] == trace.c[:, -1].tolist()


@pytest.mark.parametrize("port", PORTS)
def test_clips_through_the_pins_are_those_of_the_golden_model(digits, image, board, simulated, port):
    clips = digits.clips[:3]
    with connect(getattr(simulated, port)) as device:
        before = device.status()
        assert (before.version, before.target, before.build) == (VERSION, target_id(board.engine), build_id(board))
        device.load(image)
        assert device.status().image == image_check(image.stream().astype("<u2").tobytes())
        assert not device.load(image), "it is there"
        results = list(device.run(clips))
        assert_golden(results, GoldenLSTM(digits).run(clips))
        assert all(result.every_h is None for result in results)
        assert all(result.status.cycles >= image.cycles(clips.shape[1]) for result in results)
        assert device.status().errors == before.errors


def test_states_go_in_and_every_h_comes_out(digits, image, simulated):
    rng, golden = np.random.default_rng(2), GoldenLSTM(digits)
    clips, initial = digits.clips[:2], rng.integers(-8192, 8192, (digits.spec.hidden, 2))
    h, c = torch.from_numpy(initial.T.reshape(2, 1, 1, -1))
    with connect(simulated.url) as device:
        device.load(image)
        results = list(device.run(clips, initial=initial, every_h=True, keep=True))
    first = golden.run(clips[:1], h, c)
    second = golden.run(clips[1:], first.h[None, :, -1], first.c[None, :, -1])
    for result, trace in zip(results, (first, second), strict=True):
        assert_golden([result], trace)
        assert result.every_h is not None and result.every_h.tolist() == trace.h[0].tolist()


def test_a_board_takes_real_values(digits, image, simulated):
    """The driver scales them as the image says; words and lengths of clips may differ."""
    scaling = Scaling((3.0,), (0.01,))
    values = scaling.to_values(digits.clips[:2]) + 0.004
    with connect(simulated.url) as device:
        device.load(image)
        with pytest.raises(
            SpecError, match="the image says nothing of how real values are scaled; pass raw words of u8"
        ):
            next(device.run(values))
        device.load(replace(image, scaling=scaling))
        (whole,) = device.run(values[:1])
        short, again = device.run([values[1, :3], digits.clips[0]])
        with pytest.raises(SpecError, match=r"a clip of shape \(3, 7\) is not steps"):
            next(device.run([values[1, :3, :7]]))
        for words, sentence in (
            (digits.clips[:1].astype(int) + 256, "a raw word of 256, where those of u8.7 lie between 0 and 255"),
            (-digits.clips[:1].astype(int), "a raw word of -"),
            (digits.clips[:1].astype(str), "are no raw words; pass integers of u8.7"),
        ):
            with pytest.raises(SpecError, match=sentence):
                next(device.run(words))
    assert np.array_equal(whole.logits, digits.logits[0]) and np.array_equal(again.logits, digits.logits[0])
    waited = short.status.stalls  # some of them while other units work
    assert image.cycles(3) <= short.status.cycles <= image.cycles(3) + waited < image.cycles(8) + waited


def test_replies_go_to_the_port_that_asked_last(digits, image, simulated):
    golden = GoldenLSTM(digits).run(digits.clips[:1])
    for port in (*PORTS, *PORTS):
        with connect(getattr(simulated, port)) as device:
            device.load(image)
            assert_golden(list(device.run(digits.clips[:1])), golden)


class Noise:
    """Damages, drops and doubles bytes, one in `every`, and counts them."""

    def __init__(self, seed: int, every: int):
        self._draw, self._every, self.count = random.Random(seed), every, 0

    def __call__(self, data: bytes) -> bytes:
        return b"".join(self._byte(byte) for byte in data)

    def _byte(self, byte: int) -> bytes:
        draw = self._draw
        if draw.random() >= 1 / self._every:
            return bytes([byte])
        self.count += 1
        return draw.choice([b"", bytes([byte ^ 1 << draw.randrange(8)]), bytes([byte, byte])])


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_a_noisy_line_costs_time_and_no_integer(digits, image, simulated, seed):
    clips, there, back = digits.clips[:2], Noise(seed, 500), Noise(seed + 100, 500)
    with connect(simulated.url) as device:
        device._connection.do(Request.IMAGE, [b"\0\0" * 3])  # so that it has to be loaded anew
        before = device.status().errors
    with Line(simulated.url, there, back) as line, Device(line.url, timeout=2) as device:
        device.load(image)
        assert_golden(list(device.run(clips, every_h=True)), GoldenLSTM(digits).run(clips))
    with connect(simulated.url) as device:
        errors = (device.status().errors - before) % 256  # it wraps
    assert there.count >= 10 and back.count >= 5, f"the line was quiet: {there.count} and {back.count}"
    assert errors >= 5, f"the device has noticed {errors}"


def test_the_cable_is_pulled_in_mid_clip_and_put_back(digits, image, simulated):
    left = 300

    def cut(data: bytes) -> bytes | None:
        nonlocal left
        left -= len(data)
        return data if left > 0 else None

    with connect(simulated.url) as device:
        device.load(image)
    begin = time.monotonic()
    with (
        Line(simulated.url, cut) as line,
        pytest.raises(DeviceError, match=r"connection to socket://.* is lost; look at"),
        connect(line.url) as device,
    ):
        device.load(image)
        list(device.run(digits.clips))
    assert time.monotonic() - begin < TIMEOUT / 2, "at once, not after the timeout"
    with connect(simulated.url) as device:
        assert not device.load(image), "what was loaded is still there"
        assert_golden(list(device.run(digits.clips[:1])), GoldenLSTM(digits).run(digits.clips[:1]))


def test_a_board_that_falls_silent_in_mid_clip(digits, image, simulated):
    left = 300

    def fall_silent(data: bytes) -> bytes:
        nonlocal left
        left -= len(data)
        return data if left > 0 else b""

    with (
        Line(simulated.url, back=fall_silent) as line,
        pytest.raises(DeviceError, match="no longer answers"),
        Device(line.url, timeout=1) as device,
    ):
        device.load(image)
        list(device.run(digits.clips))


def test_a_board_that_numbers_anew_in_mid_clip(digits, image, simulated):
    """As after a restart, or when another program has asked who it is: an error, or nothing has happened."""
    sent = 0

    def restart(data: bytes) -> bytes:
        nonlocal sent
        before, sent = sent, sent + len(data)
        return data + encode(Request.IDENTIFY, 9) if before < 400 <= sent else data

    with Line(simulated.url, restart) as line, Device(line.url, timeout=2) as device:
        device.load(image)
        try:
            results = list(device.run(digits.clips))
        except DeviceError as error:
            assert "start again" in str(error)
        else:
            assert_golden(results, GoldenLSTM(digits).run(digits.clips))


def test_an_image_for_another_target(simulated):
    spec, target = fdht_lstm(16, 4, 2, (3, 2, 2, 2), (2, 2, 2, 2), 2), find_target("ulx3s-85f")
    other = compile_bundle(random_bundle(np.random.default_rng(1), spec, plan(spec, target)), target)
    message = "built for target icebreaker, the image for ulx3s-85f; compile it for"
    with connect(simulated.url) as device, pytest.raises(DeviceError, match=message):
        device.load(other)


def test_a_board_with_another_bitstream(simulated):
    with pytest.raises(DeviceError, match=r"bitstream on socket://.* is [0-9a-f]{8}, not 00000001, .* fdht program"):
        Device(simulated.url, timeout=TIMEOUT, build=1)


def test_what_is_loaded_is_checked_before_a_run(digits, image, simulated):
    rng = np.random.default_rng(5)
    weights = (
        (rng.permutation(digits.weights[0][0].ravel()).reshape(digits.weights[0][0].shape), *digits.weights[0][1:]),
    )
    other = compile_bundle(replace(digits, weights=weights), image.target)
    with connect(simulated.url) as device:
        with pytest.raises(SpecError, match="no image is loaded; call load"):
            next(device.run(digits.clips))
        device.load(image)
        with pytest.raises(SpecError, match=r"\(6, 8\) are not clips x steps x 8"):
            next(device.run(digits.clips[:, 0]))
    with connect(simulated.url) as second:
        assert second.load(other)
    with connect(simulated.url) as device:
        device._image, device._inputs = image, Inputs(image)
        device._check = image_check(image.stream().astype("<u2").tobytes())
        with pytest.raises(DeviceError, match="another program has loaded the board"):
            next(device.run(digits.clips))
        assert device.load(image)
        assert_golden(list(device.run(digits.clips[:1])), GoldenLSTM(digits).run(digits.clips[:1]))


def test_an_image_that_is_taken_otherwise_than_it_was_sent_is_refused(digits, image, simulated, monkeypatch):
    """The check is over what the engine took, not over what was meant: here a driver that sends a wrong word."""
    words = image.stream()

    def wrong() -> np.ndarray:
        sent = words.copy()
        sent[-1] ^= 1
        return sent

    with connect(simulated.url) as device:
        real = device._connection.do

        def do(kind, payloads=(b"",), *rest):
            if kind == Request.IMAGE:
                data = wrong().astype("<u2").tobytes()
                payloads = [data[at : at + 240] for at in range(0, len(data), 240)]
            return real(kind, payloads, *rest)

        device.load(image)
        monkeypatch.setattr(device._connection, "do", do)
        real(Request.IMAGE, [b"\0\0" * 3])  # so that it has to be loaded anew
        with pytest.raises(DeviceError, match=r"holds an image with check [0-9a-f]{8}, [0-9a-f]{8} was sent"):
            device.load(image)
        with pytest.raises(SpecError, match="no image is loaded"):
            next(device.run(digits.clips))


def test_no_port():
    with pytest.raises(DeviceError, match=r"there is no port /dev/ttyUSB77; (plugged in: |no board is plugged in)"):
        Device("/dev/ttyUSB77")
    with pytest.raises(DeviceError, match="port nonsense://7 cannot be opened"):
        Device("nonsense://7")
    for url in ("socket://nonsense", "socket://", "socket://here:there", "socket://here:99999"):
        with pytest.raises(DeviceError, match=rf"^port {url} is no address .*; say socket://HOST:PORT$"):
            Device(url)


def test_nobody_listens():
    with pytest.raises(DeviceError, match=r"port socket://127.0.0.1:9 cannot be opened .*refused"):
        Device("socket://127.0.0.1:9")


def test_a_port_in_use():
    _, other = os.openpty()
    name = os.ttyname(other)
    from serial import Serial

    with Serial(name, exclusive=True), pytest.raises(DeviceError, match=f"{name} is in use by another program"):
        Device(name)


@pytest.mark.parametrize("answers", ["nothing", "what it is sent", "noise"])
def test_a_port_with_something_else_behind_it(answers):
    draw = random.Random(3)
    mangle = {
        "nothing": lambda _: b"",
        "what it is sent": lambda data: data,
        "noise": lambda data: bytes(draw.choices([0x7E, *range(256)], k=40)),
    }[answers]
    begin = time.monotonic()
    with Line(None, mangle) as line, pytest.raises(DeviceError, match="answers as an fdht engine does; look whether"):
        Device(line.url, timeout=0.2)
    assert time.monotonic() - begin < 5


def test_another_version_of_the_protocol():
    status = bytes([0, 0, 0, VERSION + 1]) + bytes(Status.SIZE - 4)
    with (
        Line(None, lambda _: encode(Request.IDENTIFY, 0, status)) as line,
        pytest.raises(DeviceError, match=f"speaks version {VERSION + 1} of the protocol, this fdht version {VERSION};"),
    ):
        Device(line.url, timeout=1)


def test_the_driver_speaks_byte_for_byte_as_recorded(monkeypatch):
    """It finds an engine, loads it and runs a clip; every reply is understood, the one to wait and try again too."""
    monkeypatch.setattr("fdht.host.device.target_id", lambda _: exchange.TARGET_ID)
    left, asked = list(exchange.SESSION), bytearray()

    def answer(data: bytes) -> bytes:
        asked.extend(data)
        replies = b""
        while left and asked.startswith(request := bytes.fromhex(left[0][1])):
            del asked[: len(request)]
            replies += bytes.fromhex(left.pop(0)[2])
        return replies

    image = SimpleNamespace(
        target=Target("recorded", 2, 2),
        stream=lambda: np.array(exchange.IMAGE, dtype=np.uint16),
        inputs=len(exchange.FRAMES[0]),
        hidden=1,
        classes=len(exchange.LOGITS),
        layers=1,
        streams=0,
        order=None,
        task=Task.CLASSIFY,
        input=PIXELS,
    )
    with Line(None, answer) as line, Device(line.url, timeout=TIMEOUT / 10, build=exchange.BUILD_ID) as device:
        assert device.load(cast(Image, image))
        initial = np.array([exchange.STATE])
        (result,) = device.run(np.array([exchange.FRAMES], dtype=np.uint8), initial=initial)
    assert not left and not asked, f"next was to come: {left[:1]}, but it sent {asked.hex()}"
    assert result.logits.tolist() == list(exchange.LOGITS) and result.predicted == 0
    assert result.hidden.tolist() == [exchange.HIDDEN] and result.cells.tolist() == [exchange.CELL]
    status = result.status
    counts = (status.cycles, status.stalls, status.saturations)
    assert counts == (exchange.CYCLES, exchange.STALLS, exchange.SATURATIONS)
    assert (status.busy, status.last, status.errors, status.collision) == (False, 8, 0, False)


@pytest.mark.parametrize(
    "reply, reason", [(reply, what.rpartition(" ")[2]) for what, _, reply in exchange.REFUSALS if "refused" in what]
)
def test_a_recorded_refusal_is_read_as_its_reason(reply, reason):
    kind, _, payload = decode(bytes.fromhex(reply)[1:-1]) or (0, 0, b"")
    assert kind & REFUSED and Reason(payload[0] & 7).name == reason


def test_the_options_of_a_run_are_those_recorded():
    recorded = [
        decode(bytes.fromhex(sent)[1:-1])
        for what, sent, _ in (*exchange.SESSION, *exchange.REFUSALS)
        if "START" in what
    ]
    expected = [start_payload(2, use_state=True), start_payload(1, every_h=True, keep=True)]
    assert [frame and frame[2] for frame in recorded] == expected


def test_the_last_status_of_the_recorded_exchange():
    _, _, payload = decode(bytes.fromhex(exchange.REFUSALS[-1][2])[1:-1]) or (0, 0, b"")
    status = Status.parse(payload)
    assert (
        status.collision
        and status.errors == 1
        and (status.target, status.build)
        == (
            exchange.TARGET_ID,
            exchange.BUILD_ID,
        )
    )
