"""Runs an image on the RTL and compares every result it writes with the image's own execution."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from compiler.image import Image
from sim.build import TOP, Simulator, ToolError, build, environment, toolchain_environment
from spec.errors import SpecError


@dataclass(frozen=True)
class Simulation:
    """What the RTL did with some clips.

    Attributes:
        words_compared: results written by the RTL and compared (result words, h, c, output words).
        words_expected: results the image's execution writes; equal unless something is missing.
        mismatches: one sentence for each difference: cycle, address, what was expected.
        cycles_predicted, cycles_simulated: per clip.
        stalls: cycles lost waiting for inputs, per clip.
        saturations: result words with a clipped lane, per clip.
        logits: clips × classes. hidden: clips × H, after the last step.
        classes: index of the largest logit, -1 without a head.
    """

    words_compared: int
    words_expected: int
    mismatches: list[str]
    cycles_predicted: list[int]
    cycles_simulated: list[int]
    stalls: list[int]
    saturations: list[int]
    logits: np.ndarray
    hidden: np.ndarray
    classes: np.ndarray
    cells: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=np.int64))


def simulate(
    image: Image,
    clips: np.ndarray,
    *,
    initial: np.ndarray | None = None,
    every_h: bool = False,
    pauses: int | None = None,
    simulator: str = "verilator",
    built: Simulator | None = None,
    waves: Path | None = None,
    load: Image | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Simulation:
    """Simulates clips one after the other on one engine.

    Args:
        image: the program; `clips` run on it.
        clips: raw input words, clips × steps × N.
        initial: h and c of each unit at the start of every clip, H × 2; zero when left out.
        every_h: have h sent after every step.
        pauses: a seed; inputs and outputs then pause at random and cycles are not compared.
        simulator: `verilator` or `icarus`.
        built: a simulator built before, instead of the one for the image's target.
        waves: where to leave a VCD trace.
        load: an image to load in place of `image`, which still says what is expected (for tests of the tests).
        progress: called with (clips done, clips).

    Raises:
        ToolError: a tool is missing or the simulator failed.
        SpecError: clips that are not clips × steps × N.
    """
    if clips.ndim != 3 or clips.shape[2] != image.inputs or clips.shape[1] < 1:
        raise SpecError(f"clips of shape {clips.shape} are not clips x steps x {image.inputs}")
    built = built or build(image.target, simulator, waves=waves is not None)
    with tempfile.TemporaryDirectory(prefix="fdht-") as folder:
        work = Path(folder)
        image.save(work / "expected.image")
        (load or image).save(work / "loaded.image")
        np.save(work / "clips.npy", clips)
        if initial is not None:
            np.save(work / "initial.npy", initial)
        job = {"every_h": every_h, "pauses": pauses, "initial": initial is not None}
        (work / "job.json").write_text(json.dumps(job))
        _run(built, work, waves)
        report = json.loads((work / "report.json").read_text())
    if progress is not None:
        progress(len(clips), len(clips))
    logits = np.array(report.pop("logits"), dtype=np.int64).reshape(len(clips), image.classes)
    classes = logits.argmax(axis=1) if image.classes else np.full(len(clips), -1)
    arrays = {name: np.array(report.pop(name), dtype=np.int64).reshape(len(clips), -1) for name in ("hidden", "cells")}
    return Simulation(**report, **arrays, logits=logits, classes=classes)


def _run(built: Simulator, work: Path, waves: Path | None) -> None:
    from cocotb_tools.runner import get_runner

    log = work / "simulation.log"
    root = str(Path(__file__).resolve().parent.parent)
    with environment(toolchain_environment()):
        runner = get_runner(built.name)
        try:
            runner.test(
                test_module="sim.bench",
                hdl_toplevel=TOP,
                hdl_toplevel_lang="verilog",
                build_dir=built.directory / "sim",
                test_dir=work,
                results_xml=str(work / "results.xml"),
                extra_env={"FDHT_JOB": str(work), "PYTHONPATH": root, "COCOTB_LOG_LEVEL": "WARNING"},
                waves=waves is not None,
                timescale=("1ns", "1ps"),
                log_file=log,
            )
        except (Exception, SystemExit) as error:
            tail = "\n".join(log.read_text().splitlines()[-15:]) if log.exists() else ""
            raise ToolError(f"the simulation on {built.name} failed ({error}):\n{tail}") from None
    if not (work / "report.json").exists():
        tail = "\n".join(log.read_text().splitlines()[-15:])
        raise ToolError(f"the simulation on {built.name} stopped early:\n{tail}")
    if waves is not None:
        traces = [*work.glob("*.vcd"), *(built.directory / "sim").glob("*.vcd")]
        if not traces:
            raise ToolError(f"{built.name} wrote no trace")
        waves.parent.mkdir(parents=True, exist_ok=True)
        waves.write_bytes(traces[0].read_bytes())
