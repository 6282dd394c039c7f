"""The tightest fit: what needs exactly what there is fits, and one less of anything is refused by its name."""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import pytest
from bundles import MODELS, banded_spec, random_bundle, random_layers
from occurrences import SEED
from test_planner import target

from fdht.compiler.allocation import allocate, banks, least
from fdht.compiler.image import Image, compile_bundle
from fdht.compiler.mapping import map_step
from fdht.compiler.planner import plan, ways
from fdht.compiler.resolved import resolve
from fdht.compiler.tiling import Tiling
from fdht.model.golden import GoldenLSTM
from fdht.spec.bundle import Bundle
from fdht.spec.errors import CapacityError, Resource
from fdht.spec.lstm import LSTMSpec
from fdht.spec.stages import StageLists
from fdht.spec.target import Target
from fdht.studies.contenders import contenders


@dataclass(frozen=True)
class Size:
    """A size of a target.

    Attributes:
        get, put: reads it, and gives a target with another.
        lowest: that a target may have.
        resources: what a refusal may name that has too little of it.
    """

    get: Callable[[Target], int]
    put: Callable[[Target, int], Target]
    lowest: int
    resources: tuple[Resource, ...]


def field(name: str, lowest: int, *resources: Resource) -> Size:
    return Size(lambda on: getattr(on, name), lambda on, size: replace(on, **{name: size}), lowest, resources)


def levels(name: str) -> Size:
    return Size(
        lambda on: getattr(on.levels, name),
        lambda on, size: replace(on, levels=replace(on.levels, **{name: size})),
        1,
        (Resource.LOOP_LEVELS,),
    )


PROGRAMS = (Resource.ARRAY_PROGRAM_WORDS, Resource.LOADER_PROGRAM_WORDS, Resource.GATE_PROGRAM_WORDS)
SIZES = {
    "factor_words": field("factor_words", 2, Resource.FACTOR_WORDS),
    "bias_words": field("bias_words", 2, Resource.BIAS_WORDS),
    "result_words": field("result_words", 2, Resource.RESULT_WORDS),
    "hidden": field("hidden", 1, Resource.HIDDEN_UNITS, Resource.CLASSES),
    "program_words": field("program_words", 16, *PROGRAMS),
    "accumulator_width": field("accumulator_width", 32, Resource.ACCUMULATOR_BITS),
    "banks": field("banks", 2, Resource.SCRATCHPAD_WORDS, Resource.LOOP_ITERATIONS),
    **{f"levels.{name}": levels(name) for name in ("read", "write", "x", "z")},
}

DERIVED = (Resource.CLASSES, Resource.LOOP_ITERATIONS)
"""There may be of these as many as the number of a unit, or an address, can say."""


def tried(bundle: Bundle, on: Target, tiling: Tiling | None) -> Image | CapacityError:
    try:
        return compile_bundle(bundle, on, step=map_step(resolve(bundle.layers, bundle.stage_lists, on), tiling))
    except CapacityError as refusal:
        return refusal


def planned(layers: tuple[LSTMSpec, ...], number: int) -> tuple[StageLists, Target]:
    """Stage lists, and a target with the smallest banks for which there are any."""
    shape = ((4, 4), (5, 3), (8, 1))[number % 3]
    for bank_words in (8, 16, 32, 64, 128):
        with suppress(CapacityError):
            roomy = target(*shape, banks=16, bank_words=bank_words, single_port=number % 4 == 3)
            return plan(layers, roomy), roomy
    raise AssertionError("a network that is too large")


def check_golden(bundle: Bundle, image: Image) -> None:
    words = np.array(image.machine.run(bundle.clips[0]).outputs)
    hidden = words[words[:, 0] == 0, 1][-bundle.layers[-1].hidden :]
    assert hidden.tolist() == GoldenLSTM(bundle).run(bundle.clips).h[0, -1].tolist()


