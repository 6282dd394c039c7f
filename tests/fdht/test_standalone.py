"""Boards that load themselves, at their pins: images from a flash that another hand modelled, switched, damaged, and
loaded anew by a watchdog.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from bundles import random_bundle
from flash_board import board_with, build_board

from fdht import Device
from fdht.boards import find_board
from fdht.compiler.image import Image, compile_bundle
from fdht.compiler.planner import plan as plan_step
from fdht.console import Output
from fdht.host.connection import DeviceError
from fdht.model.golden import GoldenLSTM
from fdht.sim.simulated_board import Pins
from fdht.spec.bundle import Bundle
from fdht.spec.errors import SpecError
from fdht.spec.flash import SlotState, slot_bytes
from fdht.spec.lstm import fdht_lstm
from fdht.spec.protocol import Request, image_check, start_payload
from fdht.spec.target import Build, Levels, Standalone, Target
from fdht.workflow import flashing
from fdht.workflow.flashing import Part, contents

TARGET = Target(
    "alone-2x1",
    2,
    1,
    banks=2,
    bank_words=256,
    factor_words=512,
    result_words=64,
    bias_words=64,
    hidden=16,
    levels=Levels.each(4),
    build=Build(standalone=Standalone(slots=8, watchdog_ms=2)),
)
BOARD = replace(find_board("icebreaker"), engine=TARGET)
"""Its clock and the places of its slots."""

PLAN = BOARD.plan
PINS = Pins(divisor=4, flash=PLAN, start_cycles=200_000)
TIMEOUT = 5


@pytest.fixture(scope="module")
def bundles() -> list[Bundle]:
    """Two networks that differ in all numbers, of the same shape and of another."""
    specs = fdht_lstm(20, 4, 3, (5, 3, 2), (2, 2, 4), 2), fdht_lstm(12, 3, 2, (5, 4), (2, 6), 2)
    rng = np.random.default_rng(20)
    return [random_bundle(rng, spec, plan_step(spec, TARGET), clips=2, steps=3) for spec in specs]


@pytest.fixture(scope="module")
def images(bundles) -> list[Image]:
    return [compile_bundle(bundle, TARGET) for bundle in bundles]


def words(image: Image) -> bytes:
    return image.stream().astype("<u2").tobytes()


@contextmanager
def device(flash: bytes) -> Iterator[Device]:
    """A device with this flash, just powered up."""
    with board_with(build_board(TARGET, PINS), PINS, flash) as board, Device(board.url, timeout=TIMEOUT) as device:
        yield device


def holding(*slots: bytes) -> bytes:
    """A flash with these slots."""
    assert PLAN is not None
    return contents([Part("", PLAN.address(number), held) for number, held in enumerate(slots)])


def assert_answers(device: Device, bundle: Bundle, image: Image) -> None:
    """The device has the image, though nobody loaded it through the link, and gives the golden model's answers."""
    assert device.status().image == image_check(words(image))
    assert not device.load(image), "it was there"
    results = list(device.run(bundle.clips))
    assert [result.logits.tolist() for result in results] == GoldenLSTM(bundle).run(bundle.clips).logits.tolist()


def test_it_loads_itself_and_switches(bundles, images, tmp_path):
    """From the file that `fdht program --flash --output` writes."""
    for number, bundle in enumerate(bundles):
        bundle.save(tmp_path / f"{number}.bundle")
    files, flash = [tmp_path / f"{number}.bundle" for number in range(2)], tmp_path / "flash.bin"
    (tmp_path / "board.bin").write_bytes(bytes(range(256)) * 400)
    flashing.run(Output(False, quiet=True), BOARD, tmp_path / "board.bin", tmp_path, files, 0, False, flash)
    with device(flash.read_bytes()) as board:
        status = board.status()
        assert (status.slots, status.slot, status.slot_state, status.firings) == (8, 0, SlotState.LOADED, 0)
        assert_answers(board, bundles[0], images[0])
        for number in (1, 0, 0):
            status = board.select(number)
            assert (status.slot, status.slot_state) == (number, SlotState.LOADED)
            assert_answers(board, bundles[number], images[number])
        with pytest.raises(SpecError, match="there is no slot 8 on"):
            board.select(8)
        assert board.load(images[1]), "a host may load it, too"
        assert_answers(board, bundles[1], images[1])


def damages(slot: bytes, other: bytes) -> dict[str, tuple[bytes, SlotState]]:
    """Slots in which something is wrong, and what they are then taken for."""
    middle, check = len(slot) // 2, slot[:-4] + bytes([slot[-4] ^ 1]) + slot[-3:]
    flipped = bytearray(slot)
    flipped[middle] ^= 0x10
    return {
        "erased": (b"", SlotState.EMPTY),
        "of another target": (slot[:4] + bytes(4) + slot[8:], SlotState.EMPTY),
        "a byte flipped": (bytes(flipped), SlotState.DAMAGED),
        "written half": (slot[:middle] + b"\xff" * 512, SlotState.DAMAGED),
        "another's check": (check, SlotState.DAMAGED),
        "a frame lost": (slot[:-5][: slot[:-5].rindex(b"\x7e\x7e") + 1] + slot[-5:], SlotState.DAMAGED),
        "two images' halves": (slot[: slot.index(b"\x7e\x7e", 60) + 1] + other[8:], SlotState.DAMAGED),
    }


def test_what_is_damaged_is_not_loaded(bundles, images):
    """An engine whose slot is wrong says so, has no image, works for a host, and finds the slot that is right."""
    good, other = (slot_bytes(words(image), TARGET) for image in images)
    wrong = damages(good, other)
    with device(holding(*(slot for slot, _ in wrong.values()), other)) as board:
        for number, (what, (_, state)) in enumerate(wrong.items()):
            if number > 0:
                with pytest.raises(DeviceError, match=f"slot {number} on .* is {state.name.lower()}; write it with: "):
                    board.select(number)
            status = board.status()
            assert (status.slot, status.slot_state, status.image) == (number, state, 0), what
        assert board.load(images[0])
        assert_answers(board, bundles[0], images[0])
        with pytest.raises(DeviceError):
            board.select(0)
        assert board.status().image == 0 and board.load(images[0])
        board.select(len(wrong))
        assert_answers(board, bundles[1], images[1])


@pytest.mark.slow
def test_what_hangs_is_loaded_anew(bundles, images):
    """A run whose frames never come; the same slot is loaded again, and works."""
    with device(holding(*(slot_bytes(words(image), TARGET) for image in images))) as board:
        board.select(1)
        board._connection.do(Request.START, [start_payload(3)])
        assert board.status().busy
        while (status := board.status()).busy or status.slot_state != SlotState.LOADED:
            assert status.slot_state in (SlotState.DAMAGED, SlotState.LOADED)  # while it is loaded anew, and then
        assert (status.firings, status.slot, status.slot_state) == (1, 1, SlotState.LOADED)
        board._connection.identify()
        assert_answers(board, bundles[1], images[1])
        for _ in range(30):
            assert board.status().firings == 1, "an engine at rest is left alone"
