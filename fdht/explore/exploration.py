"""`fdht explore`: which network on which engine, by accuracy, cycles and size.

A candidate is planned first, in a fraction of a second, and only what fits is trained, quantised and measured: the
accuracy is that of the integers, on the validation split. The test split stays closed.
"""

import hashlib
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from math import log, prod
from pathlib import Path
from typing import Annotated, Any

from optuna.study import StudyDirection
from optuna.trial import FixedTrial, FrozenTrial, Trial
from pydantic import Field
from typing_extensions import TypedDict

from fdht.boards.catalogue import find_board
from fdht.boards.fullness import KINDS
from fdht.compiler.explain import fill
from fdht.compiler.image import compile_bundle
from fdht.compiler.planner import Way, candidates
from fdht.console import Output, percent
from fdht.drawing import write
from fdht.explore.front import figure
from fdht.explore.space import Candidate, Space
from fdht.explore.study import FIGURES, REFUSAL, Refused, Study
from fdht.model import data
from fdht.model.checkpoint import Checkpoint
from fdht.model.data import DataSet, Source
from fdht.model.parallel import one_thread
from fdht.model.presets import Preset, fitted
from fdht.model.quantise import CALIBRATION_CLIPS, quantise
from fdht.model.train import TrainingDiverged, TrainingInterrupted, TrainingOptions, ensure_trained
from fdht.spec.clips import classes_of
from fdht.spec.container import write_whole
from fdht.spec.errors import CapacityError, FdhtError, FileError, SpecError
from fdht.spec.record import Checked, Count, Share, Text
from fdht.spec.target import Target
from fdht.spec.task import only_classes
from fdht.workflow.datasets import options

SMALLER_IS_BETTER = ("cycles", "parameters", "memory", "multipliers")
"""What may be minimised beside the accuracy, which is maximised."""

STUDY, PICTURE = "study.journal", "front.png"


class Figures(TypedDict):
    """What is known of a trial's model and engine."""

    __pydantic_config__ = Checked.__pydantic_config__  # type: ignore[misc]

    accuracy: Share
    float_accuracy: Share | None
    parameters: Count
    cycles: Annotated[float, Field(gt=0)]
    memory: Count
    multipliers: Annotated[int, Field(ge=1)]
    takes: dict[Text, Count]
    frames_per_s: Annotated[float, Field(gt=0)]
    input_modes: list[Count]
    output_modes: list[Count]
    tree: Text
    ranks: dict[Text, Count]
    factor_width: Count
    data_width: Count
    rows: Count
    columns: Count
    target: Text


@dataclass(frozen=True)
class Question:
    """What is searched.

    Attributes:
        preset: the model's hidden units and how it is trained.
        source: the data set.
        board: where it is to run.
        epochs: that each candidate is trained.
        own_engine: only the engine that the board has.
        minimise: of `SMALLER_IS_BETTER`.
        seed: of the search and of every training.

    Raises:
        SpecError: something to minimise that is none, no epoch, or a preset that takes other data.
    """

    preset: Preset
    source: Source
    board: str
    epochs: int
    own_engine: bool
    minimise: tuple[str, ...]
    seed: int

    def __post_init__(self):
        unknown = [name for name in self.minimise if name not in SMALLER_IS_BETTER]
        if unknown or not self.minimise:
            known = ", ".join(SMALLER_IS_BETTER)
            raise SpecError(f"{', '.join(unknown) or 'nothing'} cannot be minimised; choose of {known}")
        if self.epochs < 1:
            raise SpecError(f"{self.epochs} epochs; training needs at least one")

    def figures(self) -> dict:
        """What a study keeps of its question: it goes on only with the same."""
        return {
            "preset": self.preset.name,
            "model and recipe": hashlib.sha256(self.preset.to_json().encode()).hexdigest()[:16],
            "data": asdict(self.source),
            "board": self.board,
            "epochs": self.epochs,
            "own engine": self.own_engine,
            "minimise": list(self.minimise),
            "seed": self.seed,
        }


