"""The camera example: real pictures in raster order through the whole design, classes equal to the golden model's."""

import json
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from bundles import random_bundle
from cocotb_tools.runner import get_results
from hypothesis import given
from hypothesis import strategies as st
from occurrences import SEED
from page import shown
from photographs import CHANNELS, film

from fdht.compiler.image import Image, compile_bundle
from fdht.compiler.planner import plan
from fdht.hw.shell.camera import loops
from fdht.model.golden import GoldenLSTM
from fdht.sim.build import Simulator, build_verilog
from fdht.sim.simulate import LOG, RESULTS, run_module
from fdht.spec.bundle import Bundle
from fdht.spec.errors import SpecError
from fdht.spec.lstm import fdht_lstm
from fdht.spec.target import Levels, Target

TARGET = Target(
    "camera", 2, 4, factor_width=8, input_lanes=4, bank_words=512, factor_words=1024, result_words=128, bias_words=128,
    hidden=32, program_words=512, levels=Levels.each(8),
)  # fmt: skip
HEIGHT, WIDTH, STEPS, CLIPS = 12, 16, 2, 8


def shots() -> np.ndarray:
    return film(CLIPS, STEPS, HEIGHT, WIDTH)


@cache
def model() -> tuple[Bundle, Image]:
    """A model whose image wants another order than raster order, and that sees several classes in the film."""
    rng = np.random.default_rng([SEED, 13])
    spec = fdht_lstm(HEIGHT * WIDTH * CHANNELS, 8, 5, (13, 4, 4, 3), (2, 2, 2, 4), 2)
    clips = shots().reshape(CLIPS, STEPS, -1)
    while True:
        bundle = random_bundle(rng, spec, plan(spec, TARGET), clips=CLIPS, steps=STEPS)
        image = compile_bundle(bundle, TARGET)
        if image.order is not None and len(set(GoldenLSTM(bundle).run(clips).classes.tolist())) > 2:
            return bundle, image


@cache
def built(image: Image) -> Simulator:
    """The design as the page's program writes it."""
    with tempfile.TemporaryDirectory() as folder:
        work, root = Path(folder), str(Path(__file__).resolve().parents[2])
        image.save(work / "model.image")
        (work / "camera.py").write_text(shown("camera.py"))
        arguments = ["camera.py", "model.image", str(HEIGHT * WIDTH), str(CHANNELS)]
        subprocess.run([sys.executable, *arguments], cwd=work, env={**os.environ, "PYTHONPATH": root}, check=True)
        verilog = (work / "camera.v").read_text()
    return build_verilog("camera", verilog.encode(), lambda: verilog)


def show(folder: Path, frames: np.ndarray, **options) -> dict:
    _, image = model()
    np.save(folder / "film.npy", frames.reshape(-1, HEIGHT * WIDTH, CHANNELS))
    task = {"seed": SEED, "steps": STEPS, "cycles": 2 * image.cycles(STEPS), "hurry": False, "torn": False, **options}
    (folder / "task.json").write_text(json.dumps(task))
    here = Path(__file__).resolve()
    path = os.pathsep.join((str(here.parents[2]), str(here.parent)))
    run_module(built(image), "camera_bench", folder, {"FDHT_CAMERA": str(folder), "PYTHONPATH": path})
    assert get_results(folder / RESULTS) == (1, 0), (folder / LOG).read_text()[-3000:]
    return json.loads((folder / "seen.json").read_text())


@pytest.mark.parametrize("torn", [False, True])
def test_classes_of_real_pictures(tmp_path, torn):
    """Also where the camera begins a frame anew in the middle."""
    bundle, _ = model()
    expected = GoldenLSTM(bundle).run(shots().reshape(CLIPS, STEPS, -1)).classes.tolist()
    seen = show(tmp_path, shots(), torn=torn)
    assert seen == {"classes": [[number, 0] for number in expected], "skipped": []}


def test_a_camera_that_is_too_fast_loses_whole_frames(tmp_path):
    """Clips are made of frames that were not skipped, each whole."""
    bundle, _ = model()
    frames = np.repeat(shots(), 3, axis=1)  # each pair of pictures three times
    seen = show(tmp_path, frames, hurry=True)
    count = (frames.shape[0] * frames.shape[1] - len(seen["skipped"])) // STEPS
    assert seen["skipped"] and len(seen["classes"]) == count
    assert not any(faulty for _, faulty in seen["classes"])
    singles = frames.reshape(-1, 1, HEIGHT * WIDTH * CHANNELS)
    pairs = np.array(
        [np.concatenate(pair) for gap in range(1, 9) for pair in zip(singles[:-gap], singles[gap:], strict=True)]
    )
    possible = set(GoldenLSTM(bundle).run(pairs).classes.tolist())
    assert {number for number, _ in seen["classes"]} <= possible


@given(st.permutations(range(3)), st.tuples(*[st.integers(2, 5)] * 3))
def test_loops_visit_positions_in_order(order, shape):
    positions = np.arange(np.prod(shape) * CHANNELS).reshape(*shape, CHANNELS).transpose(*order, 3).ravel()
    nest = loops(positions, CHANNELS)
    visited = [0]
    for count, stride in nest:
        visited = [at + turn * stride for turn in range(count) for at in visited]
    assert visited == positions.tolist()


def test_an_order_that_is_no_nest_of_loops_is_refused():
    rng = np.random.default_rng(SEED)
    with pytest.raises(SpecError, match="no nest of loops"):
        loops(rng.permutation(48), CHANNELS)
