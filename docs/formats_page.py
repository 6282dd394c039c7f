"""Writes docs/formats.md, its pictures and the short table of README from the rows of docs/formats_study.py:
`python -m docs.formats_page`.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from docs.accuracy_page import table
from docs.formats_plan import (
    AT_EQUAL_FACTORS,
    CURVE,
    CURVE_DRAWS,
    CURVES,
    DENSE,
    DRAWS,
    FACES,
    FEW,
    FILMS,
    FORMATS,
    FOUR,
    KINDS,
    OURS,
    OURS_OF_FOUR,
    RIVALS,
    STUDY,
    TREE,
    TREE_SETS,
    TUNING,
    ModelName,
    Rates,
    Training,
    chosen,
    left,
    on,
    ours_beside,
    parts,
    planned,
    rate_of,
    rates_tried,
)
from docs.marked import page_with
from docs.study_sets import SAMPLED, SETS
from docs.tree_study import CHANGES
from fdht.drawing import plain
from fdht.drawing import write as write_picture
from fdht.studies import accuracy
from fdht.studies.accuracy import Row
from fdht.studies.pooling import MARGIN, Gap, gap, pooled

HERE = Path(__file__).parent
README, PAGE, RESULTS = HERE.parent / "README.md", HERE / "formats.md", HERE / "results" / "accuracy.json"
UNITS = HERE / "results" / "units.json"
"""The units of clips (docs/study_sets.py), by split, set and draw: intervals need them and not the data."""

UNITS_OF = {"validation": TREE, "test": STUDY}
"""Of which split they are kept, and for which rows."""

MARKS = "<!-- formats: python -m docs.formats_page -->", "<!-- end of formats -->"
SHORT = "<!-- formats, in short: python -m docs.formats_page -->", "<!-- end of formats, in short -->"
"""Of the short table, on the page and in the README."""

GAPS, CURVES_PICTURE = HERE / "results" / "formats-gaps.png", HERE / "results" / "formats-curves.png"

BEST_RIVAL = "the best of TT, TR, BT beside a matrix"
WHOLE = OURS_OF_FOUR, *AT_EQUAL_FACTORS
LEADING = "names", "playing-direction"
"""The two sets on which FDHT is the furthest behind the best rival."""

DECIDES = 0.995
"""Coverage of the interval by which a change to the tree becomes the default."""

COLOURS = {
    "fdht": "#4477aa",
    "ht-input": "#66ccee",
    "tt": "#ee6677",
    "tr": "#228833",
    "bt": "#ccbb44",
    "dense": "#999999",
}
NAMES = {"fdht": "FDHT", "ht-input": "HT", "tt": "TT", "tr": "TR", "bt": "BT", "dense": "dense"}

VERDICTS = {"better": "#228833", "worse": "#cc3311", "equal within 1 point": "#4477aa", "undecided": "#999999"}
TICKS = (500, 1_000, 2_000, 5_000, 10_000, 20_000)

SETS_FILE = HERE / "results" / "sets.json"
"""What sets are, for people: a line for each."""

TESTED = {"Fashion-MNIST": DRAWS * SAMPLED[-1], "names": 7_000, "faces-hard": 400}
"""Clips that are tested in all draws together, where that is not all of a set, five times those of a draw."""

Units = dict[str, dict[str, list[int]]]
"""By set and draw."""


def kept_units() -> dict[str, Units]:
    """The units of clips, by split, set and draw."""
    return json.loads(UNITS.read_text()) if UNITS.is_file() else {}


@dataclass(frozen=True)
class Comparison:
    """FDHT against other models over sets.

    Attributes:
        against: how the other is called.
        gaps: FDHT minus it, by set.
        times: how many of FDHT's recurrent parameters it has, by set.
    """

    against: str
    gaps: dict[str, Gap]
    times: dict[str, float]

    @property
    def pooled(self) -> Gap:
        return pooled([*self.gaps.values()])

    def of(self, what: str) -> Gap | None:
        """The mean over the sets of a kind; None where there is none."""
        own = [each for name, each in self.gaps.items() if KINDS[name] == what]
        return pooled(own) if own else None


def called(model: ModelName) -> str:
    """`TT beside a matrix`, `TT`, ..."""
    format, recurrent, variant = model
    beside = " beside a matrix" if recurrent == "dense" else ""
    return NAMES[format] + beside + (f", {variant}" if variant else "")


def against(model: ModelName) -> str:
    """The same where FDHT is held against it: at equal factors both are on four modes."""
    return f"{NAMES[model[0]]}, both on {FOUR}" if model in AT_EQUAL_FACTORS else called(model)


def by_draw(
    rows: Iterable[Row], name: str, model: ModelName, study: str = STUDY, rate: float | None = None
) -> dict[int, Row]:
    """The rows of a model on a set, by draw; at one rate, if it is given."""
    return {
        row.seed: row
        for row in rows
        if (row.study, row.data, row.format, row.recurrent, row.recipe) == (study, name, *model)
        and rate in (None, row.rate)
    }


def tested(rows: Sequence[Row], rates: Rates) -> dict[str, dict[ModelName, dict[int, Row]]]:
    """The rows of the comparison at the rates that are chosen, by set, model and draw."""
    return {
        name: {model: by_draw(rows, name, model, rate=rates[KINDS[name], model]) for model in on(name)} for name in SETS
    }


def between(ours: dict[int, Row], theirs: dict[int, Row], units: dict[str, list[int]]) -> Gap | None:
    """The difference on the draws that both have, None if those are fewer than two."""
    draws = sorted(ours.keys() & theirs.keys())
    if len(draws) < 2:
        return None
    a, b = ([of[draw].correct_clips for draw in draws] for of in (ours, theirs))
    return gap(a, b, [np.array(units[str(draw)]) for draw in draws])


def best_rival(rows: Sequence[Row], rates: Rates, name: str) -> ModelName:
    """The one that was best on the validation splits of a set."""
    return max(RIVALS, key=lambda model: validated(rows, model, rates[KINDS[name], model], [name]) or 0.0)


def comparisons(
    rows: Sequence[Row], rates: Rates, units: Units, ours: Callable[[ModelName, str], ModelName] = ours_beside
) -> list[Comparison]:
    """FDHT minus the rival that was best on each set's validation splits, and minus every other model.

    Args:
        ours: which FDHT-LSTM a model is held against on a set.
    """
    found = tested(rows, rates)

    def compared(who: str, models: dict[str, ModelName]) -> Comparison:
        gaps, times = {}, {}
        for name, model in models.items():
            own, theirs = (found[name].get(of, {}) for of in (ours(model, name), model))
            if each := between(own, theirs, units.get(name, {})):
                gaps[name] = each
                sizes = ([row.recurrent_parameters for row in of.values()] for of in (theirs, own))
                times[name] = float(np.divide(*map(np.mean, sizes)))
        return Comparison(who, gaps, times)

    every = [compared(BEST_RIVAL, {name: best_rival(rows, rates, name) for name in SETS})]
    every += [compared(against(model), dict.fromkeys(SETS, model)) for model in FORMATS[1:]]
    return [each for each in every if each.gaps]


def that_decide(every: Iterable[Comparison]) -> list[Comparison]:
    """Those that the rule was written for."""
    wanted = [BEST_RIVAL, *map(against, AT_EQUAL_FACTORS), against(DENSE)]
    return [each for each in every if each.against in wanted]


def changes(rows: Sequence[Row], rates: Rates, units: Units) -> list[Comparison]:
    """Each change to the tree minus the tree as it is, on validation splits."""
    plain, *others = CHANGES

    def of(change: str, name: str) -> dict[int, Row]:
        return by_draw(rows, name, (*OURS[:2], change), TREE, rate_of(change, rates))

    every = []
    for change in others:
        gaps = {name: between(of(change, name), of(plain, name), units.get(name, {})) for name in TREE_SETS}
        every.append(Comparison(change, {name: each for name, each in gaps.items() if each}, {}))
    return [each for each in every if each.gaps]


def expected(rows: Sequence[Row], rates: Rates) -> dict[str, tuple[float, Gap]]:
    """What the comparison can decide, from the trainings that rates were chosen from, at those rates: by set, the share
    of clips that one of FDHT and another model has right alone, the mean over the others, and a difference of 0 with
    the variance that is expected of `DRAWS` draws.

    The variance of a difference over R draws with N clips in all is p·(c/R + 1/N): p the share above, c·p the variance
    between draws beyond that of p/n by the n clips of one. c is taken as the same for all sets. Films had no trainings
    of this kind before their tests.
    """
    shares, beyond = defaultdict[str, list[float]](list), []
    for name in (name for name in SETS if KINDS[name] != FILMS):
        own = {model: by_draw(rows, name, model, TUNING, rates[KINDS[name], model]) for model in on(name)}
        for model in on(name)[1:]:
            pairs = [(own[OURS][d], own[model][d]) for d in sorted(own[OURS].keys() & own[model].keys())]
            off = [a.correct_clips.astype(float) - b.correct_clips for a, b in pairs]
            shares[name] += [float(np.mean(each != 0)) for each in off]
            if len(off) > 1:
                spread = np.var([each.mean() for each in off], ddof=1)
                beyond.append(spread - np.mean([each.var() / len(each) for each in off]))
    every = float(np.mean([share for of in shares.values() for share in of] or [0.0])) or 1.0
    between_draws = max(float(np.mean(beyond or [0.0])), 0.0) / every
    result = {}
    for name in (name for name in SETS if shares[name]):
        share = float(np.mean(shares[name]))
        tests = TESTED.get(name) or 5 * next(row.total for row in rows if (row.study, row.data) == (TUNING, name))
        result[name] = share, Gap(0.0, share * (between_draws / DRAWS + 1 / tests), DRAWS - 1)
    return result


def validated(rows: Iterable[Row], model: ModelName, rate: float, names: Iterable[str]) -> float | None:
    """The mean accuracy of a model at a rate on the validation splits of some sets; None where there is no row."""
    own = [row.accuracy for name in names for row in by_draw(rows, name, model, TUNING, rate).values()]
    return float(np.mean(own)) if own else None


def bracketed(interval: tuple[float, float]) -> str:
    """In points."""
    low, high = interval
    return f"[{100 * low:+.1f}, {100 * high:+.1f}]"


def points(each: Gap) -> str:
    """A difference in points, its interval and what that says."""
    return f"{100 * each.mean:+.1f} {bracketed(each.interval)} {each.verdict}"


def gap_table(head: str, every: Sequence[Comparison], coverages: Sequence[float] = ()) -> str:
    """A row per comparison: pooled, there with intervals of other coverages too, by kind of sets, and set by set."""
    names = [name for name in SETS if any(name in each.gaps for each in every)]
    kinds = [what for what in (FEW, FILMS) if {what} < {KINDS[name] for name in names}]  # faces are one set
    cells = []
    for each in every:
        of_kinds = [each.of(what) for what in kinds]
        cells.append(
            (
                each.against,
                f"**{points(each.pooled)}**",
                *(bracketed(each.pooled.interval_of(coverage)) for coverage in coverages),
                *("" if found is None else points(found) for found in of_kinds),
                *(points(each.gaps[name]) if name in each.gaps else "" for name in names),
            )
        )
    heads = [f"its interval of {100 * coverage:g} %" for coverage in coverages]
    return table((head, f"mean of {len(names)} sets", *heads, *kinds, *names), cells)


def between_least_and_most(values: Iterable[int]) -> str:
    values = {*values}
    return f"{min(values):,}" if len(values) == 1 else f"{min(values):,} to {max(values):,}"


def accuracy_table(found: dict[str, dict[ModelName, dict[int, Row]]]) -> str:
    """A row per model: its accuracy on every set, with its factors, its recurrent part and the whole model."""
    names = [name for name in SETS if found[name][OURS]]
    cells = []
    for model in FORMATS:
        own = {name: [*found[name].get(model, {}).values()] for name in names}
        texts = []
        for of in own.values():
            sizes = [[getattr(row, size) for row in of] for size in ("factors", "recurrent_parameters", "parameters")]
            draws = "" if len(of) == DRAWS else f", {len(of)} draws"
            mean = f"{100 * np.mean([row.accuracy for row in of]):.1f}" if of else ""
            texts.append(f"{mean} ({'; '.join(map(between_least_and_most, sizes))}{draws})" if of else "")
        cells.append((called(model), *texts))
    return table(("model", *names), cells)


def zero_table(found: dict[str, dict[ModelName, dict[int, Row]]]) -> str:
    """What h is worth: the accuracy of every model on every set, and the same with h = 0 in every step."""
    names = [name for name in SETS if found[name][OURS]]

    def text(of: Iterable[Row]) -> str:
        own = [(row.accuracy, row.correct_zero_h / row.total) for row in of if row.correct_zero_h is not None]
        return " → ".join(f"{100 * np.mean(each):.1f}" for each in zip(*own, strict=True))

    cells = [(called(m), *(text(found[name].get(m, {}).values()) for name in names)) for m in FORMATS]
    return table(("model", *names), cells)


def rate_tables(rows: Sequence[Row], rates: Rates) -> list[str]:
    """Rates, and the accuracies on validation splits that they were chosen by, by kind of sets."""
    tables = []
    for what in (FEW, FACES, FILMS):
        names = [name for name in SETS if KINDS[name] == what]
        rates_of = sorted({rate for model in FORMATS for rate in rates_tried(what, model)}, reverse=True)

        def cell(model: ModelName, rate: float, names: Sequence[str] = names) -> str:
            found = validated(rows, model, rate, names)
            return "" if found is None else f"{100 * found:.1f}"

        cells = [
            (called(m), f"{rates[what, m]:g}", *(cell(m, rate) for rate in rates_of))
            for m in FORMATS
            if m != OURS_OF_FOUR or what == FEW
        ]
        heads = (f"{what}: {', '.join(names)}", "chosen", *(f"validation at {rate:g}" for rate in rates_of))
        tables.append(table(heads, cells))
    return tables


def set_table(units: Units) -> str:
    """What the sets are."""
    facts = json.loads(SETS_FILE.read_text())
    heads = [*next(iter(facts.values()))]
    cells = [
        (
            name,
            *(str(facts[name][head]) for head in heads),
            f"{len({unit for of in units.get(name, {}).values() for unit in of}):,}",
        )
        for name in SETS
        if name in facts
    ]
    return table(("set", *heads, "units that test"), cells)


def in_short(every: Sequence[Comparison]) -> str:
    """The pooled differences that decide, and how many parameters the others have beside FDHT's."""
    cells = []
    for each in that_decide(every):
        low, high = (100 * end for end in each.pooled.interval)
        least, most = (
            f"{times:,.{int(times < 10)}f}" for times in (min(each.times.values()), max(each.times.values()))
        )
        cells.append(
            (
                each.against,
                f"{100 * each.pooled.mean:+.1f}",
                f"{low:+.1f} to {high:+.1f}",
                f"**{each.pooled.verdict}**",
                least if least == most else f"{least} to {most}",
            )
        )
    heads = (
        "FDHT-LSTM minus",
        "points",
        "interval of 95 %",
        "FDHT is",
        "recurrent parameters of the other, times FDHT's",
    )
    return table(heads, cells)


