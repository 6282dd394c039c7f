"""The base of every block, and what many share."""

from typing import TYPE_CHECKING, Any

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring


class Component(wiring.Component):
    """A wiring.Component whose members, made from its parameters, type checkers may look up."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


def delay(m: Module, value: Any, cycles: int, name: str, *, reset_less: bool = True, keep: bool = False) -> Any:
    """A value some cycles later; with `keep`, in registers that synthesis does not share with equal ones."""
    for k in range(cycles):
        attributes = {"keep": 1} if keep else {}
        register = Signal(value.shape(), name=f"{name}_{k}", reset_less=reset_less, attrs=attributes)
        m.d.sync += register.eq(value)
        value = register
    return value
