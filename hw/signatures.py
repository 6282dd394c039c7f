"""Payloads that cross from one block to another."""

from amaranth.hdl import signed
from amaranth.lib import data, enum

from spec.target import Target


class OutputKind(enum.Enum, shape=2):
    """What a word of the output stream is."""

    HIDDEN = 0
    CELL = 1
    LOGIT = 2


def output_word(target: Target) -> data.StructLayout:
    """A word of the output stream; `last` marks the last of its kind in a step."""
    return data.StructLayout({"kind": OutputKind, "last": 1, "value": signed(target.data_width)})