def question(
    preset: Preset,
    source: Source | None,
    board: str,
    epochs: int,
    own_engine: bool,
    minimise: Sequence[str] | None,
    seed: int,
) -> Question:
    """A question; the preset's data and the usual aims stand in for those that are None."""
    source = Source(preset.data) if source is None else source
    return Question(preset, source, board, epochs, own_engine, tuple(minimise or SMALLER_IS_BETTER[:2]), seed)


class Exploration:
    """A study of a question in a folder, which several processes may share.

    Args:
        folder: of the study, the trained models and the picture.
        reading: called with (clips read, clips there are) while a folder of clips is read.

    Raises:
        SpecError: a preset that takes data of another size.
        FileError: the folder holds the study of another question, or something else.
    """

    def __init__(self, question: Question, folder: Path, reading: Callable[[int, int], None] | None = None):
        self.question, self.folder = question, folder
        self._data = data.load(question.source, progress=reading)
        only_classes("fdht explore", self._data.name, self._data.task)
        self._preset = fitted(question.preset, self._data)
        spec, board = self._preset.spec, find_board(question.board)
        self.space = Space(spec.inputs, spec.hidden, spec.classes, _picture(self._data), board, question.own_engine)
        directions = [StudyDirection.MAXIMIZE, *[StudyDirection.MINIMIZE] * len(question.minimise)]
        self._first = self.space.choices(spec)
        path, seed = folder / STUDY, question.seed
        self.study = Study(path, question.figures(), directions, seed, self._first, Figures, self._allowed)

    def run(self, trials: int, progress: Callable[[int], None]) -> None:
        """Searches until so many trials are finished, those of all processes together.

        Args:
            progress: called with the number of finished trials.

        Raises:
            ExplorationInterrupted: Ctrl-C; what is finished is kept.
        """
        self.study.run(trials, self._evaluate, progress)

    @property
    def own(self) -> int | None:
        """The trial of the preset itself, once it is finished and if the space holds it."""
        same = (trial.number for trial in self.study.finished if trial.params == self._first)
        return next(same, None)

    def candidate(self, number: int) -> Candidate:
        """What was chosen for a trial.

        Raises:
            SpecError: no such trial, or one whose candidate did not fit.
        """
        found = {trial.number: trial for trial in self.study.finished if FIGURES in trial.user_attrs}
        if number not in found:
            there = ", ".join(str(trial.number) for trial in self.study.front) or "none yet"
            raise SpecError(f"trial {number} has no model; those of the front are {there}")
        try:
            return self._to_measure(self.space.choose(FixedTrial(found[number].params)), number)
        except (FdhtError, ValueError, KeyError, TypeError) as error:
            raise FileError(
                f"trial {number} of {self.study.path} was not chosen by this search ({error}); choose another"
            ) from None

    def take(self, number: int) -> dict:
        """Writes a trial's model for `fdht train`, and its engine for `--target`, if that is not the board's own.

        Raises:
            SpecError: no such trial, or one whose candidate did not fit.
        """
        candidate = self.candidate(number)
        name, data_name = self._name(number), self.question.source.name
        model = self.folder / f"{name}.json"
        taken = replace(self._preset, name=name, data=data_name, spec=candidate.spec)
        write_whole(model, f"{taken.to_json()}\n".encode())
        engine = candidate.target.name
        if candidate.target != self.space.board.engine:
            engine = str(self.folder / f"{engine}.json")
            write_whole(engine, candidate.target.to_file())
        return {
            "trial": number,
            "model": str(model),
            "data": " ".join(options(self.question.source)),
            "target": engine,
            "factor_width": candidate.factor_width,
            "board": self.question.board,
        }

    def _allowed(self, params: dict[str, Any]) -> None:
        """Raises an error for choices outside the search space; choices whose engine does not fit are inside it."""
        with warnings.catch_warnings(action="error", category=UserWarning), suppress(CapacityError, SpecError):
            self.space.choose(FixedTrial(params))  # Optuna warns of values outside their range

    def _evaluate(self, trial: Trial) -> tuple[list[float], dict]:
        try:
            candidate = self._to_measure(self.space.choose(trial), trial.number)
            best = candidates(candidate.spec, candidate.target)[0]
        except CapacityError as error:
            raise _refused(error) from None
        except SpecError as error:
            raise Refused("no such engine", str(error), 1.0) from None
        try:
            trained = self._trained(candidate)
        except TrainingDiverged as error:
            raise Refused("a finite loss", str(error), 1.0) from None
        way = best.ways[0]
        validation, target = self._data.validation, candidate.target
        try:
            with one_thread():  # other processes may work on the same study
                bundle, _ = quantise(
                    trained.model,
                    best.stage_lists,
                    validation.clips,
                    validation.labels,
                    calibration=self._data.train.spread(CALIBRATION_CLIPS),
                    factor_width=candidate.factor_width,
                    accumulator_width=target.accumulator_width,
                    gate=target.gate_formats,
                    lengths=validation.lengths,
                )
            compile_bundle(bundle, target, step=way.step)
        except CapacityError as error:
            raise _refused(error) from None
        except SpecError as error:
            raise Refused("number formats", str(error), 1.0) from None
        figures = {
            "accuracy": float((classes_of(bundle.logits) == bundle.labels).mean()),
            "float_accuracy": trained.accuracy,
            "parameters": candidate.spec.parameters["factors"],
            "cycles": way.cycles,
            "memory": memory(way, target),
            "multipliers": target.multipliers,
            "takes": self.space.takes(target),
            "frames_per_s": self.space.board.clock_hz / way.cycles,
            **candidate.description(),
        }
        return [figures["accuracy"], *(figures[name] for name in self.question.minimise)], figures

    def _to_measure(self, candidate: Candidate, number: int) -> Candidate:
        """With an engine for its network, called after the trial's model."""
        return self.space.to_measure(candidate, f"{self._name(number)}-engine")

    def _name(self, number: int) -> str:
        return f"{self._preset.name[:60]}-{number}"

    def _trained(self, candidate: Candidate) -> Checkpoint:
        """A model, trained once whatever its widths and its engine."""
        preset = replace(self._preset, spec=candidate.spec)
        question = self.question
        key = hashlib.sha256(repr((preset, question.source, question.epochs, question.seed)).encode()).hexdigest()
        path = self.folder / "trained" / f"{key[:20]}.checkpoint"
        options = TrainingOptions(question.source, question.seed, question.epochs, choose=True)
        try:
            return ensure_trained(preset, path, options)
        except TrainingInterrupted:
            raise KeyboardInterrupt from None


