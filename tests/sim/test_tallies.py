"""Counts on the device: of each stage's clipped words and each stream's steps, in RTL as the machine predicts them."""

from dataclasses import replace

import numpy as np
import pytest
from bundles import louder, random_bundle

from fdht.compiler.image import Image, compile_bundle
from fdht.compiler.planner import plan
from fdht.sim.simulate import Job, simulate_jobs
from fdht.spec.lstm import fdht_lstm
from fdht.spec.pipeline import COMPACT, PIPELINED
from fdht.spec.rounds import Frame
from fdht.spec.target import ALL, GENERIC, Levels, Target

COUNTING = replace(GENERIC, features=replace(ALL, tallies=True))
ALONE = Target("alone", 4, 2, pipeline=COMPACT, bank_words=256, hidden=64, levels=Levels.each(6), build=COUNTING)
SEVERAL = replace(ALONE, name="several", columns=4, pipeline=PIPELINED, program_words=1024, streams=5, gates=2)
SEED = 20261129


def clipping(rng: np.random.Generator, target: Target, streams: int = 0) -> Image:
    """An image whose stages clip."""
    spec = fdht_lstm(40, 8, 3, (8, 6), (4, 8), 3)
    models = (spec,)
    return louder(compile_bundle(random_bundle(rng, models, plan(models, target)), target, streams=streams))


def checked(jobs: list[Job]) -> None:
    for result in simulate_jobs(jobs):
        assert not result.mismatches


def test_counts_of_one_sequence():
    """Of runs of several steps, one with kept states, which begins to count anew."""
    rng = np.random.default_rng(SEED)
    image = clipping(rng, ALONE)
    clips = rng.integers(0, 256, (3, 4, image.inputs))
    run = image.machine.run(clips[0])
    assert run.steps == {0: 4} and sum(run.clipped.values()) == run.saturations
    assert sum(count > 0 for count in run.clipped.values()) > 1, "several stages clip"
    checked([Job(image, clips), Job(image, clips, keep=True)])


@pytest.mark.slow
def test_counts_of_streams():
    """Some of which sit out rounds and end; gates side by side, instructions that are chained or not carried out."""
    rng = np.random.default_rng(SEED)
    image = clipping(rng, SEVERAL, 4)
    frames = [Frame(k % 4, begins=k < 4, ends=k in (6, 9)) for k in range(14) if k not in (5, 10, 11)]
    x = rng.integers(0, 256, (1, len(frames), image.inputs))
    run = image.machine.run_streams(image.known(frames), x[0])
    assert sum(run.steps.values()) == len(frames) and len(set(run.steps.values())) > 1
    assert sum(run.clipped.values()) == run.saturations > 0
    checked([Job(image, x, frames=[frames])])
