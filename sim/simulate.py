"""Runs an image on the RTL and compares every result it writes with the image's own execution."""

import json
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fdht.compiler.image import Image, check_states
from fdht.sim import waves as waves_of
from fdht.sim.build import Simulator, ToolError, build, environment, toolchain_environment
from fdht.spec.container import replacing
from fdht.spec.errors import FdhtError, FileError, SpecError
from fdht.spec.rounds import NOBODY, Frame, closed

LOG, RESULTS = "simulation.log", "results.xml"
"""Files a simulation leaves where it runs: what was printed, and what became of each test."""


@dataclass(frozen=True)
class Simulation:
    """What the RTL did with some clips.

    Attributes:
        words_compared: results written by the RTL and compared (result words, h, c, output words).
        words_expected: results the image's execution writes; equal unless something is missing.
        mismatches: one sentence for each difference: cycle, address, what was expected.
        cycles_predicted, cycles_simulated: per clip.
        stalls: cycles lost waiting for inputs, per clip.
        step_ends: per clip the cycle of the last h word of every step, of streams whichever has it.
        last_input, last_output: per clip the cycle in which the last beat of inputs was taken, and the last word sent.
        saturations: result words with a clipped lane, per clip.
        executed: per clip the first and last cycle of every instruction (the pulses that start it and that say it is
            done), by the name of its unit's program, in the order they were carried out.
        logits: clips × classes, or clips × steps × classes of a task after every step; of streams, as many as were sent
            × classes, in the order of the frames. hidden, cells: integers of h and c after the last step, clips
            × (layers·H), layer by layer; of streams empty.
        classes: index of the largest logit, in the shape of logits without the last dimension; -1 without a head, and
            of a regression.
    """

    words_compared: int
    words_expected: int
    mismatches: list[str]
    cycles_predicted: list[int]
    cycles_simulated: list[int]
    stalls: list[int]
    step_ends: list[list[int]]
    last_input: list[int]
    last_output: list[int]
    saturations: list[int]
    executed: list[dict[str, list[list[int]]]]
    logits: np.ndarray
    hidden: np.ndarray
    cells: np.ndarray
    classes: np.ndarray


@dataclass(frozen=True)
class Job:
    """Clips to run on one image.

    Attributes:
        image: the program; says what is expected.
        clips: raw input words, clips × steps × N.
        initial: h and c at the start of every clip, integers in the formats of the target's `gate_formats`: a row
            (h, c) for each unit, layers·H × 2, layer by layer; zero when left out.
        every_h: have h sent after every step.
        keep: each clip goes on with the states the clip before ended with.
        pauses: a seed; inputs and outputs then pause at random and cycles are not compared.
        load: an image to load in place of `image` (for tests of the tests).
        frames: of an image of several streams, clip by clip whose frames the steps are, in the order in which they
            come.

    Raises:
        SpecError: clips or initial states that do not fit the image, initial states on an engine without them,
            `frames` of one sequence, or none of several streams.
    """

    image: Image
    clips: np.ndarray
    initial: np.ndarray | None = None
    every_h: bool = False
    keep: bool = False
    pauses: int | None = None
    load: Image | None = None
    frames: Sequence[Sequence[Frame]] | None = None

    def __post_init__(self):
        if (self.frames is None) != (self.image.streams == 0):
            raise SpecError(
                f"an image of {self.image.streams} streams, and frames that are said to be of "
                f"{'none' if self.frames is None else 'some'}; give `frames` with several streams, and only then"
            )
        of_streams = [[frame for frame in each if frame != NOBODY] for each in self.frames or ()]
        if self.frames is not None and [len(each) for each in of_streams] != [len(clip) for clip in self.clips]:
            raise SpecError("`frames` says of every step of every clip whose it is")
        if self.clips.ndim != 3 or self.clips.shape[2] != self.image.inputs or self.clips.shape[1] < 1:
            raise SpecError(f"clips of shape {self.clips.shape} are not clips x steps x {self.image.inputs}")
        self.image.input.check(self.clips)
        if self.initial is not None and not self.image.target.build.features.initial_state:
            raise SpecError(
                f"an engine like {self.image.target.name} is built without initial_state; leave `initial` out, or "
                "take a target with it"
            )
        if self.initial is not None:
            check_states(self.image, self.initial)

    def write(self, folder: Path) -> None:
        """Leaves the job where the bench finds it."""
        folder.mkdir()
        self.image.save(folder / "expected.image")
        np.save(folder / "loaded.npy", (self.load or self.image).stream())
        np.save(folder / "clips.npy", self.clips)
        if self.initial is not None:
            np.save(folder / "initial.npy", self.initial)
        options = {"every_h": self.every_h, "keep": self.keep, "pauses": self.pauses}
        if self.frames is not None:
            options["frames"] = [[frame.word for frame in closed(each, self.image.streams)] for each in self.frames]
        (folder / "job.json").write_text(json.dumps(options))

    def read(self, folder: Path) -> Simulation:
        """What the bench reported."""
        report = json.loads((folder / "report.json").read_text())
        if self.frames is not None:
            sent = [logit for clip in report["logits"] for logit in clip]
            logits = report["logits"] = np.array(sent, np.int64).reshape(-1, max(self.image.classes, 1))
            report |= {name: np.array(report[name], dtype=np.int64) for name in ("hidden", "cells")}
            return Simulation(**report, classes=self.image.task.classes_of(logits))
        for name in ("logits", "hidden", "cells"):
            report[name] = np.array(report[name], dtype=np.int64).reshape(len(self.clips), -1)
        image, clips, steps = self.image, *self.clips.shape[:2]
        logits = report["logits"] = report["logits"].reshape(clips, *image.task.shape(steps, image.classes))
        return Simulation(**report, classes=image.task.classes_of(logits))


