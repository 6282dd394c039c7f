"""`fdht baselines`: dense, TT-, TR-, BT-, HT- and FDHT-LSTM trained alike, and how sure the differences are.

All models of a data set share the clips, their number, augmentation, optimiser and schedule, which are those of the
preset for FDHT on that data. The learning rate, which suits no two formats alike, is chosen for each from the same few
on the validation split, with the seeds and the epochs of the final trainings; these alone open the test split.
"""

import hashlib
import json
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from fdht.console import Advance, Output, percent, told
from fdht.model.data import Source, is_file_name
from fdht.model.parallel import one_thread
from fdht.model.presets import PRESETS, Preset, find_preset, fitted
from fdht.model.project import SUFFIX
from fdht.model.train import TrainingDiverged, TrainingInterrupted, TrainingOptions, ensure_trained, predict
from fdht.spec.container import write_whole
from fdht.spec.defaults import DEFAULT_TARGET
from fdht.spec.errors import FdhtError, SpecError, no_such
from fdht.spec.record import read_kept
from fdht.spec.task import only_classes
from fdht.studies import accuracy
from fdht.studies.accuracy import RESULTS, Row
from fdht.studies.rivals import Model, models
from fdht.studies.standings import gap_text, standings
from fdht.workflow.datasets import content_of, packaged
from fdht.workflow.proposing import proposed

STUDY = "baselines"

CACHE = Path("build/baselines")
"""Where trainings are kept, below the current directory, each named by all that it depends on but the code: whoever
changes how models are trained removes them.
"""

RATES = (0.03, 0.01, 0.003, 0.001)
"""Learning rates to choose from."""

SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Training:
    """One training: of a model, with a learning rate and a seed; to `choose`, on the training split alone."""

    preset: Preset
    format: str
    recurrent: str
    seed: int
    choose: bool

    @property
    def name(self) -> str:
        """For people, and the beginning of the file's."""
        kind = f"{self.format}-{self.recurrent}-rate{self.preset.learning_rate:g}-seed{self.seed}"
        return f"{Path(self.preset.data).stem}-{kind}{'-choose' if self.choose else ''}"

    @property
    def path(self) -> Path:
        """The checkpoint; of a finished training the result lies beside it."""
        of = self.preset, self.seed, self.choose, *content_of(self.preset.data)
        key = hashlib.sha256(repr(of).encode()).hexdigest()[:12]
        return CACHE / f"{self.name}-{key}.checkpoint"

    def result(self) -> dict | None:
        """`correct`, `total` and `hits` on the test split (validation, to choose) and `seconds`; None if unfinished."""
        known = read_kept(self.path.with_suffix(".json"), accuracy.Measured)
        return None if known is None else dict(known)

    def run(self, progress: Callable[[int, int, list[dict]], None] | None = None) -> dict:
        """Trains, or goes on where it was, or finds it done; a rate to choose at which it diverges is never right."""
        done = self.result()
        if done is not None:
            return done
        data = packaged(self.preset.data)
        split = data.validation if self.choose else data.test
        options = TrainingOptions(seed=self.seed, choose=self.choose)
        try:
            trained = ensure_trained(self.preset, self.path, options, progress=progress)
        except TrainingDiverged:
            if not self.choose:
                raise
            result = accuracy.hits(np.zeros(len(split), bool)) | {"seconds": 0.0}
        else:
            with one_thread():  # others train beside this one
                classes = predict(trained.model, split.clips, lengths=split.lengths)
            result = accuracy.hits(classes == split.labels) | {"seconds": trained.seconds}
        write_whole(self.path.with_suffix(".json"), json.dumps(result).encode())
        if self.choose:
            self.path.unlink(missing_ok=True)
        return result


def run(
    output: Output,
    *,
    data: Sequence[str],
    formats: list[str],
    seeds: Sequence[int] = SEEDS,
    clips: int | None = None,
    rates: Sequence[float] = RATES,
    jobs: int = 1,
    results: Path = RESULTS,
) -> list[Row]:
    """Trains what is not trained yet, puts the rows into the file of results one by one, and returns them all.

    Args:
        data: names of data sets that have a preset of the same name, files of data, for which a model is proposed, and
            projects.
        formats: of fdht.studies.accuracy.FORMATS; all when empty.
        seeds: of every format but dense, which has the first alone.
        clips: of each training; as many as the preset has when left out.
        rates: learning rates to choose from; a single one is taken as it is.
        jobs: trainings at a time.

    Raises:
        SpecError: a data set without preset, or of another task than to classify; an unknown format, or no seed, clip,
            rate or job.
        TrainingInterrupted: Ctrl-C; what is trained so far is found again.
    """
    if not seeds or (clips is not None and clips < 1) or not rates or min(rates) <= 0 or jobs < 1:
        raise SpecError(
            f"{list(seeds)} seeds, {clips} clips, {list(rates)} rates and {jobs} jobs: each needs one at least"
        )
    presets = [budgeted(_preset(output, name), clips) for name in data]
    every = [(preset, model) for preset in presets for model in models(preset.spec, formats)]

    def trainings(preset: Preset, model: Model, rate: float, choose: bool = False) -> list[Training]:
        at_rate = replace(preset, spec=model.spec, learning_rate=rate)
        own = seeds[:1] if model.format == "dense" else seeds
        return [Training(at_rate, model.format, model.recurrent, seed, choose) for seed in own]

    chosen = {each: rates[0] for each in every}
    if len(rates) > 1:
        trials = {(each, rate): trainings(*each, rate, choose=True) for each in every for rate in rates}
        wanted = [trial for each in trials.values() for trial in each]
        found = dict(_all(output, f"choosing among {len(rates)} learning rates", wanted, jobs))
        for each in every:
            right = {rate: sum(found[trial]["correct"] for trial in trials[each, rate]) for rate in rates}
            chosen[each] = max(rates, key=lambda rate: (right[rate], rate))
    final = [training for each in every for training in trainings(*each, chosen[each])]
    rows = []
    for trained, result in _all(output, "training", final, jobs):
        rows.append(row(trained, result))
        accuracy.merge(rows[-1:], results)
    return rows


