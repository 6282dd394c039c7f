"""A study of `fdht explore`: trials in one file that several processes share, on one machine or on several.

The file is Optuna's journal: operations are only ever appended, under a lock that works on network file systems too. A
process that runs a trial gives a sign of life every few seconds; a trial without one has lost its process, is marked as
failed, and what was chosen for it is tried again by whoever comes next.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from math import isfinite
from pathlib import Path
from threading import Event, Thread
from typing import Annotated, Any

import numpy as np
import optuna
from optuna.exceptions import DuplicatedStudyError, UpdateFinishedTrialError
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState
from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from fdht.spec.errors import FdhtError, FileError, SpecError
from fdht.spec.record import Checked, Plain, Text, parse

BEAT, GRACE = 10.0, 60.0
"""Seconds between signs of life, and after the last one until a trial counts as lost; clocks must agree within them."""

POLL, SOON = 0.5, 0.1
"""Seconds between looks at trials of other processes when there is nothing else to do, and at a study just made."""

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)

FIGURES, REFUSAL = "figures", "refusal"
"""Attributes of a trial: its figures, or the reason and the sentence with which it was refused."""

FOREVER = 1e11
"""Seconds since 1970 that no clock shows."""

_CHOSEN = "fixed_params"
"""Optuna's own attribute: what is chosen for a trial that waits."""

_NAME, _QUESTION, _FITS, _SEEN, _AGAIN = "fdht explore", "question", "fits", "seen", "again"


class ExplorationInterrupted(FdhtError):
    """Ctrl-C during a study; the message says what is kept."""


class Refusal(TypedDict):
    """Why a candidate was refused: in few words, and in a sentence."""

    __pydantic_config__ = Checked.__pydantic_config__  # type: ignore[misc]

    reason: Text
    sentence: Text


class Refused(Exception):
    """A candidate that is not worth finishing.

    Args:
        reason: what it lacks, in few words, the same for all that lack the same.
        sentence: how much.
        distance: how far it is from being possible, above 0; the search prefers what is nearer.
    """

    def __init__(self, reason: str, sentence: str, distance: float):
        super().__init__(sentence)
        self.reason, self.distance = reason, distance


Evaluate = Callable[[Trial], tuple[Sequence[float], dict[str, Any]]]
"""Gives the objectives and the figures of a trial, or raises `Refused`."""


