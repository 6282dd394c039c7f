"""docs/accuracy.md: tables and pictures made from rows, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from docs import accuracy_page
from fdht.studies.accuracy import Row, hits, merge

CORRECT = np.arange(50) % 5 > 0
OURS = Row("baselines", "faces", "fdht", "whole", 4224, 15528, 4800, 0, **hits(CORRECT), recurrent_parameters=5248)
THEIRS = replace(OURS, format="tt", recurrent="dense", factors=2808, parameters=276256, **hits(np.arange(50) % 5 > 1))
GOLDEN = replace(OURS, study="presets", recipe="faces", model="golden", bits="12/16", target="icebreaker")
SWEPT = replace(GOLDEN, study="precision", recipe="", bits="4/16")
ROWS = [
    *(replace(OURS, seed=seed) for seed in range(3)),
    *(replace(THEIRS, seed=seed) for seed in range(3)),
    replace(OURS, format="dense", factors=19_922_944, parameters=19_934_248),
    replace(OURS, study="compression", format="dense", recipe="dense", clips=0),
    replace(OURS, study="compression", recipe="truncated", clips=0, error=0.25, **hits(~CORRECT)),
    replace(OURS, study="compression", recipe="fine-tuned", clips=400, error=0.25),
    replace(GOLDEN, model="float", bits="float", target=""),
    GOLDEN,
    replace(GOLDEN, model="rtl", **hits(CORRECT[[0, 24, 49]])),
    replace(SWEPT, bits="float", model="float", target=""),
    *(replace(SWEPT, seed=seed, **hits(~CORRECT)) for seed in range(2)),
    *(replace(SWEPT, seed=seed, qat=True) for seed in range(2)),
    replace(SWEPT, bits="8/16"),
    replace(SWEPT, bits="8/16", qat=True),
    replace(SWEPT, bits="8/8"),
    replace(SWEPT, bits="8/8", qat=True, **hits(np.arange(50) % 5 > 1)),
]


@pytest.fixture
def page(monkeypatch, tmp_path):
    """The page in an empty folder."""
    text = accuracy_page.PAGE.read_text()
    for name in ("PAGE", "ROWS"):
        monkeypatch.setattr(accuracy_page, name, tmp_path / getattr(accuracy_page, name).name)
    accuracy_page.PAGE.write_text(text)
    return accuracy_page.PAGE


def test_the_page_has_every_table_and_keeps_its_words(page):
    words = page.read_text().partition(accuracy_page.MARKS[0])[0]
    merge(ROWS, accuracy_page.ROWS)
    accuracy_page.write()
    text = page.read_text()
    assert text.startswith(words) and "## A model of your own" in text.partition(accuracy_page.MARKS[1])[2]
    lines = text.splitlines()
    assert "| faces | 4,800 | 4,224 | 5,248 | 15,528 | 80.0 ± 0.0 % | 50 | 3 |" in lines
    assert "2,808" not in text.partition(accuracy_page.MARKS[0])[2], "others are in docs/formats.md"
    assert "| 4,224 factors | 5,248 | 15,528 | 0.250 | 20.0 % | 80.0 % | 400 |" in lines
    assert "| faces | faces | icebreaker | 12/16 | 80.0 % | 80.0 % | 50 | 2 of 3 right | 3 of 3 |" in lines
    assert any(
        line.startswith("| faces, 4,800 training clips, 50 test clips, stage list of icebreaker; float 80.0 %")
        for line in lines
    )
    assert "| factors of 4 bits |  | 20.0 → 80.0 (2) |" in lines
    assert "| factors of 8 bits | 80.0 → 60.0 | 80.0 → 80.0 |" in lines
    assert (accuracy_page.ROWS.parent / "precision-faces-icebreaker.png").read_bytes().startswith(b"\x89PNG")
    accuracy_page.write()
    assert page.read_text() == text, "written twice is written once"


def test_rtl_that_differs_from_the_golden_model_shows(page):
    merge([*ROWS, replace(GOLDEN, model="rtl", **hits(~CORRECT[[0, 24, 49]]))], accuracy_page.ROWS)
    accuracy_page.write()
    assert "| 1 of 3 right | 0 of 3 |" in page.read_text()


def test_without_rows_the_page_stays_as_it_is(page):
    before = page.read_text()
    accuracy_page.write()
    assert page.read_text() == before
