"""A model of the papers' size on the small board's memories: real frames through the RTL, word by word."""

from dataclasses import replace

import numpy as np
import pytest
from bundles import paper_spec, random_bundle
from occurrences import SEED

from fdht.compiler.image import compile_bundle
from fdht.compiler.planner import plan
from fdht.model.data import faces_rgb
from fdht.model.golden import GoldenLSTM
from fdht.sim.simulate import simulate
from fdht.spec.instructions import GateOp, LoaderOp, Segment
from fdht.spec.target import find_target

STEPS, WIDTH = 4, 9
"""Steps of a clip; bits of factors drawn evenly, with which no sum can leave 32 bits."""


def test_the_small_board_is_kept_busy():
    """Planned: factors, places that take turns, the head's weights and a program for them all fit."""
    target = find_target("icebreaker")
    spec = paper_spec()
    bundle = random_bundle(np.random.default_rng(SEED), spec, plan(spec, target), factor_width=WIDTH)
    image = compile_bundle(bundle, target)
    loads, clears = (
        [i for i in image.machine.programs[Segment.LOADER_PROGRAM] if i["op"] == op]
        for op in (LoaderOp.LOAD, LoaderOp.CLEAR)
    )
    assert len(loads) == 4 and clears
    ends = [
        done
        for unit, _, instruction, _, done in image.machine.schedule(STEPS)
        if unit is Segment.GATE_PROGRAM and instruction["op"] == GateOp.STEP
    ]
    assert bundle.macs / target.multipliers / (ends[-1] - ends[-2]) > 0.97
    assert ends[-1] - ends[-2] == ends[-2] - ends[-3]


@pytest.mark.slow
def test_real_frames_on_the_small_board():
    target = find_target("icebreaker")
    spec = paper_spec()
    bundle = random_bundle(np.random.default_rng(SEED), spec, plan(spec, target), factor_width=WIDTH)
    frames = faces_rgb().test.clips[:1, :STEPS]
    bundle = replace(bundle, clips=frames, labels=bundle.labels[:1])
    image = compile_bundle(bundle, target)
    result = simulate(image, frames)
    golden = GoldenLSTM(bundle).run(frames)
    assert result.mismatches == [] and result.cycles_simulated == result.cycles_predicted
    assert result.words_compared == result.words_expected
    assert result.logits.tolist() == golden.logits.tolist() and result.hidden.tolist() == golden.h[:, -1].tolist()
    assert result.stalls == [0]
