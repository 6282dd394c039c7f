"""A picture of what a search has found: accuracy against cycles and against parameters."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from fdht.drawing import COLOURS, plain

FOUND, FRONT, PRESET = "#bbbbbb", COLOURS[0], COLOURS[1]


def figure(rows: Sequence[dict], front: Sequence[int], own: int | None, title: str) -> Figure:
    """One panel per size, both with the accuracy upwards.

    Args:
        rows: figures of the trained models (see fdht.explore.exploration.figures).
        front: trials that are to stand out, with their numbers. own: that of the preset, if there is one.
    """
    best = [row for row in rows if row["trial"] in front]
    drawing = Figure(figsize=(11, 4.8), layout="constrained")
    panels = drawing.subplots(1, 2, sharey=True)
    for axes, name, label in zip(
        panels, ("cycles", "parameters"), ("cycles per step", "parameters of the factors"), strict=True
    ):
        for chosen, colour, size, what in ((rows, FOUND, 18, "trained"), (best, FRONT, 34, "not surpassed")):
            xs, ys = [row[name] for row in chosen], [100 * row["accuracy"] for row in chosen]
            axes.scatter(xs, ys, s=size, color=colour, label=what, lw=0)
        for row in (row for row in rows if row["trial"] == own):
            ring = {"facecolors": "none", "edgecolors": PRESET, "lw": 1.5}
            axes.scatter(row[name], 100 * row["accuracy"], s=90, label="the preset", **ring)
        for row in best:
            at = (row[name], 100 * row["accuracy"])
            axes.annotate(str(row["trial"]), at, xytext=(3, 4), textcoords="offset points", fontsize=7.5)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(label)
        axes.set_axisbelow(True)
        plain(axes)
    panels[0].set_ylabel("accuracy, %")
    panels[0].legend(frameon=False, fontsize=9, loc="lower right")
    drawing.suptitle(title, x=0.01, ha="left", fontsize=11)
    return drawing
