"""`fdht program`: what it says when there is nothing to load, or nothing that loads."""

from pathlib import Path

import pytest

from fdht.boards import find_board
from fdht.workflow.programming import LOADER

BOARD = find_board("icebreaker")


def loader(folder: Path, code: int) -> None:
    folder.mkdir()
    file = folder / LOADER
    file.write_text(f"#!/bin/sh\necho no cable >&2\nexit {code}\n")
    file.chmod(0o755)


@pytest.fixture
def bitstream(tmp_path) -> Path:
    path = tmp_path / f"some{BOARD.family.suffix}"
    path.touch()
    return path


def test_what_cannot_be_loaded_is_not_being_loaded(fdht, bitstream, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    for arguments, sentence in (
        (("-b", BOARD.name), "there is no bitstream"),
        (("-b", BOARD.name, "--clock", 5.5), "make it with: fdht synth --board icebreaker --clock 5.5"),
        (("-b", "nowhere"), "there is no board 'nowhere'"),
        (("-b", BOARD.name, "--bitstream", bitstream), f"{LOADER} was not found"),
    ):
        outcome = fdht("program", *arguments)
        assert outcome.code == 1 and sentence in outcome.sentence
        assert "loading" not in outcome.err + outcome.out


def test_a_bitstream_is_loaded(fdht, bitstream, tmp_path, monkeypatch):
    loader(tmp_path / "bin", 0)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin:/usr/bin")
    outcome = fdht("program", "-b", BOARD.name, "--bitstream", bitstream, "--json")
    assert outcome.code == 0 and outcome.figures["bitstream"] == str(bitstream)
    (tmp_path / "bin" / LOADER).unlink()
    (tmp_path / "bin").rmdir()
    loader(tmp_path / "bin", 1)
    outcome = fdht("program", "-b", BOARD.name, "--bitstream", bitstream)
    assert outcome.code == 1 and "(no cable); look at cable and power" in outcome.sentence
    assert f"loading {BOARD.name}" in outcome.err
