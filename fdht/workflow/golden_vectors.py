"""The golden vectors of a bundle: which are looked at, their classes, and how what was computed differs from them."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from fdht.console import percent
from fdht.spec.bundle import Bundle
from fdht.spec.clips import spread_over
from fdht.spec.errors import FdhtError, SpecError
from fdht.spec.score import Score, errors, known, score
from fdht.spec.task import Task

SHOWN_MISMATCHES = 10
"""Differences that are shown one by one; of the others only the number is said."""

SHOWN_NAMES = 12
"""Names of values that a table shows."""

CLIPS_AT_ONCE = 25
"""What the golden model runs together: enough to be fast, few enough for the memory of a small machine."""

SHOWN_NUMBERS = 3
"""Most numbers of a regression that a table shows of a clip; of more it says how far they are away."""

CLIPS = 3
"""How many clips are looked at, where nobody says and there are as many."""


class Disagreement(FdhtError):
    """What was computed and its prediction differ."""


def spread(bundle: Bundle, count: int | None) -> list[int]:
    """Numbers of `count` clips of the bundle, spread over all of them; of `CLIPS` or all there are when left out.

    Raises:
        SpecError: fewer than one, or more than there are.
    """
    if not len(bundle.clips):
        raise SpecError("the bundle holds no clips; compile the checkpoint anew")
    count = min(CLIPS, len(bundle.clips)) if count is None else count
    if not 1 <= count <= len(bundle.clips):
        raise SpecError(f"{count} clips asked for, the bundle holds {len(bundle.clips)}; choose 1..{len(bundle.clips)}")
    return spread_over(len(bundle.clips), count).tolist()


def golden_classes(bundle: Bundle) -> np.ndarray:
    """The golden model's class of each clip of the bundle, or of each of its steps: the first of the largest logits, -1
    without a head and of a regression.
    """
    return bundle.spec.task.classes_of(bundle.logits)


Said = int | list
"""What is said of a clip, as JSON has it: its class, or that of every step; or numbers, or those of every step, None
where nothing is known.
"""


def said(bundle: Bundle, logits: np.ndarray) -> Said:
    """What the head's integers say of a clip of a bundle."""
    task = bundle.spec.task
    return (values_of(bundle, logits) if task.real else task.classes_of(logits)).tolist()


def truth(bundle: Bundle, clip: int) -> Said:
    """What is true of a clip of the bundle, or of its own steps."""
    known = own(bundle, clip, bundle.labels)
    if not bundle.spec.task.real:
        return known.tolist()
    told = known.astype(object)
    told[np.isnan(known)] = None
    return told.tolist()


def own(bundle: Bundle, clip: int, every: np.ndarray) -> np.ndarray:
    """Of the labels or logits of all clips those of one, as far as its own steps go."""
    return every[clip][: len(bundle.clip(clip))] if bundle.spec.task.every_step else every[clip]


def values_of(bundle: Bundle, logits: np.ndarray) -> np.ndarray:
    """The numbers that integers of the head stand for, in a regression those that were asked for."""
    head = bundle.formats.head
    assert head is not None
    outputs = bundle.outputs
    return head.result.dequantise(logits) if outputs is None else outputs.values_of(logits, head.result)


def golden_score(bundle: Bundle) -> Score:
    """How good the golden model is on the clips of the bundle; no figure where nothing is known of them."""
    if not known(bundle.spec.task, bundle.labels).any():
        return Score()
    if bundle.spec.task.real:
        return errors(values_of(bundle, bundle.logits), bundle.labels)
    return score(bundle.spec.task, bundle.logits, bundle.labels, None)


def shown(bundle: Bundle, clip: int, of: Said | None) -> object:
    """What is said of a clip, for a table: its class, or its numbers where they are few; how many steps are right; how
    far numbers are away.
    """
    label = own(bundle, clip, bundle.labels)
    if of is None:
        return of
    if isinstance(of, int):
        return with_name(bundle, of)
    if are_numbers(bundle):
        return numbers(of)
    if bundle.spec.task.real:
        return f"RMSE {errors(np.array(of, dtype=np.float64), label).rmse:.4g}"
    known = label >= 0
    return f"{(np.array(of)[known] == label[known]).sum()} of {known.sum()}"


def with_name(bundle: Bundle, number: int) -> object:
    """A class for a table: its number, and its name behind it (`4 tap`) where the bundle has one that says more."""
    names = class_names(bundle)
    if not 0 <= number < len(names) or names[number] == str(number):
        return number
    return f"{number} {names[number]}"


def class_names(bundle: Bundle) -> list[str]:
    """What classes are called; their numbers where the bundle does not say."""
    named = bundle.about.get("classes", [])
    return list(named) if len(named) == bundle.spec.classes else [str(k) for k in range(bundle.spec.classes)]


def value_names(bundle: Bundle) -> list[str]:
    """What the values of a step are called; none where the bundle does not say, or a part in front of the first layer,
    which is not in it, makes others of them.
    """
    named = bundle.about.get("values", [])
    return list(named) if len(named) == bundle.layers[0].inputs and not bundle.host else []


def listed(names: Sequence[str]) -> str:
    """Names for a table, of very many the first."""
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return ", ".join(names[:SHOWN_NAMES]) + more


