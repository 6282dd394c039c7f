"""Decides how FDHT-LSTM does beside other formats: a plan of trainings in one store, and the rows they leave.

    pip download --no-deps aeon==1.6.0 && unzip -q aeon-*.whl 'aeon/datasets/data/*'
    apt-get download dataset-fashion-mnist && dpkg-deb -x dataset-fashion-mnist_*.deb fashion
    python -m docs.formats_study --series aeon/datasets/data --fashion fashion --plan    what there is to do, how long
    python -m docs.formats_study --series aeon/datasets/data --fashion fashion           trains; goes on where it was
    python -m docs.formats_study --power                                                 what can be decided
    python -m docs.formats_study --page                                                  the tables, from what is kept

Sets, draws, formats and recipe are alike for all: `SETS` (docs/study_sets.py), `DRAWS` draws of each with a seed of its
own, the formats of `fdht baselines`, and the recipe that `fdht train` uses where nothing is said. A format has one
learning rate, for all sets: the one of `RATES` with the best mean accuracy on the validation splits of the `TUNED`
sets, in draws `TRIED`. Then all formats train on every draw of every set, on its training and validation splits, and
each opens the test split once.

Rows of what is trained are in docs/results/accuracy.json. What is not waits in an Optuna storage (`--store`), at which
several processes may work, and several machines where it is a database that they share.
"""

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import optuna
import torch
from optuna.storages import RDBStorage, RetryFailedTrialCallback
from optuna.trial import TrialState

from docs.accuracy_page import NAMES, table
from docs.marked import page_with
from docs.study_sets import SETS, Drawn, Places
from fdht.model.checkpoint import load_checkpoint
from fdht.model.data import here
from fdht.model.presets import Preset, fitted
from fdht.model.train import TrainingDiverged, TrainingOptions, predict, train
from fdht.spec.choose import chosen_lstm
from fdht.spec.container import write_whole
from fdht.studies import accuracy
from fdht.studies.accuracy import Row
from fdht.studies.pooling import Gap, gap, pooled
from fdht.studies.rivals import Model, models, ring_as_published

RESULTS = Path(__file__).parent / "results" / "accuracy.json"
UNITS = Path(__file__).parent / "results" / "units.json"
"""The units of the clips that test (docs/study_sets.py), by set and draw: intervals need them and not the data."""
PAGE = Path(__file__).parent / "formats.md"
MARKS = "<!-- formats: python -m docs.formats_study -->", "<!-- end of formats -->"

STORE = "sqlite:///build/formats-study/trainings.db"
BEAT, GRACE, AGAIN = 30, 120, 3
"""Seconds between signs of life of a training, and without one until it counts as lost; how often it is done again."""

TRAINING, FIGURES = "training", "figures"
"""Attributes of a trial."""

STUDY = "formats"
"""What rows of it are called; those on validation, from which rates are chosen, are called `TUNING`."""
TUNING = "formats, tuning"

DRAWS = 10
RATES = (0.1, 0.03, 0.01, 0.003)
TRIED = (0, 1)
TUNED = tuple(name for name in SETS if name not in ("clip-segments", "playing-direction"))
"""Not the films, where a training takes minutes: they use the rate that all other sets have chosen."""


ModelName = tuple[str, str, str]
"""Format, where W_h is, and variant."""


@dataclass(frozen=True)
class Training:
    """One training of the plan: a model on a draw of a set, with a rate; to choose rates, or for the test."""

    data: str
    format: str
    recurrent: str
    variant: str
    draw: int
    rate: float
    study: str

    @classmethod
    def of(cls, row: Row) -> "Training":
        return cls(row.data, row.format, row.recurrent, row.recipe, row.seed, row.rate, row.study)

    @property
    def model(self) -> ModelName:
        return self.format, self.recurrent, self.variant


FORMATS = (
    ("fdht", "whole", ""),
    *((format, "whole", "") for format in ("tt", "tr", "bt")),
    *((format, "dense", "") for format in ("tt", "tr", "bt", "ht-input")),
    ("tr", "dense", "a core for each mode"),
    ("dense", "whole", ""),
)
CURVE, CURVES = "formats, curve", ("digits", "spoken-digits")
"""What rows of accuracy against factors are called, and the sets that are looked at."""

FACTORS, CURVE_DRAWS = (500, 1_000, 2_000, 8_000, 20_000), (0, 1, 2)
"""About how many a network has; in the comparison itself it is some 3,000."""

DENSE, DENSE_DRAWS = FORMATS[-1], 3
"""The dense LSTM, and on how many draws it is trained where a step is a picture: there it takes minutes."""

RIVALS = FORMATS[4:7]
"""TT, TR and BT beside a dense W_h, as the papers have them."""