class Study:
    """Trials of one question, kept in a file.

    Args:
        path: the file; made if there is none.
        question: what is searched; a file of another question is refused.
        directions: per objective.
        seed: of all choices. What is chosen for a trial follows from the seed, its number and the trials known then.
        first: what is chosen for the first trial of a new study; None for what the search chooses.
        figures: the type of a trial's figures; a file with others is refused.
        allowed: raises an error for choices that the search would not make; a file with such is refused.

    Raises:
        FileError: no study, one of another question, or no permission.
    """

    def __init__(
        self,
        path: Path,
        question: dict[str, Any],
        directions: Sequence[StudyDirection],
        seed: int,
        first: dict[str, Any] | None,
        figures: Any = dict[Text, Plain],
        allowed: Callable[[dict[str, Any]], object] = dict,
    ):
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _check(path)
            self._open(question, directions, seed, first)
            self._verify(len(directions), figures, allowed)
        except OSError as error:
            raise FileError(f"cannot use {path}: {error.strerror}; choose another folder with --out") from None
        except FileError:
            raise
        except Exception as error:  # a damaged file shows as whatever its content makes of Optuna's reader
            raise FileError(
                f"{path} is no study, or a damaged one ({type(error).__name__}: {error}); choose another folder"
            ) from None

    def _open(
        self, question: dict[str, Any], directions: Sequence[StudyDirection], seed: int, first: dict[str, Any] | None
    ) -> None:
        storage, sampler = (
            JournalStorage(
                JournalFileBackend(str(self.path), JournalFileSymlinkLock(str(self.path), grace_period=GRACE_OF_LOCK))
            ),
            _Numbered(seed),
        )
        try:
            self.trials = optuna.create_study(
                storage=storage, study_name=_NAME, sampler=sampler, directions=list(directions)
            )
            self.trials.set_user_attr(_QUESTION, question)
            if first is not None:
                self.trials.enqueue_trial(first)
        except DuplicatedStudyError:
            self.trials = optuna.load_study(storage=storage, study_name=_NAME, sampler=sampler)
            self._compare(question)

    def _verify(self, objectives: int, figures: Any, allowed: Callable[[dict[str, Any]], object]) -> None:
        """Whether every trial says what is read of it.

        Raises:
            SpecError: one does not.
        """
        for trial in self.trials.get_trials(deepcopy=False):
            kept = trial.user_attrs
            if trial.state is TrialState.COMPLETE:
                if trial.values is None or len(trial.values) != objectives or not all(map(isfinite, trial.values)):
                    raise SpecError(f"trial {trial.number} has {trial.values}, not {objectives} objectives")
                parse(figures, json.dumps(kept.get(FIGURES)))
            if trial.state is TrialState.PRUNED:
                parse(Refusal, json.dumps(kept.get(REFUSAL)))
            if trial.state is TrialState.RUNNING and trial.datetime_start is None:
                raise SpecError(f"trial {trial.number} runs and was never begun")
            if not isinstance(kept.get(_SEEN, 0.0), float | int) or not -FOREVER < kept.get(_SEEN, 0.0) < FOREVER:
                raise SpecError(f"trial {trial.number} was seen at no time")
            parse(dict[Text, Plain], json.dumps(trial.params))
            if trial.state in FINISHED:
                allowed(trial.params)
            chosen = trial.system_attrs.get(_CHOSEN, {})  # for a trial that is still to come
            parse(dict[Text, Plain], json.dumps(chosen))
            if chosen:
                allowed(chosen)
        front(self.trials)  # Optuna says if it cannot compare them

    def _compare(self, question: dict[str, Any]) -> None:
        kept = {}
        for _ in range(10):  # another process may have made the study a moment ago
            if kept := self.trials.user_attrs.get(_QUESTION, {}):
                break
            time.sleep(SOON)
        for name in question:
            if kept.get(name) != question[name]:
                raise FileError(
                    f"{self.path} is a study with {name} = {kept.get(name)}, not {question[name]}; "
                    "repeat what it was begun with, or choose another folder with --out"
                )

    @property
    def finished(self) -> list[FrozenTrial]:
        """Trials with figures or a refusal, by number."""
        return self.trials.get_trials(deepcopy=False, states=FINISHED)

    @property
    def front(self) -> list[FrozenTrial]:
        """See `front`."""
        return front(self.trials)

    @property
    def refusals(self) -> dict[str, int]:
        """Refused candidates by reason, the most frequent first."""
        refused = self.trials.get_trials(deepcopy=False, states=(TrialState.PRUNED,))
        return dict(Counter(trial.user_attrs[REFUSAL]["reason"] for trial in refused).most_common())

    def run(self, total: int, evaluate: Evaluate, progress: Callable[[int], None]) -> None:
        """Runs trials until `total` are finished, those of all processes together.

        Args:
            progress: called with the number of finished trials.

        Raises:
            ExplorationInterrupted: Ctrl-C. Finished trials stay, and what was chosen for this one will be tried again.
        """
        try:
            while (finished := len(self.finished)) < total:
                progress(finished)
                self._fail_lost()
                running = self.trials.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
                if finished + len(running) < total:
                    self._one(total, evaluate)
                else:
                    time.sleep(POLL)
        except KeyboardInterrupt:
            raise ExplorationInterrupted(
                f"the search was interrupted; {len(self.finished)} of {total} trials are in {self.path}, and the same "
                "command goes on"
            ) from None

    def _one(self, total: int, evaluate: Evaluate) -> None:
        trial = self.trials.ask()
        try:
            with _alive(trial):
                # Others may have begun the last ones at the same moment: those with the lowest numbers go on.
                before = [t for t in self.trials.get_trials(deepcopy=False) if t.number < trial.number]
                if sum(t.state is not TrialState.FAIL for t in before) >= total:
                    self._tell(trial, TrialState.FAIL)
                    return
                try:
                    values, figures = evaluate(trial)
                except Refused as refused:
                    trial.set_constraint(_FITS, refused.distance)
                    trial.set_user_attr(REFUSAL, {"reason": refused.reason, "sentence": str(refused)})
                    self._tell(trial, TrialState.PRUNED)
                else:
                    trial.set_constraint(_FITS, 0.0)
                    trial.set_user_attr(FIGURES, figures)
                    self._tell(trial, TrialState.COMPLETE, values)
        except UpdateFinishedTrialError:
            pass  # it was taken for lost, and is tried again elsewhere
        except BaseException as error:
            self._tell(trial, TrialState.FAIL)
            if isinstance(error, (KeyboardInterrupt, FdhtError, OSError)):  # none of the candidate's doing
                self.trials.enqueue_trial(trial.params)
            raise

    def _tell(self, trial: Trial | int, state: TrialState, values: Sequence[float] | None = None) -> None:
        self.trials.tell(trial, values, state=state, skip_if_finished=True)

    def _fail_lost(self) -> None:
        """Marks trials as failed whose processes are gone, and has them tried again, once."""
        for trial in self.trials.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            assert trial.datetime_start is not None
            seen = trial.user_attrs.get(_SEEN, trial.datetime_start.timestamp())
            # A sign of life from the future is none: nobody's clock is to be waited for.
            if not isinstance(seen, int | float) or not -GRACE <= time.time() - seen <= GRACE:
                with suppress(ValueError, UpdateFinishedTrialError):  # another process was faster
                    self.trials.tell(trial.number, state=TrialState.FAIL)
                    if not trial.user_attrs.get(_AGAIN):
                        self.trials.enqueue_trial(trial.params, user_attrs={_AGAIN: True})


