"""The planner finds the optimum, and what it plans computes what the golden model defines."""

import os
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from itertools import combinations
from math import inf

import numpy as np
import pytest
import torch
from bundles import (
    KINDS,
    MODELS,
    banded_spec,
    random_bundle,
    random_image,
    random_layers,
    random_spec,
    random_stage_list,
)
from occurrences import SEED, assert_occurred, occurrences

from fdht.compiler.image import Image, compile_bundle
from fdht.compiler.mapping import map_step
from fdht.compiler.planner import MERGE_LIMIT, plan, ways
from fdht.compiler.resolved import resolve
from fdht.model.golden import GoldenLSTM
from fdht.spec.errors import CapacityError, Resource
from fdht.spec.instructions import Segment, Token
from fdht.spec.lstm import LSTMSpec, chains, fdht_lstm, lstm_on
from fdht.spec.network import Factor, TensorNetwork, dense_network
from fdht.spec.pipeline import COMPACT, PIPELINED
from fdht.spec.stages import stage_macs
from fdht.spec.target import GENERIC, Levels, Target, find_target

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


def cost(spec: LSTMSpec, stage_list, on: Target) -> float:
    """Cycles per step of the best way to cut it."""
    try:
        found, _ = ways(resolve(spec, (stage_list,), on))
    except CapacityError:
        return inf
    return found[0].cycles if found else inf


def every_stage_list(names: tuple[str, ...]):
    """Every ordered partition into groups of at most MERGE_LIMIT factors."""
    if not names:
        yield ()
    for size in range(1, min(MERGE_LIMIT, len(names)) + 1):
        for group in combinations(names, size):
            rest = tuple(name for name in names if name not in group)
            yield from ((group, *others) for others in every_stage_list(rest))


@pytest.mark.parametrize("shape", [(8, 1), (4, 4), (5, 3)], ids=str)
def test_no_stage_list_is_faster(shape):
    """All stage lists of networks with three factors or five, unconnected merges and all ways to cut included."""
    on = target(*shape)
    rng = np.random.default_rng(1)
    specs = [spec for spec in (random_spec(rng) for _ in range(40)) if len(spec.network.factors) == 3][:4]
    cut = banded_spec()
    assert (ways(resolve(cut, plan(cut, on), on))[0][0].tiling is None) == (
        shape == (4, 4)
    )  # there mode 2 is in the lanes
    for spec in [*specs, cut, fdht_lstm(60, 10, 0, (4, 5, 4), (2, 2, 10), 3)]:
        best = min(cost(spec, stage_list, on) for stage_list in every_stage_list(tuple(spec.network.factor)))
        (planned,) = plan(spec, on)
        assert cost(spec, planned, on) == best


def check_random_network(rng: np.random.Generator, shape: tuple[int, int], number: int, orders: tuple[int, int]):
    """Plans (one in two at random), compiles and executes a network from its encoded image; returns what occurred."""
    layers = random_layers(rng, MODELS[number % len(MODELS)], orders)
    lanes = shape[1] if number % 5 < 3 else 1
    on = target(*shape, single_port=bool(number % 2), pipeline=PIPELINED if number % 3 else COMPACT, input_lanes=lanes)
    bundle = image = None
    if number % 4 < 2:
        with suppress(CapacityError):
            stage_lists = tuple(random_stage_list(rng, chain.network) for chain in chains(layers))
            bundle = random_bundle(rng, layers, stage_lists, factor_width=12)
            image = random_image(rng, bundle, on)
    if bundle is None or image is None:
        bundle = random_bundle(rng, layers, plan(layers, on), factor_width=12)
        image = random_image(rng, bundle, on)
    size = (sum(spec.hidden for spec in layers), 2)
    state = rng.integers(on.data.min, on.data.max, size) if number % 2 else np.zeros(size, int)
    trace = GoldenLSTM(bundle).run(bundle.clips, *torch.from_numpy(state).T.reshape(2, len(layers), 1, -1))
    run = image.machine.run(bundle.clips[0], state)
    words = np.array(run.outputs)
    assert words[words[:, 0] == 0, 1].tolist() == [h for layer in trace.layers for h in layer.h[0, -1].tolist()]
    assert words[words[:, 0] == 1, 1].tolist() == [c for layer in trace.layers for c in layer.c[0, -1].tolist()]
    assert words[words[:, 0] == 2, 1].tolist() == trace.logits[0].tolist()
    return occurrences(bundle, image, run, trace)


def test_random_networks_equal_golden():
    """All kinds of networks with 1 to 5 modes on all shapes, executed in numpy; and every case did occur."""
    rng = np.random.default_rng(SEED)
    seen = Counter()
    for shape in SHAPES:
        for number in range(6 * len(MODELS)):
            order = 1 + number % 5  # coprime to the kinds
            seen += check_random_network(rng, shape, number, (order, order))
    assert_occurred(seen, EXPECTED)


