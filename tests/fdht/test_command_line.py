"""The command line helps: Tab completes, help explains its words, progress says what is left, pictures open."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from inspect import signature
from pathlib import Path
from typing import get_args

import pytest
import typer
from typer.models import ParameterInfo

from fdht import cli, console, remaining
from fdht.boards.catalogue import BOARDS
from fdht.cli import app
from fdht.commands import completing
from fdht.commands.words import MOST, WORDS, explained
from fdht.console import Output
from fdht.model.presets import PRESETS
from fdht.sim import build
from fdht.spec.target import TARGETS
from tests.fdht.test_glossary import ROWS
from tests.fdht.tiny import TINY

COMMANDS = typer.main.get_group(app).commands
WITHOUT = {"input_modes", "output_modes", "ranks", "head", "input_range", "name", "host", "format", "minimise"}
WITHOUT |= {"precision", "split"}
"""Parameters whose text is the user's own, or numbers, or one of few words that their help lists."""


def kinds(annotation: object) -> Iterator[object]:
    """The types in an annotation, as `str` in `Annotated[list[str] | None, ...]`."""
    yield annotation
    for inner in get_args(annotation):
        yield from kinds(inner) if not isinstance(inner, ParameterInfo) else ()


COMPLETED = """
import os, sys
from fdht.cli import main
for words in sys.argv[1:]:
    position = str(words.count(" ") + 1)
    os.environ |= {"_FDHT_COMPLETE": "complete_bash", "COMP_WORDS": f"fdht {words}", "COMP_CWORD": position}
    try:
        main([])
    except SystemExit:
        print("--")
print("torch" in sys.modules)
"""


def test_tab_completes_commands_options_names_and_files_without_torch(tmp_path):
    """In one process; each key of a shell is a process of its own."""
    for name in ("mine.npz", "mine.toml", "mine.bundle", "notes.txt"):
        (tmp_path / name).touch()
    words = ["tr", "train --dat", "train ", "synth --board ", "simulate mine.bundle --target ice", "data m", "info "]
    program = [sys.executable, "-c", COMPLETED, *words]
    found = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=True)
    *answers, torch = (answer.split() for answer in found.stdout.split("--\n"))
    assert torch == ["False"] and not found.stderr
    assert answers == [
        ["train"],
        ["--data", "--data-folder", "--data-width"],
        [*(name for name in PRESETS if name != TINY.name), "mine.toml"],
        list(BOARDS),
        [name for name in TARGETS if name.startswith("ice")],
        ["mine.npz"],
        ["mine.bundle"],
    ]


def test_a_script_for_the_shell(fdht, monkeypatch):
    monkeypatch.setattr("shellingham.detect_shell", lambda: ("bash", "/bin/bash"))
    with pytest.raises(SystemExit):
        fdht("--show-completion")
    assert {"--install-completion", "--show-completion"} <= {
        option for parameter in typer.main.get_command(app).params for option in parameter.opts
    }


def test_every_name_and_every_file_is_completed():
    """What is neither a number nor the user's own words; a new option has to say what completes it."""
    without = {
        f"{command.name} {parameter.name}"
        for command in cli.COMMANDS
        for parameter in signature(command.run).parameters.values()
        if {str, Path} & set(kinds(parameter.annotation))
        and parameter.name not in WITHOUT
        and completing.of(command.name, parameter.name) is None
    }
    assert not without


