"""The base of every block."""

from typing import TYPE_CHECKING, Any

from amaranth.lib import wiring


class Component(wiring.Component):
    """A wiring.Component whose members, made from its parameters, type checkers may look up."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...
