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

from fdht.console import Output, percent
from fdht.model.data import DATA_SETS, FOLDERS, DataSet, Source, Split, is_file_name, load, own, protocol
from fdht.spec.container import write_whole
from fdht.spec.errors import SpecError
from fdht.spec.scaling import BITS
from fdht.spec.task import Task
from fdht.workflow.frames import pictures_of
from fdht.workflow.golden_vectors import SHOWN_NAMES, listed

PARTS = ("train", "validation", "final", "test")

ALSO = {"final": " (all but the test's)"}
"""What a table adds to the name of a split."""

SHOWN_CLASSES, SHOWN_CLIPS = 8, 8
"""On a contact sheet: classes, and clips of a class if a clip is one picture."""

MARGIN, GAP = 130, 4
"""Pixels of a contact sheet: width of the names, space between."""


def source(
    name: str | None, folder: str | None, frames: int, split: str, fold: int, bits: int | None = None
) -> Source | None:
    """The data set that options name; None if they name none. A folder alone holds clips of the user's own.

    This is where code of the user's own comes in: options name it, no file does.

    Raises:
        SpecError: options about data of one's own, and none; code of one's own that cannot be imported.
    """
    named = moved(name, folder)
    given = {"frames": frames, "split": split, "fold": fold, "bits": BITS[0] if bits is None else bits}
    options = Source(**{"name": "folder", **named}, **given)
    if not named:
        if bits is not None:
            raise SpecError("--input-bits is about real values in a file; add --data")
        if options != Source("folder"):
            raise SpecError("--frames, --split and --fold are about clips in a folder; add --data-folder")
        return None
    return options


def moved(name: str | None, folder: str | None) -> dict[str, str]:
    """What options say of where data are, as fields of `Source`: a name, a folder, or the path of a file.

    Raises:
        SpecError: code of one's own that cannot be imported.
    """
    if name is not None and is_file_name(name):
        path = Path(folder or "", name).resolve()
        return {"name": path.name, "folder": str(path.parent)}
    if name is not None and ":" in name:
        own(name)
    given = {"name": name, "folder": folder and str(Path(folder).resolve())}
    return {field: value for field, value in given.items() if value is not None}


def options(chosen: Source) -> list[str]:
    """The command line's options for a data set that a preset's file does not name: one's own."""
    if chosen.file is not None:
        given = {"data": chosen.file, "fold": chosen.fold or None, "input-bits": chosen.bits}
        given |= {"input-bits": None} if chosen.bits == BITS[0] else {}
        return [part for name, value in given.items() if value for part in (f"--{name}", shlex.quote(str(value)))]
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


