"""`fdht run` and `fdht program` as a user has them."""

import os
import stat

import pytest

from tests.fdht.line import Line


@pytest.fixture
def digits_file(digits, tmp_path):
    path = tmp_path / "digits.bundle"
    digits.save(path)
    return path


@pytest.mark.parametrize("spi", [(), ("--spi",)])
def test_run_on_a_simulated_board(fdht, digits_file, digits, spi):
    outcome = fdht("run", digits_file, "--simulate", "-b", "icebreaker", "--clips", 2, "--compare", "--json", *spi)
    assert outcome.code == 0, outcome.err
    figures = outcome.figures
    assert figures["mismatches"] == 0 and figures["image_loaded"] and figures["simulated_time"]
    assert [clip["device"] for clip in figures["clips"]] == digits.logits.argmax(1)[[0, 5]].tolist()
    assert figures["frames"] == 16 and figures["frames_per_s"] == pytest.approx(16 * 24e6 / figures["cycles"])


def test_run_at_a_port(fdht, digits_file, simulated):
    with Line(simulated.url) as line:
        outcome = fdht("run", digits_file, "--port", line.url, "--board", "icebreaker", "--clips", 1, "--compare")
    assert outcome.code == 0, outcome.err
    assert "frames per second" in outcome.out and "link included" in outcome.out


def test_a_difference_to_the_golden_model_is_an_error(fdht, digits, simulated, tmp_path):
    digits.logits[0, 3] += 1
    try:
        digits.save(tmp_path / "wrong.bundle")
    finally:
        digits.logits[0, 3] -= 1
    outcome = fdht("run", "wrong.bundle", "--port", simulated.url, "--clips", 1, "--compare")
    assert outcome.code == 1 and "1 words of the board differ from the golden model; the first: " in outcome.sentence
    assert "clip 0: logit 3 is" in outcome.sentence


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((), "either --port PORT or --simulate"),
        (("--simulate", "--port", "/dev/ttyUSB77"), "either --port PORT or --simulate"),
        (("--port", "/dev/ttyUSB77"), "there is no port /dev/ttyUSB77; "),
        (("--port", "/dev/ttyUSB77", "--clock", "6"), "--clock is of a board"),
        (("--port", "/dev/ttyUSB77", "--spi"), "--spi is for --simulate"),
        (("--simulate", "--board", "nexys"), "there is no board 'nexys'"),
        (("--simulate", "--board", "ulx3s-85f", "--spi"), "ulx3s-85f has no SPI port"),
        (("--port", "socket://127.0.0.1:9"), "cannot be opened"),
        (("--port", "/dev/ttyUSB77", "--clips", "99"), "99 clips asked for, the bundle holds 6"),
    ],
)
def test_what_cannot_be_run(fdht, digits_file, arguments, message):
    outcome = fdht("run", digits_file, *arguments)
    assert outcome.code == 1 and message in outcome.sentence and not outcome.out


def test_a_board_with_another_bitstream(fdht, digits_file, simulated):
    outcome = fdht("run", digits_file, "--port", simulated.url, "--board", "ulx3s-85f")
    assert outcome.code == 1 and "load it with: fdht program --board" in outcome.sentence


def test_program_calls_the_loader(fdht, tmp_path, monkeypatch):
    tool = tmp_path / "bin" / "openFPGALoader"
    tool.parent.mkdir()
    tool.write_text('#!/bin/sh\necho "$@" > called\n[ "$FAIL" ] && echo "unable to open device" && exit 1\nexit 0\n')
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tool.parent}{os.pathsep}{os.environ['PATH']}")
    outcome = fdht("program", "--board", "icebreaker")
    assert outcome.code == 1 and "make it with: fdht synth --board icebreaker" in outcome.sentence
    bitstream = tmp_path / "build" / "icebreaker" / "icebreaker.bin"
    bitstream.parent.mkdir(parents=True)
    bitstream.write_bytes(b"\0")
    outcome = fdht("program", "--board", "icebreaker", "--json")
    assert outcome.code == 0 and outcome.figures["board"] == "icebreaker"
    assert (tmp_path / "called").read_text().split() == ["-b", "ice40_generic", "build/icebreaker/icebreaker.bin"]
    monkeypatch.setenv("FAIL", "1")
    outcome = fdht("program", "--board", "icebreaker")
    assert outcome.code == 1 and "could not load icebreaker (unable to open device)" in outcome.sentence


def test_program_says_how_to_get_the_loader(fdht, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "some.bit").write_bytes(b"\0")
    outcome = fdht("program", "--board", "ulx3s-85f", "--bitstream", "some.bit")
    assert (
        outcome.code == 1 and "openFPGALoader was not found; install it (apt install openfpgaloader" in outcome.sentence
    )
