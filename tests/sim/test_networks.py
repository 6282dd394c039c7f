"""Random networks on the RTL: every result, in its cycle, equal to the program's execution and the golden model."""

import os

import numpy as np
import pytest
import torch
from bundles import KINDS, random_bundle, random_spec

from compiler.image import Image, compile_bundle
from compiler.planner import plan
from model.golden import GoldenLSTM
from sim.simulate import Job, simulate_jobs
from spec.target import Levels, Target

SEED = int(os.environ.get("FDHT_SEED", "20261122"))

SHAPES = [(8, 1), (4, 4), (2, 4), (5, 3), (3, 8)]
"""P × Q: one column, square, P < Q, divisible by nothing, and wide. K < P occurs on (8, 1) and (5, 3)."""

COMPACT = {(8, 1), (5, 3)}
"""Those that are compact arrays."""

NETWORKS = 11


def small_target(rows: int, columns: int) -> Target:
    return Target(
        f"test-{rows}x{columns}",
        rows,
        columns,
        factor_width=8,
        compact=(rows, columns) in COMPACT,
        bank_words=1024,
        single_port=columns == 1,
        factor_words=2048,
        result_words=512,
        hidden=64,
        levels=Levels.each(8),
    )


def random_job(rng: np.random.Generator, target: Target, number: int) -> tuple[Job, GoldenLSTM]:
    """A random network compiled for a target; every third starts from a random state, every fourth pauses."""
    spec = random_spec(rng, KINDS[number % len(KINDS)], (1, 5))
    bundle = random_bundle(rng, spec, plan(spec, target), steps=4)
    image = compile_bundle(bundle, target)
    initial = rng.integers(-8192, 8192, (spec.hidden, 2)) if number % 3 else None
    pauses = int(rng.integers(1 << 30)) if number % 4 == 3 else None
    return Job(image, bundle.clips, initial, every_h=bool(number % 2), pauses=pauses), GoldenLSTM(bundle)


def golden_run(job: Job, golden: GoldenLSTM, zero_h: bool = False):
    state = [None, None] if job.initial is None else list(torch.from_numpy(job.initial).T[:, None])
    return golden.run(job.clips, *state, zero_h=zero_h)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape[0]}x{shape[1]}")
def test_random_networks(shape):
    check_networks(np.random.default_rng([SEED, *shape]), shape, NETWORKS)


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape[0]}x{shape[1]}")
def test_many_random_networks(shape):
    """With the test above, 200 and more."""
    check_networks(np.random.default_rng([SEED, *shape, 1]), shape, 3 * NETWORKS)


def check_networks(rng: np.random.Generator, shape: tuple[int, int], networks: int) -> None:
    print(f"reproduce with FDHT_SEED={SEED}")
    target = small_target(*shape)
    jobs = [random_job(rng, target, number) for number in range(networks)]
    results = simulate_jobs([job for job, _ in jobs])
    for (job, golden), result in zip(jobs, results, strict=True):
        assert result.mismatches == []
        assert result.words_compared == result.words_expected
        trace = golden_run(job, golden)
        assert result.logits.tolist() == trace.logits.tolist()
        assert result.hidden.tolist() == trace.h[:, -1].tolist()
        assert result.cells.tolist() == trace.c[:, -1].tolist()
        if job.pauses is None:
            assert result.cycles_simulated == result.cycles_predicted == [job.image.cycles(job.clips.shape[1])]
            assert result.stalls == [0]
        else:
            assert result.cycles_simulated[0] > result.cycles_predicted[0] and result.stalls[0] > 0
        differs = (trace.h != golden_run(job, golden, zero_h=True).h).any(dim=2)[0]
        had_h = differs if job.initial is not None else differs[1:]
        assert had_h.double().mean() >= 0.9, f"h changes the outputs in {int(had_h.sum())} of {len(had_h)} steps only"


def test_one_bundle_same_integers_on_every_array():
    """The integers belong to the bundle; arrays differ in cycles only."""
    rng = np.random.default_rng(SEED)
    spec = random_spec(rng)
    bundle = random_bundle(rng, spec, plan(spec, small_target(4, 4)), steps=4)
    images: list[Image] = [compile_bundle(bundle, small_target(*shape)) for shape in ((8, 1), (4, 4), (5, 3))]
    results = [simulate_jobs([Job(image, bundle.clips)])[0] for image in images]
    golden = GoldenLSTM(bundle).run(bundle.clips)
    assert len({result.cycles_simulated[0] for result in results}) > 1
    for result in results:
        assert result.mismatches == []
        assert result.logits.tolist() == golden.logits.tolist()
        assert result.hidden.tolist() == golden.h[:, -1].tolist()
        assert result.cells.tolist() == golden.c[:, -1].tolist()
