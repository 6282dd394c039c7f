"""Streams on the RTL: every result in its cycle, whatever comes when."""

import os
from collections import Counter

import numpy as np
import pytest
from bundles import random_bundle
from occurrences import SEED
from services import expected_logits, random_frames, random_service, target

from fdht.compiler.image import compile_bundle
from fdht.compiler.planner import plan
from fdht.model.golden import GoldenLSTM
from fdht.sim.simulate import Job, simulate_jobs
from fdht.spec.errors import SpecError
from fdht.spec.lstm import fdht_lstm
from fdht.spec.rounds import NOBODY, Frame, in_turn

ENGINES = [target(4, 4, 2), target(8, 1), target(4, 4), target(3, 8, 2), target(4, 4, 4), target(5, 4, 2)]
NETWORKS = 10


@pytest.mark.parametrize(
    "on", [ENGINES[0], *(pytest.param(on, marks=pytest.mark.slow) for on in ENGINES[1:])], ids=lambda on: on.name
)
def test_random_networks_and_arrivals(on):
    """With pauses and without, states kept from run to run: words and cycles of the program, logits of the golden model
    on each sequence alone.
    """
    print(f"reproduce with FDHT_SEED={SEED}")
    rng = np.random.default_rng([SEED, on.rows, on.columns, on.gates, 21])
    jobs, seen = list[Job](), Counter[str]()
    bundles = []
    for number in range(NETWORKS):
        service = random_service(rng, on, most=16 if number % 3 == 0 else 6)
        raw = service.bundle.clips.reshape(-1, service.bundle.clips.shape[-1])
        frames = random_frames(rng, service.image.streams)
        x = raw[rng.integers(len(raw), size=sum(frame != NOBODY for frame in frames))]
        keep = number % 4 == 1
        pauses = int(rng.integers(1 << 30)) if number % 3 == 2 else None
        clips, every = (np.array([x, x[::-1]]), [frames, frames]) if keep else (x[None], [frames])
        jobs.append(Job(service.image, clips, frames=every, keep=keep, pauses=pauses, every_h=number % 2 == 0))
        bundles.append(service.bundle)
        seen.update(service.kind)
    for job, bundle, result in zip(jobs, bundles, simulate_jobs(jobs), strict=True):
        assert result.mismatches == []
        assert result.words_compared == result.words_expected > 0
        if job.pauses is None:
            assert result.cycles_simulated == result.cycles_predicted
        if not job.keep and job.image.classes:
            assert job.frames is not None
            assert result.logits.tolist() == expected_logits(bundle, job.frames[0], job.clips[0])
    assert seen["together"] and seen["in groups"]


@pytest.mark.slow
def test_a_stream_of_many_steps():
    """Beside one that comes and goes: logits as the golden model's. (FDHT_STREAM_STEPS=100000 takes five minutes.)"""
    on = ENGINES[0]
    spec = fdht_lstm(3, 2, 2, (3, 2), (4, 2), 1)
    bundle = random_bundle(np.random.default_rng(3), spec, plan(spec, target(4, 4)))
    image = compile_bundle(bundle, on, streams=2)
    rng, half = np.random.default_rng(4), int(os.environ.get("FDHT_STREAM_STEPS", 6_000)) // 2
    x = rng.integers(0, 256, (2 * half, 3)).astype(bundle.clips.dtype)
    frames, clips = list[list[Frame]](), list[np.ndarray]()
    for run in range(2):
        of_run, rows = list[Frame](), list[np.ndarray]()
        for step in range(half):
            last = run == 1 and step + 1 == half
            other = step % 1000 == 500
            of_run.append(Frame(0, begins=run + step == 0, ends=last, closes=not other))
            rows.append(x[run * half + step])
            if other:
                of_run.append(Frame(1, True, True, True))
                rows.append(x[step])
        frames.append(of_run)
        clips.append(np.array(rows))
    (result,) = simulate_jobs([Job(image, np.array(clips), frames=frames, keep=True)])
    assert result.mismatches == [] and result.cycles_simulated == result.cycles_predicted
    golden = GoldenLSTM(bundle).run(x[None])
    assert result.logits[-1].tolist() == golden.logits[0].tolist()


def test_jobs_of_streams_say_whose_frames_they_are():
    on = ENGINES[0]
    spec = fdht_lstm(3, 2, 2, (3, 2), (4, 2), 1)
    bundle = random_bundle(np.random.default_rng(3), spec, plan(spec, target(4, 4)))
    image = compile_bundle(bundle, on, streams=2)
    x = bundle.clips[:1, :2]
    with pytest.raises(SpecError, match="an image of 2 streams, and frames that are said to be of none"):
        Job(image, x)
    with pytest.raises(SpecError, match="`frames` says of every step of every clip whose it is"):
        Job(image, x, frames=[in_turn([1])])
    with pytest.raises(SpecError, match="an image of 0 streams, and frames that are said to be of some"):
        Job(compile_bundle(bundle, on), x, frames=[in_turn([2])])


def test_jobs_have_raw_words_that_arrive_whole():
    spec = fdht_lstm(3, 2, 2, (3, 2), (4, 2), 1)
    bundle = random_bundle(np.random.default_rng(3), spec, plan(spec, target(4, 4)))
    image, x = compile_bundle(bundle, ENGINES[0]), bundle.clips[:1, :2].astype(int)
    for word, said in ((image.input.raw.max + 1, "a raw word of"), (image.input.raw.min - 1, "a raw word of -")):
        x[0, 1, 2] = word
        with pytest.raises(SpecError, match=said):
            Job(image, x)
    with pytest.raises(SpecError, match="clips of float64 are no raw words"):
        Job(image, x.astype(float))