def simulate(
    image: Image,
    clips: np.ndarray,
    *,
    simulator: str = "verilator",
    waves: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    **options,
) -> Simulation:
    """Simulates clips one after the other on one engine. `options` are those of Job; see simulate_jobs."""
    job = Job(image, clips, **options)
    (result,) = simulate_jobs([job], simulator=simulator, waves=waves, progress=progress)
    return result


def simulate_jobs(
    jobs: Sequence[Job],
    *,
    simulator: str = "verilator",
    built: Simulator | None = None,
    waves: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Simulation]:
    """Simulates jobs for one target in one run of the simulator, each after a reset.

    Args:
        simulator: `verilator` or `icarus`.
        built: a simulator built before, instead of the one for the jobs' target.
        waves: where to leave a VCD trace, with layouts for its viewers beside it.
        progress: called with (clips done, clips) while they run.

    Raises:
        ToolError: a tool is missing or the simulator failed.
        FileError: the trace cannot be written.
    """
    built = built or build(jobs[0].image.target, simulator, waves=waves is not None)
    with tempfile.TemporaryDirectory(prefix="fdht-") as folder:
        work = Path(folder)
        for number, job in enumerate(jobs):
            job.write(work / str(number))
        # A daemon, so that whoever interrupts this need not wait for the simulator.
        runner = threading.Thread(target=_run, args=(built, work, waves, errors := []), daemon=True)
        runner.start()
        total, seen = sum(len(job.clips) for job in jobs), 0
        while runner.is_alive():
            runner.join(0.2)
            done = len(list(work.glob("*/clip-*")))
            if progress is not None and done != seen:
                progress(done, total)
                seen = done
        if errors:
            raise errors[0]
        if waves is not None:
            waves_of.lay_out(waves, built.top)
        return [job.read(work / str(number)) for number, job in enumerate(jobs)]


def _run(built: Simulator, work: Path, waves: Path | None, errors: list[FdhtError]) -> None:
    """Runs the bench in the simulator; an error is left in `errors`, since this is a thread's body."""
    try:
        _run_bench(built, work, waves)
    except FdhtError as error:
        errors.append(error)


def _run_bench(built: Simulator, work: Path, waves: Path | None) -> None:
    run_module(built, "fdht.sim.engine_bench", work, {"FDHT_JOBS": str(work)}, waves)
    if not (work / "finished").exists():
        tail = "\n".join((work / LOG).read_text().splitlines()[-15:])
        raise ToolError(f"the simulation on {built.name} stopped early:\n{tail}")


def run_module(built: Simulator, module: str, work: Path, variables: dict[str, str], waves: Path | None = None) -> None:
    """Runs the cocotb tests of a module.

    Args:
        module: its name, found where this process finds modules, or on the PYTHONPATH of `variables`.
        work: where the simulator runs and leaves `LOG` and `RESULTS`.
        variables: set in the simulator's environment.
        waves: where to leave a VCD trace.

    Raises:
        ToolError: the simulator failed, or wrote no trace; what a test says is in `RESULTS`.
        FileError: the trace cannot be written.
    """
    from cocotb_tools.runner import get_runner

    log = work / LOG
    # The runner asks Icarus for FST, and for no trace where none is wanted; what comes last counts.
    trace_format = {"SIM_CMD_SUFFIX": "-vcd"} if waves is not None and built.name == "icarus" else {}
    with environment(toolchain_environment() | trace_format):
        runner = get_runner(built.name)
        try:
            runner.test(
                test_module=module,
                hdl_toplevel=built.top,
                hdl_toplevel_lang="verilog",
                build_dir=built.directory / "sim",
                test_dir=work,
                results_xml=str(work / RESULTS),
                extra_env={"COCOTB_LOG_LEVEL": "WARNING", **variables},
                waves=waves is not None,
                timescale=("1ns", "1ps"),
                log_file=log,
            )
        except (Exception, SystemExit) as error:
            tail = "\n".join(log.read_text().splitlines()[-15:]) if log.exists() else ""
            raise ToolError(f"the simulation on {built.name} failed ({error}):\n{tail}") from None
    if waves is not None:
        traces = [*work.glob("*.vcd"), *(built.directory / "sim").glob("*.vcd")]
        if not traces:
            raise ToolError(f"{built.name} wrote no trace")
        try:
            with replacing(waves) as file, traces[0].open("rb") as trace:
                waves_of.copy(trace, file)
        except OSError as error:
            raise FileError(f"cannot write {waves}: {error.strerror}; choose another place") from None
