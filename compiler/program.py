"""Instructions as the compiler makes them: frozen records, replaced where a pass changes something, encoded at the end.

Their fields are those of fdht.spec.instructions. An instruction can also be read as a mapping of its fields, as decoded
ones are; nothing can be written to it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from fdht.spec.instructions import Condition, GateOp, LoaderOp, Segment, Token


@dataclass(frozen=True, eq=False, kw_only=True)
class Instruction(Mapping[str, Any]):
    """The header that instructions of all units have."""

    wait: int = 0
    give: int = 0
    loop_end: int = 0
    back: int = 0
    halt: int = 0
    chained: int = 0
    stream: int = 0
    condition: Condition = Condition.ALWAYS

    def __getitem__(self, name: str) -> Any:
        return self.__dict__[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dict__)

    def __len__(self) -> int:
        return len(self.__dict__)

    def waiting(self, *tokens: Token) -> Self:
        """The same, waiting for tokens too."""
        return replace(self, wait=self.wait | _mask(tokens))

    def giving(self, *tokens: Token) -> Self:
        """The same, giving tokens too."""
        return replace(self, give=self.give | _mask(tokens))

    def ending_loop(self, back: int) -> Self:
        """The same as the last of the loop's body, whose first begins at word `back`."""
        return replace(self, loop_end=1, back=back)

    def halting(self) -> Self:
        """The same as the last of its program."""
        return replace(self, halt=1)


def _mask(tokens: tuple[Token, ...]) -> int:
    return sum(1 << token for token in set(tokens))


@dataclass(frozen=True, eq=False, kw_only=True)
class ArrayInstruction(Instruction):
    """See fdht.spec.instructions.array_instruction."""

    read: Mapping[str, Any]
    reduction: int
    hidden: int
    rows: int
    to_results: int
    early: int = 0
    add: int
    write: Mapping[str, Any]
    transpose: int
    emit: int
    shift: int
    bias: int
    bias_step: int


@dataclass(frozen=True, eq=False, kw_only=True)
class LoaderInstruction(Instruction):
    """See fdht.spec.instructions.loader_instruction."""

    op: LoaderOp
    opens: int = 0
    together: int = 0
    first: int = 0
    count: int = 0
    whole: int = 0
    flush: int = 0
    offset: int = 0
    signed: int = 0
    shift: int = 0
    nest: Mapping[str, Any]


@dataclass(frozen=True, eq=False, kw_only=True)
class GateInstruction(Instruction):
    """See fdht.spec.instructions.gate_instruction."""

    op: GateOp
    first: int
    last: int
    delay: int = 0
    top: int = 0
    z: Mapping[str, Any]
    f: int = 0
    g: int = 0
    o: int = 0


@dataclass(frozen=True, eq=False)
class StepPrograms(Mapping[Segment, tuple[Instruction, ...]]):
    """The programs of the three units, also by their segments."""

    array: tuple[ArrayInstruction, ...]
    loader: tuple[LoaderInstruction, ...]
    gates: tuple[GateInstruction, ...]

    def __getitem__(self, segment: Segment) -> tuple[Instruction, ...]:
        return {
            Segment.ARRAY_PROGRAM: self.array,
            Segment.LOADER_PROGRAM: self.loader,
            Segment.GATE_PROGRAM: self.gates,
        }[segment]

    def __iter__(self) -> Iterator[Segment]:
        return iter((Segment.ARRAY_PROGRAM, Segment.LOADER_PROGRAM, Segment.GATE_PROGRAM))

    def __len__(self) -> int:
        return 3
