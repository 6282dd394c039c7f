"""docs/your-own-problem.md does what it says: its arrays, its commands, its PyTorch."""

import re

import pytest

from fdht.boards import find_board
from fdht.host.device import Device
from fdht.sim.simulated_board import Pins, SimulatedBoard, build_system
from tests.fdht.test_readmes import check
from tests.test_pages import ROOT

PAGE = (ROOT / "docs/your-own-problem.md").read_text()
DATA, OWN, FUNCTION, SCALED, BOARD = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def command(text: str) -> list[str]:
    """The words of the page's first command that begins so."""
    line = next(line for line in PAGE.splitlines() if line.startswith(f"    fdht {text}"))
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
def test_the_pytorch_of_the_page(mine, monkeypatch):
    """The page's board is one in simulation."""
    pins = Pins(divisor=None)
    with SimulatedBoard(build_system(find_board("icebreaker").engine, pins), pins) as board:
        monkeypatch.setattr("fdht.Device", lambda port: Device(board.url, timeout=60))
        check(OWN + FUNCTION + "assert torch.equal(model()(x[:9]), model()(x[:9]))\n" + SCALED + BOARD)
    assert (mine / "wave.bundle").is_file() and (mine / "wave.icebreaker.image").is_file()