def tuning(sets: Iterable[str]) -> Iterator[Training]:
    """What rates are chosen from."""
    for draw in TRIED:
        for name in (name for name in sets if name in TUNED):
            for model in FORMATS:
                for rate in RATES:
                    yield Training(name, *model, draw, rate, TUNING)


def final(sets: Iterable[str], rates: dict[ModelName, float]) -> Iterator[Training]:
    """What opens the test splits: draw by draw, so that whoever stops early has all sets."""
    for draw in range(DRAWS):
        for name in sets:
            for model in FORMATS:
                if model != DENSE or SETS[name].preset is None or draw < DENSE_DRAWS:
                    yield Training(name, *model, draw, rates[model], STUDY)


def curve(sets: Iterable[str], rates: dict[ModelName, float]) -> Iterator[Training]:
    """Accuracy against factors: everything in one network, of each format."""
    for name in (name for name in sets if name in CURVES):
        for factors in FACTORS:
            for draw in CURVE_DRAWS:
                for model in FORMATS[:4]:
                    yield Training(name, *model[:2], f"about {factors} factors", draw, rates[model], CURVE)


def chosen(rows: Sequence[Row]) -> dict[ModelName, float]:
    """The rate of each model: the best mean over tuned sets of the mean accuracy on their validation splits."""
    found = defaultdict[tuple, list[float]](list)
    for row in (row for row in rows if row.study == TUNING):
        found[(row.format, row.recurrent, row.recipe), row.rate].append(row.accuracy)
    return {model: max(RATES, key=lambda rate: np.mean(found[model, rate] or [0.0])) for model in FORMATS}


@lru_cache(maxsize=1)
def drawn(name: str, places: Places, draw: int) -> Drawn:
    return SETS[name].draw(places, draw)


def prepared(training: Training, places: Places) -> tuple[Preset, Model, Drawn]:
    """How a model of the plan is trained, and on what."""
    found = drawn(training.data, places, training.draw)
    preset = fitted(SETS[training.data].training(found.data), found.data)
    if training.study == CURVE:
        factors = int(training.variant.split()[1])
        spec = chosen_lstm(found.data.inputs, preset.spec.hidden, found.data.classes, max_factors=factors)
        there = [replace(m, variant=training.variant) for m in models(spec, [])]
    else:
        there = [*models(preset.spec, []), ring_as_published(preset.spec)]
    (model,) = (m for m in there if (m.format, m.recurrent, m.variant) == training.model)
    return replace(preset, spec=model.spec, learning_rate=training.rate), model, found


def trained(training: Training, places: Places) -> Row:
    """Trains, on one thread, and measures: a model that diverges is never right."""
    torch.set_num_threads(1)
    preset, model, found = prepared(training, places)
    data, choose = found.data, training.study == TUNING
    split, begin = data.validation if choose else data.test, time.process_time()
    zero_h = None
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.checkpoint"
        try:
            train(preset, path, TrainingOptions(here(data), seed=training.draw, choose=choose))
        except TrainingDiverged:
            right = np.zeros(len(split), bool)
        else:
            network = load_checkpoint(path).model
            right = predict(network, split.clips, lengths=split.lengths) == split.labels
            if not choose:
                without = predict(network, split.clips, zero_h=True, lengths=split.lengths)
                zero_h = int((without == split.labels).sum())
    return Row(
        study=training.study,
        data=training.data,
        **accuracy.sizes(model.spec),
        clips=preset.epochs * preset.clips_per_epoch,
        seed=training.draw,
        recipe=training.variant,
        split=f"draw {training.draw}",
        rate=training.rate,
        settings=f"{preset.schedule}, batches of {preset.batch}, weight decay {preset.weight_decay:g}",
        seconds=round(time.process_time() - begin, 1),
        correct_zero_h=zero_h,
        **accuracy.hits(right),
    )


