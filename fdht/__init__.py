"""The front door: the command `fdht`, and the public Python names, each loaded when it is first used."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model.layers import FDHTLSTM, HTLinear
    from spec.bundle import Bundle

__all__ = ["FDHTLSTM", "Bundle", "HTLinear"]

_HOME = {"FDHTLSTM": "model.layers", "HTLinear": "model.layers", "Bundle": "spec.bundle"}


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'fdht' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
