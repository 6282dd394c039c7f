"""Studies: shared by processes, interrupted, taken up; and the front of what they hold."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from fdht.explore import study
from fdht.explore.study import FIGURES, ExplorationInterrupted, Refused, Study, front
from fdht.spec.errors import FileError

ROOT = Path(__file__).parent.parent.parent
MOST, LEAST = StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE


def opened(path: Path, seed: int = 0, first: dict | None = None, **question) -> Study:
    return Study(path / "study.journal", question or {"of": "numbers"}, [MOST, LEAST], seed, first)


def evaluate(trial):
    """Numbers above 80 are refused."""
    number = trial.suggest_int("number", 0, 100)
    if number > 80:
        raise Refused("too large", f"{number} is above 80", (number - 80) / 20)
    return [number, number**2 % 17], {"number": number}


def silent(done: int) -> None:
    pass


def numbers(trials: Study) -> list[int]:
    return [trial.params["number"] for trial in trials.finished]


def states(trials: Study) -> list[TrialState]:
    return [trial.state for trial in trials.trials.get_trials()]


def test_a_study_is_what_was_asked_for(tmp_path):
    seen = []
    trials = opened(tmp_path, first={"number": 80})
    trials.run(30, evaluate, seen.append)
    assert seen == list(range(30)) and numbers(trials)[0] == 80
    refused = [number for number in numbers(trials) if number > 80]
    assert trials.refusals == {"too large": len(refused)} and 0 < len(refused) < 15
    kept = [trial.user_attrs[FIGURES]["number"] for trial in trials.finished if trial.state is TrialState.COMPLETE]
    assert kept == [number for number in numbers(trials) if number <= 80]
    assert not [trial for trial in trials.front if trial.state is not TrialState.COMPLETE]


def test_the_search_goes_where_less_is_lacking(tmp_path):
    """Though nothing has been possible yet."""

    def hard(trial):
        number = trial.suggest_int("number", 0, 1000)
        raise Refused("too large", f"{number} is above 0", 1 + number)

    trials = opened(tmp_path)
    trials.run(40, hard, silent)
    assert not trials.front and np.mean(numbers(trials)[:10]) > 400 > 1.5 * np.mean(numbers(trials)[25:])


def test_broken_off_and_taken_up_is_the_same_as_unbroken(tmp_path):
    for part in (5, 5, 11, 15):
        opened(tmp_path / "parts").run(part, evaluate, silent)
    whole, other = opened(tmp_path / "whole"), opened(tmp_path / "other", seed=1)
    for trials in (whole, other):
        trials.run(15, evaluate, silent)
    assert numbers(opened(tmp_path / "parts")) == numbers(whole) != numbers(other)
    assert len(set(numbers(whole))) > 8, "not one and the same"


def test_what_is_interrupted_fails_and_is_tried_again(tmp_path):
    chosen = []

    def interrupted(trial):
        result = evaluate(trial)
        chosen.append(trial.params)
        if trial.number == 3:
            raise KeyboardInterrupt
        return result

    with pytest.raises(ExplorationInterrupted, match=r"\d of 8 trials are in .*study.journal, and the same command"):
        opened(tmp_path).run(8, interrupted, silent)
    trials = opened(tmp_path)
    assert states(trials)[3:] == [TrialState.FAIL, TrialState.WAITING]
    trials.run(8, evaluate, silent)
    assert len(trials.finished) == 8 and TrialState.RUNNING not in states(trials)
    assert trials.trials.get_trials()[4].params == chosen[-1]


@pytest.mark.parametrize(
    "error, left", [(OSError, [TrialState.WAITING]), (FileError, [TrialState.WAITING]), (KeyError, [])]
)
def test_an_error_ends_the_search_and_leaves_nothing_running(tmp_path, error, left):
    """What is none of the candidate's doing, like a full disk, has it tried again."""

    def broken(trial):
        trial.suggest_int("number", 0, 100)
        raise error("disk full")

    trials = opened(tmp_path, first={"number": 80})
    with pytest.raises(error, match="disk full"):
        trials.run(2, broken, silent)
    assert states(trials) == [TrialState.FAIL, *left]
    trials.run(2, evaluate, silent)
    assert (80 in numbers(trials)) == bool(left)


def test_a_trial_whose_process_is_gone_is_tried_again_once(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "GRACE", 0.2)
    trials = opened(tmp_path)
    for _ in range(2):
        lost = trials.trials.ask()  # by a process that then dies
        number = lost.suggest_int("number", 0, 100)
        time.sleep(0.3)
        trials._fail_lost()
    every = trials.trials.get_trials()
    assert [trial.state for trial in every] == [TrialState.FAIL, TrialState.FAIL], "a third time it is left alone"
    assert every[1].params == every[0].params == {"number": number}


