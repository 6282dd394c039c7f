"""The base of every block, and what many share."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from amaranth.hdl import Cat, Elaboratable, Module, Signal, Value
from amaranth.lib import wiring


class Component(wiring.Component):
    """A wiring.Component whose members, made from its parameters, type checkers may look up.

    A block's docstring says what it does, then what it promises, under these headings:

        Args: its parameters; `target` is the engine's everywhere.
        Members: its ports, each with its direction; members of a stream are named as one.
        Costs: latency, then what it takes or gives per cycle, then multipliers and block RAM; of blocks that are not
            named it takes none. Latencies that depend on the target are functions of fdht.spec.timing, blocks those of
            fdht.spec.costs; `multipliers`, `block_rams` and `sprams` are then properties of the component.
        Raises: errors in its parameters.
    """

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


Asked = TypeVar("Asked", bound=Elaboratable)


def ask(component: Asked) -> Asked:
    """A component that is only asked what it costs and never elaborated.

    Amaranth warns of each that is made and not elaborated, since most were forgotten; of this one and those that it is
    made of it does not.
    """
    waiting: list[Any] = [component]
    while waiting:
        held = waiting.pop()
        if isinstance(held, Elaboratable):
            if getattr(held, "_MustUse__used", True):
                continue
            held._MustUse__used = True  # pyright: ignore[reportAttributeAccessIssue]  # Amaranth's own mark
            waiting += vars(held).values()
        elif isinstance(held, Mapping):
            waiting += held.values()
        elif isinstance(held, Sequence) and not isinstance(held, str | bytes):
            waiting += held
    return component


def delay(m: Module, value: Any, cycles: int, name: str, *, reset_less: bool = True, keep: bool = False) -> Any:
    """A value some cycles later; with `keep`, in registers that synthesis does not share with equal ones."""
    for k in range(cycles):
        attributes = {"keep": 1} if keep else {}
        register = Signal(value.shape(), name=f"{name}_{k}", reset_less=reset_less, attrs=attributes)
        m.d.sync += register.eq(value)
        value = register
    return value


def extend(operand: Value, width: int) -> Value:
    """An operand sign-extended to `width` bits."""
    return Cat(operand, operand[-1].replicate(width - len(operand)))
