"""The IP block, driven by cocotbext-axi: results equal to the golden model's, no rule of AXI ever broken."""

import json
import os
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bundles import random_bundle, random_layers, with_task
from cocotb_tools.runner import get_results
from occurrences import SEED
from pydantic import TypeAdapter

from fdht.compiler.image import Image, compile_bundle
from fdht.compiler.planner import plan
from fdht.hw.shell.axi import NAME, AXIAccelerator
from fdht.model.golden import GoldenLSTM, Trace
from fdht.sim.build import Simulator, build_verilog, convert
from fdht.sim.simulate import LOG, RESULTS, run_module
from fdht.spec.errors import CapacityError
from fdht.spec.fixed import Fixed
from fdht.spec.formats import PIXELS, InputFormat
from fdht.spec.lstm import fdht_lstm
from fdht.spec.pipeline import COMPACT
from fdht.spec.target import ALL, GENERIC, Levels, Target
from fdht.spec.task import Task

COUNTING = replace(GENERIC, features=replace(ALL, tallies=True))
TARGETS = {
    target.name: target
    for target in (
        Target("wide", 2, 4, factor_width=8, input_lanes=4, bank_words=256, factor_words=1024, result_words=128,
               bias_words=128, hidden=32, program_words=512, levels=Levels.each(8)),
        Target("compact", 4, 1, factor_width=8, pipeline=COMPACT, single_port=True, input_width=12, bank_words=256,
               factor_words=1024, result_words=256, bias_words=256, hidden=32, program_words=512,
               levels=Levels.each(8), build=COUNTING),
        Target("streams", 2, 4, factor_width=8, input_lanes=4, bank_words=256, factor_words=1024, result_words=256,
               bias_words=256, hidden=64, program_words=1024, levels=Levels.each(8), streams=8, gates=2,
               build=COUNTING),
    )
}  # fmt: skip
"""Eight-bit pixels, four at once, and twelve-bit words one by one in an engine without buffers around it; and an engine
of several streams. The last two have tallies.
"""

CLIPS, STEPS, BUILD_ID = 4, 3, 0x600D


def built(target: Target) -> Simulator:
    what = TypeAdapter(Target).dump_json(target) + str(BUILD_ID).encode()
    return build_verilog(NAME, what, lambda: convert(AXIAccelerator(target, BUILD_ID), NAME))


@dataclass(frozen=True)
class Case:
    """A model on a target, clips, and what the golden model makes of them: apart, from an initial state, and as one."""

    image: Image
    arrays: dict[str, np.ndarray]


@cache
def case(name: str, task: Task = Task.CLASSIFY) -> Case:
    """A model in which every clip has logits of its own, and others from other states."""
    target, rng = TARGETS[name], np.random.default_rng([SEED, 77])
    format = PIXELS if target.input_width == 8 else InputFormat(Fixed(12, 11))
    while True:
        # A frame that does not fill its last beat; or two layers.
        layers = (fdht_lstm(46, 5, 3, (5, 3, 4), (4, 5, 1), 3),)
        if target.input_lanes == 1:
            layers = random_layers(rng, "2 layers")
        if layers[-1].classes < 2 or layers[0].hidden > 8 or layers[0].inputs > 60:
            continue
        layers = with_task(rng, layers, task)
        with suppress(CapacityError):
            bundle = random_bundle(rng, layers, plan(layers, target), clips=CLIPS, steps=STEPS, input_format=format)
            initial = rng.integers(-8192, 8192, (2, len(layers), 1, layers[0].hidden))
            arrays = answers(GoldenLSTM(bundle), initial)
            other = [arrays[f"{of}logits"][1:] != arrays["logits"][1:] for of in ("initial_", "kept_")]
            differs = np.reshape(other, (2, CLIPS - 1, -1)).any(-1).all()
            if len(np.unique(arrays["logits"], axis=0)) == CLIPS and differs:
                states = np.moveaxis(initial[:, :, 0], 0, -1)
                return Case(compile_bundle(bundle, target), {**arrays, "clips": bundle.clips, "initial": states})


def answers(golden: GoldenLSTM, initial: np.ndarray) -> dict[str, np.ndarray]:
    """What the golden model makes of its bundle's clips: each alone, from `initial`, and each after those before."""
    clips = golden.bundle.clips
    given = torch.from_numpy(np.repeat(initial, CLIPS, 2))
    kept = [vectors(golden.run(clips[: k + 1].reshape(1, (k + 1) * STEPS, -1))) for k in range(CLIPS)]
    of_steps = np.s_[0, -STEPS:] if golden.bundle.spec.task.every_step else np.s_[0]
    ends = {"h": np.s_[0, :, -STEPS:], "c": np.s_[0, :, -STEPS:], "logits": of_steps}
    of_each = [golden.run(clips[:1, : step + 1]).logits[0].numpy() for step in range(STEPS)]
    return {
        **vectors(golden.run(clips)),
        "step_logits": np.stack([each[-1] if each.ndim == 2 else each for each in of_each]),
        **{f"initial_{key}": value for key, value in vectors(golden.run(clips, *given)).items()},
        **{f"kept_{key}": np.stack([run[key][end] for run in kept]) for key, end in ends.items()},
    }


