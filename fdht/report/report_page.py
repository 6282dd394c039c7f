"""`fdht report`: everything that is known of a model on an engine, as one HTML file that needs no network."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure
from pydantic import ConfigDict
from typing_extensions import TypedDict

from fdht.boards import baseline
from fdht.boards.baseline import BaselineError
from fdht.boards.board import Board
from fdht.boards.catalogue import boards_with
from fdht.boards.fullness import KINDS, available
from fdht.compiler.explain import explain
from fdht.compiler.image import Image, compile_bundle
from fdht.compiler.pace import whole
from fdht.console import Output, percent
from fdht.report import model_card
from fdht.report.collected import Collected, Table, facts, table
from fdht.report.memory_picture import memory_picture
from fdht.report.schedule_view import pieces_table, view
from fdht.spec import cards, container
from fdht.spec.bundle import Bundle
from fdht.spec.container import write_whole
from fdht.spec.errors import SpecError, escaped
from fdht.spec.record import Count, Text, parse
from fdht.spec.target import Target
from fdht.spec.version import VERSION
from fdht.workflow import explanation, information
from fdht.workflow.golden_vectors import class_names
from fdht.workflow.timeline import steady_step


class Built(TypedDict, total=False):
    """What the page tells of a build's report."""

    __pydantic_config__ = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)  # type: ignore[misc]

    luts: Count
    ffs: Count
    multipliers: Count
    block_rams: Count
    sprams: Count
    fmax_mhz_seeds: dict[Text, float | None]
    timing_source: Text
    seconds: float
    tools: dict[Text, Text]


BUILD = Path("build")
"""Where a board's own build leaves its report, below the current folder."""


def run(output: Output, path: Path, target: Target, boards: Sequence[Board] | None, to: Path) -> dict:
    """Writes the page of a bundle; returns its figures.

    Args:
        boards: whose builds are told; those that come with the engine when left out.

    Raises:
        SpecError, FileError, CapacityError: no readable bundle, one that does not fit the target, or a place where no
            file can be.
    """
    bundle = Bundle.load(path)
    with output.progress("planning, compiling, drawing"):
        image = compile_bundle(bundle, target, container.hash_of(path))
        found, text = page(bundle, image, escaped(str(path)), boards)
    write_whole(to, text.encode())
    return {"bundle": str(path), "report": str(to), "bytes": len(text.encode()), **found}


def page(bundle: Bundle, image: Image, source: str, boards: Sequence[Board] | None = None) -> tuple[dict, str]:
    """The figures of a report, and its page.

    Args:
        source: what the bundle is called.

    Raises:
        SpecError: an image of several streams, whose steps are not alike.
    """
    if image.streams:
        raise SpecError(
            f"an image of {image.streams} streams has no step of its own to show; compile it for one (leave --streams)"
        )
    boards = boards_with(image.target) if boards is None else boards
    why = explain(bundle.layers, image.target, bundle.stage_lists)
    step = steady_step(image)
    card = Collected()
    named, show = information.of_bundle(bundle, "The model")
    show(card)
    planned = Collected()
    explanation.report(planned, why, image.target)
    counts, (differ, differing), (missed, wrong) = (
        model_card.confusion(bundle),
        model_card.differing(bundle),
        model_card.wrong(bundle),
    )
    builds = [_build(board, image, why.cycles) for board in boards]
    figures = {
        "target": image.target.name,
        **{name: named[name] for name in ("model", "accuracy", "clips", "stages")},
        "confusion": None if counts is None else counts.tolist(),
        "differing_clips": differ,
        "wrong_clips": missed,
        "cycles_of_the_step": step.cycles,
        "explanation": explanation.figures(why),
        "boards": [board.name for board in boards],
    }
    chains = [
        {
            "title": f"Weight of {' and '.join(name for name, region in (('x', chain.x), ('h', chain.h)) if region)}"
            + (f", layer {chain.layer}" if len(bundle.layers) > 1 else ""),
            "picture": Markup(cards.network_picture(chain.network)),
        }
        for chain in bundle.chains
    ]
    model = {
        "title": bundle.about.get("preset") or bundle.about.get("model") or source,
        "source": source,
        "target": image.target.name,
        "version": VERSION,
        "card": card.tables[0],
        "training": model_card.training(bundle),
        "accuracy": model_card.accuracy(bundle),
        "confusion": None if counts is None else _confusion(counts.tolist(), class_names(bundle)),
        "scatter": None if (drawn := model_card.scatter(bundle)) is None else _data_url(drawn),
        "differ": differ,
        "differing": differing,
        "missed": missed,
        "wrong": wrong,
        "chains": chains,
        "stages": card.tables[1],
        "plan": _plan(planned.tables),
        "memory": Markup(memory_picture(why.memory, image.target)),
        "fill": Markup(cards.fill_bars(why.fill)),
        "schedule": view(image, step, bundle),
        "pieces": pieces_table(step),
        "builds": builds,
        "cycles": step.cycles,
    }
    return figures, render(model)


