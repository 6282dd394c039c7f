"""Instruction records as Amaranth layouts."""

from amaranth.hdl import Shape, signed, unsigned
from amaranth.lib import data

from fdht.spec.instructions import Array, Int, Record


def layout(field: Int | Array | Record) -> Shape | data.Layout:
    """The layout whose bits are those of `Record.pack`."""
    if isinstance(field, Int):
        return signed(field.width) if field.signed and field.width else unsigned(field.width)
    if isinstance(field, Array):
        return data.ArrayLayout(layout(field.element), field.length)
    members = {name: member for name, member in field.fields.items() if not (isinstance(member, Int) and member.absent)}
    return data.StructLayout({name: layout(member) for name, member in members.items()})