def otherwise_table(rows: Sequence[Row], rates: Rates, units: Units) -> str:
    """What the differences that decide would be on other sets, with the other FDHT-LSTM, or at the rates that films had
    first.
    """
    found = that_decide(comparisons(rows, rates, units))
    proposed = {each.against: each for each in comparisons(rows, rates, units, lambda *_: OURS)}
    first = rates | {(FILMS, model): rates[FACES, model] for model in FORMATS}
    first = {each.against: each for each in comparisons(rows, first, units)}
    cells = []
    for each in found:
        few = [gap for name, gap in each.gaps.items() if name not in LEADING]
        on_proposed = (proposed[each.against].pooled, proposed[each.against].of(FEW))
        other = each.against in map(against, AT_EQUAL_FACTORS)
        cells.append(
            (
                each.against,
                points(pooled(few)),
                *(points(gap) if gap and other else "the same" for gap in on_proposed),
                points(first[each.against].pooled),
            )
        )
    heads = (
        "FDHT minus",
        f"without {' and '.join(LEADING)}",
        "FDHT on the modes that are proposed, the others on four",
        f"that on {FEW} alone",
        "films as they were tested first",
    )
    return table(heads, cells)


def expected_table(rows: Sequence[Row], rates: Rates) -> str:
    """What can be decided, set by set and pooled."""
    found = expected(rows, rates)
    cells = [(n, f"{100 * share:.1f} %", f"± {100 * each.half_width:.1f}") for n, (share, each) in found.items()]
    every = [each for _, each in found.values()]
    cells.append((f"mean of {len(every)} sets", "", f"± {100 * pooled(every).half_width:.2f}"))
    widest = max(every, key=lambda each: each.variance)
    whole = [*every, *[widest] * (len(SETS) - len(every))]
    cells.append((f"mean of {len(whole)} sets, the films as the widest", "", f"± {100 * pooled(whole).half_width:.2f}"))
    return table(("set", "clips that one of two models has right alone", "half an interval, points"), cells)