@pytest.mark.parametrize("name", SIZES)
def test_exactly_enough_fits_and_one_less_is_refused(name):
    """Random networks, cut into tiles or not, on a target whose one size is shrunk to what the plan needs."""
    size, seen = SIZES[name], Counter[str]()
    rng = np.random.default_rng([SEED, 18, len(name)])
    for number in range(80):
        if number >= 12 and enough(name, seen):
            break
        layers = random_layers(rng, MODELS[number % len(MODELS)], (1, 4)) if number % 5 else (banded_spec(),)
        stage_lists, roomy = planned(layers, number)
        tilings = [way.tiling for way in ways(resolve(layers, stage_lists, roomy))[0]]
        tiling = next((each for each in tilings if each is not None), None) if number % 2 else tilings[0]
        bundle = random_bundle(rng, layers, stage_lists, factor_width=16)
        if name != "banks":  # with fewer factor words, other lanes are chosen
            roomy = replace(roomy, bank_words=4 * roomy.bank_words)
        most = size.get(roomy)
        if not isinstance(tried(bundle, roomy, tiling), Image):
            continue

        def fits(words: int, roomy=roomy, bundle=bundle, tiling=tiling, most=most) -> bool:
            return isinstance(tried(bundle, size.put(roomy, min(words, most)), tiling), Image)

        low = size.lowest if fits(size.lowest) else least(fits, size.lowest)
        assert low <= most
        image = tried(bundle, size.put(roomy, low), tiling)
        assert isinstance(image, Image)
        if number % 6 == 0:
            check_golden(bundle, image)
        if low == size.lowest:
            continue
        refusal = tried(bundle, size.put(roomy, low - 1), tiling)
        assert isinstance(refusal, CapacityError) and refusal.resource in size.resources, refusal
        bank = roomy.bank_words if name == "banks" else 1
        assert refusal.needed > refusal.available, refusal
        if refusal.resource not in DERIVED:
            assert refusal.available == (low - 1) * bank and -(-refusal.needed // bank) == low, refusal
        seen["refused"] += 1
        seen["tiled"] += tiling is not None
        seen["single-port"] += roomy.single_port
    assert enough(name, seen), seen


def enough(name: str, seen: Counter[str]) -> bool:
    """Whether a size has been refused often enough, in networks of each kind."""
    return seen["refused"] >= 6 and ("levels" in name or min(seen["tiled"], seen["single-port"]) >= 2)


def possible(sizes: list[int], x: range, room: range, on: Target, apart: range | None) -> bool:
    """Whether there is any way, by trying all places."""

    def apart_from(place: range, other: range, at_once: bool) -> bool:
        alone = not set(place) & set(other)
        return alone and not (at_once and on.single_port and set(banks(place, on)) & set(banks(other, on)))

    sources = [x]
    for number, words in enumerate(sizes):
        places = [range(start, start + words) for start in range(room.start, room.stop - words + 1)]
        sources = [
            place
            for place in places
            if any(apart_from(place, source, True) for source in sources)
            and (apart is None or apart_from(place, apart, number + 1 == len(sizes)))
        ]
    return bool(sources)


@pytest.mark.parametrize("single_port", [False, True], ids=["two ports", "one port"])
def test_a_place_is_found_if_there_is_one(single_port):
    """Against all places there are: results of stages, beside a tensor that is always in use or without."""
    rng, seen = np.random.default_rng([SEED, 19]), Counter()
    for _ in range(2000):
        on = target(1, 1, banks=8, bank_words=int(rng.choice([2, 4])), single_port=single_port)
        start = int(rng.integers(1, 6))
        room = range(start, start + int(rng.integers(4, 20)))
        sizes = [int(words) for words in rng.integers(1, 9, int(rng.integers(1, 5)))]
        apart = None
        if rng.random() < 0.5:
            words = int(rng.integers(1, 6))
            low = int(rng.choice([room.start, max(room.start, room.stop - words)]))
            apart = range(low, low + words)
        found = allocate(sizes, range(start), room, on, apart)
        assert (found is not None) == possible(sizes, range(start), room, on, apart)
        seen[found is not None, apart is not None] += 1
        if found is not None:
            assert [len(place) for place in found] == sizes
            for number, place in enumerate(found):
                assert possible([len(place)], range(start) if number == 0 else found[number - 1], place, on, None)
    assert len(seen) == 4 and min(seen.values()) > 100, seen


def test_what_is_refused_needs_what_it_says():
    """Networks that no order of contraction fits: with as much of what is lacking, that is no longer lacking."""
    rng, seen = np.random.default_rng([SEED, 20]), Counter()
    for number in range(4 * len(MODELS)):
        layers = random_layers(rng, MODELS[number % len(MODELS)], (1, 4))
        small = target(4, 4, banks=2, bank_words=4, single_port=number % 3 == 0)
        with pytest.raises(CapacityError) as refusal:
            plan(layers, small)
        wanted = -(-refusal.value.needed // small.bank_words)
        if refusal.value.resource is Resource.SCRATCHPAD_WORDS and wanted <= 16:
            try:
                plan(layers, replace(small, banks=wanted))
            except CapacityError as other:  # the next thing
                assert other.resource is not Resource.SCRATCHPAD_WORDS, (refusal.value, other)
                seen["another"] += 1
            else:
                seen["fits then"] += 1
    assert seen["fits then"] >= 10, seen


def test_the_tensor_ring_lacks_half_the_words_it_needs():
    """The smallest stage that is too large is so by 10 words; but it is part of no order that fits."""
    (ring,) = [each for each in contenders() if each.format == "tr" and each.target.name == "ulx3s-85f"]
    with pytest.raises(CapacityError, match="scratchpad words: 21160 needed, 10240 available"):
        plan(ring.spec, ring.target)
    enough = replace(ring.target, banks=-(-21160 // ring.target.bank_words))
    assert ways(resolve(ring.spec, plan(ring.spec, enough), enough))[0]
    with pytest.raises(CapacityError, match="scratchpad words: 21160 needed"):
        plan(ring.spec, replace(enough, banks=enough.banks - 1))