def true_class(bundle: Bundle, label: Said) -> object:
    """What is true of a clip, for a table: its class, or its numbers where they are few; else of how many steps."""
    if isinstance(label, int):
        return with_name(bundle, label)
    if are_numbers(bundle):
        return numbers(label)
    return f"{len(label)} steps" if bundle.spec.task.every_step else f"{len(label)} numbers"


def are_numbers(bundle: Bundle) -> bool:
    """Whether what is said of a clip is so few numbers that a table shows them."""
    return bundle.spec.task.real and not bundle.spec.task.every_step and bundle.spec.classes <= SHOWN_NUMBERS


def numbers(of: Said) -> str:
    """A few numbers for a table."""
    every = of if isinstance(of, list) else [of]
    return ", ".join("-" if number is None else f"{number:.4g}" for number in every)


def what(bundle: Bundle) -> str:
    """What a table shows of clips."""
    task = bundle.spec.task
    if are_numbers(bundle):
        return "numbers"
    return "errors" if task.real else "steps that are right" if task.every_step else "classes"


def figure_of(task: Task, split: str, figures: Mapping[str, float | None]) -> dict[str, str]:
    """The figure of a training on a split, for people: accuracy, or rmse and r2."""
    if not task.real:
        return {f"accuracy ({split})": percent(figures["accuracy"])}
    rmse, r2 = ("-" if (of := figures[name]) is None else f"{of:.4g}" for name in ("rmse", "r2"))
    return {f"RMSE, R² ({split})": f"{rmse}, {r2}"}


def score_facts(about: Mapping[str, Mapping[str, float | None]], names: Mapping[str, str]) -> dict[str, str]:
    """Accuracies, or rmse and r2, for people.

    Args:
        about: `accuracy`, or `rmse` and `r2`, by model. names: of the models, as they are shown.
    """
    form = {"accuracy": percent, "rmse": lambda figure: f"{figure:.4g}", "r2": lambda figure: f"{figure:.3f}"}
    title = {"accuracy": "accuracy", "rmse": "RMSE", "r2": "R²"}
    return {
        f"{title[kind]}, {names.get(name, name)}": "-" if figure is None else form[kind](figure)
        for kind in form
        for name, figure in about.get(kind, {}).items()
    }


def float_class(bundle: Bundle, clip: int) -> int | None:
    """The float model's class of a clip, as noted when the bundle was made."""
    classes = bundle.about.get("float_classes")
    return None if classes is None else classes[clip]


def noted(figures: dict) -> bool:
    """Whether the figures of clips say what the float model makes of them."""
    return any(clip["float"] is not None for clip in figures["clips"])


def disagreements(bundle: Bundle) -> list[dict] | None:
    """Clips of the bundle to which integers and float model give different classes; None where the bundle does not note
    what the float model says of clips.
    """
    classes, golden = bundle.about.get("float_classes"), golden_classes(bundle).tolist()
    if classes is None:
        return None
    return [
        {"clip": clip, "label": int(bundle.labels[clip]), "float": of_float, "golden": golden[clip]}
        for clip, of_float in enumerate(classes)
        if of_float != golden[clip]
    ]


def against_vectors(bundle: Bundle, clip: int, logits: np.ndarray, hidden: np.ndarray) -> list[str]:
    """What was computed against the golden model's vectors in the bundle, one sentence per differing word."""
    hidden = hidden[-bundle.spec.hidden :]  # of the last layer
    of_hidden = _differences(clip, "h of unit", hidden, bundle.hidden[clip])
    return [*logits_against_vectors(bundle, clip, logits), *of_hidden]


def logits_against_vectors(bundle: Bundle, clip: int, logits: np.ndarray) -> list[str]:
    """The same of logits alone."""
    return _differences(clip, "logit", logits, own(bundle, clip, bundle.logits))


def _differences(clip: int, name: str, seen: np.ndarray, expected: np.ndarray) -> list[str]:
    return [
        f"clip {clip}: {name} {place[-1]}{f' of step {place[0]}' if len(place) > 1 else ''} is {seen[place]}, "
        f"{expected[place]} in the golden model"
        for place in map(tuple, np.argwhere(seen != expected).tolist())
    ]


def run_again(bundle: Bundle, progress: Callable[[int], None]) -> dict[str, float]:
    """Runs the golden model on every clip of the bundle anew; `progress` is called with the clips done.

    Returns:
        The fraction of values that were clipped, by place.

    Raises:
        Disagreement: it no longer gives the vectors of the bundle.
    """
    from fdht.model.golden import GoldenLSTM  # torch takes seconds to load, and simulations do without

    model, clipped, values = GoldenLSTM(bundle), Counter[str](), Counter[str]()
    for start in range(0, len(bundle.clips), CLIPS_AT_ONCE):
        some = slice(start, start + CLIPS_AT_ONCE)
        trace = model.run(bundle.clips[some], lengths=None if bundle.lengths is None else bundle.lengths[some])
        vectors = (trace.logits.numpy(), bundle.logits[some]), (trace.last.numpy(), bundle.hidden[some])
        if not all(np.array_equal(found, kept) for found, kept in vectors):
            raise Disagreement(
                "the golden model no longer gives the vectors of this bundle; compile the checkpoint anew"
            )
        clipped.update(trace.saturations)
        values.update(trace.values)
        progress(min(start + CLIPS_AT_ONCE, len(bundle.clips)))
    return {place: clipped[place] / count for place, count in values.items()}