def test_files_are_offered_by_their_endings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in ("a.bundle", "b.image", ".hidden.bundle", "out/c.bundle", "deep/er/d.bundle", "deep/er/e.bundle"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    assert completing.files("", (".bundle",)) == ["a.bundle", "deep/", "out/"]
    assert completing.files("o", (".bundle",)) == ["out/c.bundle"]
    assert completing.files("deep/", (".bundle",)) == ["deep/er/d.bundle", "deep/er/e.bundle"]
    assert completing.files("", ()) == ["deep/", "out/"]
    assert completing.files(".h", ("",)) == [".hidden.bundle"]
    assert completing.files("nowhere/", ("",)) == []


def test_what_cannot_be_found_is_not_offered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def missing():
        raise ModuleNotFoundError("an extra is not installed")

    assert completing.completer(missing)("d") == []


def test_help_explains_the_words_it_uses(fdht):
    shown = re.sub(r"\s+", " ", fdht("info", "--help").out)
    assert f"bundle: {WORDS['bundle']}" in shown and f"image: {WORDS['image']}" in shown
    assert "dimension tree:" not in shown
    assert explained("Bundles, and out.bundle").count("\n- ") == 1 and not explained("see out.bundle, --target")
    assert explained(" ".join(WORDS)).count("\n- ") == MOST


def test_words_of_the_help_are_in_the_glossary():
    page = " ".join(row[0] + row[1] for row in ROWS).lower()
    assert not [word for word in WORDS if word.removesuffix("s") not in page]


def test_the_page_says_what_is_taken_where_nothing_is_said():
    """Of every command that has an engine, a board or a place to write: what its declaration has for them."""
    page = (Path(__file__).parents[2] / "docs" / "commands.md").read_text()
    rows = {}
    for commands, engine, place in re.findall(r"^\| (`.*?) \| (.*?) \| (.*) \|$", page, re.MULTILINE):
        rows |= {key: {"target": engine, "board": engine, "out": place} for key in re.findall(r"`(\w+)`", commands)}
    asked = {"target", "board", "out"}
    assert set(rows) == {name for name, command in COMMANDS.items() if asked & {each.name for each in command.params}}
    for name, row in rows.items():
        for option in COMMANDS[name].params:
            in_words = re.search(r"\[default: (.*)\]", re.sub(r"\s+", " ", getattr(option, "help", None) or ""))
            said = in_words[1] if in_words else str(option.default or "")
            for default in re.findall(r"ulx3s-85f|icebreaker|build[\w/.-]*", said):
                assert option.name not in asked or f"`{default}`" in row[str(option.name)], (name, option.name)


def test_what_is_left_follows_from_the_steps(monkeypatch, tmp_path):
    monkeypatch.setenv("FDHT_CACHE", str(tmp_path))
    clock = iter([0.0, 60.0, 60.0, 70.0, 70.0, 75.0]).__next__
    monkeypatch.setattr(remaining.time, "monotonic", clock)
    work = remaining.Remaining("epochs", 5)
    work.step(1)
    assert work.seconds() is None, "the first step may take what is done once"
    work.step(2)
    assert work.seconds() == 30
    assert work.seconds() == 25


def test_work_that_goes_on_where_it_was_is_not_taken_for_quick(monkeypatch, tmp_path):
    monkeypatch.setenv("FDHT_CACHE", str(tmp_path))
    clock = iter([0.0, 10.0, 10.0, 20.0, 20.0]).__next__
    monkeypatch.setattr(remaining.time, "monotonic", clock)
    work = remaining.Remaining("epochs", 30)
    work.step(21)
    assert work.seconds() is None
    work.step(22)
    assert work.seconds() == 80


def test_work_without_steps_takes_as_long_as_last_time(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("FDHT_CACHE", str(tmp_path))
    now = [0.0]
    monkeypatch.setattr(remaining.time, "monotonic", lambda: now[0])
    output = Output(as_json=False)
    with output.progress("building it"):
        now[0] += 90
    with output.progress("building it") as advance:
        now[0] += 30
        advance(note="routing")
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "building it ...",
        "building it ... (about 2 min left, as last time)",
        "building it routing, 1 min left",
    ]
    assert json.loads((tmp_path / remaining.FILE).read_text()) == {"building it": 30}
    with pytest.raises(KeyError), output.progress("building it"):
        now[0] += 5
        raise KeyError
    assert json.loads((tmp_path / remaining.FILE).read_text()) == {"building it": 30}, "a failure is no measure"


def test_a_simulator_is_told_of_where_it_is_built_and_not_where_it_is_kept(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(build, "_compile", lambda *_: None)
    monkeypatch.setenv("FDHT_CACHE", str(tmp_path))
    told = Output(as_json=False).building("mine")
    for _ in range(2):
        build.build_verilog("m", b"", lambda: "module m(clk);\nendmodule\n", cache=tmp_path / "built", compiling=told)
    assert capsys.readouterr().err == "building the simulator of mine (kept for the next time) ...\n"


@pytest.mark.parametrize("content", ["", "[1]", '{"a": "b", "c": -1}', "[" * 100_000])
def test_notes_that_are_none_are_passed_over(monkeypatch, tmp_path, content):
    monkeypatch.setenv("FDHT_CACHE", str(tmp_path))
    (tmp_path / remaining.FILE).write_text(content)
    assert remaining.Remaining("a").usual is None and remaining.Remaining("c").seconds() is None


def test_time_in_words():
    assert [remaining.in_words(seconds) for seconds in (4.4, 59, 170, 5000)] == [
        "4 s left",
        "59 s left",
        "3 min left",
        "1 h 23 min left",
    ]


@pytest.fixture
def opened(monkeypatch) -> list[str]:
    found: list[str] = []

    def launch(path: str) -> int:
        found.append(path)
        return int(not Path(path).is_file())

    monkeypatch.setattr(console.typer, "launch", launch)
    return found


def test_pictures_are_opened(fdht, opened, monkeypatch):
    monkeypatch.setattr(console, "_has_screen", lambda: True)
    figures = fdht("train", TINY.name, "--open", "--json").figures
    assert opened == [figures["curves"]]
    assert fdht("data", "digits").code == 0 and len(opened) == 1
    figures = fdht("data", "digits", "--open", "--json").figures
    assert opened[1:] == [figures["sheet"]]


def test_without_a_screen_it_is_said_where_they_are(opened, monkeypatch, capsys):
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    output = Output(as_json=False)
    output.open_pictures()
    output.drew("build/a.png")
    output.open_pictures()
    assert not opened and "no screen here to open build/a.png on" in capsys.readouterr().err
    monkeypatch.setenv("DISPLAY", ":0")
    output.open_pictures()
    assert opened == ["build/a.png"] and "open build/a.png yourself" in capsys.readouterr().err


def test_commands_that_make_pictures_can_open_them():
    """Those whose help says so, and no others."""
    drawing = {name for name, command in COMMANDS.items() if any("--open" in param.opts for param in command.params)}
    assert drawing == {"train", "data", "compress", "precision", "bench", "explore"}
    assert os.environ.get("DISPLAY") is None or console._has_screen()
