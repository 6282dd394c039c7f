"""Faults in gateware, each planted where a component is described: in what one of its signals is assigned."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytest
from amaranth.hdl import C, Const, Mux, Signal, Value

# Amaranth has no public way to change a statement; its own transformations of designs are made of these.
from amaranth.hdl._ast import Assign, Operator, Slice
from amaranth.hdl._ir import Fragment
from amaranth.hdl._xfrm import StatementTransformer

from fdht.compiler import machine
from fdht.compiler.image import Image
from fdht.compiler.machine import Machine, Run
from fdht.compiler.schedule import Contraction, schedule
from fdht.hw.component import Component
from fdht.hw.engine.gate_unit import Arithmetic
from fdht.hw.engine.loader import InputLoader
from fdht.hw.engine.requantise import Requantiser
from fdht.hw.engine.sequencer import TokenCounters
from fdht.hw.technology import MultiplyAccumulate
from fdht.spec.fixed import round_shift
from fdht.spec.instructions import LoaderOp, Segment, Token
from fdht.spec.pipeline import COMPACT, PIPELINED, Pipeline
from fdht.spec.target import Target


@dataclass(frozen=True)
class Seen:
    """What a clip makes an engine compute.

    Attributes:
        sums: every array instruction with the accumulators it sends to the requantisers, in order (rows × Q).
        gates: i, f, g, o of units, as they enter the tables.
    """

    image: Image
    run: Run
    sums: list[tuple[dict, np.ndarray]]
    gates: list[tuple[np.ndarray, ...]]

    @property
    def target(self) -> Target:
        return self.image.target


def watch(image: Image, clip: np.ndarray) -> Seen:
    """Executes a clip in numpy and keeps what passes."""
    sums, gates = [], []
    right_sums, right_gates = machine.sums, Machine._cell_update

    def watch_sums(contraction: Contraction, *args):
        sums.append((contraction.instruction, right_sums(contraction, *args)))
        return sums[-1][1]

    def watch_gates(self, *args):
        gates.append(args[:4])
        return right_gates(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "sums", watch_sums)
        patch.setattr(Machine, "_cell_update", watch_gates)
        run = image.machine.run(clip)
    return Seen(image, run, sums, gates)


@dataclass(frozen=True)
class Fault:
    """Wrong gateware.

    Attributes:
        component, signal: whose description, and which signal (or bit of one) it assigns.
        change: what is assigned instead; None where the assignment stays.
        bites: whether an input that makes a difference occurs.
        needs: that input, in words.
        pipeline: of the engine.
    """

    component: type[Component]
    signal: str | tuple[str, int]
    change: Callable[[Value], Value | None]
    needs: str
    bites: Callable[[Seen], bool]
    pipeline: Pipeline = PIPELINED


def _unsigned_shift(value: Value) -> Value:
    assert isinstance(value, Operator) and value.operator == ">>"
    shifted, amount = value.operands
    return shifted.as_unsigned() >> amount


def _without_subtrahend(value: Value) -> Value:
    assert isinstance(value, Operator) and value.operator == "-"
    return value.operands[0]


def _least(value: Value) -> int:
    """The least of all values of its shape."""
    return -(1 << len(value) - 1)


def _without_rounding(value: Value) -> Value:
    """(sum with the 1 that rounds) >> 1."""
    assert isinstance(value, Operator) and value.operator == ">>"
    return (value.operands[0] - 1) >> 1


def _shifts_negative(bits: int) -> Callable[[Seen], bool]:
    return lambda seen: any((sums < 0).any() and i["shift"] & bits for i, sums in seen.sums)


def _waits_for(token: Token) -> Callable[[Seen], bool]:
    """Whether an instruction begins later because of a token."""

    def waits(seen: Seen) -> bool:
        programs, steps = seen.image.machine.programs, 2
        hasty = {u: [i | {"wait": i["wait"] & ~(1 << token)} for i in unit] for u, unit in programs.items()}
        starts = [[entry[3] for entry in schedule(p, seen.target, steps)] for p in (programs, hasty)]
        return sorted(starts[0]) != sorted(starts[1])

    return waits


def _g_is_not_o(seen: Seen) -> bool:
    (sigmoid, *s), (tanh, *t) = seen.image.machine.tables
    return any((tanh(g, *t) != sigmoid(o, *s)).any() for _, _, g, o in seen.gates)


FAULTS = {
    "a shift without the sign, coarse": Fault(
        Requantiser,
        "coarse",
        _unsigned_shift,
        "an accumulator below zero that is shifted by 16 or more",
        _shifts_negative(~0b1111),
    ),
    "a shift without the sign, middle": Fault(
        Requantiser,
        "middle",
        _unsigned_shift,
        "an accumulator below zero that is shifted by 4, 8 or 12, and others",
        _shifts_negative(0b1100),
    ),
    "a shift without the sign, fine": Fault(
        Requantiser,
        "half",
        _unsigned_shift,
        "an accumulator below zero that is shifted by 1, 2 or 3, and others",
        _shifts_negative(0b0011),
    ),
    "a shift without the sign, compact": Fault(
        Requantiser,
        "half",
        _unsigned_shift,
        "an accumulator below zero that is shifted",
        _shifts_negative(~0),
        pipeline=COMPACT,
    ),
    "nothing is added for rounding": Fault(
        Requantiser,
        "total",
        _without_rounding,
        "an accumulator that is rounded up",
        lambda seen: any((sums >> i["shift"] != round_shift(sums, i["shift"])).any() for i, sums in seen.sums),
    ),
    "saturation stops one short": Fault(
        Requantiser,
        "o_0",
        lambda value: Mux(value == _least(value), value + 1, value),
        "a word with the least value there is",
        lambda seen: bool((seen.run.array.data == seen.target.data.min).any()),
    ),
    "a sum is not cleared": Fault(
        MultiplyAccumulate,
        "clear",
        lambda value: C(0, len(value)),
        "a sum that follows another",
        lambda seen: any(len(seen.image.machine.contraction(i).data_addresses) > 1 and s.any() for i, s in seen.sums),
    ),
    "a token that is always there": Fault(
        TokenCounters,
        ("available", Token.H_DONE),
        lambda value: C(1, 1),
        "an instruction that begins later because of it",
        _waits_for(Token.H_DONE),
    ),
    "o in the place of g": Fault(
        Arithmetic,
        "operand",
        lambda value: C(3, 2) if isinstance(value, Const) and value.value == 2 else None,
        "a unit with tanh(g) other than sigmoid(o)",
        _g_is_not_o,
    ),
    "an input offset left out": Fault(
        InputLoader,
        "difference_0_0",
        _without_subtrahend,
        "an input with an offset",
        lambda seen: any(
            i["op"] == LoaderOp.LOAD and i["offset"] for i in seen.image.machine.programs[Segment.LOADER_PROGRAM]
        ),
    ),
}
"""What wrong gateware might do."""


@contextmanager
def planted(fault: Fault) -> Iterator[list[str]]:
    """Components described with a fault, while it lasts; the list says each place it was planted in.

    Whoever elaborates a design meanwhile must look whether the list has an entry: a signal that is gone, or that is
    described otherwise than the fault supposes, is an error of the test.
    """
    places: list[str] = []
    right = fault.component.elaborate
    name, bit = (fault.signal, None) if isinstance(fault.signal, str) else fault.signal

    class Plant(StatementTransformer):
        def on_Assign(self, stmt: Assign) -> Assign:
            to, part = (stmt.lhs.value, stmt.lhs.start) if isinstance(stmt.lhs, Slice) else (stmt.lhs, None)
            if not isinstance(to, Signal) or to.name != name or part != bit:
                return stmt
            value = fault.change(stmt.rhs)
            if value is None:
                return stmt
            places.append(repr(stmt))
            return Assign(stmt.lhs, value)

    def elaborate(self, platform):
        fragment = Fragment.get(right(self, platform), platform)
        for domain, statements in fragment.statements.items():
            fragment.statements[domain] = Plant()(statements)
        return fragment

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fault.component, "elaborate", elaborate)
        yield places
