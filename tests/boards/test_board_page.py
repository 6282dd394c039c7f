"""The page on adding a board, carried out: its board is in a file outside of fdht."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from fdht.boards import find_board
from fdht.boards.catalogue import own
from fdht.boards.fitting import engine_on
from fdht.boards.synthesis import measure, prepare
from fdht.boards.top import BoardTop
from fdht.cli import COMMANDS
from fdht.spec.target import find_target

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "adding-a-board.md").read_text()


def block(first_line: str) -> str:
    """The block of code that begins so."""
    (text,) = re.findall(rf"^    {re.escape(first_line)}\n(?:    .*\n|\n)*", PAGE, re.MULTILINE)
    return dedent(text)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The reader's: with both files of the page, one of them run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    Path("mine.py").write_text(block("# mine.py"))
    code, _, command = block("# small.py: leaves half of the part to you").partition("\nfdht synth")
    Path("small.py").write_text(code)
    assert command.startswith(" --board mine:BOARD --target small.json --netlist")
    runpy.run_path("small.py")
    return tmp_path


def test_the_board_of_the_page_is_elaborated(folder):
    """With fdht's engine and with the page's own: all that is left for the tools is in their files."""
    own("mine:BOARD")
    board = find_board("mine:BOARD")
    for design in (board, engine_on(board, find_target("small.json"))):
        files = prepare(design, BoardTop(design)).files
        made = [files[name] for name in ("top.il", "top.pcf")]
        netlist, pins = (text if isinstance(text, str) else text.decode() for text in made)
        assert "SB_PLL40_PAD" in netlist and "SB_MAC16" in netlist and "uart_0__rx__io" in pins


@pytest.mark.slow
def test_the_figures_of_the_page_are_those_of_its_netlist(folder):
    """LUTs and flip-flops to 2 %, since another Yosys may choose others; blocks exactly."""
    own("mine:BOARD")
    made = measure(find_board("mine:BOARD", "small.json"))
    rows = re.findall(r"^\| ([\w -]+) \| ([\d,]+) \| ([\d,]+) \| [\d.]+ % \|$", PAGE, re.MULTILINE)
    shown = {name: int(count.replace(",", "")) for name, count, _ in rows}
    blocks = made.blocks
    assert [shown[name] for name in ("multipliers", "block RAMs", "SPRAMs")] == [
        blocks.multipliers,
        blocks.block_rams,
        blocks.sprams,
    ]
    assert shown["LUTs"] == pytest.approx(made.luts, rel=0.02)
    assert shown["flip-flops"] == pytest.approx(made.ffs, rel=0.02)


def test_every_option_of_the_pages_commands_is_there():
    known = {command.name for command in COMMANDS}
    lines = re.findall(r"^    fdht (\w+)(.*?)(?:  +#.*)?$", PAGE, re.MULTILINE)
    assert len(lines) > 10 and {name for name, _ in lines} <= known
    for name in sorted({name for name, _ in lines}):
        help_ = subprocess.run(
            [sys.executable, "-m", "fdht", name, "--help"],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=os.environ | {"COLUMNS": "200"},
        ).stdout
        options = {word for each, rest in lines if each == name for word in rest.split() if word.startswith("--")}
        assert not [option for option in options if option not in help_], name
