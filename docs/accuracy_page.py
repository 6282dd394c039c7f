"""Writes the tables of docs/accuracy.md and its pictures, from docs/results/accuracy.json."""

from collections.abc import Iterable
from pathlib import Path
from statistics import fmean

from docs.marked import page_with
from fdht.drawing import write as write_picture
from fdht.spec.clips import spread_over
from fdht.studies import accuracy, compression, precision, standings
from fdht.studies.accuracy import Row, by_series
from fdht.studies.baselines import STUDY as BASELINES
from fdht.studies.side_by_side import STUDY as SIDE_BY_SIDE
from fdht.studies.standings import Standing

HERE = Path(__file__).parent
PAGE, ROWS = HERE / "accuracy.md", HERE / "results" / "accuracy.json"
MARKS = "<!-- accuracy: python -m docs.results -->", "<!-- end of accuracy -->"


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown."""
    heads = list(heads)
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def with_spread(model: Standing) -> str:
    """Mean and standard deviation over the seeds, in percent."""
    return percent(model.mean) if model.spread is None else f"{100 * model.mean:.1f} ± {100 * model.spread:.1f} %"


def presets(rows: list[Row]) -> list[str]:
    """One table: FDHT on the data of each preset."""
    ours = [row for row in rows if row.format == "fdht"]
    every = [(*key, model) for key, models in standings.standings(ours).items() for model in models]
    heads = ("data", "training clips", "factors", "recurrent part", "whole model", "accuracy", "test clips", "seeds")
    cells = [
        (
            data,
            f"{clips:,}",
            f"{model.rows[0].factors:,}",
            f"{model.rows[0].recurrent_parameters:,}",
            f"{model.rows[0].parameters:,}",
            with_spread(model),
            str(model.rows[0].total),
            str(len(model.rows)),
        )
        for data, clips, model in every
    ]
    return [table(heads, cells)]


def compressed(rows: list[Row]) -> list[str]:
    """A table per data set: what each rank loses, what training gives back, on the labels or from the dense model, and
    what as many random factors learn.
    """
    tables = []
    for data in sorted({row.data for row in rows}):
        found = {recipe: [r for r in rows if (r.data, r.recipe) == (data, recipe)] for recipe in compression.RECIPES}
        whole = [f"dense, {r.parameters:,} parameters: {percent(r.accuracy)}" for r in found["dense"]]
        learnt = [recipe for recipe in compression.RECIPES[2:] if found[recipe]]
        heads = (
            "; ".join([data, *whole]),
            "recurrent part",
            "whole model",
            "error of W",
            "truncated",
            *learnt,
            "clips",
        )
        cells = []
        for cut in found["truncated"]:
            same = {
                recipe: [r for r in found[recipe] if (r.factors, r.seed) == (cut.factors, cut.seed)]
                for recipe in learnt
            }
            cells.append(
                [
                    f"{cut.factors:,} factors",
                    f"{cut.recurrent_parameters:,}",
                    f"{cut.parameters:,}",
                    f"{cut.error:.3f}",
                    percent(cut.accuracy),
                    *(", ".join(percent(r.accuracy) for r in of) for of in same.values()),
                    ", ".join(f"{clips:,}" for clips in sorted({r.clips for of in same.values() for r in of})),
                ]
            )
        tables.append(table(heads, cells))
    return tables


def side_by_side(rows: list[Row]) -> list[str]:
    """One table: float, golden model and RTL of each bundle that was compared."""
    if not rows:
        return []
    heads = ("preset", "data", "target", "bits", "float", "golden", "clips", "RTL, clips simulated", "as golden")
    floats = {(r.data, r.recipe, r.factors, r.clips, r.qat, r.seed): r for r in rows if r.model == "float"}
    cells = []
    for golden in (r for r in rows if r.model == "golden"):
        ours = golden.data, golden.recipe, golden.factors, golden.clips, golden.qat, golden.seed
        rtl = [r for r in rows if (*r.series, r.seed) == (*_with_model(golden, "rtl"), golden.seed)]
        simulated = equal = ""
        if rtl:
            picked = golden.correct_clips[spread_over(golden.total, rtl[0].total)]
            simulated = f"{rtl[0].correct} of {rtl[0].total} right"
            equal = f"{int((picked == rtl[0].correct_clips).sum())} of {rtl[0].total}"
        cells.append(
            [
                golden.recipe,
                golden.data,
                golden.target,
                golden.bits + (", QAT" if golden.qat else ""),
                percent(floats[ours].accuracy) if ours in floats else "",
                percent(golden.accuracy),
                str(golden.total),
                simulated,
                equal,
            ]
        )
    return [table(heads, cells)]


def widths(rows: list[Row]) -> list[str]:
    """A table and a picture per sweep: factors down, data words across."""
    parts = []
    for (data, target, clips), own in precision.sweeps(rows).items():
        by_bits, (down, across) = precision.cells(own), precision.widths_of(own)
        floating = with_spread(Standing([row for row in own if row.bits == accuracy.FLOAT], None))
        heads = (
            f"{data}, {clips:,} training clips, {own[0].total} test clips, stage list of {target}; float {floating}",
            *(f"data words of {width} bits" for width in across),
        )
        cells = [
            (f"factors of {factor} bits", *(_cell(by_bits.get(f"{factor}/{width}")) for width in across))
            for factor in down
        ]
        name = precision.picture_of(data, target)
        parts += [table(heads, cells), f"![{data}: accuracy against bits](results/{name})"]
    return parts


def _cell(cell: precision.Cell | None) -> str:
    """Mean accuracy in percent, rounded after training → trained on; marked where it is of several seeds."""
    if cell is None:
        return ""
    seeds = f" ({len(cell.trained)})" if len(cell.trained) > 1 else ""
    return " → ".join(f"{100 * fmean(each):.1f}" for each in (cell.rounded, cell.trained) if each) + seeds


def _with_model(row: Row, model: str) -> tuple:
    return tuple(model if value == row.model else value for value in row.series)


def sections(rows: list[Row]) -> list[str]:
    """What stands between the marks of the page."""
    of = {study: [row for row in rows if row.study == study] for study in {row.study for row in rows}}
    parts = []
    for title, study, make in (
        ("Presets", BASELINES, presets),
        ("A dense model compressed", compression.STUDY, compressed),
        ("Bits of factors and data words", precision.STUDY, widths),
        ("Float, golden model and RTL side by side", SIDE_BY_SIDE, side_by_side),
    ):
        if study in of:
            parts += [f"### {title}", *make([row for each in by_series(of[study]).values() for row in each])]
    return parts


def write() -> None:
    """Tables into the page, pictures beside the rows; nothing without rows."""
    rows = accuracy.load(ROWS)
    if not rows:
        return
    PAGE.write_text(page_with(PAGE, MARKS, *sections(rows)))
    for (data, target, _), own in precision.sweeps([row for row in rows if row.study == precision.STUDY]).items():
        write_picture(precision.sweep(own), ROWS.with_name(precision.picture_of(data, target)))
