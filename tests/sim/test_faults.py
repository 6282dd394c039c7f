"""The checks can fail: small faults, each reported with its cycle and its address."""

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from amaranth.hdl._ir import Fragment
from bundles import random_bundle
from planted import FAULTS, Fault, planted, watch

from fdht.compiler.image import Image, compile_bundle
from fdht.compiler.machine import decode
from fdht.compiler.nest import walk
from fdht.compiler.planner import plan
from fdht.hw.engine.accelerator import Accelerator
from fdht.sim.build import TOP, build_verilog, to_verilog
from fdht.sim.simulate import Job, Simulation, simulate_jobs
from fdht.spec import timing
from fdht.spec.activation import table_words
from fdht.spec.instructions import UNITS, LoaderOp, Segment, Token
from fdht.spec.lstm import dense_lstm, fdht_lstm, lstm_on
from fdht.spec.network import balanced_tree, dense_network, ht_network
from fdht.spec.pipeline import COMPACT, PIPELINED, Pipeline
from fdht.spec.target import Target

TARGET = Target("test-2x2", 2, 2, bank_words=256, factor_words=512, result_words=128, hidden=16)
"""With factors of 16 bits: shifts by 16 and more occur."""


def make_job(target: Target) -> Job:
    rng = np.random.default_rng(5)
    spec = fdht_lstm(48, 6, 3, (5, 4, 3), (2, 2, 6), 3)
    bundle = random_bundle(rng, spec, plan(spec, target), steps=2, factor_width=target.factor_width)
    return Job(compile_bundle(bundle, target), bundle.clips)


@pytest.fixture(scope="module")
def jobs() -> dict[Pipeline, Job]:
    """A job for either pipeline."""
    return {pipeline: make_job(replace(TARGET, pipeline=pipeline)) for pipeline in (PIPELINED, COMPACT)}


@pytest.fixture(scope="module")
def job(jobs) -> Job:
    return jobs[PIPELINED]


def simulate(job: Job, **options) -> Simulation:
    (result,) = simulate_jobs([job], **options)
    return result


def assert_reported(result: Simulation) -> None:
    """A difference names a cycle and an address, with what was written and what was expected."""
    assert any(re.match(r"cycle \d+: \w+ wrote \(.+\) to \(.+\), ", line) for line in result.mismatches)


def with_segment(image: Image, segment: Segment, words: np.ndarray) -> Image:
    return replace(image, segments={**image.segments, segment: words})


@pytest.mark.parametrize("pipeline", [PIPELINED, pytest.param(COMPACT, marks=pytest.mark.slow)])
def test_without_a_fault_nothing_is_reported(jobs, pipeline):
    result = simulate(jobs[pipeline])
    assert result.mismatches == [] and result.words_compared == result.words_expected > 0


def edit(image: Image, segment: Segment, change: Callable[[list[dict]], None]) -> Image:
    """An image in which the decoded instructions of a program were changed."""
    record = UNITS[segment](TARGET)
    instructions = decode(image.segments[segment], record)
    change(instructions)
    words = np.array([word for instruction in instructions for word in record.encode(instruction)], dtype=object)
    assert (words != image.segments[segment]).any()
    return with_segment(image, segment, words)


def flip(segment: Segment, word: int, bit: int) -> Callable[[Image], Image]:
    def change(image: Image) -> Image:
        words = image.segments[segment].copy()
        words[word] = int(words[word]) ^ 1 << bit
        return with_segment(image, segment, words)

    return change


def flip_table(entry: int, bit: int) -> Callable[[Image], Image]:
    """A bit of a base of the sigmoid's table, in the image as in what executes it."""

    def change(image: Image) -> Image:
        base = tuple(value ^ (1 << bit if k == entry else 0) for k, value in enumerate(image.sigmoid.base))
        wrong = replace(image, sigmoid=replace(image.sigmoid, base=base))
        words = table_words(wrong.sigmoid, wrong.tanh, TARGET.data_width)
        return with_segment(wrong, Segment.TABLES, np.array(words, dtype=object))

    return change


def program(segment: Segment, change: Callable[[list[dict]], None]) -> Callable[[Image], Image]:
    return lambda image: edit(image, segment, change)


