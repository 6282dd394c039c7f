"""Joined modes: the units of a gate are where they were, words are filled, and integers stay."""

from dataclasses import replace

import numpy as np
import pytest
from bundles import MODELS, random_bundle, random_layers, random_order
from occurrences import SEED
from services import target

from fdht.compiler.image import compile_bundle
from fdht.compiler.joining import joined_layer, joined_stage, possible_joins
from fdht.compiler.lanes import lane_words
from fdht.compiler.planner import array_cycles, candidates, plan, share
from fdht.compiler.sharing import widened
from fdht.model.golden import GoldenLSTM
from fdht.model.presets import PRESETS
from fdht.spec.lstm import LSTMSpec, Region, fdht_lstm, lstm_on
from fdht.spec.network import Factor, TensorNetwork
from fdht.spec.protocol import OutputKind
from fdht.spec.rounds import in_turn
from fdht.spec.stages import stages
from fdht.spec.target import TARGETS


def places(spec: LSTMSpec) -> list[list[int]]:
    """Where the units of each gate lie in the result, in C order."""
    return [gate.flat(spec.network.output_shape).tolist() for gate in spec.gates]


def test_units_of_gates_are_where_they_were():
    """On random networks, with their gates in random orders, on all arrays and beside other streams."""
    rng, joins = np.random.default_rng([SEED, 31]), 0
    for number in range(60 * len(MODELS)):
        for spec in random_layers(rng, MODELS[number % len(MODELS)], (2, 4)):
            first = random_order(rng, spec.gates[0])
            i, f, g, o = (replace(gate, order=first.order, sizes=first.sizes) for gate in spec.gates)
            spec = widened(replace(spec, gates=(i, f, g, o)), int(rng.integers(1, 4)))
            possible = possible_joins(spec, target(4, int(rng.integers(2, 9))))
            assert not possible or spec.recurrent is None
            for name, modes in possible.items():
                joined = joined_layer(spec, {name: modes})
                assert places(joined) == places(spec)
                sizes = spec.network.shape(modes)
                assert joined.network.size[name] == np.prod(sizes)
                assert set(joined.network.outputs) == {*spec.network.outputs, name} - {*modes}
                joins += 1
    assert joins > 100


def gated(
    start: tuple[int, ...], shape: tuple[int, ...], order: tuple[int, ...], sizes: tuple[int, ...] = ()
) -> Region:
    return Region(start, shape, order, int(np.prod(shape)), sizes)


def test_only_boxes_in_an_order_are_joined():
    """Modes 4 × 4 × 4, of which each gate has a quarter, along one mode or another."""
    spec = fdht_lstm(4, 16, 2, (5, 2, 2), (4, 4, 4), 3)

    def names(gates: list[Region]) -> set[str]:
        i, f, g, o = gates
        return set(possible_joins(replace(spec, gates=(i, f, g, o)), target(4, 8)))

    along_first = [gated((k, 0, 0), (1, 4, 4), (0, 1, 2)) for k in range(4)]
    assert names(along_first) == {"m1·m2", "m2·m3", "m1·m2·m3"}
    # Of m2 a quarter, beside all of m1: in m1·m2 that would be a unit, a gap, a unit.
    along_second = [gated((0, k, 0), (4, 1, 4), (0, 1, 2)) for k in range(4)]
    assert names(along_second) == {"m2·m3"}
    # m3 runs slower than m2.
    turned = [gated((k, 0, 0), (1, 4, 4), (0, 2, 1)) for k in range(4)]
    assert names(turned) == {"m1·m2"}
    # Of m1 there is one value; where it stands in the order says nothing.
    behind = [gated((k, 0, 0), (1, 4, 4), (1, 2, 0)) for k in range(4)]
    assert names(behind) == {"m1·m2", "m2·m3", "m1·m2·m3"}
    # The parts of m2 lie around those of m3.
    around = [gated((k, 0, 0), (1, 4, 4), (0, 1, 2, 1), (1, 2, 4, 2)) for k in range(4)]
    assert names(around) == {"m1·m2"}


def test_what_fills_its_words_is_left_alone():
    """Two modes of 8 on 8 lanes, and one lane, need nothing."""
    spec = fdht_lstm(4, 64, 2, (17, 2, 2), (4, 8, 8), 3)
    assert set(possible_joins(spec, target(4, 8))) == set()
    assert set(possible_joins(fdht_lstm(4, 16, 2, (5, 2, 2), (4, 4, 4), 3), target(8, 1))) == set()


def test_stages_keep_modes_apart_that_are_not_neighbours():
    joins = {"m1·m2": ("m1", "m2")}
    first, second = stages(PRESETS["digits"].spec.network, (("U1", "U2", "B12"), ("U3", "B123")))
    assert joined_stage(first, joins).rows == ("m1·m2", "r12")
    assert joined_stage(second, joins).columns == ("m1·m2",)
    apart = replace(first, rows=("m1", "r12", "m2"))
    assert joined_stage(apart, joins) == apart


