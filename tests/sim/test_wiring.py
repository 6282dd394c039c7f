"""The designs of docs/wiring.md, from a sensor's pins to a class after every step, equal to the golden model's."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from bundles import random_bundle
from cocotb_tools.runner import get_results
from occurrences import SEED
from page import DOCS, shown
from photographs import CHANNELS, film

from fdht.compiler.image import Image, compile_bundle
from fdht.compiler.planner import plan
from fdht.hw.examples.accelerometer import AXES, FULL_RESOLUTION_G
from fdht.model.golden import GoldenLSTM
from fdht.sim.build import build_verilog
from fdht.sim.simulate import LOG, RESULTS, run_module
from fdht.spec.bundle import Bundle
from fdht.spec.lstm import LSTMSpec, fdht_lstm
from fdht.spec.scaling import Scaling
from fdht.spec.target import Levels, Target

TARGET = Target(
    "wired", 2, 4, factor_width=8, input_lanes=4, bank_words=512, factor_words=1024, result_words=128, bias_words=128,
    hidden=32, program_words=512, levels=Levels.each(8),
)  # fmt: skip
HERE = Path(__file__).resolve().parent


def model(spec: LSTMSpec, sequences: np.ndarray, scaling: Scaling | None = None) -> tuple[Bundle, Image]:
    """A model that sees several classes in sequences (B × T × N), and not always the same in a step alone."""
    rng = np.random.default_rng([SEED, 20])
    for _ in range(100):
        bundle = random_bundle(rng, spec, plan(spec, TARGET), clips=len(sequences), steps=sequences.shape[1])
        image = replace(compile_bundle(bundle, TARGET), scaling=scaling)
        every = classes(bundle, sequences)
        alone = classes(bundle, sequences.reshape(-1, 1, sequences.shape[2]))
        if len(np.unique(every)) > 2 and np.ravel(every).tolist() != np.ravel(alone).tolist():
            return bundle, image
    raise AssertionError("no model tells the steps apart")


def classes(bundle: Bundle, sequences: np.ndarray) -> list[list[int]]:
    """Of every sequence after each of its steps."""
    ends = range(1, sequences.shape[1] + 1)
    return np.stack([GoldenLSTM(bundle).run(sequences[:, :end]).classes for end in ends], 1).tolist()


def run(folder: Path, image: Image, program: str, arguments: list[int], test: str, **task) -> list[list[int]]:
    """The classes that the design of the page's program gives, after each step of every sequence."""
    image.save(folder / "model.image")
    (folder / f"{program}.py").write_text(shown(f"{program}.py", DOCS / "wiring.md"))
    command = [sys.executable, f"{program}.py", "model.image", *map(str, arguments)]
    subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONPATH": str(HERE.parents[1])}, check=True)
    verilog = (folder / f"{program}.v").read_text()
    built = build_verilog(program, verilog.encode(), lambda: verilog)
    (folder / "task.json").write_text(json.dumps(task))
    path = os.pathsep.join((str(HERE.parents[1]), str(HERE)))
    variables = {"FDHT_SENSOR": str(folder), "PYTHONPATH": path, "COCOTB_TEST_FILTER": rf"\.{test}$"}
    run_module(built, "sensor_bench", folder, variables)
    assert get_results(folder / RESULTS) == (1, 0), (folder / LOG).read_text()[-3000:]
    return json.loads((folder / "seen.json").read_text())


def test_an_accelerometer_gives_a_class_after_every_window(tmp_path):
    """Recorded samples of three channels; two sequences, of which the second begins with no state of the first's."""
    window, steps = 4, 5
    recorded = np.fromfile(Path(matplotlib.get_data_path()) / "sample_data" / "eeg.dat", dtype="<f8").reshape(800, -1)
    samples = np.round(100 * recorded[: 2 * steps * window * 8 : 8, :AXES]).astype(int).reshape(2, steps * window, AXES)
    values = (samples * FULL_RESOLUTION_G).reshape(2, steps, window * AXES)
    scaling = Scaling.fit(values.reshape(-1, window * AXES))
    words = scaling.to_words(values)
    assert len(scaling.centre) == window * AXES and len(np.unique(words)) > 50
    bundle, image = model(fdht_lstm(window * AXES, 8, 5, (5, 2, 2), (2, 4, 4), 2), words, scaling)
    np.save(tmp_path / "samples.npy", samples)
    seen = run(tmp_path, image, "accelerometer", [window, 4], "accelerometer", window=window)
    assert seen == classes(bundle, words)


@pytest.mark.slow  # a minute on a busy machine; its parts are in tests/hw/test_sensors.py
def test_a_parallel_camera_gives_a_class_after_every_frame(tmp_path):
    """Photographs in RGB565, every other pixel of every other line; the camera's clock is half as fast as the design's,
    and not in step.
    """
    height, width, steps, clips, every = 12, 16, 3, 2, 2
    frames = np.random.default_rng(SEED).integers(0, 256, (clips, steps, every * height, every * width, CHANNELS))
    frames[:, :, ::every, ::every] = film(clips, steps, height, width)
    red, green, blue = (frames[..., k] for k in range(CHANNELS))
    sent = (red >> 3) << 11 | (green >> 2) << 5 | blue >> 3
    np.save(tmp_path / "bytes.npy", np.stack([sent >> 8, sent & 0xFF], -1).reshape(clips, steps, every * height, -1))
    kept = frames[:, :, ::every, ::every]
    five, six = kept >> 3, kept >> 2
    wide = np.where(np.arange(CHANNELS) == 1, six << 2 | six >> 4, five << 3 | five >> 2)
    words = wide.reshape(clips, steps, -1).astype(np.uint8)
    bundle, image = model(fdht_lstm(height * width * CHANNELS, 8, 5, (13, 4, 4, 3), (2, 2, 2, 4), 2), words)
    seen = run(tmp_path, image, "camera_pins", [width, height, CHANNELS, every], "camera", half_ps=9_300)
    assert seen == classes(bundle, words)