def memory(way: Way, target: Target) -> int:
    """Bits of the engine's memories that a model fills: data and results, factors, biases."""
    words = {name: used for name, (used, _) in fill(way.programs, target).items()}
    lanes = target.columns * target.data_width
    data_words = words["scratchpad"] + words["results"] + words["biases"]
    return data_words * lanes + words["factors"] * target.rows * target.factor_width


def _refused(error: CapacityError) -> Refused:
    """The refusal of a candidate that does not fit, by resource alone: whichever stage or lanes lack it."""
    distance = log(error.needed / error.available) if error.needed > error.available > 0 else 1.0
    return Refused(error.resource.value, str(error), distance)


def _picture(source: DataSet) -> tuple[int, int, int] | None:
    """Rows, columns and values of a pixel, if a step shows a picture."""
    if prod(source.image_shape) != source.inputs:
        return None
    rows, columns, depth = (*source.image_shape, 1)[:3]
    return rows, columns, depth


def run(output: Output, question: Question, folder: Path, trials: int, take: int | None) -> dict:
    """Searches with a progress bar, draws what was found and returns the figures.

    Args:
        trials: finished ones there are to be. take: a trial whose model is to be written.
    """
    with output.progress(f"exploring {question.preset.name} on {question.board}", trials) as advance:

        def reading(done: int, total: int) -> None:
            advance(note=f"reading clips, {done:,} of {total:,}")

        exploration = Exploration(question, folder, reading)
        exploration.run(trials, lambda done: advance(done, trials))
    found = figures(exploration)
    picture(output, found, folder)
    return found if take is None else {**found, "taken": exploration.take(take)}


