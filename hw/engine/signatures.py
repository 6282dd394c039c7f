"""Payloads that cross from one block to another."""

from typing import Any

from amaranth.hdl import signed
from amaranth.lib import data
from amaranth.lib.wiring import Out, Signature

from fdht.spec.instructions import WORD, Widths, bits_for, words_for
from fdht.spec.protocol import OutputKind
from fdht.spec.target import Target


def output_word(target: Target) -> data.StructLayout:
    """A word of the output stream; `last` marks the last of its kind in a step. Of several streams, it says of which it
    is; `complete` marks the last that is sent of a step.
    """
    word: dict[str, Any] = {"kind": OutputKind, "last": 1, "value": signed(target.data_width)}
    if target.streams > 1:
        word |= {"stream": Widths(target).stream, "complete": 1}
    return data.StructLayout(word)


def image_write(depth: int, width: int) -> Signature:
    """How a memory is filled, 16 bits at a time: with `enable`, `data` becomes the bits from 16 × `part` on of the word
    at `address`.

    Args:
        depth: words of the memory. width: bits of a word.
    """
    return Signature(
        {
            "enable": Out(1),
            "address": Out(bits_for(depth)),
            "part": Out(range(words_for(width))),
            "data": Out(WORD),
        }
    )
