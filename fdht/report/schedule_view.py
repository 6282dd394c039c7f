"""A step's schedule as the page's script draws it."""

import base64
from typing import Any

import numpy as np

from fdht.compiler.image import Image
from fdht.console import shown
from fdht.drawing import COLOURS, GATES, READ, WRITE, H, X
from fdht.report.collected import Table, table
from fdht.spec.bundle import Bundle
from fdht.spec.instructions import LoaderOp, Segment
from fdht.workflow.timeline import UNITS, Piece, Step

FINEST = 1 << 14
"""Parts of a step, at most, in which a memory's accesses are told; longer steps have some cycles in each."""

HEAD, LOGITS = "#999999", "logits"
"""The head's colour, and what its place is called."""


def view(image: Image, step: Step, bundle: Bundle) -> dict[str, Any]:
    """What is drawn, for JSON; cycles count from the step's first.

    Returns:
        cycles; units: names, with numbers of pieces; pieces: name, colour, first cycle and cycles drawn, start, done,
        facts, tokens with the number of the other piece (None outside); memories: name, and per part of `cycles_each`
        cycles the share read and written, as bytes in base64.
    """
    inside, colours, weights = step.inside, stage_colours(image), _weights(image, bundle)
    numbers = {whole: k for k, (whole, _) in enumerate(inside)}
    taken_by: dict[tuple[int, int], int] = {}
    for whole, piece in enumerate(step.pieces):
        for token, giver in piece.takes:
            taken_by[giver, token] = whole
    pieces = [
        {
            "unit": list(UNITS).index(piece.unit),
            "name": piece.name,
            "colour": _colour(piece, image, colours),
            "first": piece.busy[0] - step.first,
            "cycles": piece.busy[1],
            "start": piece.start - step.first,
            "done": piece.done - step.first,
            "facts": {
                **({"weight": weights[image.places[piece.number]]} if _of_a_stage(piece, image) else {}),
                **{name: shown(value) for name, value in piece.facts.items()},
            },
            "takes": [[_name(token), numbers.get(giver)] for token, giver in piece.takes],
            "gives": [[_name(token), cycle - step.first, numbers.get(taken_by.get((whole, token), -1))]
                      for token, cycle in piece.gives],
        }
        for whole, piece in inside
    ]  # fmt: skip
    each = -(-step.cycles // FINEST)
    memories = [
        {
            "name": name,
            "reads": _shares(step.accesses.reads[name], each),
            "writes": _shares(step.accesses.writes[name], each),
        }
        for name in step.accesses.reads
    ]
    return {
        "cycles": step.cycles,
        "units": list(UNITS.values()),
        "pieces": pieces,
        "memories": memories,
        "cycles_each": each,
        "colours": {"read": READ, "write": WRITE},
    }


def pieces_table(step: Step) -> Table:
    """The same as a table, for who cannot see the picture."""
    rows = [
        (
            UNITS[piece.unit],
            piece.name,
            piece.start - step.first,
            piece.done - step.first,
            piece.busy[1],
            ", ".join(f"{name} {shown(value)}" for name, value in piece.facts.items()),
            ", ".join(_name(token) for token, _ in piece.takes),
            ", ".join(_name(token) for token, _ in piece.gives),
        )
        for _, piece in step.inside
    ]
    heads = ("unit", "what", "start", "done", "cycles at work", "sizes and banks", "waits for", "gives")
    return table("", heads, rows)


def _of_a_stage(piece: Piece, image: Image) -> bool:
    return piece.unit is Segment.ARRAY_PROGRAM and image.places[piece.number] != LOGITS


def _weights(image: Image, bundle: Bundle) -> dict[str, str]:
    """The stage of each place of the array's instructions, and what is merged into its weight."""
    places = [place for place in dict.fromkeys(image.places) if place != LOGITS]
    stages = [(number, stage) for chain in bundle.stages for number, stage in enumerate(chain)]
    return {
        place: f"{' ∘ '.join(stage.factors)} (stage {number})"
        for place, (number, stage) in zip(places, stages, strict=True)
    }


def stage_colours(image: Image) -> dict[str, str]:
    """A colour for each stage; the head is grey."""
    places = dict.fromkeys(image.places)
    return {place: HEAD if place == LOGITS else COLOURS[k % len(COLOURS)] for k, place in enumerate(places)}


def _colour(piece: Piece, image: Image, colours: dict[str, str]) -> str:
    if piece.unit is Segment.ARRAY_PROGRAM:
        return colours[image.places[piece.number]]
    if piece.unit is Segment.GATE_PROGRAM:
        return GATES
    return H if piece.name == LoaderOp.COPY.name.lower() else X


def _name(token) -> str:
    return token.name.lower().replace("_", " ")


def _shares(active: np.ndarray, each: int) -> str:
    """Of each part of so many cycles the share that is active, in 255ths."""
    padded = np.pad(active.astype(np.float64), (0, -len(active) % each)).reshape(-1, each)
    cycles = np.full(len(padded), each)
    cycles[-1] = len(active) - each * (len(padded) - 1)
    return base64.b64encode(np.ceil(255 * padded.sum(1) / cycles).astype(np.uint8).tobytes()).decode()