EXPECTED = {
    **{f"d = {order}": 15 for order in range(1, 6)},
    **{kind: 30 for kind in ("ht", "tt", "tr", "bt", "dense")},
    **{case: 30 for case in ("merge", "ring bond", "transposed drain", "padded rows", "padded lanes", "K < P")},
    **{f"wait {token.name}": 100 for token in Token} | {"wait H_READY": 50},  # between layers
    **{f"{place} saturates": 2 for place in ("stage", "z", "c", "logits")},
    **{f"requantiser {lane} saturates": 5 for lane in range(8)},
    **{f"{kind} recurrent": 15 for kind in ("dense", "ht")},
    **{f"{layers} layers": 30 for layers in (1, 2, 3)},
    "z sum saturates": 2,
    "gate unit back to back": 50,
    "tiled": 15,
    "tiles of several stages": 2,
    "places taken in turn": 2,
    "joined modes": 3,
    "places cleared": 5,
    "h in some tiles": 3,
    "beats that are words": 3,
    "batch": 5,
    "loader beside the array": 30,
    "data and result in separate banks": 100,
}
"""How often each case has to occur at least in these 546 models."""


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_many_random_networks_equal_golden(shape):
    """With the test above, nearly 2,000. (FDHT_NETWORKS=650 makes it more than 5,000.)"""
    rng = np.random.default_rng([SEED, *shape])
    for number in range(int(os.environ.get("FDHT_NETWORKS", 200))):
        check_random_network(rng, shape, number, (1, 5))


TIGHT = {
    "icebreaker": replace(find_target("icebreaker"), build=GENERIC),
    "ulx3s-85f": find_target("ulx3s-85f"),
    "few loops": target(4, 4, levels=Levels.each(4), count_width=5),
    "few factors": target(4, 4, factor_words=96),
    "small banks": target(4, 4, bank_words=32),
}


@pytest.mark.parametrize("name", TIGHT)
def test_what_is_planned_fits(name):
    """A stage list that the planner returns compiles, and then computes what it must."""
    rng, on = np.random.default_rng([SEED, 4]), TIGHT[name]
    planned = 0
    for number in range(4 * len(MODELS)):
        layers = random_layers(rng, MODELS[number % len(MODELS)], (1, 5))
        try:
            stage_lists = plan(layers, on)
        except CapacityError:
            continue
        planned += 1
        bundle = random_bundle(rng, layers, stage_lists)
        try:
            image = compile_bundle(bundle, on)
        except CapacityError as error:  # a matter of weights, and of how many stages there are
            assert error.resource in (Resource.ACCUMULATOR_BITS, Resource.ARRAY_PROGRAM_WORDS), error
            continue
        words = np.array(image.machine.run(bundle.clips[0]).outputs)
        hidden = words[words[:, 0] == 0, 1][-layers[-1].hidden :]
        assert hidden.tolist() == GoldenLSTM(bundle).run(bundle.clips).h[0, -1].tolist()
    assert planned > 8


def test_what_fits_is_planned():
    """The last result is not in the scratchpad."""
    on = target(4, 4, banks=4, bank_words=64)
    spec = lstm_on(dense_network(100, 160), 60, 40, 0)
    assert plan(spec, on) == ((("W",),),)


def test_an_output_mode_in_two_factors():
    """A mode of the result may be an index of several factors: a batch index to the end, its bias included."""
    rng = np.random.default_rng(6)
    factors = (Factor("A", ("m1", "n1", "r")), Factor("B", ("m1", "m2", "n2", "r")))
    sizes = (("n1", 6), ("n2", 7), ("m1", 4), ("m2", 5), ("r", 3))
    spec = lstm_on(TensorNetwork("shared", ("n1", "n2"), ("m1", "m2"), sizes, factors), 30, 5, 0)
    for shape in SHAPES:
        bundle = random_bundle(rng, spec, ((("A",), ("B",)),))
        words = np.array(compile_bundle(bundle, target(*shape)).machine.run(bundle.clips[0]).outputs)
        hidden = words[words[:, 0] == 0, 1]
        assert hidden.tolist() == GoldenLSTM(bundle).run(bundle.clips).h[0, -1].tolist()


def test_six_to_eight_modes():
    """The largest trees, rings and chains there are."""
    rng = np.random.default_rng([SEED, 8])
    seen = Counter()
    for number in range(2 * len(KINDS)):
        order = 6 + number % 3
        seen += check_random_network(rng, (4, 4), MODELS.index(KINDS[number % len(KINDS)]), (order, order))
    assert_occurred(seen, {"d = 6": 3, "d = 7": 3, "d = 8": 3})


def test_macs_are_those_of_the_true_modes():
    """Rows × K × columns of each stage, padding not counted: worked out by hand."""
    spec = fdht_lstm(60, 10, 0, (4, 5, 4), (2, 2, 10), 3)
    first = (2 * 3) * 4 * (5 * 4)  # U1: rows m1 r1, K n1, columns n2 n3
    second = (2 * 3) * (5 * 3) * (4 * 2)  # U2 B12 B123: rows m2 r3, K n2 r1, columns n3 m1
    third = 10 * (4 * 3) * (2 * 2)  # U3: rows m3, K n3 r3, columns m1 m2
    assert stage_macs(spec.network, (("U1",), ("U2", "B12", "B123"), ("U3",))) == first + second + third