def _preset(output: Output, name: str) -> Preset:
    """The FDHT-LSTM that others are compared with, for data by name, in a file, or of a project."""
    if name in PRESETS and PRESETS[name].data == name:
        return PRESETS[name]
    if is_file_name(name):
        path = Path(name).resolve()
        preset, data, _ = proposed(output, Source(path.name, str(path.parent)), DEFAULT_TARGET, None, None)
    elif Path(name).suffix == SUFFIX:
        preset = find_preset(name)
        data = packaged(preset.data)
        preset = fitted(preset, data)
    else:
        there = [preset.name for preset in PRESETS.values() if preset.data == preset.name]
        raise no_such("preset made for data set", name, there, ", and a file of data, or a project of fdht new")
    only_classes("fdht baselines", data.name, data.task)
    return preset


def budgeted(preset: Preset, clips: int | None) -> Preset:
    """The preset with as many epochs as make up a number of clips, or come closest; its own without a number."""
    split = packaged(preset.data).final
    each = min(preset.clips_per_epoch, len(split))
    epochs = preset.epochs if clips is None else max(1, round(clips / each))
    return replace(preset, epochs=epochs, clips_per_epoch=each)


def _all(output: Output, what: str, trainings: Sequence[Training], jobs: int) -> Iterator[tuple[Training, dict]]:
    """Every training and its result: those that are done first, then the others as they finish."""
    waiting = [training for training in trainings if training.result() is None]
    for training in trainings:
        if training not in waiting:
            yield training, training.run()
    done = first = len(trainings) - len(waiting)
    begin = time.monotonic()
    try:
        with output.progress(f"{what} ({len(trainings)} models)", len(trainings)) as advance:
            for training, result in _side_by_side(waiting, jobs) if jobs > 1 else _in_turn(waiting, advance, done):
                yield training, result
                done += 1
                advance(done, note=training.name)
                if done == first + 1 and done < len(trainings):
                    minutes = (time.monotonic() - begin) * (len(trainings) - done) / jobs / 60
                    output.say(f"{what}: about {minutes:,.0f} minutes left, if all take as long as {training.name}")
    except (KeyboardInterrupt, TrainingInterrupted):
        output.say(f"{what}: {done} of {len(trainings)} models are done and kept; the same command goes on from there")
        raise KeyboardInterrupt from None


def _in_turn(trainings: Sequence[Training], advance: Advance, done: int) -> Iterator[tuple[Training, dict]]:
    for k, training in enumerate(trainings, done):
        yield training, training.run(partial(told, advance, k, training.name))


class TrainingKilled(FdhtError):
    """A process that trained is gone."""


def _side_by_side(trainings: Sequence[Training], jobs: int) -> Iterator[tuple[Training, dict]]:
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))
    try:
        running = {pool.submit(training.run): training for training in trainings}
        for future in as_completed(running):
            yield running[future], future.result()
    except BrokenProcessPool:
        raise TrainingKilled(
            "a training was killed, probably because memory ran out; take fewer --jobs: what is done is kept"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def row(training: Training, result: dict) -> Row:
    """The row of a finished training."""
    preset = training.preset
    return Row(
        study=STUDY,
        data=preset.data,
        seed=training.seed,
        clips=preset.epochs * preset.clips_per_epoch,
        settings=f"learning rate {preset.learning_rate:g}, weight decay {preset.weight_decay:g}",
        **accuracy.sizes(preset.spec),
        **result,
    )


def report(output: Output, rows: Sequence[Row]) -> None:
    """A table per data set."""
    for (data, clips), compared in standings(rows).items():
        output.table(
            f"{data}: {clips:,} training clips, accuracy on {compared[0].rows[0].total} test clips",
            ("format", "W_h", "factors", "whole model", "seeds", "accuracy", "±", "FDHT minus it, points [95 %]"),
            [
                (
                    model.rows[0].format,
                    "dense" if model.rows[0].recurrent == "dense" else "in it",
                    model.rows[0].factors,
                    model.rows[0].parameters,
                    len(model.rows),
                    percent(model.mean),
                    None if model.spread is None else percent(model.spread),
                    gap_text(model.fdht_minus_it),
                )
                for model in compared
            ],
        )
