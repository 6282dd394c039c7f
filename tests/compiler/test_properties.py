"""What holds for every plan: nothing overlaps, every address exists, every token given is taken."""

from collections import Counter
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise

import numpy as np
import pytest
from bundles import MODELS, random_bundle, random_image, random_layers, with_task
from hypothesis import given
from hypothesis import strategies as st
from test_planner import SEED, SHAPES, target

from fdht.compiler.image import Image, compile_bundle
from fdht.compiler.machine import decode
from fdht.compiler.mapping import StepMap
from fdht.compiler.nest import walk
from fdht.compiler.planner import map_model, plan
from fdht.compiler.resolved import resolve
from fdht.hw.engine.sequencer import TOKEN_BITS
from fdht.spec import timing
from fdht.spec.gate_schedule import BEAT
from fdht.spec.instructions import UNITS, Array, GateOp, Int, LoaderOp, Record, Segment, Token
from fdht.spec.lstm import LSTMSpec, dense_lstm
from fdht.spec.target import Target
from fdht.spec.task import Task

every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str, scope="module")
"""All tests of one shape run before those of the next, so that its models are compiled once."""


@lru_cache(maxsize=1)
def compiled(shape: tuple[int, int]) -> tuple[tuple[Image, StepMap, tuple[LSTMSpec, ...]], ...]:
    """Models of all kinds on a shape, with and without single-port banks, then with a head after every step: (image,
    memory map, layers).
    """
    rng, made = np.random.default_rng([SEED, *shape, 2]), []
    for number, kind in enumerate(MODELS * 3):
        layers = random_layers(rng, kind, (1, 5))
        layers = layers if number < 2 * len(MODELS) else with_task(rng, layers, Task.LABEL_STEPS)
        on = target(*shape, single_port=bool(number % 2), bank_words=2048)
        stage_lists = plan(layers, on)
        image = compile_bundle(random_bundle(rng, layers, stage_lists), on)
        made.append((image, map_model(resolve(layers, stage_lists, on)), layers))
    return tuple(made)