def front(trials: optuna.Study) -> list[FrozenTrial]:
    """The Pareto front, by number: no trial is better in one objective and as good in all. Of equals the first."""
    best = {tuple(trial.values): trial for trial in sorted(trials.best_trials, key=lambda trial: -trial.number)}
    return sorted(best.values(), key=lambda trial: trial.number)


@contextmanager
def _alive(trial: Trial) -> Iterator[None]:
    """Notes every `BEAT` seconds that a trial's process is alive, while the body of the with statement runs."""
    done = Event()

    def beat() -> None:
        with suppress(UpdateFinishedTrialError):
            trial.set_user_attr(_SEEN, time.time())
            while not done.wait(BEAT):
                trial.set_user_attr(_SEEN, time.time())

    thread = Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


class _Numbered(BaseSampler):
    """Optuna's multi-objective TPE with random numbers that follow from a seed and the trial's number.

    So a study that was interrupted goes on with what it would have chosen anyway, and processes that share a study do
    not choose the same.
    """

    def __init__(self, seed: int):
        self._seed = seed
        self._sampler = TPESampler(seed=seed)

    def before_trial(self, study, trial):
        seed = int(np.random.SeedSequence([self._seed, trial.number]).generate_state(1)[0])
        self._sampler = TPESampler(seed=seed, constant_liar=True)
        self._sampler.before_trial(study, trial)

    def infer_relative_search_space(self, study, trial):
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(self, study, trial, search_space):
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(self, study, trial, param_name, param_distribution):
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)


LARGEST, LONGEST_LINE = 1 << 26, 1 << 16
"""Most bytes of a study's file, some ten thousand trials, and of a line of it."""

GRACE_OF_LOCK = 10
"""Seconds after which a lock is taken for one that a process has left behind."""


def _check(path: Path) -> None:
    """Makes sure that a file is a journal, and cuts off a last line that a full disk or a power cut left unfinished.

    Raises:
        SpecError: it is something else.
    """
    if not path.exists():
        return
    if not path.is_file() or path.stat().st_size > LARGEST:
        raise SpecError(f"it is no file, or has more than {LARGEST:,} bytes")
    if path.stat().st_size == 0:
        return
    lock = JournalFileSymlinkLock(str(path), grace_period=GRACE_OF_LOCK)
    lock.acquire()
    try:
        with path.open("r+b") as file:
            whole, first = 0, True
            while line := file.readline(LONGEST_LINE + 1):
                if len(line) > LONGEST_LINE:
                    raise SpecError(f"a line of more than {LONGEST_LINE:,} bytes")
                if not line.endswith(b"\n"):
                    break
                operation, whole = _operation(line), whole + len(line)
                if first and operation.get("study_name") != _NAME:
                    raise SpecError("it does not begin with a study of fdht explore")
                first = False
            if first:
                raise SpecError("it does not begin with a study of fdht explore")
            file.truncate(whole)
    finally:
        lock.release()


class _Operation(TypedDict):
    """A line of the journal; Optuna knows what else belongs to it."""

    __pydantic_config__ = ConfigDict(strict=True, extra="allow")  # type: ignore[misc]

    op_code: Annotated[int, Field(ge=0, le=10)]
    worker_id: Text


def _operation(line: bytes) -> dict[str, Any]:
    parse(Plain, line)
    return dict(parse(_Operation, line))
