"""What docs/ip-block.md and an exported folder show as examples is run, with photographs, against the golden model."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from bundles import louder, random_bundle
from cocotb_tools.runner import get_results
from occurrences import SEED
from page import names, shown
from photographs import CHANNELS, film

from fdht.cli import main
from fdht.compiler.clipping import by_place
from fdht.compiler.image import Image, compile_bundle
from fdht.compiler.planner import plan
from fdht.export.ip_block import image_files
from fdht.hw.shell.axi import NAME
from fdht.model.golden import GoldenLSTM
from fdht.sim.build import Simulator, build_verilog
from fdht.sim.simulate import LOG, RESULTS, run_module
from fdht.spec.lstm import fdht_lstm
from fdht.spec.target import ALL, GENERIC, Levels, Target

HERE = Path(__file__).resolve().parent
TARGETS = {
    target.name: target
    for target in (
        Target("narrow", 4, 2, factor_width=8, input_lanes=2, bank_words=512, factor_words=1024, result_words=128,
               bias_words=128, hidden=32, program_words=512, levels=Levels.each(8),
               build=replace(GENERIC, features=replace(ALL, tallies=True))),
        Target("wide", 2, 8, factor_width=8, input_lanes=8, bank_words=512, factor_words=1024, result_words=128,
               bias_words=128, hidden=32, program_words=512, levels=Levels.each(8)),
    )
}  # fmt: skip
"""Frames are sent in another order than their own, two words a beat, to an engine with tallies; and in their own, in
beats wider than the bus.
"""

HEIGHT, WIDTH, STEPS, CLIPS = 13, 10, 2, 6
"""Frames that fill no whole number of words of a bus."""

TIMEOUT = 300
"""Seconds after which a simulation is given up."""


@dataclass(frozen=True)
class Example:
    """A model, clips that it tells apart, and what the golden model makes of them."""

    image: Image
    clips: np.ndarray
    logits: list[list[int]]
    classes: list[int]

    @property
    def sent(self) -> np.ndarray:
        """The clips in the image's order."""
        return self.clips if self.image.order is None else self.clips[:, :, self.image.order]


@cache
def example(name: str = "narrow") -> Example:
    rng = np.random.default_rng([SEED, 14])
    words = HEIGHT * WIDTH * CHANNELS
    target, ordered = TARGETS[name], name == "narrow"
    assert words % 4 and words % target.input_lanes == (0 if ordered else words % 8)
    spec = fdht_lstm(words, 8, 5, (14, 5, 2, 3), (2, 2, 2, 4), 2)
    clips = film(CLIPS, STEPS, HEIGHT, WIDTH).reshape(CLIPS, STEPS, words)
    for _ in range(50):
        bundle = random_bundle(rng, spec, plan(spec, target), clips=CLIPS, steps=STEPS)
        image, trace = compile_bundle(bundle, target), GoldenLSTM(bundle).run(clips)
        assert ordered == (image.order is not None)
        if len(set(trace.classes.tolist())) > 2:
            return Example(image, clips, trace.logits.tolist(), trace.classes.tolist())
    raise AssertionError("no model tells the clips apart")


def export(work: Path, name: str) -> Path:
    """The block's folder as the command writes it, and the page's programs beside it."""
    (work / "example.json").write_text(TARGETS[name].to_json())
    example(name).image.save(work / "example.image")
    folder = work / "ip"
    arguments = ("-t", str(work / "example.json"), "-o", str(folder), "--image", str(work / "example.image"))
    assert main(["export", "--axi", *arguments]) == 0
    for program in names():
        (folder / program).write_text(shown(program))
    np.save(folder / "clips.npy", example(name).clips)
    return folder


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    return export(tmp_path_factory.mktemp("block"), "narrow")


@pytest.fixture(scope="module")
def compiled(exported) -> Path:
    """The page's bench, compiled and run."""
    return bench(exported, "verilator")


