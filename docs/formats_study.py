"""Decides how FDHT-LSTM does beside other formats: a plan of trainings in one store, and the rows they leave.

    pip download --no-deps aeon==1.6.0 && unzip -q aeon-*.whl 'aeon/datasets/data/*'
    apt-get download dataset-fashion-mnist && dpkg-deb -x dataset-fashion-mnist_*.deb fashion
    python -m docs.formats_study --series aeon/datasets/data --fashion fashion --plan    what there is to do, how long
    python -m docs.formats_study --series aeon/datasets/data --fashion fashion           trains; goes on where it was
    python -m docs.formats_page                                                          tables from what is kept

The plan is in docs/formats_plan.py. Rows of what is trained are in docs/results/accuracy.json. What is not waits in an
Optuna storage (`--store`), at which several processes may work, and several machines where it is a database that they
share. With `--validation` no test split is opened.
"""

import argparse
import json
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import optuna
import torch
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.trial import TrialState
from sqlalchemy import Engine, event
from sqlalchemy.exc import SQLAlchemyError

from docs.formats_page import RESULTS, SETS_FILE, UNITS, UNITS_OF, kept_units
from docs.formats_plan import CURVE, FEW, FOUR, KINDS, STUDY, TREE, Training, left, parts, with_rates
from docs.study_sets import SETS, Drawn, Places
from docs.tree_study import CHANGES, fitted_by, four_modes
from fdht.allocator import keep_freed
from fdht.model.checkpoint import load_checkpoint
from fdht.model.data import here
from fdht.model.presets import Preset, fitted
from fdht.model.train import TrainingDiverged, TrainingOptions, predict, train
from fdht.spec.container import write_whole
from fdht.spec.lstm import LSTMSpec
from fdht.studies import accuracy
from fdht.studies.accuracy import Row
from fdht.studies.rivals import Model, models, ring_as_published

STORE = "sqlite:///build/formats-study/trainings.db"
BEAT, GRACE, AGAIN = 30, 120, 3
"""Seconds between signs of life of a training, and without one until it counts as lost; how often it is done again.
As long a process waits while another one writes into a file of SQLite.
"""

AT_ONCE = 20
"""Trainings that wait at most: Optuna reads all of them again and again."""

TRAINING, FIGURES = "training", "figures"
"""Attributes of a trial."""


@lru_cache(maxsize=1)
def drawn(name: str, places: Places, draw: int) -> Drawn:
    return SETS[name].draw(places, draw)


def prepared(training: Training, places: Places) -> tuple[Preset, Model, Drawn]:
    """How a model of the plan is trained, and on what."""
    found = drawn(training.data, places, training.draw)
    preset = fitted(SETS[training.data].training(found.data), found.data)
    if training.study == TREE:
        there = [Model(*training.model[:2], CHANGES[training.variant].spec(preset.spec), training.variant)]
    elif training.study == CURVE:
        spec = four_modes(preset.spec, int(training.variant.split()[1]))
        there = [replace(m, variant=training.variant) for m in models(spec, [])]
    else:
        there = offered(preset.spec, KINDS[training.data])
    (model,) = (m for m in there if (m.format, m.recurrent, m.variant) == training.model)
    return replace(preset, spec=model.spec, learning_rate=training.rate), model, found


def offered(spec: LSTMSpec, of: str) -> list[Model]:
    """Every model of the comparison on a kind of sets, for the FDHT-LSTM that is proposed."""
    beside = [m for m in models(spec, []) if m.recurrent == "dense" or m.format in ("fdht", "dense")]
    on_four = models(four_modes(spec) if of == FEW else spec, ["fdht", "tt", "tr", "bt"])
    whole = [replace(m, variant=FOUR) for m in on_four if m.recurrent == "whole" and (of == FEW or m.format != "fdht")]
    return [*beside, ring_as_published(spec), *whole]