def at_size(rows: Sequence[Row], rates: Rates, name: str, model: ModelName) -> list[list[Row]]:
    """The rows of a format on a set at its rate, by number of factors: those of the curve, and of the comparison on its
    draws.
    """
    rate = rates[KINDS[name], model]
    own = [
        row
        for row in rows
        if (row.data, row.format, row.recurrent, row.rate) == (name, *model[:2], rate)
        and (row.study == CURVE or (row.study == STUDY and row.recipe == FOUR and row.seed in CURVE_DRAWS))
    ]
    return [[row for row in own if row.factors == factors] for factors in sorted({row.factors for row in own})]


def curve_table(rows: Sequence[Row], rates: Rates, name: str) -> str:
    """Accuracies of a set, a row per format, from few to many factors."""
    every = {model: at_size(rows, rates, name, model) for model in WHOLE}
    most = max(len(of) for of in every.values())
    cells = []
    for model, of in every.items():
        texts = [f"{100 * np.mean([r.accuracy for r in each]):.1f} ({each[0].factors:,})" for each in of]
        cells.append((called(model), *texts, *[""] * (most - len(texts))))
    return table((f"{name}: accuracy (factors)", *[""] * most), cells)


def picture_of_gaps(every: Sequence[Comparison]) -> Figure:
    """Pooled differences with their intervals."""
    figure = Figure(figsize=(8, 1.5 + 0.42 * len(every)), layout="constrained")
    axes = figure.subplots()
    for y, each in enumerate(reversed(every)):
        low, high = (100 * end for end in each.pooled.interval)
        colour = VERDICTS[each.pooled.verdict]
        axes.plot([low, high], [y, y], color=colour, lw=3, solid_capstyle="butt")
        axes.plot(100 * each.pooled.mean, y, "o", color=colour, ms=7)
        axes.annotate(each.pooled.verdict, (high, y), (6, 0), textcoords="offset points", va="center", fontsize=9)
    most = max(len(each.gaps) for each in every)
    sets = ("" if len(each.gaps) == most else f" ({len(each.gaps)} sets)" for each in reversed(every))
    axes.set_yticks(range(len(every)), [each.against + of for each, of in zip(reversed(every), sets, strict=True)])
    axes.axvline(0, color="#444444", lw=1)
    axes.axvspan(-100 * MARGIN, 100 * MARGIN, color="#eeeeee", zorder=0)
    axes.set_xlabel("points, with intervals of 95 %; shaded: within 1 point")
    axes.set_title(f"Accuracy of FDHT-LSTM minus that of ..., mean of {most} data sets", loc="left", fontsize=11)
    axes.margins(x=0.25)
    plain(axes)
    return figure


