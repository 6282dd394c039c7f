"""The checks can fail: small faults, each reported with its cycle and its address."""

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from bundles import random_bundle

from compiler.image import Image, compile_bundle
from compiler.machine import UNITS, decode
from compiler.planner import plan
from sim.build import build
from sim.simulate import Job, Simulation, simulate_jobs
from spec.lstm import dense_lstm, fdht_lstm, lstm_on
from spec.network import balanced_tree, dense_network, ht_network
from spec.program import LoaderOp, Segment, Token
from spec.target import Target

TARGET = Target("test-2x2", 2, 2, factor_width=8, bank_words=256, factor_words=512, result_words=128, hidden=16)


@pytest.fixture(scope="module")
def job() -> Job:
    rng = np.random.default_rng(5)
    spec = fdht_lstm(48, 6, 3, (5, 4, 3), (2, 2, 6), 3)
    bundle = random_bundle(rng, spec, plan(spec, TARGET), steps=2)
    return Job(compile_bundle(bundle, TARGET), bundle.clips)


def simulate(job: Job, **options) -> Simulation:
    (result,) = simulate_jobs([job], **options)
    return result


def assert_reported(result: Simulation) -> None:
    """A difference names a cycle and an address, with what was written and what was expected."""
    assert any(re.match(r"cycle \d+: \w+ wrote \(.+\) to \(.+\), ", line) for line in result.mismatches)


def with_segment(image: Image, segment: Segment, words: np.ndarray) -> Image:
    return replace(image, segments={**image.segments, segment: words})


def test_without_a_fault_nothing_is_reported(job):
    result = simulate(job)
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


IMAGE_FAULTS = {
    "a bit of the first factor word": flip(Segment.FACTORS, 0, 14),  # of the tile's first row, which is never padding
    "a bit of the last factor word": flip(Segment.FACTORS, -1, 14),
    "a bit of a bias": flip(Segment.BIAS, 1, 3),
    "a bit of a table's middle": flip(Segment.TABLES, 64, 7),
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


@pytest.mark.parametrize("fault", IMAGE_FAULTS)
def test_a_fault_in_the_image(job, fault):
    """What must come is known from the right image, not from the one that runs."""
    assert_reported(simulate(replace(job, load=IMAGE_FAULTS[fault](job.image))))


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
        assert_reported(simulate(replace(job, load=edit(job.image, segment, change))))


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


RTL_FAULTS = {
    "nothing is added for rounding": (
        r"(\$signed\(half\) \+ \$signed\(\{ bias, )1'h1 \}\)",
        r"\g<1>1'h0 })",
    ),
    "a sum is not cleared": (r"clear\[3\] \? 40'h0+ : ", ""),
    "saturation stops one short": (r"16'h8000 : 16'h7fff", r"16'h8001 : 16'h7fff"),
    "a shift without the sign": (r"\$signed\((\\\$1 )\) >>> \{ shift_0", r"\1 >> { shift_0"),
    "a token that is always there": (r"assign available\[3\] = [^;]+;", r"assign available[3] = 1'h1;"),
    "o in the place of g": (r"\bb = tanh_g;", r"b = sigmoid_o;"),
    "an input offset left out": (r"(\$signed\(\{[^}]* words_0 \}\)) - \$signed\([^)]*\);", r"\1;"),
}
"""What wrong gateware might do: text of its Verilog, and what to put there."""


@pytest.mark.parametrize(
    "fault", [fault if k == 0 else pytest.param(fault, marks=pytest.mark.slow) for k, fault in enumerate(RTL_FAULTS)]
)
def test_a_fault_in_the_gateware(job, fault):
    """The first in the ordinary tests; each is a simulator of its own."""
    pattern, replacement = RTL_FAULTS[fault]

    def mutate(verilog: str) -> str:
        changed, count = re.subn(pattern, replacement, verilog)
        assert count
        return changed

    assert_reported(simulate(job, built=build(TARGET, mutate=mutate)))