def trained(training: Training, places: Places) -> Row:
    """Trains, on one thread, and measures: a model that diverges is never right."""
    torch.set_num_threads(1)
    preset, model, found = prepared(training, places)
    learnt, split = ("train", "validation") if training.validates else ("final", "test")
    split, begin, zero_h = getattr(found.data, split), time.process_time(), None
    try:
        if training.study == TREE:
            right = fitted_by(CHANGES[training.variant], preset, found.data, training.draw)
        else:
            right, zero_h = _trained(preset, found, training)
    except TrainingDiverged:
        right = np.zeros(len(split), bool)
    return Row(
        study=training.study,
        data=training.data,
        **accuracy.sizes(model.spec),
        clips=preset.epochs * min(preset.clips_per_epoch, len(getattr(found.data, learnt))),
        seed=training.draw,
        recipe=training.variant,
        split=f"draw {training.draw}",
        rate=training.rate,
        settings=f"{preset.schedule}, batches of {preset.batch}, weight decay {preset.weight_decay:g}",
        seconds=round(time.process_time() - begin, 1),
        correct_zero_h=zero_h,
        **accuracy.hits(right),
    )


def _trained(preset: Preset, found: Drawn, training: Training) -> tuple[np.ndarray, int | None]:
    """Which clips are right after a training of `fdht train`, and how many are with h = 0, on a test split."""
    data = found.data
    split = data.validation if training.validates else data.test
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.checkpoint"
        train(preset, path, TrainingOptions(here(data), seed=training.draw, choose=training.validates))
        network = load_checkpoint(path).model
    right = predict(network, split.clips, lengths=split.lengths) == split.labels
    if training.validates:
        return right, None
    without = predict(network, split.clips, zero_h=True, lengths=split.lengths)
    return right, int((without == split.labels).sum())


def heartbeats() -> warnings.catch_warnings:
    """Without Optuna's warning that signs of life of a trial are an experiment of its."""
    return warnings.catch_warnings(action="ignore", category=optuna.exceptions.ExperimentalWarning)


def take_turns(engine: Engine) -> None:
    """Has transactions on a file of SQLite begin before they read, else two processes can take what waits for one:
    Python's driver begins one where something is written.
    """
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))