def vectors(trace: Trace) -> dict[str, np.ndarray]:
    """h and c, clips × layers × steps × H, and the logits."""
    states = {key: np.stack([getattr(layer, key).numpy() for layer in trace.layers], 1) for key in ("h", "c")}
    return {**states, "logits": trace.logits.numpy()}


def run(
    tmp_path: Path,
    name: str,
    test: str,
    simulator: Simulator | None = None,
    task: Task = Task.CLASSIFY,
    **counts: int,
) -> dict:
    """Runs a test of axi_bench on a target; returns its report."""
    made = case(name, task)
    return run_on(tmp_path, TARGETS[name], made.image, test, simulator, **made.arrays, **counts)


def run_on(
    tmp_path: Path, target: Target, image: Image, test: str, simulator: Simulator | None = None, **arrays: Any
) -> dict:
    """Runs a test of axi_bench with an image; returns its report."""
    image.save(tmp_path / "model.image")
    np.savez(tmp_path / "case.npz", **arrays)
    here = Path(__file__).resolve()
    variables = {
        "FDHT_AXI": str(tmp_path),
        "FDHT_AXI_SEED": str(SEED),
        "COCOTB_TEST_FILTER": rf"\.{test}$",
        "PYTHONPATH": os.pathsep.join((str(here.parents[2]), str(here.parent))),
    }
    run_module(simulator or built(target), "axi_bench", tmp_path, variables)
    assert get_results(tmp_path / RESULTS) == (1, 0), (tmp_path / LOG).read_text()[-6000:]
    report = tmp_path / "report.json"
    return json.loads(report.read_text()) if report.exists() else {}


TESTS = (
    "registers",
    "clips",
    "back_to_back",
    "states",
    "wrong_lengths",
    "resets",
    "refusals",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("broken_images", "a_hung_engine")),
)


@pytest.mark.parametrize("name", ["wide", pytest.param("compact", marks=pytest.mark.slow)])
@pytest.mark.parametrize("test", TESTS)
def test_as_the_golden_model_says(tmp_path, name, test):
    run(tmp_path, name, test, runs=2 * CLIPS, resets=CLIPS, images=3 if name == "wide" else 6)


@pytest.mark.parametrize("test", ["clips", "frame_by_frame", pytest.param("states", marks=pytest.mark.slow)])
def test_a_head_after_every_step(tmp_path, test):
    """The logits of all steps in one packet; or a packet and a class for every frame, with the states kept."""
    run(tmp_path, "wide", test, task=Task.LABEL_STEPS, runs=CLIPS)


def test_a_head_after_the_last_step_frame_by_frame(tmp_path):
    """A run of one step, whose states are kept, has its class after every frame, whatever the task."""
    run(tmp_path, "wide", "frame_by_frame")


@pytest.mark.parametrize(
    "test",
    [
        "registers",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("wrong_lengths", "clips", "states", "resets")),
    ],
)
def test_one_sequence_where_several_streams_might_be(tmp_path, test):
    """An image of one sequence finds the block as it is elsewhere."""
    run(tmp_path, "streams", test, runs=CLIPS, resets=2)


@pytest.mark.slow
def test_the_rules_over_many_beats(tmp_path):
    """Random pauses on every channel; results equal all the while. (FDHT_AXI_RUNS=1000: over 100,000 beats.)"""
    runs = int(os.environ.get("FDHT_AXI_RUNS", 200))
    report = run(tmp_path, "wide", "clips", runs=runs)
    assert sum(report["beats"].values()) >= 100 * runs
    assert all(report["waits"][prefix] > 100 for prefix in report["waits"] if prefix != "s_axis_state_t")


@pytest.mark.slow
def test_the_exported_verilog_is_the_same_block(tmp_path):
    """What fdht export writes, without assertions and simulators' conveniences."""
    verilog = convert(AXIAccelerator(TARGETS["wide"], BUILD_ID), NAME, assertions=False)
    run(tmp_path, "wide", "clips", build_verilog(NAME, verilog.encode(), lambda: verilog), runs=2 * CLIPS)
