"""What a user's machine may be like: odd folders, other encodings, closed pipes, masks, an old yosys on the path."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fdht.boards.tools import find_tool

TARGET = "icebreaker"


@pytest.fixture
def odd_folder(tmp_path, monkeypatch) -> Path:
    """A folder, with the working directory in it, whose name stands for something in make and in search paths."""
    folder = tmp_path / "sp ace #1:x $y"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.slow
def test_a_folder_of_any_name(fdht, odd_folder, digits):
    digits.save(odd_folder / "digits.bundle")
    simulated = fdht("simulate", "digits.bundle", "-t", TARGET, "--clips", 1, "--waves", "waves.vcd", "--json")
    assert simulated.code == 0 and simulated.figures["mismatches"] == 0, simulated.err
    assert (odd_folder / "waves.vcd").stat().st_size > 1000
    assert fdht("compare", "digits.bundle", "-t", TARGET, "--clips", 1).code == 0
    assert fdht("run", "digits.bundle", "--simulate", "-b", TARGET, "--clips", 1, "--compare").code == 0
    assert fdht("export", "--axi", "-t", TARGET, "-o", "ip").code == 0
    assert {path.name for path in odd_folder.iterdir()} == {
        "digits.bundle",
        "waves.vcd",
        "waves.gtkw",
        "waves.sucl",
        ".surfer",
        "ip",
    }


def test_a_trace_that_cannot_be_written_leaves_nothing(fdht, tmp_path, digits):
    digits.save(tmp_path / "digits.bundle")
    (tmp_path / "file").write_text("kept")
    outcome = fdht("simulate", "digits.bundle", "-t", TARGET, "--clips", 1, "--waves", "file/waves.vcd")
    assert outcome.code == 1 and "file/waves.vcd" in outcome.sentence
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_what_an_encoding_lacks_is_replaced(bundle_file, encoding):
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", "fdht", "info", str(bundle_file)]
    done = subprocess.run(command, env=environment, capture_output=True)
    assert done.returncode == 0 and b"Traceback" not in done.stderr, done.stderr
    assert b"U2 ? B12" in done.stdout


SHOWS = pytest.mark.parametrize(
    "words",
    [("--help",), ("--version",), ("synth", "--list"), ("train",), ("info", "small.bundle", "--json")],
    ids=" ".join,
)
"""Commands that print much, little, as help, as tables and as JSON."""


def printing_to(stdout: int | str, words: tuple[str, ...], folder: Path) -> subprocess.CompletedProcess:
    """Runs a command whose output goes to a descriptor, or where a shell is told."""
    command = [sys.executable, "-m", "fdht", *words]
    if isinstance(stdout, str):
        command, stdout = ["sh", "-c", f'"$@" {stdout}', "sh", *command], subprocess.PIPE
    return subprocess.run(command, cwd=folder, stdout=stdout, stderr=subprocess.PIPE, text=True)


@SHOWS
def test_a_closed_pipe_ends_a_command_quietly(bundle_file, words):
    read, write = os.pipe()
    os.close(read)
    done = printing_to(write, words, bundle_file.parent)
    os.close(write)
    assert done.returncode == 1
    assert "error" not in done.stderr and "Traceback" not in done.stderr
    assert done.stderr == "" or "--json" in words


@SHOWS
def test_who_wants_no_output_gets_none(bundle_file, words):
    done = printing_to(">&-", words, bundle_file.parent)
    assert done.returncode == 0 and done.stdout == ""
    assert done.stderr == "" or "--json" in words
    assert printing_to(">&- 2>&-", words, bundle_file.parent).returncode == 0


@SHOWS
def test_a_full_device_is_named_alone(bundle_file, words):
    """Output has no name that the sentence could give."""
    done = printing_to(">/dev/full", words, bundle_file.parent)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "fdht: error: No space left on device"


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_files_have_the_modes_that_the_umask_gives(fdht, tmp_path, checkpoint_file, mask):
    before = os.umask(mask)
    try:
        assert fdht("compile", checkpoint_file, "-t", TARGET, "-o", "made").code == 0
        arguments = ("-t", TARGET, "--clips", 1, "--waves", "made/waves.vcd")
        assert fdht("simulate", "made/tiny.bundle", *arguments).code == 0
        assert fdht("export", "--axi", "-t", TARGET, "-o", "made/ip").code == 0
    finally:
        os.umask(before)
    made = list((tmp_path / "made").rglob("*"))
    assert {path.suffix for path in made} >= {".bundle", ".image", ".vcd", ".v", ".h", ".md"}
    expected = {True: 0o777 & ~mask, False: 0o666 & ~mask}
    assert not {path: mode for path in made if (mode := stat.S_IMODE(path.stat().st_mode)) != expected[path.is_dir()]}


def without(module: str, *words: object, cwd: Path) -> subprocess.CompletedProcess:
    """A command where a module is not installed."""
    program = f"import sys; sys.modules[{module!r}] = None; from fdht.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, *map(str, words)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("matplotlib", ("bench", "--preset", "digits", "--no-rtl")),
        ("torch", ("bench", "--preset", "digits", "--part", "table")),
        ("torch", ("bench", "--part", "cpu")),
        ("torch", ("compare", "small.bundle")),
    ],
)
def test_what_is_lacking_is_said_before_anything_is_measured(bundle_file, module, words):
    done = without(module, *words, cwd=bundle_file.parent)
    assert done.returncode == 1 and not done.stdout
    assert done.stderr == f"fdht: error: {module} is not installed; pip install 'fdht[train]' brings it\n"


def test_a_model_for_pytorch_needs_no_pictures(checkpoint_file, tmp_path):
    done = without("matplotlib", "export", "--dense", checkpoint_file, "-o", "dense.pt", cwd=tmp_path)
    assert done.returncode == 0 and (tmp_path / "dense.pt").is_file(), done.stderr


@pytest.fixture
def old_yosys(tmp_path, monkeypatch) -> Path:
    """A distribution's, first on the path: too old for Amaranth."""
    old = tmp_path / "bin" / "yosys"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho 'Yosys 0.23 (git sha1 7ce5011c2)'\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{old.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("YOSYS", raising=False)
    return old


@pytest.mark.slow
def test_an_old_yosys_is_passed_over(fdht, old_yosys, digits, tmp_path, monkeypatch):
    """By what translates the gateware, by synthesis, and by the simulation of a board, which is built anew here."""
    assert fdht("export", "--axi", "-t", TARGET, "-o", "ip").code == 0
    assert find_tool("yosys") != str(old_yosys)
    tools = {tool["name"]: tool["version"] for tool in fdht("doctor", "--json").figures["tools"]}
    assert str(old_yosys) in tools["yosys passed over"] and str(old_yosys) not in tools["yosys used"]
    digits.save(tmp_path / "digits.bundle")
    monkeypatch.setattr("fdht.sim.build.CACHE", tmp_path / "cache")
    outcome = fdht("run", "digits.bundle", "--simulate", "-b", TARGET, "--clips", 1, "--compare")
    assert outcome.code == 0 and list((tmp_path / "cache").iterdir()), outcome.err


def test_an_old_yosys_that_is_asked_for_is_refused(fdht, old_yosys, monkeypatch):
    monkeypatch.setenv("YOSYS", str(old_yosys))
    outcome = fdht("export", "--axi", "-t", TARGET, "-o", "ip")
    assert outcome.code == 1 and "is no Yosys of at least 0.40; unset it" in outcome.sentence
