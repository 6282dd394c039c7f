"""Pipelines and gate schedules: what is refused, and the latencies of the two that targets have."""

from dataclasses import replace

import pytest

from fdht.spec import timing
from fdht.spec.errors import SpecError
from fdht.spec.gate_schedule import DIRECT, REGISTERED
from fdht.spec.pipeline import COMPACT, PIPELINED, Pipeline
from fdht.spec.target import Build, Target, Technology, find_target


@pytest.mark.parametrize(
    "base, fields, message",
    [
        (COMPACT, {"row_hop": 1}, "row_hop = 1; choose 0, 2"),
        (COMPACT, {"multiply": 1}, "multiply = 1; choose 2, 3, 4, 5, 6"),
        (COMPACT, {"factors": 2}, "a word of factors comes after 3 cycles, of data after 2"),
        (COMPACT, {"hidden": 1}, "h comes 2 cycles after its address, a word of factors after 1"),
        (PIPELINED, {"request": 0}, "a word of factors comes after 5 cycles, of data after 4"),
    ],
)
def test_what_is_refused(base, fields, message):
    assert replace(PIPELINED, request=1).before_factors == 0  # just enough
    with pytest.raises(SpecError, match=message):
        replace(base, **fields)


@pytest.mark.parametrize(
    "base, fields, rule",
    [
        (DIRECT, {"slots": replace(DIRECT.slots, tanh_g=1)}, "each of 0 to 7 is of one product"),
        (
            DIRECT,
            {"slots": REGISTERED.slots},
            "its registers: step between two units, step between two logits",
        ),
        (DIRECT, {"step": 4}, "step between two units"),
        (REGISTERED, {"step_logit": 4}, "step between two logits"),
        (REGISTERED, {"step": 5}, "step between two units"),
        (DIRECT, {"tables": 1}, "c before tanh_c"),
        (DIRECT, {"data": 3}, "0 to 2 behind z"),
    ],
)
def test_schedules_that_cannot_work(base, fields, rule):
    with pytest.raises(SpecError, match=rule):
        replace(base, **fields)


def test_an_ice40_sums_inside_its_multipliers():
    for pipeline in (PIPELINED, replace(COMPACT, multiply=3)):
        with pytest.raises(SpecError, match="sum inside, 2 cycles after their operands"):
            Target("t", 2, 1, accumulator_width=32, pipeline=pipeline, build=Build(Technology.ICE40))


@pytest.mark.parametrize(
    "pipeline, latencies",
    [
        (COMPACT, {"read": 2, "bias": 1, "requantise": 3, "write": 0, "store": 1, "visible": 2, "load": 2, "copy": 3}),
        (
            PIPELINED,
            {"read": 7, "bias": 4, "requantise": 7, "write": 4, "store": 3, "visible": 5, "load": 6},
        ),
    ],
)
def test_the_latencies_of_old(pipeline, latencies):
    """Typed once, so that a change of them is meant."""
    target = Target("t", 4, 2, pipeline=pipeline)
    assert {name: getattr(timing, name)(target) for name in latencies} == latencies


def test_a_pipeline_goes_through_json():
    target = find_target("ulx3s-85f")
    assert Target.from_json(target.to_json()) == target and target.pipeline == PIPELINED != Pipeline()