def picture_of_curves(rows: Sequence[Row], rates: Rates) -> Figure:
    """Accuracy against factors, a panel per set, two side by side."""
    down = -(-len(CURVES) // 2)
    figure = Figure(figsize=(11, 4.5 * down), layout="constrained")
    for number, name in enumerate(CURVES, 1):
        axes = figure.add_subplot(down, 2, number)
        for model in WHOLE:
            of = at_size(rows, rates, name, model)
            sizes, accuracies = [each[0].factors for each in of], [[100 * r.accuracy for r in each] for each in of]
            colour = COLOURS[model[0]]
            axes.fill_between(sizes, [*map(min, accuracies)], [*map(max, accuracies)], color=colour, alpha=0.15, lw=0)
            axes.plot(sizes, [*map(np.mean, accuracies)], "o-", ms=5, color=colour, label=called(model))
        dense = by_draw(rows, name, DENSE, rate=rates[KINDS[name], DENSE]).values()
        if dense := [row for row in dense if row.seed in CURVE_DRAWS]:
            mean, label = float(np.mean([row.accuracy for row in dense])), f"dense, {dense[0].factors:,} weights"
            axes.axhline(100 * mean, color=COLOURS["dense"], ls="--", label=label)
        axes.set_xscale("log")
        axes.set_xticks(TICKS, [f"{tick:,}" for tick in TICKS], minor=False)
        axes.set_xlabel("factors of the network, which holds all eight matrices")
        axes.set_ylabel("accuracy on the test clips (%)")
        axes.set_title(f"{name}: {len(CURVE_DRAWS)} draws, bands from worst to best", loc="left", fontsize=11)
        axes.legend(frameon=False, fontsize=9)
        plain(axes)
    return figure


def decided(rows: list[Row], units: dict[str, Units], sets: Sequence[str]) -> list[Comparison]:
    """What was found, once all of the comparison is there. Tests are not shown before: nobody is to stop or go on for
    what they say.
    """
    there = {*parts(sets, rows)[2]} <= {Training.of(row) for row in rows}
    return comparisons(rows, chosen(rows), units["test"]) if there else []


def sections(
    rows: list[Row], units: dict[str, Units], sets: Sequence[str], compared_to: Sequence[Comparison]
) -> list[str]:
    """The tables of the page."""
    every, done, rates = parts(sets, rows), {Training.of(row) for row in rows}, chosen(rows)
    _, tree, _, curve = ({*part} <= done for part in every)
    missing = left(rows, every)
    text = []
    if not all(" 0 of " in line for line in missing[1:]):
        text += ["There is to do:", "\n".join(f"- {line}" for line in missing)]
    if compared_to:
        found = tested(rows, rates)
        counted = [row for of in found.values() for own in of.values() for row in own.values()]
        lost = sum(row.correct == 0 for row in counted)
        rivals = (f"{name} {called(best_rival(rows, rates, name))}" for name in sets)
        text += ["### FDHT minus the others, points", gap_table("FDHT minus", compared_to)]
        text += [f"The best rival: {'; '.join(rivals)}."]
        text += ["### Worked out afterwards, points", otherwise_table(rows, rates, units["test"])]
        text += ["### Accuracy in percent (factors; recurrent part; whole model)", accuracy_table(found)]
        text += [f"Of {len(counted):,} trainings {lost} diverged, and count as never right."]
        text += ["### What h is worth: accuracy, and with h = 0 (sizes as above)", zero_table(found)]
    if curve:
        text += ["### Accuracy against factors", f"![Accuracy against factors](results/{CURVES_PICTURE.name})"]
        text += [curve_table(rows, rates, name) for name in CURVES]
    if tree:  # two draws of five say nothing
        text += ["### What helps a tree: changes minus FDHT as it is, points, on validation splits"]
        text += [gap_table("change", changes(rows, rates, units.get("validation", {})), coverages=(DECIDES,))]
    text += ["### The sets", set_table(units.get("test", {}))] if SETS_FILE.is_file() else []
    text += ["### Learning rates", *rate_tables(rows, rates)]
    return [*text, "### Forecast, before the tests", expected_table(rows, rates)] if expected(rows, rates) else text


def write(sets: Sequence[str] = tuple(SETS)) -> None:
    """Tables into the page and the README, pictures beside the rows."""
    rows, units = planned(accuracy.load(RESULTS)), kept_units()
    found = decided(rows, units, sets)
    text = sections(rows, units, sets, found)
    PAGE.write_text(page_with(PAGE, MARKS, *text))
    if found:
        write_picture(picture_of_gaps(found), GAPS)
        PAGE.write_text(page_with(PAGE, SHORT, in_short(found), f"![Pooled differences](results/{GAPS.name})"))
        README.write_text(page_with(README, SHORT, in_short(found)))
    if any(CURVES_PICTURE.name in each for each in text):
        write_picture(picture_of_curves(rows, chosen(rows)), CURVES_PICTURE)


if __name__ == "__main__":
    write()