class Store:
    """Trainings that wait, run and are done, in an Optuna study that processes share, and rows of those kept before.

    A trial says in its attributes which training it is. One whose process is gone is noticed by its heartbeat, and done
    again by whoever comes next.
    """

    def __init__(self, url: str, places: Places):
        self.places = places
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        again = RetryFailedTrialCallback(max_retry=AGAIN)
        storage = RDBStorage(url, heartbeat_interval=BEAT, grace_period=GRACE, failed_trial_callback=again)
        self.study = optuna.create_study(storage=storage, study_name=STUDY, load_if_exists=True)

    def trainings(self, *states: TrialState) -> list[Training]:
        found = self.study.get_trials(deepcopy=False, states=states)
        return [Training(**trial.user_attrs[TRAINING]) for trial in found if TRAINING in trial.user_attrs]

    @property
    def rows(self) -> list[Row]:
        """All that is known, kept before or done in this store."""
        done = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        rows = [*accuracy.load(RESULTS), *(Row(**trial.user_attrs[FIGURES]) for trial in done)]
        return [*{row.key: row for row in rows}.values()]

    def run(self, trainings: Sequence[Training], until: float) -> bool:
        """Does what nobody does or has done, until a time; whether all is done then."""
        taken = {*map(Training.of, self.rows), *self.trainings(TrialState.WAITING, TrialState.RUNNING)}
        for training in (training for training in trainings if training not in taken):
            self.study.enqueue_trial({}, user_attrs={TRAINING: asdict(training)})
        while self.trainings(TrialState.WAITING) and time.time() < until:
            self.study.optimize(self._evaluate, n_trials=1)
            self.keep()
        return {*trainings} <= {*map(Training.of, self.rows)}

    def keep(self) -> None:
        """Writes rows, and units of draws that are new."""
        rows = self.rows
        accuracy.merge(rows, RESULTS)
        units = kept_units()
        for name, draw in sorted({(row.data, row.seed) for row in rows if row.study == STUDY}):
            if str(draw) not in units.setdefault(name, {}):
                units[name][str(draw)] = drawn(name, self.places, draw).units.tolist()
                write_whole(UNITS, (json.dumps(units) + "\n").encode())

    def _evaluate(self, trial: optuna.Trial) -> float:
        if TRAINING not in trial.user_attrs:  # another process was faster, and nothing waits any more
            raise optuna.TrialPruned
        training = Training(**trial.user_attrs[TRAINING])
        row = trained(training, self.places)
        trial.set_user_attr(FIGURES, asdict(row))
        model = " ".join(filter(None, training.model))
        print(
            f"{time.strftime('%H:%M:%S')} {training.study}: {training.data} {model}, draw {training.draw}, rate "
            f"{training.rate:g}: {100 * row.accuracy:.1f} %, {row.seconds:g} s",
            flush=True,
        )
        return row.accuracy


def kept_units() -> dict[str, dict[str, list[int]]]:
    """The units of the clips that test, by set and draw."""
    return json.loads(UNITS.read_text()) if UNITS.is_file() else {}


@dataclass(frozen=True)
class Comparison:
    """FDHT against other models over sets.

    Attributes:
        against: how the other is called.
        gaps: FDHT minus it, by set.
    """

    against: str
    gaps: dict[str, Gap]

    @property
    def pooled(self) -> Gap:
        return pooled([*self.gaps.values()])


def called(model: ModelName) -> str:
    """`TT beside a matrix`, `TT`, ..."""
    format, recurrent, variant = model
    beside = " beside a matrix" if recurrent == "dense" else ""
    return NAMES[format] + beside + (f", {variant}" if variant else "")


def by_draw(rows: Iterable[Row], name: str, model: ModelName, study: str = STUDY) -> dict[int, Row]:
    """The rows of a model on a set, by draw."""
    return {
        row.seed: row
        for row in rows
        if (row.study, row.data, row.format, row.recurrent, row.recipe) == (study, name, *model)
    }


def comparisons(rows: Sequence[Row], units: dict[str, dict[str, list[int]]]) -> list[Comparison]:
    """FDHT minus every other model, on the sets on which both have two draws at least; first minus the rival that was
    best on each set's validation splits.
    """
    rates, ours = chosen(rows), FORMATS[0]
    found = {name: {model: by_draw(rows, name, model) for model in FORMATS} for name in SETS}

    def against(name: str, model: ModelName) -> Gap | None:
        a, b = found[name][ours], found[name][model]
        draws = sorted(a.keys() & b.keys())
        if len(draws) < 2:
            return None
        of = [np.array(units[name][str(draw)]) for draw in draws]
        return gap([a[d].correct_clips for d in draws], [b[d].correct_clips for d in draws], of)

    def best(name: str) -> ModelName:
        tuned = name if name in TUNED else None

        def validated(model: ModelName) -> float:
            own = [r for r in rows if r.study == TUNING and Training.of(r).model == model and r.rate == rates[model]]
            return float(np.mean([r.accuracy for r in own if tuned in (None, r.data)] or [0.0]))

        return max(RIVALS, key=validated)

    every = [("the best of TT, TR, BT beside a matrix", best), *((called(m), lambda _, m=m: m) for m in FORMATS[1:])]
    result = []
    for what, model_of in every:
        gaps = {name: against(name, model_of(name)) for name in SETS}
        there = {name: each for name, each in gaps.items() if each is not None}
        if there:
            result.append(Comparison(what, there))
    return result


def points(each: Gap) -> str:
    """A difference in points, its interval and what that says."""
    low, high = each.interval
    return f"{100 * each.mean:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}] {each.verdict}"


