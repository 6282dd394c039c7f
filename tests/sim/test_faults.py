"""The checks can fail: small faults, each reported with its cycle and its address."""

import re
from dataclasses import replace

import numpy as np
import pytest
from bundles import random_bundle

from compiler.image import Image, compile_bundle
from compiler.machine import decode
from compiler.planner import plan
from sim.build import build
from sim.simulate import Job, Simulation, simulate_jobs
from spec.lstm import fdht_lstm
from spec.program import Segment, array_instruction
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
    """At least one difference names a cycle and an address, with what was written and what was expected."""
    assert result.mismatches
    assert re.match(r"cycle \d+: \w+ wrote \(.+\) to \(.+\), ", result.mismatches[0])


def with_segment(image: Image, segment: Segment, words: np.ndarray) -> Image:
    return replace(image, segments={**image.segments, segment: words})


def test_without_a_fault_nothing_is_reported(job):
    result = simulate(job)
    assert result.mismatches == [] and result.words_compared == result.words_expected > 0


@pytest.mark.parametrize("word", [0, -1], ids=["first", "last"])
def test_one_bit_of_a_factor(job, word):
    factors = job.image.segments[Segment.FACTORS].copy()
    factors[word] = int(factors[word]) ^ 1 << 14  # of the tile's first row, which is never padding
    assert_reported(simulate(replace(job, load=with_segment(job.image, Segment.FACTORS, factors))))


def test_a_swapped_stride(job):
    record = array_instruction(TARGET)
    program = job.image.segments[Segment.ARRAY_PROGRAM]
    instructions = decode(program, record)
    levels = next(
        instruction["write"]["levels"] for instruction in instructions if instruction["write"]["levels"][1]["count"]
    )
    levels[0]["word"], levels[1]["word"] = levels[1]["word"], levels[0]["word"]
    words = np.array([word for instruction in instructions for word in record.encode(instruction)], dtype=object)
    assert (words != program).any()
    assert_reported(simulate(replace(job, load=with_segment(job.image, Segment.ARRAY_PROGRAM, words))))


def test_a_changed_rounding_constant(job):
    def truncate(verilog: str) -> str:
        """The requantiser no longer adds half before it shifts."""
        changed, count = re.subn(
            r"\$signed\(half\) \+ \$signed\(\{ bias, 1'h1 \}\)", "$signed(half) + $signed({ bias, 1'h0 })", verilog
        )
        assert count == TARGET.columns
        return changed

    assert_reported(simulate(job, built=build(TARGET, mutate=truncate)))


def test_a_missing_result(job):
    """A program that stops early is noticed: what must come is known from the expected image, not from the monitor."""
    record = array_instruction(TARGET)
    instructions = decode(job.image.segments[Segment.ARRAY_PROGRAM], record)
    levels = instructions[-1]["write"]["levels"]
    assert levels[0]["count"] > 0
    levels[0]["count"] -= 1
    words = np.array([word for instruction in instructions for word in record.encode(instruction)], dtype=object)
    result = simulate(replace(job, load=with_segment(job.image, Segment.ARRAY_PROGRAM, words)))
    assert result.mismatches