@every_shape
def test_tensors_do_not_overlap(shape):
    """What a stage reads and writes, what lasts and the head lie apart; with single-port banks, in other banks."""
    for image, step, _ in compiled(shape):
        on, end = image.target, 0
        for base, words in step.slots:
            assert base >= end
            end = base + words
        assert end <= step.others  # which may begin at a bank of its own
        end = step.others
        for chain in step.chains[1:]:
            assert chain.tensors[0].base >= end
            end = chain.tensors[0].end
        top = on.scratchpad_words - len(image.segments[Segment.SCRATCHPAD])
        assert end == step.others_end <= step.persistent <= top
        for chain in step.chains:
            for source, result in zip(chain.tensors[:-2], chain.tensors[1:-1], strict=True):
                assert result.base >= source.end or result.end <= source.base
                assert result.base >= step.persistent and result.end <= top
                if on.single_port:
                    banks = [
                        set(range(t.base // on.bank_words, (t.end - 1) // on.bank_words + 1)) for t in (source, result)
                    ]
                    assert banks[0].isdisjoint(banks[1])
            assert chain.tensors[-1].end <= on.result_words


@every_shape
def test_addresses_exist_and_results_are_written_once(shape):
    """Read from the encoded programs: every address is inside its memory and inside its tensor."""
    for image, step, layers in compiled(shape):
        on, machine = image.target, image.machine
        places = [
            pair
            for chain in step.chains
            for tensors in (*(tile.tensors for tile in chain.tiles), chain.tensors)
            for pair in pairwise(tensors)
        ]
        for s, instruction in enumerate(machine.programs[Segment.ARRAY_PROGRAM]):
            work = machine.contraction(instruction)
            writes, reads = work.write_addresses, work.data_addresses
            assert len(np.unique(writes)) == len(writes)
            units = [image.hidden * (image.layers - 1), image.hidden * image.layers - 1]
            first, last = units if instruction["hidden"] else [0, len(machine.factors) - 1]
            assert first <= work.factor_addresses.min() and work.factor_addresses.max() <= last
            last = instruction["bias"] + instruction["bias_step"] * (len(work.offsets) - 1)
            assert not instruction["bias_step"] or 0 < instruction["bias"] <= last < len(machine.bias)
            if s < len(places):
                source, result = places[s]
                assert source.base <= reads.min() and reads.max() < source.end
                assert result.base <= writes.min() and writes.max() < result.end
        to_results = [i for i in machine.programs[Segment.ARRAY_PROGRAM] if i["to_results"]]
        assert sum(i["add"] for i in to_results) == sum(spec.recurrent is not None for spec in layers)
        for before, instruction in pairwise(to_results):
            if instruction["add"]:  # to words that have all been written just before
                written, added = (set(machine.contraction(i).write_addresses.tolist()) for i in (before, instruction))
                assert added == written
        zeros = [
            word
            for instruction in machine.programs[Segment.LOADER_PROGRAM]
            if instruction["op"] == LoaderOp.ZERO
            for word in walk(instruction["nest"], instruction["count"] + 1)["word"].tolist()
        ]
        assert len(set(zeros)) == len(zeros) and set(zeros) <= set(range(step.persistent))
        written = list[tuple[int, int]]()
        for instruction in machine.programs[Segment.LOADER_PROGRAM]:
            if instruction["op"] not in (LoaderOp.ZERO, LoaderOp.CLEAR):
                written += _places(instruction, on)
        assert {word for word, _ in written} <= set(zeros)
        # Only tiles that take turns in one place are written twice in a step.
        assert len(set(written)) == len(written) or len(step.slots) < len(step.chains[0].tiles)


@pytest.mark.parametrize(("shape", "seed"), [*((shape, SEED) for shape in SHAPES), ((1, 1), 20261129)])
def test_array_and_loader_keep_apart(shape, seed):
    """While the loader writes to a bank, the array does not; nor does it read there, if the bank has one port.

    With the last seed the array goes on computing rows of z that hold no unit when h of the layer is copied.
    """
    rng = np.random.default_rng([seed, *shape, 3])
    beside = 0
    for number, kind in enumerate(MODELS * 3):
        layers = random_layers(rng, kind, (2, 4))
        layers = layers if number < 2 * len(MODELS) else with_task(rng, layers, Task.LABEL_STEPS)
        on = target(*shape, single_port=bool(number % 2), bank_words=2048)
        image = random_image(rng, random_bundle(rng, layers, plan(layers, on)), on)
        machine, busy = image.machine, {Segment.ARRAY_PROGRAM: [], Segment.LOADER_PROGRAM: []}
        for unit, _, instruction, start, done in machine.schedule(3):
            if unit is Segment.ARRAY_PROGRAM:
                work = machine.contraction(instruction)
                # The last operands are read long before the last results are written.
                read = start + work.issued + timing.address(on) + timing.read(on)
                spans = [] if instruction["to_results"] else [(done, work.write_addresses)]
                spans += [(read, work.data_addresses)] if on.single_port else []
            elif unit is Segment.LOADER_PROGRAM:
                spans = [(done, walk(instruction["nest"], instruction["count"] + 1)["word"])]
            else:
                continue
            for end, words in spans:
                banks = {int(word) // on.bank_words for word in np.unique(words)}
                busy[unit].append((start, end, banks))
        for start, done, banks in busy[Segment.LOADER_PROGRAM]:
            for other_start, other_done, others in busy[Segment.ARRAY_PROGRAM]:
                if start <= other_done and other_start <= done:
                    beside += 1
                    assert banks.isdisjoint(others)
    assert beside > 5


@every_shape
def test_z_is_written_before_it_is_read(shape):
    """Every word the gate unit asks for is there, though it often begins while the array still writes others."""
    early = 0
    for image, _, _ in compiled(shape):
        machine, on = image.machine, image.target
        there = np.zeros(on.result_words, dtype=np.int64)  # since which cycle
        writer = 0, 0
        for unit, _, instruction, start, done in sorted(machine.schedule(3), key=lambda entry: entry[3]):
            if unit is Segment.ARRAY_PROGRAM and instruction["to_results"]:
                work = machine.contraction(instruction)
                there[work.write_addresses] = start + work.offsets + timing.visible(on)
                writer = start, done
            elif unit is Segment.GATE_PROGRAM and instruction["op"] == GateOp.STEP:
                units = np.arange(instruction["last"] - instruction["first"] + 1)
                words = walk(instruction["z"], len(units))["word"]
                beats = start + BEAT * units
                for gate, cycle in on.pipeline.gate.asks.items():
                    assert (there[words + instruction.get(gate, 0)] <= beats + cycle).all()
                early += writer[0] < start < writer[1]
    assert early > 10


@every_shape
def test_logits_are_sent_before_others_take_their_place(shape):
    """Until the last is sent, nothing else writes to where the head has put them, in either place for them."""
    places, rng = Counter[bool](), np.random.default_rng([SEED, *shape, 5])
    for image, step, layers in compiled(shape):
        if not layers[-1].task.every_step:
            continue
        bundle = random_bundle(rng, layers, step.resolved.stage_lists)
        for at in {step.logits, 0}:
            other = compile_bundle(bundle, image.target, step=replace(step, logits=at))
            places[at > 0] += 1
            assert_sent_in_time(other)
            assert len({tuple(sorted(left_over(other, steps).items())) for steps in (1, 2, 7)}) == 1
    assert min(places[False], places[True]) > 5


def assert_sent_in_time(image: Image) -> None:
    machine, on = image.machine, image.target
    writes, sent = [], []
    waiting = None  # the words of logits, and since when the head writes them
    for unit, _, instruction, start, done in sorted(machine.schedule(4), key=lambda entry: entry[3]):
        if unit is Segment.ARRAY_PROGRAM and instruction["to_results"]:
            work = machine.contraction(instruction)
            if instruction["hidden"]:
                assert waiting is None
                waiting = start, work.write_addresses
            else:
                writes.append((start + work.offsets + timing.store(on), work.write_addresses))
        elif unit is Segment.GATE_PROGRAM and instruction["op"] == GateOp.EMIT:
            assert waiting is not None
            sent.append((*waiting, done))
            waiting = None
    assert len(sent) == 4 and waiting is None
    for since, words, until in sent:
        assert not any(np.isin(at[(cycles >= since) & (cycles <= until)], words).any() for cycles, at in writes)


@every_shape
def test_h_is_read_by_one_at_a_time(shape):
    """The head and the loader's copies share a port: while one reads, the other does not begin."""
    beside = 0
    for image, _, layers in compiled(shape):
        if not layers[-1].task.every_step:
            continue
        spans = {unit: [] for unit in UNITS}
        for unit, _, instruction, start, done in image.machine.schedule(4):
            spans[unit].append((start, done, instruction))
        heads = [(a, b) for a, b, instruction in spans[Segment.ARRAY_PROGRAM] if instruction["hidden"]]
        copies = [(a, b) for a, b, i in spans[Segment.LOADER_PROGRAM] if i["op"] == LoaderOp.COPY]
        assert len(heads) == 4 and len(copies) >= 4
        assert all(end <= start or done <= begin for begin, end in heads for start, done in copies)
        beside += len(heads)
    assert beside > 20


@pytest.mark.parametrize("task", [Task.CLASSIFY, Task.LABEL_STEPS], ids=str)
def test_inputs_wait_for_a_head_in_their_bank(task):
    """A bank of one port that holds x and the head's weights: where the head is read in every step, x waits."""
    rng, on = np.random.default_rng([SEED, 6]), target(8, 1, single_port=True, banks=2, bank_words=128)
    spec = replace(dense_lstm(120, 20, 5), task=task)
    step = map_model(resolve(spec, plan(spec, on), on))
    assert step.x_free_after == (1 if task.every_step else 0)
    image = compile_bundle(random_bundle(rng, spec, plan(spec, on)), on)
    schedule = image.machine.schedule(4)
    heads = [(start, done) for unit, _, i, start, done in schedule if unit is Segment.ARRAY_PROGRAM and i["hidden"]]
    loads = [
        (start, done)
        for unit, _, i, start, done in schedule
        if unit is Segment.LOADER_PROGRAM and i["op"] == LoaderOp.LOAD
    ]
    assert len(heads) == (4 if task.every_step else 1) and len(loads) == 4
    assert all(end <= start or done <= begin for begin, end in heads for start, done in loads)


def _places(instruction: dict, on: Target) -> list[tuple[int, int]]:
    """Word and lane of everything a loader instruction writes."""
    at = walk(instruction["nest"], instruction["count"] + 1)
    lanes = [range(on.columns)] * len(at["word"]) if instruction["whole"] else at["lane"][:, None].tolist()
    assert at["word"].min() >= 0 and at["lane"].min() >= 0 and at["lane"].max() < on.columns
    return [(word, lane) for word, each in zip(at["word"].tolist(), lanes, strict=True) for lane in each]


@every_shape
def test_tokens_are_balanced(shape):
    """Equally many of each token are left over for any number of steps, and never more wait than a counter holds."""
    for image, _, _ in compiled(shape):
        assert len({tuple(sorted(left_over(image, steps).items())) for steps in (1, 2, 7)}) == 1


def left_over(image: Image, steps: int) -> Counter[Token]:
    """Tokens given and never taken in a run."""
    events = []
    for _, _, instruction, start, done in image.machine.schedule(steps):
        for token in Token:
            events += [(start, -1, token)] * (instruction["wait"] >> token & 1)
            given = start if token is Token.Z_READY and instruction.get("early") else done
            events += [(given, 1, token)] * (instruction["give"] >> token & 1)
    count = Counter[Token]()
    for _, change, token in sorted(events):
        count[token] += change
        assert 0 <= count[token] < 1 << TOKEN_BITS
    return +count


@st.composite
def records(draw, depth: int = 2) -> Record:
    """Random records: signed and unsigned integers, some without a bit, arrays and records."""
    fields = {}
    for name in draw(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=4, unique=True)):
        kind = draw(st.sampled_from(["int", "array", "record"][: 1 + depth]))
        if kind == "int":
            fields[name] = Int(draw(st.integers(0, 20)), draw(st.booleans()))
        else:
            inner = draw(records(depth - 1))
            fields[name] = inner if kind == "record" else Array(inner, draw(st.integers(1, 3)))
    return Record(fields)


def values(field: Int | Array | Record) -> st.SearchStrategy:
    if isinstance(field, Int):
        half = 1 << field.width >> 1 if field.signed else 0
        return st.integers(-half, max((1 << field.width) - 1 - half, 0) if field.width else 0)
    if isinstance(field, Array):
        return st.lists(values(field.element), min_size=field.length, max_size=field.length)
    return st.fixed_dictionaries({name: values(member) for name, member in field.fields.items()})


@given(st.data())
def test_instructions_survive_encoding(data):
    record = data.draw(records())
    value = data.draw(values(record))
    assert record.decode(record.encode(value)) == value


@every_shape
def test_programs_survive_disassembly(shape):
    """Decoding a program and encoding it again gives the same words."""
    for image, _, _ in compiled(shape):
        for segment, record in UNITS.items():
            layout = record(image.target)
            words = [int(word) for word in image.segments[segment]]
            assert [w for i in decode(image.segments[segment], layout) for w in layout.encode(i)] == words