@pytest.mark.parametrize(("preset", "cycles", "fed"), [("digits", 1070, 312), ("spoken-digits", 1094, 336)])
def test_small_modes_fill_words_together(preset, cycles, fed):
    """n3, m1 and m2 are of size 4. Apart, m1 fills half of 8 lanes, and pads 192 rows to 384."""
    on, spec = TARGETS["ulx3s-85f"], PRESETS[preset].spec
    best = candidates(spec, on)[0]
    assert best.resolved is not None
    assert best.resolved.lanes == (("n3", "m1·m2", "m3"),)
    assert (best.cycles, array_cycles(best.resolved)) == (cycles, fed)
    network = best.resolved.chains[0].network
    assert lane_words(network, "m1·m2", "m1·m2", on) == 2


SMALL = [
    ((9, 2, 4), (4, 2, 8), 4),
    ((5, 2, 4), (4, 3, 8), 16),
    ((9, 2, 2), (4, 6, 5), 4),
    ((3, 2, 2, 4), (4, 2, 2, 8), 4),
]
"""Modes, and rows of an array of 8 columns, whose best plans have joined modes: of whole words, with padding in the
middle and in z, and of four."""


@pytest.mark.parametrize("streams", [0, 1, 4])
@pytest.mark.parametrize(("n", "m", "rows"), SMALL, ids=str)
def test_integers_stay(n, m, rows, streams):
    """h and logits as the golden model has them, of one sequence and of streams, in every way in which these share."""
    rng, on = np.random.default_rng([SEED, 32, *m]), target(rows, 8)
    hidden = min(int(np.prod(m)) // 4, int(np.prod(n)) - int(np.prod(n[1:])))
    spec = fdht_lstm(3, hidden, 3, n, m, 3)
    lists = plan(spec, on)
    bundle = random_bundle(rng, spec, lists, steps=3)
    golden = GoldenLSTM(bundle).run(bundle.clips)
    found, _ = share(spec, lists, on, streams)
    joined = 0
    for way in found:
        joined += any("·" in (lane or "") for lane in way.step.resolved.lanes[0])
        image = compile_bundle(bundle, on, step=way.step)
        image.verify()
        clip = bundle.clips[0]
        if not streams:
            run = image.machine.run(clip)
            h = [value for kind, value, _ in run.outputs if kind == OutputKind.HIDDEN]
            assert h[-hidden:] == golden.layers[0].h[0, -1].tolist()
        else:
            frames = in_turn([len(clip)] * streams)
            run = image.machine.run_streams(image.known(frames), np.repeat(clip, streams, axis=0))
        logits = [value for kind, value, _ in run.outputs if kind == OutputKind.LOGIT]
        assert logits == golden.logits[0].tolist() * max(streams, 1)
    assert joined


@pytest.mark.parametrize("rows", [4, 16])
def test_modes_that_another_factor_has_too_are_not_joined(rows):
    """A later stage has one of them as its batch, and so tells them apart."""
    factors = (
        Factor("A", ("m1", "m2", "n1", "r1")),
        Factor("C", ("m3", "n2", "r1", "r2")),
        Factor("B", ("m1", "m4", "n3", "r2")),
    )
    on = target(rows, 8)
    for m3, m4, r1, r2 in ((3, 3, 8, 2), (3, 8, 3, 2), (8, 3, 2, 1)):
        sizes = (("n1", 9), ("n2", 8), ("n3", 8), ("m1", 4), ("m2", 4), ("m3", m3), ("m4", m4), ("r1", r1), ("r2", r2))
        network = TensorNetwork("shared", ("n1", "n2", "n3"), ("m1", "m2", "m3", "m4"), sizes, factors)
        spec = lstm_on(network, 30, 12, 0)
        assert not any("m1" in modes for modes in possible_joins(spec, on).values())
        for lists in (plan(spec, on), ((("A",), ("C",), ("B",)),)):
            bundle = random_bundle(np.random.default_rng([SEED, 33]), spec, lists)
            outputs = compile_bundle(bundle, on).machine.run(bundle.clips[0]).outputs
            h = [value for kind, value, _ in outputs if kind == OutputKind.HIDDEN]
            assert h[-12:] == GoldenLSTM(bundle).run(bundle.clips).h[0, -1].tolist()


def test_where_joined_modes_are_slower_they_stay_apart():
    """With them the array is fed for no more cycles, but their results come later."""
    spec, on = fdht_lstm(4, 32, 3, (3, 2, 2, 4), (2, 2, 4, 8), 2), target(8, 4)
    best = candidates(spec, on)[0]
    assert best.resolved is not None and best.resolved.apart is not None
    assert array_cycles(best.resolved) <= array_cycles(best.resolved.apart)
    of_both = [
        [way.cycles for way in best.ways if way.step.resolved is each] for each in (best.resolved, best.resolved.apart)
    ]
    assert best.cycles == min(of_both[1]) < min(of_both[0])
    bundle = random_bundle(np.random.default_rng([SEED, 34]), spec, best.stage_lists)
    assert compile_bundle(bundle, on).cycles(3) < compile_bundle(bundle, on, step=best.ways[-1].step).cycles(3)


def test_the_search_knows_of_joined_modes():
    """The list that is best with them is far from it without: 2,110 cycles would be the fewest that are found."""
    spec, on = fdht_lstm(4, 32, 3, (9, 2, 2, 2), (4, 2, 2, 8), 12), target(4, 8)
    best = candidates(spec, on)[0]
    assert best.stage_lists == ((("U1", "U2", "B12"), ("B1234",), ("U3", "U4", "B34")),)
    assert best.cycles is not None and best.cycles < 1700