SPEC = fdht_lstm(300, 12, 4, (5, 9, 8), (2, 2, 12), 4)


@pytest.mark.parametrize(
    ("change", "resource", "named"),
    [
        ({"factor_words": 16}, Resource.FACTOR_WORDS, "factor words of 4 factors"),
        ({"bank_words": 8}, Resource.SCRATCHPAD_WORDS, "scratchpad words"),
        ({"hidden": 8}, Resource.HIDDEN_UNITS, "hidden units"),
        ({"result_words": 8}, Resource.RESULT_WORDS, "result memory words"),
        ({"program_words": 64}, Resource.ARRAY_PROGRAM_WORDS, "array program words"),
        ({"accumulator_width": 33}, Resource.ACCUMULATOR_BITS, "accumulator bits"),
        ({"levels": Levels.each(2)}, Resource.LOOP_LEVELS, "loop levels"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_does_not_fit_is_refused(change, resource, named):
    """Each refusal names the resource, the need and the limit."""
    small = replace(target(4, 4), **change)
    with pytest.raises(CapacityError, match=rf"{named}.*: \d+ needed, \d+ available; .+") as refusal:
        bundle = random_bundle(np.random.default_rng(0), SPEC, plan(SPEC, small), factor_width=16)
        compile_bundle(bundle, small)
    assert refusal.value.needed > refusal.value.available and refusal.value.resource is resource


def test_more_classes_than_units_are_refused():
    with pytest.raises(CapacityError, match="classes: 20 needed, 16 available"):
        plan(replace(SPEC, classes=20), replace(target(4, 4), hidden=12))


def test_single_port_banks_are_never_shared():
    """What a stage reads and what it writes lie in different banks."""
    on = target(4, 4, single_port=True, bank_words=128)
    step = map_step(resolve(SPEC, plan(SPEC, on), on))
    (chain,) = step.chains
    for source, result in zip(chain.tensors[:-2], chain.tensors[1:-1], strict=True):
        banks = [set(range(t.base // on.bank_words, (t.end - 1) // on.bank_words + 1)) for t in (source, result)]
        assert banks[0].isdisjoint(banks[1])


EXACT = {
    "factor_words": (Resource.FACTOR_WORDS, Segment.FACTORS),
    "bias_words": (Resource.BIAS_WORDS, Segment.BIAS),
    "result_words": (Resource.RESULT_WORDS, None),
    "hidden": (Resource.HIDDEN_UNITS, None),
    "program_words": (Resource.ARRAY_PROGRAM_WORDS, Segment.ARRAY_PROGRAM),
}
"""Fields of a target that are sizes, the resource that a refusal names, and the segment that fills them."""


@pytest.mark.parametrize("field", EXACT)
def test_what_needs_exactly_what_there_is_fits_and_a_word_less_is_refused(field):
    resource, segment = EXACT[field]
    roomy = target(4, 4)
    bundle = random_bundle(np.random.default_rng(0), SPEC, plan(SPEC, roomy), factor_width=16)

    def fits(size: int) -> Image | CapacityError:
        try:
            return compile_bundle(bundle, replace(roomy, **{field: size}))
        except CapacityError as refusal:
            return refusal

    low, high = 1 if field == "hidden" else 16 if field == "program_words" else 2, getattr(roomy, field)
    while low < high:  # the smallest that fits
        middle = (low + high) // 2
        low, high = (low, middle) if isinstance(fits(middle), Image) else (middle + 1, high)
    image, refusal = fits(low), fits(low - 1)
    assert isinstance(image, Image) and isinstance(refusal, CapacityError)
    assert (refusal.needed, refusal.available) == (low, low - 1) and refusal.resource is resource
    assert segment is None or len(image.segments[segment]) == low
    run, trace = image.machine.run(bundle.clips[0]), GoldenLSTM(bundle).run(bundle.clips)
    assert [value for kind, value, _ in run.outputs if kind == 2] == trace.logits[0].tolist()


def test_a_scratchpad_of_just_enough_words_is_enough():
    """What a refusal says is needed fits as soon as there are so many words, also where that is all of them."""
    rng, exact, seen = np.random.default_rng(11), 0, 0
    for number in range(60):
        layers = random_layers(rng, ("balanced", "tt", "dense")[number % 3], (1, 3))
        roomy = target(4, 4, bank_words=1024)
        stage_lists = plan(layers, roomy)
        small = replace(roomy, banks=2, bank_words=2)
        with pytest.raises(CapacityError, match="scratchpad words") as refusal:
            map_step(resolve(layers, stage_lists, small))
        for words in (2, 4, 8, 16):
            size = {"bank_words": words, "banks": -(-refusal.value.needed // words)}
            if not 3 <= size["banks"] <= 16:
                continue
            map_step(resolve(layers, stage_lists, replace(roomy, **size)))
            with pytest.raises(CapacityError, match=rf"scratchpad words.*: {refusal.value.needed} needed"):
                map_step(resolve(layers, stage_lists, replace(roomy, **size | {"banks": size["banks"] - 1})))
            seen, exact = seen + 1, exact + (size["banks"] * words == refusal.value.needed)
    assert seen > 20 and exact > 5
