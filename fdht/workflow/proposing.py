"""`fdht new`, and `fdht train` without a preset: a model from data and a board."""

import os
from itertools import islice
from pathlib import Path

from fdht.boards import BOARDS, find_board
from fdht.boards.board import Board
from fdht.compiler.planner import candidates
from fdht.console import Output
from fdht.model.data import DataSet, Source, load
from fdht.model.presets import Preset
from fdht.model.project import SUFFIX, Project
from fdht.spec.container import write_whole
from fdht.spec.errors import CapacityError, FileError, SpecError
from fdht.spec.lstm import LSTMSpec
from fdht.spec.record import check_name
from fdht.workflow.datasets import called, hint_at_times
from fdht.workflow.proposal import Proposal, propose, trained

SHOWN = 3
"""The model that is taken, and those that come next."""


def named(source: Source) -> str:
    """What a model of a data set is called: as its file or its folder."""
    file = source.file
    if file is not None:
        return file.stem.removesuffix("_TRAIN")
    if source.folder is not None:
        return Path(source.folder).name
    return source.name.replace(":", "-")


def proposed(
    output: Output, source: Source, board_name: str, hidden: int | None, rank: int | None, name: str | None = None
) -> tuple[Preset, DataSet, list[Proposal]]:
    """The model that is taken, how it is trained, and what came next.

    Raises:
        SpecError, FileError: no such board or data. CapacityError: nothing fits the board's engine.
    """
    board, name = find_board(board_name), named(source) if name is None else name
    check_name("a model", name)
    with output.progress(f"reading {source}") as advance:
        data = load(source, progress=lambda done, total: advance(note=f"clip {done:,} of {total:,}"))
    with output.progress(f"looking for a model that fits {board.engine.name}"):
        try:
            found = list(islice(propose(data, board.engine, hidden=hidden, rank=rank), SHOWN))
        except CapacityError as error:
            if (hidden, rank) != (None, None):
                raise
            raise _elsewhere(error, data) from None
    where = str(source.file) if source.file is not None else source.name
    return trained(data, found[0].spec, name, where), data, found


def _elsewhere(error: CapacityError, data: DataSet) -> CapacityError:
    """A refusal by one board's engine with the smallest board that takes a model for the data as the way out."""
    for board in sorted(BOARDS.values(), key=lambda board: board.engine.scratchpad_words):
        if data.input_format.raw.width <= board.engine.input_width:
            try:
                next(propose(data, board.engine))
            except CapacityError:
                continue
            return error.advising(f"--board {board.name} takes a model for {data.name}")
    return error.advising(
        f"no board of fdht synth --list takes a model for steps of {data.inputs:,} values; make them smaller"
    )


def run(
    output: Output, source: Source, board_name: str, hidden: int | None, rank: int | None, path: Path | None
) -> dict:
    """Writes the project's file and returns the figures for `--json`.

    Args:
        path: of the file; NAME.toml in the current folder when left out.

    Raises:
        FileError: there is such a file already, or the data are in none.
    """
    if source.file is None:
        raise SpecError(
            f"{source} is in no file; a project names one (.npz, .npy, .ts, .csv): fdht new --data mine.npz"
        )
    path = Path(f"{named(source)}{SUFFIX}") if path is None else path
    if path.suffix != SUFFIX:
        raise SpecError(f"a project's file ends in {SUFFIX}, by which commands know it; name it {path.stem}{SUFFIX}")
    if path.exists():
        raise FileError(f"{path} is there already; name another file with --out, or remove it")
    preset, data, found = proposed(output, source, board_name, hidden, rank, path.stem)
    beside = os.path.relpath(source.file.resolve(), path.resolve().parent)
    project = Project.of(preset, board_name, beside, found[0].rank)
    text = project.to_toml(
        (
            f"Made by fdht new for {data.name} on the {board_name}. Edit it as you like, then:",
            f"    fdht train {path.name}",
            f"    fdht compile build/{preset.name}.checkpoint --target {find_board(board_name).target}",
        )
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text.encode())
    Project.read(path).preset(path.parent)  # what people are to edit must be what is read
    hint_at_times(output, data)
    return {
        "project": str(path),
        "board": board_name,
        "data": data.name,
        "task": data.task.value,
        "clips": {part: len(getattr(data, part)) for part in ("train", "validation", "test")},
        "inputs": data.inputs,
        "values": list(data.value_names),
        "steps": data.steps,
        "outputs": data.classes,
        "epochs": preset.epochs,
        "batch": preset.batch,
        "proposals": [_figures(each) for each in found],
    }


def board_of(name: str) -> Board | None:
    """The board that a project is for; None of what is no project (a preset, another file), and where it is somebody's
    own (`module:name`), which the command line has to name.

    Raises:
        FileError: the project names a board that there is not.
    """
    if not name.endswith(SUFFIX):
        return None
    board = Project.read(name).board
    try:
        return None if ":" in board else find_board(board)
    except SpecError as error:
        raise FileError(f"{name}: {error}") from None


def misfit(layers: LSTMSpec | tuple[LSTMSpec, ...], board: Board) -> str:
    """What a board lacks for a model, as a sentence; empty if it fits."""
    try:
        candidates(layers, board.engine)
    except CapacityError as error:
        return f"this model does not fit the {board.name}, which the project is for: {error}"
    return ""


def _figures(proposal: Proposal) -> dict:
    memory, part = proposal.fullest
    return {
        "hidden": proposal.spec.hidden,
        "rank": proposal.rank,
        "input_modes": list(proposal.spec.network.input_shape),
        "output_modes": list(proposal.spec.network.output_shape),
        "parameters": proposal.spec.parameters,
        "cycles_per_step": proposal.cycles,
        "fullest_memory": memory,
        "fullest": part,
    }


def report(output: Output, figures: dict) -> None:
    """What was found, and what it is to do next."""
    clips = figures["clips"]
    output.facts(
        f"{figures['data']}: {figures['task']}",
        {
            "a step": f"{figures['inputs']:,} values{called(figures['values'])}",
            "steps": f"{figures['steps']:,}",
            "classes or outputs": figures["outputs"],
            "clips to train, validate, test": ", ".join(f"{count:,}" for count in clips.values()),
            "training": f"{figures['epochs']} epochs, {figures['batch']} clips per step of the optimiser",
            "project": figures["project"],
        },
    )
    rows = [
        (
            "taken" if number == 0 else "next",
            each["hidden"],
            each["rank"],
            " × ".join(map(str, each["input_modes"])),
            " × ".join(map(str, each["output_modes"])),
            each["parameters"]["factors"],
            round(each["cycles_per_step"]),
            f"{each['fullest_memory']}, {100 * each['fullest']:.0f} %",
        )
        for number, each in enumerate(figures["proposals"])
    ]
    columns = ("", "hidden", "rank", "input modes", "output modes", "factors", "cycles a step", "fullest memory")
    output.table(f"Models for the {figures['board']}", columns, rows)
