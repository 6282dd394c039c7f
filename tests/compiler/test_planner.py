"""The planner finds the optimum, and what it plans computes what the golden model defines."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from bundles import random_bundle, random_spec

from compiler.image import compile_bundle
from compiler.mapping import choose_lanes, map_step, stage_cycles
from compiler.planner import MERGE_LIMIT, plan
from model.golden import GoldenLSTM
from spec.errors import CapacityError
from spec.lstm import LSTMSpec, dense_lstm, fdht_lstm
from spec.stages import stage_macs, stages
from spec.target import Levels, Target

SHAPES = [(8, 1), (4, 4), (2, 4), (5, 3), (3, 8), (16, 8), (1, 1)]


def target(rows: int, columns: int, **options) -> Target:
    sizes = {
        "bank_words": 4096,
        "factor_words": 8192,
        "result_words": 1024,
        "levels": Levels.each(9),
        "program_words": 1024,
    }
    return Target(f"test-{rows}x{columns}", rows, columns, **sizes | options)


def cost(spec: LSTMSpec, stage_list, on: Target) -> int:
    chain = stages(spec.network, stage_list)
    lanes = choose_lanes(spec, chain, on)
    return sum(stage_cycles(spec.network, stage, lanes[s], lanes[s + 1], on) for s, stage in enumerate(chain))


def every_stage_list(names: tuple[str, ...]):
    """Every ordered partition into groups of at most MERGE_LIMIT factors."""
    if not names:
        yield ()
    for size in range(1, min(MERGE_LIMIT, len(names)) + 1):
        for group in combinations(names, size):
            rest = tuple(name for name in names if name not in group)
            yield from ((group, *others) for others in every_stage_list(rest))


@pytest.mark.parametrize("shape", [(8, 1), (4, 4), (5, 3)], ids=str)
def test_no_stage_list_is_cheaper(shape):
    """All stage lists of networks with three factors and one of five, unconnected merges included."""
    on = target(*shape)
    rng = np.random.default_rng(1)
    specs = [spec for spec in (random_spec(rng) for _ in range(40)) if len(spec.network.factors) == 3][:4]
    for spec in [*specs, fdht_lstm(60, 10, 0, (4, 5, 4), (2, 2, 10), 3)]:
        best = min(cost(spec, stage_list, on) for stage_list in every_stage_list(tuple(spec.network.factor)))
        assert cost(spec, plan(spec, on), on) == best


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_random_networks_equal_golden(shape):
    """Executed from the encoded image in numpy, d from 1 to 6."""
    rng = np.random.default_rng(list(shape))
    specs = [random_spec(rng) for _ in range(25)]
    specs.append(dense_lstm(7, 5, 3))
    specs.append(fdht_lstm(150, 8, 4, (3, 3, 3, 2, 4), (2, 1, 2, 4, 2), 2))
    specs.append(fdht_lstm(200, 12, 2, (3, 2, 3, 2, 2, 4), (2, 2, 1, 3, 2, 2), 2))
    for number, spec in enumerate(specs):
        on = target(*shape, single_port=bool(number % 2))
        bundle = random_bundle(rng, spec, plan(spec, on), factor_width=12)
        trace = GoldenLSTM(bundle).run(bundle.clips)
        run = compile_bundle(bundle, on).machine.run(bundle.clips[0])
        words = np.array(run.outputs)
        assert words[words[:, 0] == 0, 1].tolist() == trace.h[0, -1].tolist()
        assert words[words[:, 0] == 1, 1].tolist() == trace.c[0, -1].tolist()
        assert words[words[:, 0] == 2, 1].tolist() == trace.logits[0].tolist()


def test_macs_are_those_of_the_true_modes():
    """Rows × K × columns of each stage, padding not counted: worked out by hand."""
    spec = fdht_lstm(60, 10, 0, (4, 5, 4), (2, 2, 10), 3)
    first = (2 * 3) * 4 * (5 * 4)  # U1: rows m1 r1, K n1, columns n2 n3
    second = (2 * 3) * (5 * 3) * (4 * 2)  # U2 B12 B123: rows m2 r3, K n2 r1, columns n3 m1
    third = 10 * (4 * 3) * (2 * 2)  # U3: rows m3, K n3 r3, columns m1 m2
    assert stage_macs(spec.network, (("U1",), ("U2", "B12", "B123"), ("U3",))) == first + second + third


SPEC = fdht_lstm(300, 12, 4, (5, 9, 8), (2, 2, 12), 4)


@pytest.mark.parametrize(
    ("change", "resource"),
    [
        ({"factor_words": 16}, "factor words of 4 factors"),
        ({"bank_words": 8}, "scratchpad words"),
        ({"hidden": 8}, "hidden units"),
        ({"result_words": 12}, "result memory words"),
        ({"program_words": 64}, "array program words"),
        ({"accumulator_width": 33}, "accumulator bits"),
        ({"levels": Levels.each(2)}, "loop levels"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_does_not_fit_is_refused(change, resource):
    """Each refusal names the resource, the need and the limit."""
    small = replace(target(4, 4), **change)
    with pytest.raises(CapacityError, match=rf"{resource}.*: \d+ needed, \d+ available; .+") as refusal:
        bundle = random_bundle(np.random.default_rng(0), SPEC, plan(SPEC, small), factor_width=16)
        compile_bundle(bundle, small)
    assert refusal.value.need > refusal.value.limit


def test_single_port_banks_are_never_shared():
    """What a stage reads and what it writes lie in different banks."""
    on = target(4, 4, single_port=True, bank_words=128)
    step = map_step(SPEC, plan(SPEC, on), on)
    for source, result in zip(step.tensors[:-2], step.tensors[1:-1], strict=True):
        banks = [set(range(t.base // on.bank_words, (t.end - 1) // on.bank_words + 1)) for t in (source, result)]
        assert banks[0].isdisjoint(banks[1])
