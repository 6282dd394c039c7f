"""Whole boards at their pins: the rate of SPI, a clip of faces, and the iCEBreaker's netlist after synthesis."""

from pathlib import Path

import numpy as np
import pytest
from bundles import paper_spec, random_bundle

from fdht import Device, boards
from fdht.boards import find_board
from fdht.boards.netlist import netlist
from fdht.compiler.image import compile_bundle
from fdht.compiler.planner import plan
from fdht.model import data
from fdht.model.golden import GoldenLSTM
from fdht.model.presets import PRESETS
from fdht.sim.build import build_verilog
from fdht.sim.simulated_board import Pins, SimulatedBoard
from fdht.spec.bundle import Bundle
from fdht.workflow import running

TIMEOUT = 300
FRAMES_PER_S = 25
"""What a camera brings: the bar for SPI."""


def assert_golden(bundle: Bundle, device: Device, clips: np.ndarray) -> list:
    """Runs clips and compares what comes out; the results."""
    results, golden = list(device.run(clips)), GoldenLSTM(bundle).run(clips)
    assert [result.logits.tolist() for result in results] == golden.logits.tolist()
    assert [result.hidden.tolist() for result in results] == golden.h[:, -1].tolist()
    return results


@pytest.mark.slow
def test_spi_carries_real_frames_in_real_time(board):
    """57,600 bytes each, through the pins at the fastest clock that the board's file names, into the real engine."""
    spec = paper_spec()
    bundle = random_bundle(np.random.default_rng(1), spec, plan(spec, board.engine), factor_width=9)
    frames = data.load("faces-rgb").test.clips[:1, :3]
    assert frames.shape[2] == 57600
    with SimulatedBoard(*running.simulator(board)) as simulated, Device(simulated.spi_url, timeout=TIMEOUT) as device:
        device.load(compile_bundle(bundle, board.engine))
        (result,) = assert_golden(bundle, device, frames)
    rate = frames.shape[1] * board.clock_hz / result.status.cycles
    print(f"{rate:.1f} frames/s")
    assert rate >= FRAMES_PER_S


@pytest.mark.slow
def test_a_clip_of_faces():
    """The demo's model on the demo's board, its weights drawn."""
    board, spec = find_board("ulx3s-85f"), PRESETS["faces"].spec
    bundle = random_bundle(np.random.default_rng(1), spec, plan(spec, board.engine))
    with SimulatedBoard(*running.simulator(board)) as simulated, Device(simulated.url, timeout=TIMEOUT) as device:
        device.load(compile_bundle(bundle, board.engine))
        assert_golden(bundle, device, data.load("faces").test.clips[:1])


@pytest.mark.synth
def test_the_netlist_gives_the_same_answers(board, digits):
    """After synthesis, with Yosys's models of SB_MAC16, SB_SPRAM256KA and SB_RAM40_4K; through both ports."""
    pins = Pins(divisor=board.clock_hz // board.baud, spi_mhz=board.spi_mhz, clock_mhz=board.clock_mhz)
    sources = b"".join(path.read_bytes() for path in sorted(Path(boards.__path__[0]).glob("*.py")))
    built = build_verilog("netlist", sources, lambda: netlist(board, "netlist"))
    with SimulatedBoard(built, pins) as simulated:
        for url in (simulated.url, simulated.spi_url):
            with Device(url, timeout=TIMEOUT) as device:
                device.load(compile_bundle(digits, board.engine))
                assert_golden(digits, device, digits.clips[:2])