def sections(rows: list[Row], units: dict[str, dict[str, list[int]]]) -> list[str]:
    """What stands between the marks of the page."""
    rates = chosen(rows)
    tuned = [
        (called(model), f"{rates[model]:g}", *(_validated(rows, model, rate) for rate in RATES)) for model in FORMATS
    ]
    of_rates = [
        "### Learning rates",
        table(("model", "chosen", *(f"accuracy on validation at {rate:g}" for rate in RATES)), tuned),
    ]
    compared = comparisons(rows, units)
    if not compared:
        left = plan(rows, [*tuning(SETS)], [*final(SETS, rates)], [*curve(SETS, rates)]).splitlines()
        return [
            "The trainings are under way; no test split but those named above has been opened.",
            _list(left),
            *of_rates,
        ]
    names = [name for name in SETS if any(name in each.gaps for each in compared)]
    heads = ("FDHT minus", f"mean of {len(names)} sets", *names)
    cells = [
        (each.against, f"**{points(each.pooled)}**", *(points(each.gaps[n]) if n in each.gaps else "" for n in names))
        for each in compared
    ]
    accuracies = []
    for model in FORMATS:
        own = {name: [*by_draw(rows, name, model).values()] for name in names}
        means = {name: float(np.mean([r.accuracy for r in of])) for name, of in own.items() if of}
        cell = {name: f"{100 * mean:.1f}" for name, mean in means.items()}
        sizes = {name: f" ({of[0].factors:,}; {of[0].parameters:,})" for name, of in own.items() if of}
        whole = f"{100 * np.mean([*means.values()]):.1f}" if len(means) == len(names) else ""
        accuracies.append((called(model), whole, *(cell.get(n, "") + sizes.get(n, "") for n in names)))
    zero = []
    for name in names:
        own = [r for r in by_draw(rows, name, FORMATS[0]).values() if r.correct_zero_h is not None]
        zero.append(
            f"{100 * np.mean([r.accuracy - (r.correct_zero_h or 0) / r.total for r in own]):.1f}" if own else ""
        )
    return [
        "### FDHT minus the others, points",
        table(heads, cells),
        "### Accuracy in percent (factors; parameters of the whole model)",
        table(("model", f"mean of {len(names)} sets", *names), [*accuracies, ("FDHT loses with h = 0", "", *zero)]),
        *of_rates,
    ]


def _list(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _validated(rows: list[Row], model: ModelName, rate: float) -> str:
    own = [r.accuracy for r in rows if r.study == TUNING and Training.of(r).model == model and r.rate == rate]
    return f"{100 * np.mean(own):.1f}" if own else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=Path, help="aeon's folder of data")
    parser.add_argument("--fashion", type=Path, help="where Debian's package of Fashion-MNIST was unpacked")
    parser.add_argument("--set", action="append", help="only this one; repeat for several")
    parser.add_argument("--store", default=STORE, help="an Optuna storage [default: %(default)s]")
    parser.add_argument("--minutes", type=float, default=1e6, help="begin nothing new after so many")
    parser.add_argument("--plan", action="store_true", help="only say what there is to do")
    parser.add_argument("--page", action="store_true", help="only write the page")
    given = parser.parse_args()
    if given.page:
        PAGE.write_text(page_with(PAGE, MARKS, *sections(accuracy.load(RESULTS), kept_units())))
        return
    places, sets = Places(given.series, given.fashion), given.set or list(SETS)
    until = time.time() + 60 * given.minutes
    Path("build/formats-study").mkdir(parents=True, exist_ok=True)
    store = Store(given.store, places)
    first = [*tuning(sets)]
    if given.plan:
        rates = chosen(store.rows)
        print(plan(store.rows, first, [*final(sets, rates)], [*curve(sets, rates)]))
        return
    if store.run(first, until):
        rates = chosen(store.rows)
        store.run([*final(sets, rates), *curve(sets, rates)], until)


def plan(rows: list[Row], *parts: Sequence[Training]) -> str:
    """What is done and what there is to do, with the CPU hours it has taken and will take."""
    rows = [row for row in rows if row.study in (TUNING, STUDY, CURVE)]
    took = defaultdict[tuple, list[float]](list)
    for row in rows:
        for what in ((row.data, row.format, row.recurrent, row.recipe), row.data, "all"):
            took[what].append(row.seconds)
    done = {Training.of(row) for row in rows}
    lines = [f"done: {len(done)} trainings, {sum(row.seconds for row in rows) / 3600:.2f} CPU hours"]
    for part in parts:
        left = [training for training in part if training not in done]
        seconds = sum(
            float(np.mean(took[(each.data, *each.model)] or took[each.data] or took["all"] or [10.0])) for each in left
        )
        lines.append(f"{part[0].study}: {len(left)} of {len(part)} to do, {seconds / 3600:.2f} CPU hours")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
