"""docs/your-own-problem.md does what it says: its arrays, its commands, its PyTorch."""

import re

import pytest

from tests.fdht.test_readmes import check
from tests.test_pages import ROOT

PAGE = (ROOT / "docs/your-own-problem.md").read_text()
DATA, OWN = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def command(text: str) -> list[str]:
    """The words of the page's command that begins so."""
    (line,) = [line for line in PAGE.splitlines() if line.startswith(f"    fdht {text}")]
    return line.split()[1:]


@pytest.fixture
def mine(fdht, tmp_path):
    """A folder with the page's data."""
    exec(compile(DATA, "page", "exec"), {})
    return tmp_path


def test_the_commands_of_the_page(fdht, mine):
    trained = fdht(*command("train"), "--json")
    assert trained.code == 0 and "64 hidden units" in trained.err, trained.err
    assert f"{trained.figures['parameters']['factors']:,} factors" in PAGE
    (said,) = re.findall(r"(\d+) % of the test samples right", PAGE)
    assert abs(100 * trained.figures["accuracy"] - int(said)) <= 8  # of 54 samples: 4, as CPUs round differently
    assert fdht(*command("compile"), "--json").code == 0
    simulated = fdht(*command("simulate"), "--json")
    assert simulated.code == 0 and simulated.figures["mismatches"] == 0
    assert f"{simulated.figures['cycles']['simulated']:,} cycles for 29 steps" in PAGE
    made = fdht(*command("new"), "--json")
    assert made.code == 0 and len(made.figures["proposals"]) == 3


@pytest.mark.slow
def test_the_pytorch_of_the_page(mine):
    check(OWN)
    assert (mine / "wave.bundle").is_file() and (mine / "wave.icebreaker.image").is_file()
