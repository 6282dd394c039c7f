"""`fdht data`: what a data set is, and a contact sheet of it."""

import inspect
import io
import shlex
from collections.abc import Sequence
from functools import cache
from math import prod
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from fdht.console import Output
from fdht.model.data import DATA_SETS, FOLDERS, DataSet, Source, Split, load, own, protocol
from fdht.spec.container import write_whole
from fdht.spec.errors import SpecError

PARTS = ("train", "validation", "final", "test")

SHOWN_CLASSES, SHOWN_CLIPS = 8, 8
"""On a contact sheet: classes, and clips of a class if a clip is one picture."""

LINES, MARGIN, GAP = 72, 130, 4
"""Pixels of a contact sheet: height of a picture, width of the names, space between."""


def source(name: str | None, folder: str | None, frames: int, split: str, fold: int) -> Source | None:
    """The data set that options name; None if they name none. A folder alone holds clips of the user's own.

    This is where code of the user's own comes in: options name it, no file does.

    Raises:
        SpecError: options about clips in a folder, and no folder; code of one's own that cannot be imported.
    """
    if name is not None and ":" in name:
        own(name)
    options = Source(name or "folder", folder and str(Path(folder).resolve()), frames, split, fold)
    if name is None and folder is None:
        if options != Source("folder"):
            raise SpecError("--frames, --split and --fold are about clips in a folder; add --data-folder")
        return None
    return options


def moved(name: str | None, folder: str | None) -> dict[str, str]:
    """What options say of where the clips of a checkpoint are now, as fields of its `Source`.

    Raises:
        SpecError: code of one's own that cannot be imported.
    """
    if name is not None and ":" in name:
        own(name)
    given = {"name": name, "folder": folder and str(Path(folder).resolve())}
    return {field: value for field, value in given.items() if value is not None}


def options(chosen: Source) -> list[str]:
    """The command line's options for a data set that a preset's file does not name: code of one's own, a folder."""
    packaged_or_folder = chosen.name in DATA_SETS or chosen.name == Source("folder").name
    named = [] if packaged_or_folder else ["--data", shlex.quote(chosen.name)]
    if chosen.folder is None:
        return named
    given = {"data-folder": chosen.folder, "frames": chosen.frames, "split": chosen.split, "fold": chosen.fold}
    return named + [part for name, value in given.items() for part in (f"--{name}", shlex.quote(str(value)))]


@cache
def packaged(name: str) -> DataSet:
    """A data set by name, read once: films take seconds."""
    return load(name)


def catalogue(output: Output) -> list[dict]:
    """Lists all data sets; returns name, first sentence and whether a folder is needed of each."""
    rows = [
        {"name": name, "what": protocol(name).partition("\n")[0], "needs_folder": name in FOLDERS}
        for name in [*DATA_SETS, *FOLDERS]
    ]
    output.table(
        "Data sets",
        ("name", "what it is", "where it is"),
        [(row["name"], row["what"], "--data-folder" if row["needs_folder"] else "installed") for row in rows],
    )
    return rows


def run(output: Output, chosen: Source, path: Path | None, build: Path) -> dict:
    """Reads a data set, tells what it is and writes its contact sheet; returns its figures.

    Args:
        path: of the sheet; NAME.png in `build` when left out.
    """
    with output.progress(f"reading {chosen.name}") as advance:
        data = load(chosen, progress=lambda done, total: advance(done, total))
    words = inspect.cleandoc(protocol(chosen.name))
    path = build / f"{data.name}.png" if path is None else path
    write(contact_sheet(data), path)
    sizes = {part: len(getattr(data, part)) for part in PARTS}
    output.text(words)
    output.facts(
        str(chosen),
        {
            "classes": f"{data.classes}: {', '.join(data.class_names)}",
            "a clip": f"{data.steps} steps of {data.inputs:,} values",
            **{f"{part} clips": size for part, size in sizes.items()},
            "clips skipped": skipped(data.skipped),
            "contact sheet": path,
        },
    )
    return {
        "name": data.name,
        "classes": list(data.class_names),
        "steps": data.steps,
        "inputs": data.inputs,
        "clips": sizes,
        "skipped": list(data.skipped),
        "protocol": words,
        "sheet": str(path),
    }


def skipped(reasons: Sequence[str]) -> str:
    """How many clips could not be used, and why not the first."""
    return f"{len(reasons)}; the first: {reasons[0]}" if reasons else "0"


def contact_sheet(data: DataSet) -> Image.Image:
    """Pictures of up to 8 classes, spread over all: of each a row of training and a row of the test.

    A row is a clip, step by step; or some clips, if a clip is one picture.
    """
    rows = [
        (f"{data.class_names[number]}\n{part}", _row(data, getattr(data, part), number))
        for number in np.unique(np.linspace(0, data.classes - 1, min(SHOWN_CLASSES, data.classes)).astype(int))
        for part in ("train", "test")
    ]
    width, height = rows[0][1][0].size
    columns = max(len(pictures) for _, pictures in rows)
    size = (MARGIN + columns * (width + GAP), len(rows) * (height + GAP))
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for row, (name, pictures) in enumerate(rows):
        top = row * (height + GAP)
        draw.multiline_text((GAP, top), name, fill="black")
        for column, picture in enumerate(pictures):
            sheet.paste(picture, (MARGIN + column * (width + GAP), top))
    return sheet


def _row(data: DataSet, split: Split, label: int) -> list[Image.Image]:
    """Pictures of one class: the steps of its first clip, or its first clips."""
    a_clip_is_a_picture = prod(data.image_shape) != data.inputs
    clips = np.flatnonzero(split.labels == label)[: SHOWN_CLIPS if a_clip_is_a_picture else 1]
    pictures = split.frames[split.order[clips]].reshape(-1, *data.image_shape)
    height, width = data.image_shape[:2]
    enlarged = LINES // height
    if enlarged:
        size, way = (width * enlarged, height * enlarged), Image.Resampling.NEAREST
    else:
        size, way = (width * LINES // height, LINES), Image.Resampling.BILINEAR
    return [Image.fromarray(picture).resize(size, way).convert("RGB") for picture in pictures]


def write(picture: Image.Image, path: Path) -> None:
    """Writes a PNG in one step: whole or not at all."""
    content = io.BytesIO()
    picture.save(content, "PNG")
    write_whole(path, content.getvalue())
