"""Steady state and the latency of a lone frame: what is predicted is what the RTL does."""

from contextlib import suppress

import numpy as np
import pytest
from bundles import MODELS, random_bundle, random_image, random_layers
from occurrences import SEED
from test_networks import small_target

from fdht.compiler.pace import STEPS, cycles_per_step, lone_frame, step_ends
from fdht.compiler.planner import plan
from fdht.sim.simulate import Job, simulate_jobs
from fdht.spec.errors import CapacityError


@pytest.mark.parametrize("shape", [(2, 4), (4, 4)], ids=lambda shape: f"{shape[0]}x{shape[1]}")
def test_step_ends_and_latency(shape):
    """For models of all kinds, cut at random, with beats of one word and of four."""
    target = small_target(*shape)
    rng = np.random.default_rng([SEED, 21, target.input_lanes])
    images, jobs = [], []
    for kind in MODELS:
        while True:
            layers = random_layers(rng, kind)
            if not layers[-1].classes:
                continue
            with suppress(CapacityError):
                bundle = random_bundle(rng, layers, plan(layers, target), steps=STEPS)
                images.append(random_image(rng, bundle, target))
                break
        jobs += [Job(images[-1], bundle.clips), Job(images[-1], bundle.clips[:, :1])]
    assert {job.image.target.input_lanes for job in jobs} == {4 if shape == (4, 4) else 1}
    results = simulate_jobs(jobs)
    for image, steady, alone in zip(images, results[::2], results[1::2], strict=True):
        programs = image.machine.programs
        assert steady.mismatches == alone.mismatches == []
        assert steady.step_ends == [step_ends(programs, target)] and len(steady.step_ends[0]) == STEPS
        assert cycles_per_step(steady.step_ends[0]) > 0
        assert (*alone.last_input, *alone.last_output) == lone_frame(programs, target)
