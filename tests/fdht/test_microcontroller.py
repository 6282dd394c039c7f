"""The exported driver in C, compiled and run against a board in simulation: the golden model's logits, through its
pins, over a noisy line, and on whatever goes wrong."""

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bundles import random_bundle

from fdht import Device
from fdht.cli import main
from fdht.compiler.image import compile_bundle
from fdht.compiler.planner import plan
from fdht.export import microcontroller
from fdht.host.device import STANDSTILL
from fdht.model.quantise import with_vectors
from fdht.sim.simulated_board import Pins, SimulatedBoard, build_system
from fdht.spec import protocol
from fdht.spec.bundle import Bundle
from fdht.spec.errors import SpecError
from fdht.spec.fixed import Fixed
from fdht.spec.formats import InputFormat
from fdht.spec.lstm import fdht_lstm
from fdht.spec.protocol import Reason, Request, Status, encode
from fdht.spec.scaling import Scaling
from fdht.spec.task import OutputScaling, Task
from tests.fdht.line import Line
from tests.fdht.test_device import TIMEOUT, Noise
from tests.fdht.test_fuzz import SMALL

HERE = Path(__file__).parent
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion", "-Wno-sign-conversion")
PORT = "port_posix.c"


def compiled(folder: Path, sources: Sequence[str | Path], *options: str) -> Path:
    """A program of an exported folder, by a compiler that overlooks nothing."""
    binary = folder / "program"
    done = subprocess.run(
        ["gcc", *STRICT, f"-DTIMEOUT_MS={1000 * TIMEOUT}", *options, "-I.", *map(str, sources), "-o", binary],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return binary


EXAMPLE = ("example.c", "example_clips.c", "fdht.c", "fdht_image.c")


def show(binary: Path, url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([binary, url.removeprefix("socket://")], capture_output=True, text=True, timeout=2 * TIMEOUT)


def classes(done: subprocess.CompletedProcess[str]) -> list[int]:
    """Of the clips, when no logit differed."""
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.findall(r"^(?:\d+ )*clip \d+: class (\d+), 0 logits differ", done.stdout, re.MULTILINE)
    return [int(number) for number in found]


@pytest.fixture(scope="module")
def exported(digits, board, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("c")
    digits.save(folder / "digits.bundle")
    arguments = ("--c", folder / "digits.bundle", "--board", board.name, "--out", folder / "driver")
    assert main(["export", *map(str, arguments)]) == 0
    return folder / "driver"


def test_a_folder_with_everything(exported, digits, board):
    """Written whole; the numbers are the protocol's, the model is the image."""
    description = json.loads((exported / "fdht_driver.json").read_text())
    assert sorted(path.name for path in exported.iterdir()) == description["files"]
    words = compile_bundle(digits, board.engine).stream()
    listed = re.search(r"words\[\] = \{(.*?)\}", (exported / "fdht_image.c").read_text(), re.DOTALL)
    assert listed and [int(word) for word in listed[1].split(",") if word.strip()] == words.tolist()
    numbers = dict(re.findall(r"^#define FDHT_(\w+) (\d+)$", (exported / "fdht_protocol.h").read_text(), re.MULTILINE))
    for kinds, name in ((Request, "REQUEST"), (Reason, "REASON")):
        assert all(int(numbers[f"{name}_{kind.name}"]) == kind.value for kind in kinds)
    payload = bytes(range(Status.SIZE))
    for name in ("cycles", "stalls", "saturations", "target", "build", "image"):
        at = int(numbers[f"STATUS_{name.upper()}"])
        assert getattr(Status.parse(payload), name) == int.from_bytes(payload[at : at + 4], "little")
    assert int(numbers["PROTOCOL"]) == protocol.VERSION and int(numbers["STANDSTILLS"]) == STANDSTILL


def test_the_driver_needs_no_library(exported):
    """No heap, no printf, no mathematics: memset and memcpy, which compilers ask for themselves, and nothing else."""
    subprocess.run(["gcc", *STRICT, "-Os", "-c", "fdht.c", "-o", exported / "alone.o"], cwd=exported, check=True)
    wanted = subprocess.run(["nm", "-u", exported / "alone.o"], capture_output=True, text=True, check=True).stdout
    (exported / "alone.o").unlink()
    assert {line.split()[-1] for line in wanted.splitlines()} <= {"memset", "memcpy", "_GLOBAL_OFFSET_TABLE_"}


@pytest.mark.parametrize("port", ["url", "spi_url"])
def test_clips_through_the_pins_are_those_of_the_golden_model(exported, digits, simulated, port):
    """The example, over the serial port and over SPI, where the driver exchanges byte by byte."""
    ports = {"url": PORT, "spi_url": HERE / "port_spi.c"}
    binary = compiled(exported, [*EXAMPLE, ports[port]])
    with Device(simulated.url, timeout=TIMEOUT) as device:
        device._connection.do(Request.IMAGE, [b"\0\0" * 3])  # so that it has to be loaded anew
    shown = json.loads((exported / "fdht_driver.json").read_text())["clips"]
    assert classes(show(binary, getattr(simulated, port))) == digits.logits[shown].argmax(-1).tolist()