def bench(exported: Path, simulator: str) -> Path:
    done = subprocess.run(
        [sys.executable, "run.py"],
        cwd=exported,
        capture_output=True,
        text=True,
        env={**os.environ, "SIM": simulator, "PYTHONPATH": ""},
        timeout=TIMEOUT,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return exported / f"build_{simulator}"


def run(work: Path, built: Simulator, test: str, command: list[Path | str]) -> None:
    (work / "task.json").write_text(json.dumps({"command": [str(part) for part in command]}))
    path = os.pathsep.join((str(HERE.parents[1]), str(HERE)))
    variables = {"FDHT_HOST": str(work), "PYTHONPATH": path, "COCOTB_TEST_FILTER": rf"\.{test}$"}
    run_module(built, "host_bench", work, variables)
    assert get_results(work / RESULTS) == (1, 0), (work / LOG).read_text()[-6000:]


def c_program(binary: Path, sources: list[Path], places: list[Path], options: Sequence[str] = ()) -> Path:
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", *(f"-I{place}" for place in places), *options]
    # g++ forgets -x after a source.
    command = ["g++", *flags, *(part for source in sources for part in ("-x", "c", source)), "-o", binary]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return binary


def test_the_page_shows_these_programs_and_no_others():
    assert names() == {"bus.h", "driver.c", "tally.c", "litex.c", "camera.py", "run.py", "bench.py"}


def test_the_page_reaches_the_block_by_its_own_header(exported):
    for program in ("driver.c", "tally.c"):
        command = ["g++", "-x", "c", "-std=c99", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", program]
        done = subprocess.run(command, cwd=exported, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_the_bench_finds_the_golden_models_logits(exported, compiled):
    """On the template, whose ports are the block's."""
    answers = json.loads((exported / "results.json").read_text())
    assert [answer["class"] for answer in answers] == example().classes
    assert [answer["logits"] for answer in answers] == example().logits


@pytest.mark.skipif(shutil.which("iverilog") is None, reason="Icarus is not installed")
def test_what_memories_hold_at_first_does_not_matter(exported, compiled):
    """In Icarus they hold X."""
    (exported / "results.json").unlink(missing_ok=True)
    bench(exported, "icarus")
    answers = json.loads((exported / "results.json").read_text())
    assert [answer["logits"] for answer in answers] == example().logits


def hosted(exported: Path, compiled: Path, work: Path, *programs: str) -> list[str]:
    """Runs the first program, of the firmware, with others of the page; returns the lines that it leaves.

    Args:
        exported: the folder of the block, with an image.
    """
    sources = [HERE / "firmware" / programs[0], *(exported / program for program in programs[1:])]
    folder = work / "c"
    folder.mkdir()
    for file in (*sources, HERE / "firmware" / "bus.h"):
        shutil.copy(file, folder)  # the simulated bus.h instead of the page's
    program = c_program(work / "host", [folder / source.name for source in sources], [folder, exported])
    found = work / "found.txt"
    (work / "sim").symlink_to(compiled)
    np.save(work / "sent.npy", example().sent)
    command = [program, exported / f"{NAME}_image.bin", found, str(CLIPS), str(STEPS)]
    run(work, Simulator("verilator", work, f"{NAME}_template"), "host", command)
    return found.read_text().splitlines()


def test_the_driver(exported, compiled, tmp_path):
    """Also on images that are not whole, without frames, and on an engine that hangs."""
    lines = hosted(exported, compiled, tmp_path, "host.c", "driver.c")
    classes = example().classes
    assert [int(line) for line in lines] == [*classes, classes[-1]]
    packets = json.loads((tmp_path / "packets.json").read_text())
    assert packets == [[*logits, number] for logits, number in zip(example().logits, classes, strict=True)]


def test_what_stages_clip(exported, compiled, tmp_path):
    """Read after every run by the page's program: the machine's counts by stage, and its steps."""
    image = louder(example().image)
    folder = tmp_path / "ip"
    shutil.copytree(exported, folder, ignore=shutil.ignore_patterns("build_*"))
    image.save(tmp_path / "louder.image")
    for file, content in image_files(tmp_path / "louder.image", image.target, NAME).items():
        (folder / file).write_bytes(content)
    lines = hosted(folder, compiled, tmp_path, "tally_host.c", "driver.c", "tally.c")
    names = list(dict.fromkeys(image.places))
    assert lines[0].split(", ") == names and len(names) > 3
    runs = [image.machine.run(clip) for clip in example().clips]
    expected = [[by_place(image, run.clipped)[name] for name in names] + [run.steps[0]] for run in runs]
    assert [[int(word) for word in line.split()] for line in lines[1:]] == expected
    assert (np.count_nonzero(np.array(expected)[:, :-1], axis=0) > 0).sum() > 1, "several stages clip"


def test_the_litex_examples_own_soc(exported, tmp_path):
    """As its text says: sources of a SoC for a board."""
    command = [sys.executable, exported / f"{NAME}_litex.py", tmp_path / "arty"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode == 0, done.stderr[-4000:]
    (verilog,) = (tmp_path / "arty" / "gateware").glob("*.v")
    assert re.search(rf"^{NAME} ", verilog.read_text(), re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["narrow", "wide"])
def test_the_litex_example(exported, tmp_path, name):
    """In a SoC that LiteX builds, through its buses, DMAs and memory, by the functions of its csr.h."""
    if name != "narrow":
        exported = export(tmp_path, name)
    made = example(name)
    soc = tmp_path / "soc"
    done = subprocess.run(
        [sys.executable, HERE / "litex_soc.py", exported, soc], capture_output=True, text=True, timeout=TIMEOUT
    )
    assert done.returncode == 0, done.stderr[-4000:]
    verilog = (soc / "gateware" / "soc.v").read_text()
    ports = {port["name"]: port["width"] for port in json.loads((exported / f"{NAME}.json").read_text())["ports"]}
    constants = re.findall(r"\.(\w+) *\((\d+)'d", verilog.partition(f"\n{NAME} ")[2].partition(");")[0])
    assert constants and all(int(width) == ports[name] for name, width in constants)
    verilog += (exported / f"{NAME}.v").read_text()
    built = build_verilog("soc", verilog.encode(), lambda: verilog)

    sources = [HERE / "firmware" / "litex_host.c", exported / "driver.c", exported / "litex.c"]
    folder = tmp_path / "c"
    folder.mkdir()
    for file in (*sources, HERE / "firmware" / "bus.h"):
        shutil.copy(file, folder)
    (folder / "system.h").touch()  # of LiteX's firmware, which csr.h and mem.h ask for
    options = ["-DCSR_ACCESSORS_DEFINED", "-include", "accessors.h", "-include", "generated/mem.h"]
    shutil.copy(HERE / "firmware" / "accessors.h", folder)
    places = [folder, exported, soc / "software" / "include"]
    program = c_program(tmp_path / "cpu", [folder / source.name for source in sources], places, options)
    found, clips = tmp_path / "found.txt", tmp_path / "clips.bin"
    made.sent.tofile(clips)
    command = [program, exported / f"{NAME}_image.bin", clips, found, str(CLIPS), str(STEPS)]
    run(tmp_path, built, "litex", command)
    *lines, errors = found.read_text().splitlines()
    expected = [[number, *logits, number] for logits, number in zip(made.logits, made.classes, strict=True)]
    assert [[int(word) for word in line.split()] for line in lines] == expected and errors == "0"
