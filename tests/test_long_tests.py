"""The page on long tests names those there are, and is written by those that run."""

import os
import re
import subprocess
import sys

import long_tests
import pytest
from test_house import ROOT


def test_the_page_names_every_synth_test():
    files = [str(path) for path in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.synth" in path.read_text()]
    listed = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--collect-only", "-m", "synth", *files],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"},  # it may say -v
        capture_output=True,
        text=True,
    )
    tests = re.findall(r"^tests/\S+::.+$", listed.stdout, re.MULTILINE)
    assert tests and sorted(long_tests.rows()) == sorted(tests)


def test_every_slow_test_has_its_day():
    """In three days a change each runs all slow tests, about a third a day."""
    names = [f"tests/sim/test_networks.py::test_random_networks[{number}]" for number in range(300)]
    parts = [[name for name in names if long_tests.in_share(name, f"{part}/3")] for part in (1, 2, 3)]
    assert sorted(name for part in parts for name in part) == sorted(names)
    assert all(80 < len(part) < 120 for part in parts)
    with pytest.raises(ValueError, match="like 2/3"):
        long_tests.in_share(names[0], "4/3")


def test_a_test_that_ran_has_its_row_written(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(long_tests.PAGE.read_text())
    before = long_tests.rows(page)
    name = next(iter(before))
    long_tests.record(name, "failed", 12.6, page)
    after = long_tests.rows(page)
    assert after[name][:2] == ["failed", "13"] and re.fullmatch(r"\d{4}-\d\d-\d\d", after[name][2])
    assert list(after) == list(before) and {n for n in after if after[n] != before[n]} == {name}
    assert page.read_text().split("<!--")[0] == long_tests.PAGE.read_text().split("<!--")[0]
