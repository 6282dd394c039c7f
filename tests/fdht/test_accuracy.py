"""The rows of accuracies: one per model and seed, replaced and never doubled; differences paired over clips."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from fdht.model.presets import PRESETS
from fdht.spec.errors import FileError, SpecError
from fdht.spec.lstm import lstm_on
from fdht.spec.network import dense_network, tt_network
from fdht.studies.accuracy import Row, by_series, difference, hits, load, merge, sizes

CORRECT = np.array([True, False, True, True, False, True, True, True, True, False])
ROW = Row("baselines", "faces", "fdht", "whole", 4224, 15528, 12000, 0, **hits(CORRECT))


def rows_of(correct: np.ndarray, **changes) -> list[Row]:
    """A row per seed, from seeds × clips booleans."""
    return [replace(ROW, seed=seed, **hits(each), **changes) for seed, each in enumerate(correct)]


def test_hits_say_which_clips_were_right():
    assert (ROW.correct, ROW.total, ROW.accuracy) == (7, 10, 0.7)
    np.testing.assert_array_equal(ROW.correct_clips, CORRECT)


def test_rows_come_back_as_they_were(tmp_path):
    path = tmp_path / "results" / "accuracy.json"
    golden = replace(ROW, model="golden", bits="8/16", target="icebreaker")
    merge([golden, ROW], path)
    assert load(path) == [golden, ROW] or load(path) == [ROW, golden]
    assert [row["correct"] for row in json.loads(path.read_text())] == [7, 7]
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_row_takes_the_place_of_its_forerunner(tmp_path):
    path = tmp_path / "accuracy.json"
    merge([ROW, replace(ROW, seed=1)], path)
    merge([replace(ROW, **hits(~CORRECT))], path)
    assert {row.seed: row.correct for row in load(path)} == {0: 3, 1: 7}


def test_files_do_not_depend_on_the_order_of_the_rows(tmp_path):
    rows = [replace(ROW, seed=seed, data=data) for seed in range(3) for data in ("faces", "digits")]
    merge(rows, tmp_path / "a")
    for row in rows[::-1]:
        merge([row], tmp_path / "b")
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text()
    assert len((tmp_path / "a").read_text().splitlines()) == len(rows) + 2


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "fft"},
        {"model": "vhdl"},
        {"recurrent": "half"},
        {"bits": "eight"},
        {"bits": "8/"},
        {"model": "golden"},
        {"correct": 6},
        {"total": 20},
        {"hits": "xy"},
    ],
)
def test_rows_that_cannot_be(changes):
    with pytest.raises(SpecError):
        replace(ROW, **changes)


@pytest.mark.parametrize("text", ["[", "{}", "[1]", '[{"data": "faces"}]', json.dumps([asdict(ROW) | {"correct": 1}])])
def test_a_file_of_something_else_is_refused_and_left_alone(text, tmp_path):
    path = tmp_path / "accuracy.json"
    path.write_text(text)
    with pytest.raises(FileError, match="restore it"):
        merge([ROW], path)
    assert path.read_text() == text


def test_sizes_are_those_of_the_specification():
    spec = PRESETS["faces"].spec
    assert sizes(spec) == {
        "format": "fdht",
        "recurrent": "whole",
        "factors": 4224,
        "recurrent_parameters": 4224 + 1024,
        "parameters": 4224 + 1024 + 10280,
    }
    papers = lstm_on(tt_network((4, 5), (8, 8), 2), 20, 16, 3, dense_network(16, (8, 8)))
    assert sizes(papers) == {
        "format": "tt",
        "recurrent": "dense",
        "factors": 8 * 4 * 2 + 2 * 8 * 5,
        "recurrent_parameters": 144 + 16 * 64 + 64,
        "parameters": 144 + 16 * 64 + 64 + 17 * 3,
    }


def test_series_are_rows_that_differ_in_the_seed():
    rows = [replace(ROW, seed=1), ROW, replace(ROW, bits="8/16", model="golden")]
    assert sorted(len(series) for series in by_series(rows).values()) == [1, 2]


def test_a_model_against_itself_is_no_difference():
    same = difference([ROW], [ROW])
    assert (same.mean, same.low, same.high, same.verdict) == (0, 0, 0, "open")


def test_pairing_sees_what_the_same_clips_show():
    """Models that fail on the same hard clips: their difference is far surer than each accuracy."""
    rng = np.random.default_rng(1)
    hard = rng.random(200) < 0.5
    theirs = np.tile(~hard, (3, 1))
    ours = theirs | (rng.random(200) < 0.1)
    paired = difference(rows_of(ours), rows_of(theirs, format="tt"))
    assert paired.mean == pytest.approx(ours.mean() - theirs.mean())
    assert paired.low <= paired.mean <= paired.high and paired.verdict == "better"
    assert difference(rows_of(theirs), rows_of(ours)).verdict == "worse"
    shuffled = difference(rows_of(ours), rows_of(theirs[:, rng.permutation(200)]))
    assert shuffled.high - shuffled.low > 2 * (paired.high - paired.low)


def test_intervals_hold_the_true_difference_as_often_as_they_say():
    """Two models that are right with 0.8 and 0.7, one seed each, 100 clips: of 60 experiments about 5 % miss."""
    rng = np.random.default_rng(2)
    misses = 0
    for _ in range(60):
        ours, theirs = rng.random((1, 100)) < 0.8, rng.random((1, 100)) < 0.7
        found = difference(rows_of(ours), rows_of(theirs))
        misses += not found.low <= 0.1 <= found.high
    assert 1 <= misses <= 9


def test_seeds_that_disagree_widen_the_interval():
    steady, unsteady = np.zeros((3, 100), dtype=bool), np.zeros((3, 100), dtype=bool)
    steady[:, :50], unsteady[0, :90], unsteady[1, :50], unsteady[2, :10] = True, True, True, True
    nothing = np.zeros((3, 100), dtype=bool)
    sure, unsure = (difference(rows_of(each), rows_of(nothing)) for each in (steady, unsteady))
    assert sure.mean == unsure.mean == 0.5
    assert unsure.high - unsure.low > 1.5 * (sure.high - sure.low)


def test_only_the_same_clips_are_paired():
    with pytest.raises(SpecError, match="same clips"):
        difference([ROW], [replace(ROW, data="digits")])
    with pytest.raises(SpecError, match="same clips"):
        difference([ROW], [])
