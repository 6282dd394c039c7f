"""What an explanation says is what the image does."""

import re
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from bundles import MODELS, banded_spec, paper_spec, random_bundle, random_layers
from occurrences import SEED

from fdht.compiler.arithmetic import useful_macs
from fdht.compiler.explain import explain, fill
from fdht.compiler.image import compile_bundle
from fdht.compiler.pace import STEPS, cycles_per_step, step_ends
from fdht.compiler.planner import candidates, plan
from fdht.spec.errors import CapacityError
from fdht.spec.instructions import Segment
from fdht.spec.lstm import fdht_lstm
from fdht.spec.target import Levels, Target, find_target


def target(rows: int, columns: int, **options) -> Target:
    sizes = {"bank_words": 4096, "factor_words": 8192, "result_words": 1024, "program_words": 1024}
    return Target(f"test-{rows}x{columns}", rows, columns, levels=Levels.each(9), **sizes | options)


@pytest.mark.parametrize("shape", [(8, 1), (4, 4), (16, 8)], ids=str)
def test_an_explanation_is_what_the_image_does(shape):
    """Cycles of every stage, cycles per step and the words that are used, of models of every kind."""
    rng, on = np.random.default_rng([SEED, 13]), target(*shape)
    for kind in MODELS:
        layers = random_layers(rng, kind)
        bundle = random_bundle(rng, layers, plan(layers, on))
        image, why = compile_bundle(bundle, on), explain(layers, on)
        programs = image.machine.programs
        head = bool(layers[-1].classes)
        body = programs[Segment.ARRAY_PROGRAM][:-1] if head else programs[Segment.ARRAY_PROGRAM]
        assert sum(stage.cycles for stage in why.stages) == sum(image.machine.contraction(i).busy for i in body)
        assert why.macs == sum(map(sum, useful_macs(layers, bundle.stage_lists)))
        assert why.array_cycles <= why.cycles

        run = image.machine.run(rng.integers(0, 256, (STEPS, layers[0].inputs)))
        units = sum(spec.hidden for spec in layers)
        ends = run.hidden.cycle[run.hidden.where[:, 0] == units - 1][1:]  # after STATE
        assert ends.tolist() == step_ends(programs, on)
        assert why.cycles == cycles_per_step(ends.tolist()) == (ends[5] - ends[1]) / 4

        words = {name: len(image.segments[Segment[name]]) for name in ("FACTORS", "BIAS", "ARRAY_PROGRAM")}
        assert [why.fill[name][0] for name in ("factors", "biases", "array program")] == list(words.values())
        assert why.fill == fill(programs, on)


def test_blocks_of_what_lasts_do_not_overlap():
    """Results of stages, and z of layers, take turns."""
    rng, on = np.random.default_rng([SEED, 14]), target(4, 4)
    for kind in MODELS:
        why = explain(random_layers(rng, kind), on)
        for memory in ("scratchpad", "factors", "results"):
            lasting = [
                block
                for block in why.memory
                if block.memory == memory and not re.search("result of|z of", block.content)
            ]
            for a, b in combinations(lasting, 2):
                assert a.first + a.words <= b.first or b.first + b.words <= a.first, (a, b)
        assert sum(b.words for b in why.memory if b.memory == "factors") == why.fill["factors"][0]


def test_the_runners_up_are_slower_or_do_not_fit():
    """A model that is cut has among them another way to cut it, other stages, and stages that do not fit."""
    spec, on = banded_spec(), target(8, 1)
    why = explain(spec, on)
    assert why.tiling != "not cut" and len(why.runners_up) >= 2
    assert why.runners_up[0].stage_lists == why.stage_lists and why.runners_up[0].tiling != why.tiling
    assert all(other.cycles is None or other.cycles >= why.cycles for other in why.runners_up)


def test_what_would_be_faster_but_does_not_fit_is_named():
    on = find_target("ulx3s-85f")
    why = explain(paper_spec(), on)
    forced = explain(paper_spec(), replace(on, factor_words=why.fill["factors"][0] - 1))
    assert forced.cycles > why.cycles
    assert any("factor words" in other.reason for other in forced.runners_up)


def test_a_given_stage_list_is_explained():
    spec, on = fdht_lstm(60, 10, 0, (4, 5, 4), (2, 2, 10), 3), target(4, 4)
    other = next(each for each in candidates(spec, on) if each.ways and each.stage_lists != plan(spec, on))
    why = explain(spec, on, other.stage_lists)
    assert (why.stage_lists, why.cycles) == (other.stage_lists, other.cycles)
    assert [stage.factors for stage in why.stages] == list(other.stage_lists[0])
    with pytest.raises(CapacityError, match="scratchpad"):
        explain(spec, target(4, 4, bank_words=8), other.stage_lists)