def render(model: dict[str, Any]) -> str:
    """The page of what it shows; text is escaped, and what is in its script cannot end it."""
    here = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    parts = {name: Markup((Path(__file__).parent / f"page.{name}").read_text()) for name in ("css", "js")}
    return here.get_template("page.html").render(**model, **parts)


def _plan(tables: Sequence[Table]) -> dict[str, Any]:
    """The tables of an explanation by the sections of the page: `lies` is numbered as its picture is."""
    *first, lies, _ = tables
    numbered = Table(
        lies.title,
        ("", *lies.heads),
        [[str(k + 1), *row] for k, row in enumerate(lies.rows)],
        (True, *lies.numbers),
    )
    return {"stages": first[0], "step": first[1], "next": first[2:], "lies": numbered}


def _confusion(counts: list[list[int]], names: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "cells": [
                {"count": count, "said": names[k], "share": count / max(sum(row), 1)} for k, count in enumerate(row)
            ],
        }
        for name, row in zip(names, counts, strict=True)
    ]


def _build(board: Board, image: Image, cycles: float) -> dict[str, Any]:
    """What a board's build took: the user's own, else the recorded one; and what its clock makes of the model."""
    built, said = found_build(board)
    tables: list[Table] = []
    named: dict[str, object] = {
        "clock": f"{board.clock_mhz:g} MHz",
        "cycles per step, in steady state": whole(cycles),
        "steps per second at this clock": round(board.clock_hz / cycles),
    }
    if built:
        there = {} if board.room is None else available(board.room)
        rows = [
            (
                KINDS[kind][1],
                built[kind],
                there.get(kind),
                percent(built[kind] / there[kind]) if there.get(kind) else "",
            )
            for kind in KINDS
            if kind in built and (built[kind] or there.get(kind))
        ]
        tables.append(table("What it takes of the part", ("", "taken", "there", "share"), rows))
        seeds = {
            f"clock reached with seed {seed}": "not routed" if mhz is None else f"{mhz:.2f} MHz"
            for seed, mhz in built.get("fmax_mhz_seeds", {}).items()
        }
        named |= seeds
        named |= {
            name.replace("_", " "): built[name] for name in ("timing_source", "seconds") if built.get(name) is not None
        }
        named |= {name: version for name, version in built.get("tools", {}).items()}
    tables.append(facts("Clock and tools" if built else "Clock", named))
    plan = _floor_plan(board.engine) if board.engine.build.pinned else None
    return {"name": board.name, "said": said, "tables": tables, "plan": plan}


def found_build(board: Board) -> tuple[Mapping[str, Any], str]:
    """The report of a build, and where it comes from in words."""
    own = BUILD / board.design / f"{board.name}.json"
    if own.is_file():
        try:
            return parse(Built, own.read_text()), f"a build of your own, {own}"
        except (OSError, ValueError):
            return {}, f"{own} cannot be read; fdht synth {board.options} makes it anew"
    try:
        return baseline.load(board), "the recorded build"
    except BaselineError:
        return {}, f"no build is recorded; fdht synth {board.options} makes one"


def _floor_plan(target: Target) -> str:
    """The array's places on the part, as a data URL."""
    from fdht.studies.pictures import floor_plan

    return _data_url(floor_plan(target))


def _data_url(figure: Figure) -> str:
    content = io.BytesIO()
    figure.savefig(content, format="svg", metadata={"Date": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(content.getvalue()).decode()}"


def report(output: Output, figures: dict) -> None:
    """What was written."""
    differ = figures["differing_clips"]
    output.facts(
        f"A report on {figures['bundle']} on {figures['target']}",
        {
            "open in a browser": figures["report"],
            "bytes": figures["bytes"],
            "cycles of the step shown": figures["cycles_of_the_step"],
            "clips that float and integers see differently": "-" if differ is None else differ,
        },
    )
