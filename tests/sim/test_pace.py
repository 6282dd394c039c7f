"""Steady state and the latency of a lone frame: what is predicted is what the RTL does."""

import numpy as np
import pytest
from bundles import MODELS, random_bundle, random_image, random_layers
from occurrences import SEED

from compiler.pace import STEPS, cycles_per_step, lone_frame, step_ends
from compiler.planner import plan
from sim.simulate import Job, simulate_jobs
from spec.target import Levels, Target


@pytest.mark.parametrize("lanes", [1, 4])
def test_step_ends_and_latency(lanes):
    """Of models of all kinds, cut at random, with beats of one word and of four."""
    rng = np.random.default_rng([SEED, 21, lanes])
    target = Target("pace", 4, 4, bank_words=1024, levels=Levels.each(9), program_words=1024, input_lanes=lanes)
    images, jobs = [], []
    for kind in MODELS:
        layers = random_layers(rng, kind)
        while not layers[-1].classes:
            layers = random_layers(rng, kind)
        bundle = random_bundle(rng, layers, plan(layers, target), steps=STEPS)
        images.append(random_image(rng, bundle, target))
        jobs += [Job(images[-1], bundle.clips), Job(images[-1], bundle.clips[:, :1])]
    results = simulate_jobs(jobs)
    for image, steady, alone in zip(images, results[::2], results[1::2], strict=True):
        programs = image.machine.programs
        assert steady.mismatches == alone.mismatches == []
        assert steady.step_ends == [step_ends(programs, target)] and len(steady.step_ends[0]) == STEPS
        assert cycles_per_step(steady.step_ends[0]) > 0
        assert (*alone.last_input, *alone.last_output) == lone_frame(programs, target)