def swap_strides(instructions: list[dict]) -> None:
    levels = next(i["write"]["levels"] for i in instructions if i["write"]["levels"][1]["count"])
    levels[0]["word"], levels[1]["word"] = levels[1]["word"], levels[0]["word"]


def stop_early(instructions: list[dict]) -> None:
    levels = instructions[-1]["write"]["levels"]
    assert levels[0]["count"] > 0
    levels[0]["count"] -= 1


def add(field: str, number: int, amount: int) -> Callable[[list[dict]], None]:
    def change(instructions: list[dict]) -> None:
        instructions[number][field] += amount

    return change


def swap_gates(instructions: list[dict]) -> None:
    instructions[1]["f"], instructions[1]["o"] = instructions[1]["o"], instructions[1]["f"]


def move_head(instructions: list[dict]) -> None:
    instructions[-1]["read"]["factor"] += 1


def forget_wait(instructions: list[dict]) -> None:
    instructions[1]["wait"] &= ~(1 << Token.Z_READY)


FIRST_ROW = TARGET.factor_width * TARGET.rows - 2
"""A bit of the factor of a pass's first row, which is never padding."""

IMAGE_FAULTS = {
    "a bit of the first factor word": flip(Segment.FACTORS, 0, FIRST_ROW),
    "a bit of the last factor word": flip(Segment.FACTORS, -1, FIRST_ROW),
    "a bit of a bias": flip(Segment.BIAS, 1, 3),
    "a bit of a table's middle": flip_table(64, 7),
    "two strides swapped": program(Segment.ARRAY_PROGRAM, swap_strides),
    "a loop that ends early": program(Segment.ARRAY_PROGRAM, stop_early),
    "a shift too far": program(Segment.ARRAY_PROGRAM, add("shift", 0, 1)),
    "another input offset": program(Segment.LOADER_PROGRAM, add("offset", 1, 1)),
    "gates f and o swapped": program(Segment.GATE_PROGRAM, swap_gates),
    "a wait forgotten": program(Segment.GATE_PROGRAM, forget_wait),
    "a bit of the head's weights": flip(Segment.SCRATCHPAD, 3, 14),
    "the head takes the next units": program(Segment.ARRAY_PROGRAM, move_head),
}
"""What a wrong compiler might write."""


def assert_bites(job: Job, wrong: Image) -> None:
    """What a wrong image writes, by its own execution, is other words or comes in other cycles."""
    right = job.image.machine.run(job.clips[0])
    try:
        other = wrong.machine.run(job.clips[0])
    except ValueError:  # it does not even fit together: fewer addresses than words
        return
    channels = ("array", "results", "hidden", "cell")
    assert right.outputs != other.outputs or any(
        not np.array_equal(getattr(getattr(right, name), of), getattr(getattr(other, name), of))
        for name in channels
        for of in ("cycle", "where", "data")
    ), "the fault makes no difference to this job"


@pytest.mark.parametrize("fault", IMAGE_FAULTS)
def test_a_fault_in_the_image(job, fault):
    """What must come is known from the right image, not from the one that runs."""
    wrong = IMAGE_FAULTS[fault](job.image)
    assert_bites(job, wrong)
    assert_reported(simulate(replace(job, load=wrong)))


def test_a_fault_between_layers():
    """z of a recurrent network not added; h of other units copied to the next layer."""
    rng = np.random.default_rng(6)
    lower = lstm_on(ht_network((4, 4, 3), (2, 2, 6), balanced_tree(3, 3)), 48, 6, 0, dense_network(6, (2, 2, 6)))
    layers = (lower, fdht_lstm(6, 6, 3, (4, 4), (4, 6), 2))
    bundle = random_bundle(rng, layers, plan(layers, TARGET), steps=2)
    job = Job(compile_bundle(bundle, TARGET), bundle.clips)
    assert simulate(job).mismatches == []

    def forget_to_add(instructions: list[dict]) -> None:
        (adding,) = (instruction for instruction in instructions if instruction["add"])
        adding["add"] = 0

    def move_inputs(instructions: list[dict]) -> None:
        next(i for i in instructions if i["op"] == LoaderOp.COPY and i["give"] == 1 << Token.H_READY)["first"] += 1

    for segment, change in ((Segment.ARRAY_PROGRAM, forget_to_add), (Segment.LOADER_PROGRAM, move_inputs)):
        wrong = edit(job.image, segment, change)
        assert_bites(job, wrong)
        assert_reported(simulate(replace(job, load=wrong)))


