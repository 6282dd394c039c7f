"""What a bundle says of its model: data, recipe, how good it is, and the clips on which it errs."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from matplotlib.figure import Figure

from fdht.console import percent
from fdht.drawing import COLOURS, plain
from fdht.report.collected import Table, facts, table
from fdht.spec.bundle import Bundle
from fdht.spec.clips import spread_over
from fdht.spec.score import interval, known
from fdht.spec.task import Task
from fdht.workflow.comparison import MODELS
from fdht.workflow.frames import LINES, pictures_of
from fdht.workflow.golden_vectors import (
    SHOWN_NUMBERS,
    class_names,
    disagreements,
    golden_classes,
    own,
    score_facts,
    values_of,
)

SHOWN = 12
"""Clips of a kind that are shown as pictures."""

POINTS = 1_000
"""Most points of a panel; of more, some that are spread over all."""

WIDE = 1024
"""Most values of a step that are drawn as shades of grey, where nobody says that they are a picture."""


@dataclass(frozen=True)
class Shown:
    """A clip as pictures: its number, what is said of it, and PNGs or JPEGs as data URLs."""

    clip: int
    caption: str
    pictures: list[str]


def training(bundle: Bundle) -> list[Table]:
    """Splits and recipe, as far as the bundle says them."""
    result = []
    if splits := bundle.about.get("splits"):
        result.append(table("Splits", ("part", "clips"), list(splits.items())))
    if recipe := bundle.about.get("recipe"):
        each = recipe.get("clips_per_epoch")
        if splits and isinstance(each, int) and each >= splits.get("final", each + 1):
            recipe = {**recipe, "clips_per_epoch": "all"}
        named = {name.replace("_", " "): value for name, value in recipe.items() if value is not None}
        result.append(facts("Recipe", {name: _flat(value) for name, value in named.items()}))
    return result


def _flat(value: object) -> object:
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')} {part}" for name, part in value.items())
    return value


def accuracy(bundle: Bundle) -> Table | None:
    """Accuracies with their intervals, or errors of a regression; None where the bundle says none."""
    about = bundle.about
    if bundle.spec.task.real:
        found = score_facts(about, MODELS)
        return facts("Errors", {**found}) if found else None
    count = int(known(bundle.spec.task, bundle.labels).sum())
    if not count or "accuracy" not in about:
        return None
    what = "steps" if bundle.spec.task.every_step else "clips"
    rows = []
    for model, name in MODELS.items():
        share = about["accuracy"].get(model)
        if share is not None:
            hits = round(share * count)
            rows.append((name, percent(share), " to ".join(map(percent, interval(hits, count))), hits, count))
    return table("Accuracy", ("model", "accuracy", "95 % interval (Wilson)", f"{what} right", f"of {what}"), rows)


def confusion(bundle: Bundle) -> np.ndarray | None:
    """How often clips (or steps) of each class were given each class by the integers, true × said; None where the
    model does not classify, or nothing is known of its clips.
    """
    if bundle.spec.task.real or not bundle.spec.classes:
        return None
    told = known(bundle.spec.task, bundle.labels)
    if not told.any():
        return None
    counts = np.zeros((bundle.spec.classes, bundle.spec.classes), dtype=np.int64)
    np.add.at(counts, (bundle.labels[told], golden_classes(bundle)[told]), 1)
    return counts


def scatter(bundle: Bundle) -> Figure | None:
    """What the integers say against what is true, a panel for each of the first numbers of a regression; None of a
    model that classifies, or where nothing is known of its clips.
    """
    if not bundle.spec.task.real:
        return None
    clips = range(len(bundle.labels))
    wanted, given = (
        np.concatenate([np.atleast_2d(own(bundle, clip, every)) for clip in clips])
        for every in (bundle.labels, values_of(bundle, bundle.logits))
    )
    panels = [k for k in range(bundle.spec.classes) if np.isfinite(wanted[:, k]).any()][:SHOWN_NUMBERS]
    if not panels:
        return None
    figure = Figure(figsize=(4 * len(panels), 4), layout="constrained")
    for k, axes in zip(panels, figure.subplots(1, len(panels), squeeze=False)[0], strict=True):
        there = np.flatnonzero(np.isfinite(wanted[:, k]))
        there = there[spread_over(len(there), min(len(there), POINTS))]
        true, said = wanted[there, k], given[there, k]
        ends = [min(true.min(), said.min()), max(true.max(), said.max())]
        axes.plot(ends, ends, color="#999999", lw=1)
        axes.plot(true, said, "o", ms=3, alpha=0.5, color=COLOURS[0])
        axes.set(xlabel="true", ylabel="said by the integers", title=f"number {k}" if bundle.spec.classes > 1 else "")
        plain(axes)
    return figure


def differing(bundle: Bundle) -> tuple[int | None, list[Shown]]:
    """How many clips float and integers see differently, and some of them; None where the bundle does not note what
    the float model says of clips.
    """
    found, names = disagreements(bundle), class_names(bundle)
    if found is None:
        return None, []
    captions = {
        each["clip"]: f"{_true(names, each['label'])}; float: {names[each['float']]}, integers: {names[each['golden']]}"
        for each in found
    }
    return len(found), _shown(bundle, captions)


def wrong(bundle: Bundle) -> tuple[int, list[Shown]]:
    """How many clips the integers get wrong, and some of them."""
    if bundle.spec.task is not Task.CLASSIFY or not bundle.spec.classes:
        return 0, []
    names, said = class_names(bundle), golden_classes(bundle)
    clips = np.flatnonzero((said != bundle.labels) & (bundle.labels >= 0))
    return len(clips), _shown(
        bundle,
        {int(clip): f"{_true(names, int(bundle.labels[clip]))}; integers: {names[said[clip]]}" for clip in clips},
    )


def _true(names: Sequence[str], label: int) -> str:
    return f"true: {names[label]}" if label >= 0 else "true class unknown"


def _shown(bundle: Bundle, captions: dict[int, str]) -> list[Shown]:
    some = list(captions)[:SHOWN]
    return [Shown(clip, captions[clip], _pictures(bundle, clip)) for clip in some]


def _pictures(bundle: Bundle, clip: int) -> list[str]:
    """A clip as data URLs; none where its frames are no pictures and too wide to be drawn."""
    words = bundle.clip(clip)
    steps, inputs = words.shape
    shape, scaled = bundle.about.get("picture", []), bundle.scaling is not None
    if len(shape) not in (2, 3) or prod(shape) not in (inputs, steps * inputs):
        if inputs > WIDE:
            return []
        shape, scaled = (steps, inputs), True
    pictures = pictures_of(words[None], shape, bundle.formats.input.raw, scaled)
    form = "PNG" if shape[0] <= LINES // 2 else "JPEG"  # few large pixels, or a photograph
    return [_data_url(picture, form) for picture in pictures]


def _data_url(picture, form: str) -> str:
    content = io.BytesIO()
    picture.save(content, form, **({"quality": 80} if form == "JPEG" else {"optimize": True}))
    return f"data:image/{form.lower()};base64,{base64.b64encode(content.getvalue()).decode()}"
