"""How early the gate unit may begin: while the array still writes z, as long as it reads nothing before it is stored.

The array never waits once it has started, and the gate unit can only be late (when its outputs are not taken). So if
the schedule keeps every read behind its write, the hardware does.
"""

import itertools
from dataclasses import replace

import numpy as np

from fdht.compiler.nest import walk
from fdht.compiler.program import GateInstruction, StepPrograms
from fdht.compiler.schedule import Contraction, units_of
from fdht.spec import timing
from fdht.spec.gate_schedule import BEAT
from fdht.spec.instructions import GateOp, Token, gate_instruction
from fdht.spec.target import Target


def overlapped(programs: StepPrograms, target: Target) -> StepPrograms:
    """The programs with Z_READY given when the stage that writes z starts, and the gate unit's STEP delayed as long as
    it must be, wherever that is sooner.
    """
    array, gates = list(programs.array), list(programs.gates)
    writers = [number for number, instruction in enumerate(array) if instruction.give >> Token.Z_READY & 1]
    steps = [number for number, instruction in enumerate(gates) if instruction.wait >> Token.Z_READY & 1]
    longest = (1 << gate_instruction(target).fields["delay"].bits) - 1
    for of_array, of_gates in zip(writers, steps, strict=True):
        writer = array[of_array]
        contraction = Contraction(writer, target)
        # Those of other streams follow at once. Any of them may be absent, so each waits for z of its own.
        following = itertools.takewhile(lambda step: step.op == GateOp.STEP and not step.wait, gates[of_gates + 1 :])
        delays = list[int]()
        before = timing.token(target)  # from the writer's start on, without what the instruction itself waits
        for step in (gates[of_gates], *following):
            earliest = earliest_step(contraction, step)
            if target.single_port:
                earliest = max(earliest, earliest_copy(contraction, step))
            delays.append(max(0, earliest - timing.start(target) - before))
            before += delays[-1] + timing.start(target) + 1 + timing.fetch(target, gate_instruction(target))
            before += 0 if target.pipeline.prefetch else timing.KEPT
        # What is added to is read in the place of the gate unit's z.
        if not writer.add and max(delays) <= longest and delays[0] < contraction.done:
            array[of_array] = replace(writer, early=1)
            for number, delay in enumerate(delays, of_gates):
                gates[number] = replace(gates[number], delay=delay)
    return replace(programs, array=tuple(array), gates=tuple(gates))


def earliest_copy(contraction: Contraction, step: GateInstruction) -> int:
    """First cycle, counted from the start of a contraction, in which a STEP may start behind which h goes to a bank
    that the contraction reads: it may go on computing rows that hold no unit.
    """
    target = contraction.target
    read = contraction.issued + timing.address(target) + timing.read(target)
    return read - timing.gate(target, GateOp.STEP, units_of(step)).done


def earliest_step(contraction: Contraction, step: GateInstruction) -> int:
    """First cycle, counted from the start of a contraction, in which a STEP may start that reads its results."""
    target, units = contraction.target, units_of(step)
    there = np.full(target.result_words, -(1 << 62))
    there[contraction.write_addresses] = contraction.offsets + timing.visible(target)
    z = walk(step.z, units)["word"]
    asked = BEAT * np.arange(units)
    words = {"i": 0, **{gate: step[gate] for gate in ("f", "g", "o")}}
    return max(int((there[z + words[gate]] - asked - cycle).max()) for gate, cycle in target.pipeline.gate.asks.items())
