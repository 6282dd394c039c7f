"""Baselines: what is worse fails, what is better is said, what cannot be compared is refused."""

import pytest

from fdht.boards import baseline, find_board
from fdht.boards.baseline import BaselineError, compare, load, record

BOARD = find_board("icebreaker")
CYCLES = {"large": None, "small": 4792, "other": 1000}
REPORT = {
    "target": "icebreaker",
    "tools": {"yosys": "1"},
    "seeds": [1, 2],
    "clock_mhz": 24.0,
    "multipliers": 8,
    "block_rams": 30,
    "sprams": 4,
    "luts": 3600,
    "ffs": 2400,
    "fmax_mhz_median": 26.0,
    "fmax_mhz_seeds": {"1": 25.0, "2": 27.0},
    "fmax_mhz_nextpnr_seeds": {"1": 28.0, "2": 29.0},
    "timing_source": "nextpnr",
    "timing_uncovered": {},
    "luts_after": 1,
}


@pytest.fixture(autouse=True)
def _recorded(tmp_path, monkeypatch):
    monkeypatch.setattr(baseline, "FOLDER", tmp_path / "baselines")
    record(BOARD, REPORT, CYCLES)


def test_an_equal_build_passes():
    assert compare(BOARD, REPORT, CYCLES) == []
    kept = load(BOARD)
    assert kept["board"] == BOARD.name and kept["cycles_per_step"] == CYCLES and "luts_after" not in kept


@pytest.mark.parametrize(
    "figures, cycles, sentence",
    [
        ({"multipliers": 9}, {}, "multipliers: 9, not 8"),
        ({"multipliers": 7}, {}, "multipliers: 7, not 8"),
        ({"block_rams": 31}, {}, "block rams: 31, not 30"),
        ({"sprams": 3}, {}, "sprams: 3, not 4"),
        ({"luts": 3781}, {}, r"luts: 3781, not 3600 \(\+5.0 %\)"),
        ({"ffs": 2521}, {}, "ffs: 2521, not 2400"),
        ({"fmax_mhz_median": 24.69}, {}, r"fmax mhz median: 24.69, not 26 \(-5.0 %\)"),
        ({}, {"small": 4793}, "cycles of small: 4,793, not 4,792"),
        ({}, {"small": None}, "cycles of small: none, it does not fit, not 4,792"),
    ],
)
def test_what_is_worse_fails_and_says_how_to_accept_it(figures, cycles, sentence):
    with pytest.raises(BaselineError, match=sentence) as failure:
        compare(BOARD, REPORT | figures, CYCLES | cycles)
    assert "fdht synth --board icebreaker --accept" in str(failure.value)


@pytest.mark.parametrize("figures", [{"luts": 3779}, {"ffs": 2519, "luts": 3421}, {"fmax_mhz_median": 24.71}])
def test_margins_are_not_failures(figures):
    assert compare(BOARD, REPORT | figures, CYCLES) == []


def test_what_is_better_is_said():
    figures = {"luts": 3000, "fmax_mhz_median": 30.0}
    better = compare(BOARD, REPORT | figures, CYCLES | {"large": 9000, "small": 4000})
    assert len(better) == 4 and "cycles of large: 9,000, not none, it does not fit" in better
    with pytest.raises(BaselineError, match="ffs") as failure:
        compare(BOARD, REPORT | figures | {"ffs": 9999}, CYCLES)
    assert "luts" not in str(failure.value)


@pytest.mark.parametrize("name, other", [("tools", {"yosys": "2"}), ("seeds", [1]), ("clock_mhz", 12.0)])
def test_other_settings_are_not_compared(name, other):
    with pytest.raises(BaselineError, match=f"{name.replace('_', ' ')} .*says nothing about this build"):
        compare(BOARD, REPORT | {name: other}, CYCLES)


@pytest.mark.parametrize("text", ['{"board": "ice', "[]", "{}", "<<<<<<< HEAD"])
def test_what_is_no_baseline_is_said(text):
    baseline.path_of(BOARD).write_text(text)
    with pytest.raises(BaselineError, match=r"is no baseline .*; remove it, then fdht synth --board icebreaker"):
        load(BOARD)
    assert baseline.usual_seeds(BOARD) == [1]


def test_a_board_without_a_baseline_says_how_to_record_one():
    with pytest.raises(BaselineError, match="ulx3s-85f has no baseline; fdht synth --board ulx3s-85f --accept"):
        load(find_board("ulx3s-85f"))