def test_a_gate_unit_that_begins_too_early():
    """A cycle before the compiler lets it, and it reads what has not been written."""
    rng = np.random.default_rng(8)
    spec = dense_lstm(4, 12, 0)
    bundle = random_bundle(rng, spec, plan(spec, TARGET), steps=4)
    job = Job(compile_bundle(bundle, TARGET), bundle.clips)
    assert simulate(job).mismatches == []

    def hurry(instructions: list[dict]) -> None:
        instructions[1]["delay"] -= 1

    lines = simulate(replace(job, load=edit(job.image, Segment.GATE_PROGRAM, hurry))).mismatches
    written = [re.match(r"cycle \d+: hidden wrote (.+) to .+, expected (.+) to", line) for line in lines]
    assert any(line[1] != line[2] for line in written if line)


def test_a_program_that_breaks_the_scratchpads_rule_is_told(job):
    """Inputs go to where the array writes, in words that nobody else uses."""
    (bank,) = {int(word) // TARGET.bank_words for word in job.image.machine.run(job.clips[0]).array.where[:1, 0]}
    end, machine = (bank + 1) * TARGET.bank_words, job.image.machine

    def into_the_bank(instructions: list[dict]) -> None:
        for load in (i for i in instructions if i["op"] == LoaderOp.LOAD):
            words = walk(load["nest"], load["count"] + 1)["word"]
            load["nest"]["word"] += end - 1 - int(words.max())
            placed = words + end - 1 - words.max()
            assert not any(
                np.isin(placed, machine.contraction(i).data_addresses).any()
                for i in machine.programs[Segment.ARRAY_PROGRAM]
            )

    wrong = edit(job.image, Segment.LOADER_PROGRAM, into_the_bank)
    run, loader = wrong.machine.run(job.clips[0]), wrong.machine.programs[Segment.LOADER_PROGRAM]
    written = run.array.cycle[run.array.where[:, 0] // TARGET.bank_words == bank]
    beside = [
        (start + timing.load(TARGET) <= written) & (written <= done - timing.DONE)
        for unit, _, index, start, done in run.started
        if unit is Segment.LOADER_PROGRAM and loader[index]["op"] == LoaderOp.LOAD
    ]
    assert np.any(beside), "no input is placed while the array writes there"
    assert any(
        "two accesses that no program may make" in line for line in simulate(replace(job, load=wrong)).mismatches
    )


ORDINARY = {"a shift without the sign, coarse"}
"""Those of the ordinary tests; each fault is a simulator of its own."""


def engine_for(fault: Fault) -> Target:
    return replace(TARGET, pipeline=fault.pipeline)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_in_the_gateware_has_its_place_and_its_input(jobs, name):
    """Before anything is built: there is what it changes, and the job holds an input that makes a difference."""
    fault = FAULTS[name]
    job = jobs[fault.pipeline]
    assert fault.bites(watch(job.image, job.clips[0])), f"no run of the job has {fault.needs}"
    with planted(fault) as places:
        Fragment.get(Accelerator(engine_for(fault)), None)
    assert places, f"no assignment to {fault.signal} of {fault.component.__name__} is as the fault supposes"


@pytest.mark.parametrize(
    "name", [name if name in ORDINARY else pytest.param(name, marks=pytest.mark.slow) for name in FAULTS]
)
def test_a_fault_in_the_gateware(jobs, name):
    fault = FAULTS[name]
    job = jobs[fault.pipeline]
    assert fault.bites(watch(job.image, job.clips[0])), f"no run of the job has {fault.needs}"
    with planted(fault) as places:
        verilog = to_verilog(engine_for(fault))
    assert places
    assert_reported(simulate(job, built=build_verilog(TOP, verilog.encode(), lambda: verilog)))
