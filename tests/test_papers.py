"""The house's own papers: what they say of the package is so, forms can be filled in, figures hold."""

import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from fdht.spec.version import VERSION

ROOT = Path(__file__).parent.parent
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
FIELDS = ("input", "textarea", "dropdown", "checkboxes")
"""Kinds of fields that somebody fills in; `markdown` is only read."""


def test_the_citation_is_of_this_package():
    """With the fields that the Citation File Format 1.2.0 needs, of a work and of each reference."""
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert cited["cff-version"] == "1.2.0" and cited["message"] and cited["authors"]
    assert (cited["version"], cited["license"]) == (VERSION, project["license"])
    assert cited["title"].startswith(project["name"])
    (paper,) = cited["references"]
    assert paper["type"] == "conference-paper" and paper["title"] and re.fullmatch(r"10\.\d+/\S+", paper["doi"])
    assert [author["family-names"] for author in paper["authors"]] == ["Yin", "Liao", "Liu", "Wang", "Yuan"]


@pytest.mark.parametrize("form", [form for form in FORMS if form.name != "config.yml"], ids=lambda form: form.name)
def test_a_form_can_be_filled_in(form):
    """As GitHub's schema of forms asks: a name, a description, fields with a label and an id of their own."""
    read = yaml.safe_load(form.read_text())
    assert set(read) <= {"name", "description", "labels", "title", "body"} and read["name"] and read["description"]
    fields = [field for field in read["body"] if field["type"] in FIELDS]
    assert len(fields) + sum(field["type"] == "markdown" for field in read["body"]) == len(read["body"])
    assert all(field["attributes"]["label"] for field in fields)
    assert len({field["id"] for field in fields}) == len(fields) > 0
    assert all(field["attributes"]["options"] for field in fields if field["type"] in ("dropdown", "checkboxes"))
    for path in re.findall(r"\b(?:docs/[\w/.-]+\w|[A-Z]+\.md)", form.read_text()):
        assert (ROOT / path).exists(), path


def test_our_row_of_the_comparison_is_the_benchs():
    rows = json.loads((ROOT / "docs" / "results" / "bench.json").read_text())
    (row,) = [row for row in rows if row.get("preset") == "1-to-20" and row["kind"] == "engine"]
    said = f"{row['cycles_per_step']} | {row['multipliers']} | {row['fmax_mhz']:.1f} MHz | {row['step_us']:.1f} µs | "
    said += f"the board's {row['clock_mhz']:g} MHz |"
    assert f"| fdht, dense, iCEBreaker | {said}" in (ROOT / "docs" / "comparison.md").read_text()
