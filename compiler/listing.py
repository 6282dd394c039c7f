"""The disassembler: an image's programs as people read them, with the cycles each instruction takes."""

from collections.abc import Mapping

from fdht.compiler.image import Image
from fdht.spec.instructions import UNITS, GateOp, LoaderOp, Segment, Token

_STEPS = 2
"""Steps scheduled for the cycles shown: those of the last, where start-up is over."""


def listing(image: Image) -> str:
    """One line per instruction and its loops, unit by unit."""
    machine = image.machine
    when = {id(entry[2]): entry for entry in machine.schedule(_STEPS)}
    lines = [f"image for {image.target.name}: {image.cycles(1)} cycles for one step, {image.macs} MACs per step"]
    for unit in UNITS:
        lines += ["", f"{unit.name.lower().removesuffix('_program')}:"]
        for number, instruction in enumerate(machine.programs[unit]):
            *_, start, done = when[id(instruction)]
            lines.append(f"  {number}: {_summary(unit, instruction)}  [{done - start} cycles]{_header(instruction)}")
            lines += [f"       {line}" for line in _nests(unit, instruction)]
    return "\n".join(lines)


def nest_text(nest: Mapping) -> str:
    """A nest in one line, outermost loop first: `base word=0; 8 x word+4; 3 x word+1`."""
    names = [name for name in nest["levels"][0] if name != "count"]
    parts = ["base " + " ".join(f"{name}={nest[name]}" for name in names)]
    used = [level for level in nest["levels"] if level["count"]]
    for level in reversed(used):
        jumps = " ".join(f"{name}{level[name]:+d}" for name in names)
        parts.append(f"{level['count'] + 1} x {jumps}")
    if nest.get("tail_level"):
        parts.append(f"tail {nest['tail'] + 1}")
    return "; ".join(parts)


def _summary(unit: Segment, instruction: Mapping) -> str:
    if unit is Segment.LOADER_PROGRAM:
        op = LoaderOp(instruction["op"])
        what = (
            f" units from {instruction['first']}" if op is LoaderOp.COPY else " words" if instruction["whole"] else ""
        )
        return f"{op.name} {instruction['count'] + 1}{what}"
    if unit is Segment.GATE_PROGRAM:
        return f"{GateOp(instruction['op']).name} {instruction['first']}..{instruction['last']}"
    depth = 1
    for level in instruction["read"]["levels"][: instruction["reduction"] + 1]:
        depth *= level["count"] + 1
    words = 1
    for level in instruction["write"]["levels"]:
        words *= level["count"] + 1
    text = f"CONTRACT K={depth} rows={instruction['rows'] + 1} words={words} shift={instruction['shift']}"
    text += f" transposed emit={instruction['emit'] + 1}" if instruction["transpose"] else ""
    text += f" bias from {instruction['bias']}" if instruction["bias_step"] else ""
    text += " added" if instruction["add"] else ""
    return text + (" to results" if instruction["to_results"] else " to scratchpad")


def _header(instruction: Mapping) -> str:
    parts = []
    for field in ("wait", "give"):
        tokens = [token.name for token in Token if instruction[field] >> token & 1]
        parts += [f"{field} {'+'.join(tokens)}"] if tokens else []
    parts += [f"loop back to word {instruction['back']}"] if instruction["loop_end"] else []
    parts += ["halt"] if instruction["halt"] else []
    return "  " + ", ".join(parts) if parts else ""


def _nests(unit: Segment, instruction: Mapping) -> list[str]:
    if unit is Segment.ARRAY_PROGRAM:
        return [f"read  {nest_text(instruction['read'])}", f"write {nest_text(instruction['write'])}"]
    if unit is Segment.LOADER_PROGRAM:
        return [f"write {nest_text(instruction['nest'])}"]
    lines = []
    if instruction["op"] != GateOp.STATE:
        lines.append(f"z {nest_text(instruction['z'])}")
    if instruction["op"] == GateOp.STEP:
        lines.append(f"gates f,g,o at +{instruction['f']}, +{instruction['g']}, +{instruction['o']} words")
    return lines