def content_of(name: str) -> tuple[str, ...]:
    """What names the content of a file of data, which may change; nothing of a data set of fdht's own."""
    return (packaged(name).fingerprint,) if is_file_name(name) else ()


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
        path: of the sheet; NAME.png in `build` when left out, of a file with its ending (mine.csv.png).
    """
    with output.progress(f"reading {chosen.name}") as advance:
        data = load(chosen, progress=lambda done, total: advance(done, total))
    words = inspect.cleandoc(protocol(chosen.name)) if chosen.file is None else file_protocol(chosen, data)
    path = build / f"{data.name if chosen.file is None else chosen.file.name}.png" if path is None else path
    write(contact_sheet(data), path)
    output.drew(path)
    sizes = {part: len(getattr(data, part)) for part in PARTS}
    output.text(words)
    scaled = {} if data.scaling is None else {"scaled to": f"{data.scaling.bits} bits", **saturation(data)}
    output.facts(
        str(chosen),
        {
            "task": str(data.task),
            **({} if data.task.real else {"classes": f"{data.classes}: {', '.join(data.class_names)}"}),
            **({"targets": data.classes} if data.task.real else {}),
            "a clip": f"{steps(data)} of {data.inputs:,} values{called(data.value_names)}",
            **scaled,
            **{f"{part} clips{ALSO.get(part, '')}": size for part, size in sizes.items()},
            "clips skipped": skipped(data.skipped),
            "contact sheet": path,
        },
    )
    hint_at_times(output, data)
    return {
        "name": data.name,
        "classes": list(data.class_names),
        "values": list(data.value_names),
        "task": str(data.task),
        "steps": data.steps,
        "inputs": data.inputs,
        "saturated": data.saturated,
        "clips": sizes,
        "skipped": list(data.skipped),
        "protocol": words,
        "sheet": str(path),
    }


def file_protocol(chosen: Source, data: DataSet) -> str:
    """What the data set of a file is, and how it is split, as `protocol` says of others."""
    whole = "class by class and groups whole" if data.task is Task.CLASSIFY else "groups whole"
    return (
        f"Sequences in {chosen.file}, to {data.task}.\n\nWhat the file does not give apart is dealt into 5 folds, "
        f"shuffled with seed 0, {whole}: fold {chosen.fold} tests, the next validates, the "
        "rest trains."
    )


def steps(data: DataSet) -> str:
    """How many steps its clips have."""
    splits = (data.train, data.validation, data.test)
    least = min(data.steps if split.lengths is None else int(split.lengths.min()) for split in splits)
    return f"{data.steps} steps" if least == data.steps else f"{least} to {data.steps} steps"


def called(names: Sequence[str]) -> str:
    """What the values of a step are called, with a colon in front; nothing where they have no names."""
    return f": {listed(names)}" if names else ""


def hint_at_times(output: Output, data: DataSet) -> None:
    """Says of values that rise from step to step in every sequence that they look like time."""
    if data.rising:
        each = [data.value_names[k] if data.value_names else f"value {k}" for k in data.rising[:SHOWN_NAMES]]
        verb = "rise" if len(each) > 1 else "rises"
        output.say(
            f"{', '.join(each)} {verb} with every step of every sequence, as time does: a model may learn the clock in "
            "place of the sensors; if it is a time, leave the column out"
        )


def saturation(data: DataSet) -> dict[str, str]:
    """The row of a table that says how much the scaling of real values saturates; none where nothing was scaled."""
    return {} if data.saturated is None else {"saturated in validation": percent(data.saturated)}


def skipped(reasons: Sequence[str]) -> str:
    """How many clips could not be used, and why not the first."""
    return f"{len(reasons)}; the first: {reasons[0]}" if reasons else "0"


def contact_sheet(data: DataSet) -> Image.Image:
    """Pictures of up to 8 classes, spread over all: of each a row of training and a row of the test.

    A row is a clip, step by step; or some clips, if a clip is one picture. Where a clip has no class of its own, there
    is one row of any clips.
    """
    shown: list[int | None] = [None]
    if data.task is Task.CLASSIFY:
        shown = [*map(int, np.linspace(0, data.classes - 1, min(SHOWN_CLASSES, data.classes)))]
    rows = [
        (part if number is None else f"{data.class_names[number]}\n{part}", _row(data, getattr(data, part), number))
        for number in shown
        for part in ("train", "test")
    ]
    width, height = next(pictures for _, pictures in rows if pictures)[0].size
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


def _row(data: DataSet, split: Split, label: int | None) -> list[Image.Image]:
    """Pictures of one class, or of any: the steps of its first clip, or its first clips."""
    a_clip_is_a_picture = prod(data.image_shape) != data.inputs
    of_class = np.arange(len(split)) if label is None else np.flatnonzero(split.labels == label)
    clips = of_class[: SHOWN_CLIPS if a_clip_is_a_picture else 1]
    words = split.frames[split.order[clips]]
    return pictures_of(words, data.image_shape, data.input_format.raw, data.scaling is not None)


def write(picture: Image.Image, path: Path) -> None:
    """Writes a PNG in one step: whole or not at all."""
    content = io.BytesIO()
    picture.save(content, "PNG")
    write_whole(path, content.getvalue())