def figures(exploration: Exploration) -> dict:
    """The figures of a study for `--json`: the front, and every finished trial."""
    study = exploration.study
    return {
        **exploration.question.figures(),
        "folder": str(exploration.folder),
        "finished": len(study.finished),
        "trained": sum(FIGURES in trial.user_attrs for trial in study.finished),
        "refused": study.refusals,
        "front": [trial.number for trial in study.front],
        "own": exploration.own,
        "trials": [_row(trial) for trial in study.finished],
    }


def _row(trial: FrozenTrial) -> dict:
    kept = trial.user_attrs
    return {"trial": trial.number, **kept.get(FIGURES, {"refused": kept.get(REFUSAL, {}).get("sentence")})}


def report(output: Output, found: dict) -> None:
    """The tables of a study: the front and the preset, the fastest first, and what was not measured."""
    shown = {*found["front"], found["own"]}
    rows = [row for row in found["trials"] if row["trial"] in shown and "accuracy" in row]
    rows.sort(key=lambda row: row["cycles"])

    def called(row: dict) -> int | str:
        return "preset" if row["trial"] == found["own"] else row["trial"]

    beside = "" if found["own"] in (None, *found["front"]) else ", and the preset"
    output.table(
        f"{found['preset']} on {found['board']}: what none of {found['trained']} models surpasses{beside}",
        ("trial", "accuracy", "float", "factors", "cycles", "frames/s", "memory, kbit"),
        [
            (
                called(row),
                percent(row["accuracy"]),
                percent(row["float_accuracy"]),
                row["parameters"],
                row["cycles"],
                round(row["frames_per_s"]),
                round(row["memory"] / 1024),
            )
            for row in rows
        ],
    )
    output.table(
        "Their engines; LUTs and flip-flops of the whole design are predicted",
        ("trial", "array", "bits", *(plural for _, plural in KINDS.values())),
        [
            (
                called(row),
                f"{row['rows']} × {row['columns']}",
                f"{row['factor_width']}/{row['data_width']}",
                *(row["takes"].get(kind) for kind in KINDS),
            )
            for row in rows
        ],
    )
    output.table(
        "Their networks",
        ("trial", "input modes", "output modes", "tree", "ranks"),
        [(called(row), *network_text(row)) for row in rows],
    )
    if found["refused"]:
        output.table("Not measured", ("for lack of", "models"), list(found["refused"].items()))
    if "taken" in found:
        taken = found["taken"]
        name = Path(taken["model"]).stem
        engine = f"--target {taken['target']} --factor-width {taken['factor_width']}"
        output.text(f"Trial {taken['trial']} is in {taken['model']}; go on with")
        output.text(f"  fdht train {taken['model']} {taken['data']}".rstrip())
        output.text(f"  fdht compile build/{name}.checkpoint {engine}")
        output.text(f"  fdht synth --board {taken['board']} --target {taken['target']}")


def network_text(row: dict) -> tuple[str, str, str, str]:
    """Input modes, output modes, tree and ranks of a model, for people."""
    inputs, outputs = (", ".join(map(str, row[name])) for name in ("input_modes", "output_modes"))
    return inputs, outputs, row["tree"], ", ".join(f"{node}: {rank}" for node, rank in row["ranks"].items())


def picture(output: Output, found: dict, folder: Path) -> None:
    """Draws the front, if there is anything to draw."""
    rows = [row for row in found["trials"] if "accuracy" in row]
    if rows:
        path = folder / PICTURE
        title = f"{found['preset']} on {found['board']}, {found['epochs']} epochs: integers on the validation split"
        write(figure(rows, found["front"], found["own"], title), path)
        output.drew(path)
        output.say(f"drew {path} ({path.stat().st_size // 1000} kB)")