def test_the_last_trial_is_not_begun_twice(tmp_path):
    """Two processes have found it missing and begun it at the same moment: the second one lets it be."""
    first, second = opened(tmp_path), opened(tmp_path)
    first.trials.ask()
    second._one(1, lambda trial: pytest.fail("evaluated"))
    assert states(first) == [TrialState.RUNNING, TrialState.FAIL]


@pytest.mark.parametrize("beat", [0.1, 60.0])
def test_signs_of_life_keep_a_long_trial(tmp_path, monkeypatch, beat):
    """Another process looks again and again, for twice as long as a silent trial is waited for."""
    monkeypatch.setattr(study, "BEAT", beat)
    monkeypatch.setattr(study, "GRACE", 1.0)
    other = opened(tmp_path)

    def long(trial):
        result = evaluate(trial)
        begin = time.monotonic()
        while trial.number == 0 and time.monotonic() - begin < 2:
            time.sleep(0.1)
            other._fail_lost()
        return result

    trials = opened(tmp_path, first={"number": 7})
    trials.run(1, long, silent)
    assert states(trials)[0] is (TrialState.COMPLETE if beat < 1 else TrialState.FAIL)


def test_a_trial_taken_for_lost_is_not_told_twice(tmp_path):
    trials = opened(tmp_path)

    def slept(trial):
        result = evaluate(trial)
        if trial.number == 0:  # as another process would
            opened(tmp_path).trials.tell(0, state=TrialState.FAIL)
        return result

    trials.run(2, slept, silent)
    assert states(trials)[0] is TrialState.FAIL and len(trials.finished) == 2


PROCESS = """
import sys
from pathlib import Path
from time import monotonic, sleep
from tests.fdht.test_study import evaluate, opened, silent
folder, me, other = Path(sys.argv[1]), Path(sys.argv[1], sys.argv[2]), Path(sys.argv[1], sys.argv[3])
def met(trial):
    me.touch()
    end = monotonic() + 60
    while not other.exists() and monotonic() < end:
        sleep(0.01)
    return evaluate(trial)
opened(folder).run(int(sys.argv[4]), met, silent)
"""


def test_two_processes_on_one_study(tmp_path):
    """They meet in their first trials, and together finish as many as were asked for, no more and no fewer."""
    for total in (3, 20):
        folder = tmp_path / str(total)
        folder.mkdir()
        command = [sys.executable, "-c", PROCESS, str(folder)]
        both = [
            subprocess.Popen([*command, me, other, str(total)], cwd=ROOT, stderr=subprocess.PIPE, text=True)
            for me, other in (("a", "b"), ("b", "a"))
        ]
        for process in both:
            _, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors
        trials = opened(folder)
        assert len(trials.finished) == total
        assert not {TrialState.RUNNING, TrialState.WAITING} & set(states(trials))
        assert len(set(numbers(trials)[:2])) == 2, "each has its own random numbers"


@pytest.mark.parametrize("content", ["not a study\n", "{}\n", "[1, 2]\n", '{"op_code": 99}\n', "\x00\x01"])
def test_another_file_is_refused_and_left_alone(tmp_path, content):
    path = tmp_path / "study.journal"
    path.write_text(content)
    with pytest.raises(FileError, match=r"study\.journal is no study"):
        opened(tmp_path)
    assert path.read_text() == content and [file.name for file in tmp_path.iterdir()] == [path.name]


def test_another_question_is_refused(tmp_path):
    opened(tmp_path, of="numbers", epochs=2)
    with pytest.raises(FileError, match="a study with epochs = 2, not 3; repeat what it was begun with"):
        opened(tmp_path, of="numbers", epochs=3)


def test_a_torn_last_line_is_cut_off(tmp_path):
    """As a full disk leaves it. Nothing that was finished is lost, and the study goes on."""
    trials = opened(tmp_path)
    trials.run(3, evaluate, silent)
    before, path = numbers(trials), tmp_path / "study.journal"
    path.write_bytes(path.read_bytes() + b'{"op_code": 4, "worker')
    again = opened(tmp_path)
    again.run(4, evaluate, silent)
    assert numbers(again)[:3] == before and len(opened(tmp_path).finished) == 4


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FileError, match=r"cannot use .*choose another folder with --out"):
        opened(tmp_path / "file")


point = st.tuples(*[st.integers(0, 4)] * 3)


@given(st.lists(point, max_size=14))
def test_the_front_against_every_pair(points):
    trials = optuna.create_study(directions=[MOST, LEAST, LEAST])
    for a, b, c in points:
        trials.add_trial(create_trial(values=[a, b, c], state=TrialState.COMPLETE))

    def surpassed(one, other):
        gains = (other[0] - one[0], one[1] - other[1], one[2] - other[2])
        return min(gains) >= 0 and max(gains) > 0

    best = [k for k, one in enumerate(points) if not any(surpassed(one, other) for other in points)]
    assert [trial.number for trial in front(trials)] == [k for k in best if points.index(points[k]) == k]
