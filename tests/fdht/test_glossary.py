"""docs/glossary.md: every word once, in order, and what it names exists."""

import importlib
import re
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "glossary.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")] for line in PAGE.splitlines() if line.startswith("| **")
]
WORDS = {
    "tile, word, lane, band, chain, stage, step, image, bundle, target, place, box, bond, mode, rank, leaf, factor",
    "head, clip, frame, token, region, segment, bank, preset, checkpoint, engine, array, transfer tensor",
}


def exists(path: str) -> bool:
    """Whether a dotted name is a module, or something in one: a class, a field of a class, a function, a number."""
    parts = path.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for name in parts[cut:]:
            of_class = {each.name for each in fields(found)} if is_dataclass(found) else set()
            if not hasattr(found, name) and name not in of_class:
                return False
            found = getattr(found, name, None)
        return True
    return False


def test_what_it_names_exists():
    assert not exists("fdht.spec.lstm.Chains") and not exists("fdht.spec.lstm.Chain.z") and not exists("fdht.specs")
    assert len(ROWS) > 60 and all(len(row) == 3 for row in ROWS)
    assert [row[2] for row in ROWS if not exists(row[2].strip("`"))] == []


def test_it_has_the_words_that_the_pages_use():
    defined = [re.sub(r"[^a-z ]", "", row[0].split("**")[1]) for row in ROWS]
    assert not {word for line in WORDS for word in line.split(", ")} - set(defined)
    twice = [row[0] for row, word in zip(ROWS, defined, strict=True) if defined.count(word) > 1]
    assert len(twice) > 5 and [word for word in twice if "** (" not in word] == [], "two meanings are told apart"


@pytest.mark.parametrize("section", PAGE.split("\n## ")[1:], ids=lambda section: section.partition("\n")[0])
def test_words_are_in_order(section):
    words = re.findall(r"^\| \*\*(.*?)\*\*", section, re.M)
    assert words == sorted(words, key=str.lower)
