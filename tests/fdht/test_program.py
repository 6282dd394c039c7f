"""`fdht program`: what it says when there is nothing to load, or nothing that loads."""

from dataclasses import replace
from pathlib import Path

import pytest

from fdht.boards import find_board
from fdht.boards.board import Flash
from fdht.compiler.image import compile_bundle
from fdht.console import Output
from fdht.spec.bundle import Bundle
from fdht.spec.errors import SpecError
from fdht.spec.flash import STRIDE, slot_bytes
from fdht.spec.target import Standalone, Target
from fdht.workflow import flashing
from fdht.workflow.programming import LOADER, ProgrammingError

BOARD = find_board("icebreaker")


def loader(folder: Path, code: int) -> None:
    folder.mkdir()
    file = folder / LOADER
    file.write_text(f'#!/bin/sh\necho "$@" >> {folder.parent}/calls\necho no cable >&2\nexit {code}\n')
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


@pytest.fixture
def digits_file(digits, tmp_path) -> tuple[Bundle, Path]:
    """Digits, and in a file."""
    path = tmp_path / "digits.bundle"
    digits.save(path)
    return digits, path


@pytest.fixture
def alone(tmp_path) -> tuple[Target, Path]:
    """The board's engine, but that it loads itself; and in a file."""
    engine = BOARD.engine
    target = replace(engine, name="alone", build=replace(engine.build, standalone=Standalone(slots=2)))
    path = tmp_path / "alone.json"
    path.write_bytes(target.to_file())
    return target, path


def test_bitstream_and_images_go_into_the_flash(fdht, digits_file, alone, tmp_path, monkeypatch):
    """Each where the gateware looks for it; in a file, and by one call of the loader each."""
    (target, path), bitstream = alone, tmp_path / "some.bin"
    bitstream.write_bytes(b"bitstream" * 1000)
    bundle, held = digits_file
    slot, flash = slot_bytes(compile_bundle(bundle, target).stream().astype("<u2").tobytes(), target), BOARD.flash
    assert flash is not None
    place, flashed = flash.slots_at, ("program", "-b", BOARD.name, "-t", path, "--flash", "--bitstream", bitstream)
    outcome = fdht(*flashed, held, held, "--output", tmp_path / "flash.bin", "--json")
    assert outcome.code == 0
    content = (tmp_path / "flash.bin").read_bytes()
    assert content.startswith(bitstream.read_bytes() + b"\xff")
    assert content[place:] == slot + b"\xff" * (STRIDE - len(slot)) + slot
    rows = outcome.figures["slots"]
    assert [(row["slot"], row["address"], row["bytes"]) for row in rows] == [
        (0, place, len(slot)), (1, place + STRIDE, len(slot))
    ]  # fmt: skip
    assert 1 < rows[0]["load_ms"] < 200 and outcome.figures["commands"] == []

    loader(tmp_path / "bin", 0)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin:/usr/bin")
    assert fdht(*flashed, held).code == 0
    assert fdht(*flashed[:-2], "--images-only", "--slot", 1, held).code == 0
    calls = [line.split() for line in (tmp_path / "calls").read_text().splitlines()]
    common, data = ["-b", BOARD.loader, "--write-flash"], ["--file-type", "bin", "--offset"]
    assert [call[:-1] for call in calls] == [
        common,
        [*common, *data, str(place)],
        [*common, *data, str(place + STRIDE)],
    ]
    assert calls[0][-1] == str(bitstream)


def test_what_does_not_fit_a_flash_is_refused_before_anything_is_written(
    fdht, digits_file, alone, tmp_path, monkeypatch
):
    (_, path), (_, held), bitstream = alone, digits_file, tmp_path / "some.bin"
    bitstream.write_bytes(bytes(3 << 20))
    empty = tmp_path / "empty.bin"
    empty.touch()
    loader(tmp_path / "bin", 0)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin:/usr/bin")
    own, flash = ("program", "-b", BOARD.name), ("-t", path, "--flash")
    for arguments, sentence in (
        ((*own, held), "say --flash"),
        ((*own, "--flash", "--bitstream", bitstream), "the slots of icebreaker begin after 2,097,152"),
        ((*own, "--flash", "--images-only", held), "does not load itself; build one that does"),
        ((*own, *flash, "--bitstream", empty, held), "empty.bin is empty; make the bitstream anew with: fdht synth -"),
        ((*own, *flash, "--images-only"), "no image to write; name bundles"),
        ((*own, *flash, "--bitstream", bitstream, "--slot", 1), "no image to write; name bundles"),
        ((*own, *flash, "--images-only", held, held, held), "for slots 0 to 2, and alone has slots 0 to 1"),
        ((*own, *flash, "--images-only", "--slot", 2, held), "for slots 2 to 2, and alone has slots 0 to 1"),
        ((*own, *flash, "--bitstream", bitstream, held, "--output", held), "is to be read, and would be written over"),
        (
            (*own, *flash, "--bitstream", bitstream, held, "--output", "none/../digits.bundle"),
            "is to be read, and would",
        ),
        ((*own, *flash, "--images-only", held, "--output", "a.bin"), "it would erase the one that is there"),
        ((*own, *flash, "--images-only", "--bitstream", bitstream, held), "leaves out the bitstream"),
        ((*own, *flash, "--bitstream", empty, held, "--output", empty), "is to be read, and would be written over"),
        (("program", "-b", "tangnano9k", "--flash"), "nothing is known of a flash on tangnano9k"),
    ):
        outcome = fdht(*arguments)
        assert outcome.code == 1 and sentence in outcome.sentence, outcome.err
    assert not (tmp_path / "calls").exists()
    for wrong in ((16, 1, 0), (4, 4, 0), (32, 16, 0), (16, 2, 2)):
        size, slots, bitstream_at = (mebibytes << 20 for mebibytes in wrong)
        with pytest.raises(SpecError, match="at multiples of 0x200000"):
            Flash("spi_flash", size, slots, bitstream_at)


def test_a_watchdog_that_would_take_a_step_for_a_standstill_is_refused(digits_file, tmp_path, monkeypatch):
    build = replace(BOARD.engine.build, standalone=Standalone(watchdog_ms=1))
    slow = replace(BOARD, engine=replace(BOARD.engine, name="hasty", build=build), clock_mhz=5)
    files, to, some = [digits_file[1]], tmp_path / "flash.bin", tmp_path / "some.bin"
    some.write_bytes(b"bits")
    flashing.run(Output(False, quiet=True), slow, some, tmp_path, files, 0, False, to)
    to.unlink()
    assert slow.flash is not None
    unreached = replace(slow, flash=replace(slow.flash, write=()))
    with pytest.raises(ProgrammingError, match="does not reach all of the flash of icebreaker; write it to a file"):
        flashing.run(Output(False, quiet=True), unreached, None, tmp_path, files, 0, True, None)
    with monkeypatch.context() as patched, pytest.raises(SpecError, match=r"takes [\d,]+ bytes, and a slot has 1,000$"):
        patched.setattr(flashing, "STRIDE", 1000)
        flashing.run(Output(False, quiet=True), slow, some, tmp_path, files, 0, False, to)
    with pytest.raises(SpecError, match=r"digits.bundle takes 1\.9 ms, in which nothing moves, and the watchdog"):
        flashing.run(Output(False, quiet=True), replace(slow, clock_mhz=3), some, tmp_path, files, 0, False, to)
    assert not to.exists()