class Store:
    """Trainings that wait, run and are done, in an Optuna study that processes share, and rows of those kept before.

    A trial says in its attributes which training it is. One whose process is gone is noticed by its heartbeat, and done
    again by whoever comes next.
    """

    def __init__(self, url: str, places: Places):
        self.places = places
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        is_file = url.startswith("sqlite:")
        with heartbeats():
            storage = RDBStorage(
                url,
                engine_kwargs={"connect_args": {"timeout": GRACE}} if is_file else None,
                heartbeat_interval=BEAT,
                grace_period=GRACE,
                heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=AGAIN),
            )
        if is_file:
            take_turns(storage.engine)
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
        for begin in range(0, len(trainings), AT_ONCE):
            self._enqueue(trainings[begin : begin + AT_ONCE])
            self._work(until)
            if time.time() >= until:
                break
        wanted = {*trainings}
        while wanted.intersection(self.trainings(TrialState.WAITING, TrialState.RUNNING)) and time.time() < until:
            time.sleep(BEAT)  # another process is at the last ones
            with heartbeats():
                fail_stale_trials(self.study)
            self._work(until)
        self.keep()
        return wanted <= {*map(Training.of, self.rows)}

    def _enqueue(self, trainings: Sequence[Training]) -> None:
        """Lets those wait that neither wait nor are under way or done."""
        taken = {*map(Training.of, self.rows), *self.trainings(TrialState.WAITING, TrialState.RUNNING)}
        for training in (training for training in trainings if training not in taken):
            self.study.enqueue_trial({}, user_attrs={TRAINING: asdict(training)})

    def _work(self, until: float) -> None:
        """Does what waits, until a time."""
        while self.trainings(TrialState.WAITING) and time.time() < until:
            self.study.optimize(self._evaluate, n_trials=1)
            self.keep()

    def keep(self) -> None:
        """Writes rows, and units of the clips that they are about, where those are new."""
        rows = self.rows
        accuracy.merge(rows, RESULTS)
        units = kept_units()
        for part, study in UNITS_OF.items():
            for name, draw in sorted({(row.data, row.seed) for row in rows if row.study == study}):
                own = units.setdefault(part, {}).setdefault(name, {})
                if str(draw) not in own:
                    own[str(draw)] = drawn(name, self.places, draw).units[part].tolist()
                    write_whole(UNITS, (json.dumps(units) + "\n").encode())

    def describe(self, sets: Sequence[str]) -> None:
        """Writes what sets are, where that is not known."""
        facts = json.loads(SETS_FILE.read_text()) if SETS_FILE.is_file() else {}
        for name in (name for name in sets if name not in facts):
            found = drawn(name, self.places, 0)
            data, preset = found.data, fitted(SETS[name].training(found.data), found.data)
            trains = min(preset.clips_per_epoch, len(data.final))
            network = preset.spec.network
            facts[name] = {
                "train, validate, test": f"{len(data.train):,}, {len(data.validation):,}, {len(data.test):,}",
                "steps of a clip": data.test.frames[data.test.order[:1]].shape[1],
                "values": f"{data.inputs:,}",
                "classes": data.classes,
                "hidden units": preset.spec.hidden,
                "modes of FDHT": " × ".join(map(str, network.input_shape))
                + " to "
                + " × ".join(map(str, network.output_shape)),
                "steps of the optimiser": f"{preset.epochs * -(-trains // preset.batch):,}",
            }
            write_whole(SETS_FILE, (json.dumps(facts, indent=1) + "\n").encode())

    def _evaluate(self, trial: optuna.Trial) -> float:
        if TRAINING not in trial.user_attrs:  # another process was faster, and nothing waits any more
            raise optuna.TrialPruned
        training = Training(**trial.user_attrs[TRAINING])
        before = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.COMPLETE))
        if trial.user_attrs[TRAINING] in [t.user_attrs.get(TRAINING) for t in before if t.number < trial.number]:
            raise optuna.TrialPruned  # two processes let it wait at the same moment
        row = trained(training, self.places)
        trial.set_user_attr(FIGURES, asdict(row))
        model = " ".join(filter(None, training.model))
        found = f"{100 * row.accuracy:.1f} %, " if training.validates else ""  # tests are not shown one by one
        print(
            f"{time.strftime('%H:%M:%S')} {training.study}: {training.data} {model}, draw {training.draw}, rate "
            f"{training.rate:g}: {found}{row.seconds:g} s",
            flush=True,
        )
        return row.accuracy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=Path, help="aeon's folder of data")
    parser.add_argument("--fashion", type=Path, help="where Debian's package of Fashion-MNIST was unpacked")
    parser.add_argument("--set", action="append", choices=SETS, help="only this one; repeat for several")
    parser.add_argument("--store", default=STORE, help="an Optuna storage [default: %(default)s]")
    parser.add_argument("--minutes", type=float, default=1e6, help="begin nothing new after so many")
    parser.add_argument("--plan", action="store_true", help="only say what there is to do")
    parser.add_argument("--validation", action="store_true", help="only what is measured on validation splits")
    given = parser.parse_args()
    keep_freed()
    places, sets = Places(given.series, given.fashion), given.set or list(SETS)
    until = time.time() + 60 * given.minutes
    Path("build/formats-study").mkdir(parents=True, exist_ok=True)
    try:
        store = Store(given.store, places)
    except SQLAlchemyError as error:
        parser.error(f"--store {given.store} is no storage that Optuna opens ({str(error).splitlines()[0]})")
    if not given.plan:
        for name, option in ((name, SETS[name].needs) for name in sets):
            if option and not ((folder := getattr(places, option)) and folder.is_dir()):
                parser.error(f"{name} needs --{option} FOLDER (it is {folder}), or choose others with --set")
        store.describe(sets)
        if store.run(parts(sets, store.rows)[0], until):
            _, tree, *tests = parts(with_rates(sets, store.rows), store.rows)  # by the rates that are chosen now
            if store.run(tree, until) and not given.validation:
                store.run([training for part in tests for training in part], until)
    print("\n".join(left(store.rows, parts(sets, store.rows))))
    if waiting := sorted({*sets} - {*with_rates(sets, store.rows)}):
        print(f"rates for {', '.join(waiting)} are chosen from all sets of the kind: first train those")


if __name__ == "__main__":
    main()
