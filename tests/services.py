"""Random streams: images that serve several at once, frames that come in any order, and what the golden model makes of
each sequence.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from bundles import MODELS, random_bundle, random_layers, with_task

from fdht.compiler.image import Image, compile_bundle
from fdht.compiler.planner import Way, plan, share
from fdht.model.golden import GoldenLSTM, Trace
from fdht.spec.bundle import Bundle
from fdht.spec.errors import CapacityError, SpecError
from fdht.spec.pipeline import COMPACT, PIPELINED
from fdht.spec.rounds import NOBODY, Frame, closed, in_turn
from fdht.spec.target import Levels, Target
from fdht.spec.task import Task


def target(rows: int, columns: int, gates: int = 1, streams: int = 16) -> Target:
    """A small engine with room for many streams; with one column it is a compact one with memories of one port."""
    compact = columns == 1 or rows == 5
    return Target(
        f"streams-{rows}x{columns}-{gates}",
        rows,
        columns,
        factor_width=8,
        pipeline=COMPACT if compact else PIPELINED,
        input_lanes=columns if columns == 8 else 1,
        bank_words=1024,
        single_port=columns == 1,
        factor_words=2048,
        result_words=2048,
        bias_words=2048,
        hidden=1024,
        program_words=4096,
        levels=Levels.each(8),
        streams=streams,
        gates=gates,
    )


@dataclass(frozen=True, eq=False)
class Service:
    """A random network that serves streams, in one of the ways in which it can."""

    bundle: Bundle
    image: Image
    way: Way

    @property
    def kind(self) -> set[str]:
        """What is special about it."""
        sharing, layers = self.way.step.resolved.sharing, self.bundle.layers
        found = {
            "together": sharing.together > 1,
            "in groups": sharing.groups > 1,
            "woven": sharing.woven > 1,
            "early heads": sharing.early,
            "apart": sharing.apart > 1,
            "tiled": self.way.tiling is not None,
            "stacked": len(layers) > 1,
            "recurrent": layers[0].recurrent is not None,
            "every step": layers[-1].task.every_step,
            "no head": layers[-1].classes == 0,
            f"{self.image.streams} streams": True,
        }
        return {name for name, is_so in found.items() if is_so}


def random_service(rng: np.random.Generator, on: Target, most: int = 9) -> Service:
    """One of at most so many streams."""
    while True:
        layers = random_layers(rng, MODELS[int(rng.integers(len(MODELS)))], (1, 4))
        if rng.random() < 0.3:
            layers = with_task(rng, layers, Task.LABEL_STEPS)
        streams = int(rng.integers(1, most + 1))
        try:
            stage_lists = plan(layers, replace(on, streams=1, gates=1))
            bundle = random_bundle(rng, layers, stage_lists, steps=4)
            found, _ = share(bundle.layers, stage_lists, on, streams)
            if not found:
                continue
            way = found[int(rng.integers(len(found)))]
            return Service(bundle, compile_bundle(bundle, on, step=way.step), way)
        except (CapacityError, SpecError):
            continue


def random_frames(rng: np.random.Generator, streams: int) -> list[Frame]:
    """Frames in any order, rounds with gaps, empty ones, sequences that begin and end; or all streams side by side."""
    if rng.random() < 0.4:
        return closed(in_turn([int(rng.integers(1, 7)) for _ in range(streams)]), streams)
    frames, alive = list[Frame](), set[int]()
    for _ in range(int(rng.integers(1, 26))):
        stream, ends = int(rng.integers(streams)), bool(rng.random() < 0.3)
        frames.append(Frame(stream, stream not in alive, ends, bool(rng.random() < 0.2)))
        alive.add(stream)
        if ends:
            alive.remove(stream)
        if rng.random() < 0.1:
            frames.append(NOBODY)
    return closed(frames, streams)


@dataclass(frozen=True, eq=False)
class Lived:
    """A sequence of a stream.

    Attributes:
        stream: whose it is. trace: what the golden model makes of it. steps: of which frames.
    """

    stream: int
    trace: Trace
    steps: list[int]


def sequences(bundle: Bundle, frames: Sequence[Frame], x: np.ndarray) -> list[Lived]:
    """The sequences of frames, in the order in which they begin; `x` are the inputs of those that are of a stream."""
    found, current = list[tuple[int, list[int]]](), dict[int, list[int]]()
    for number, frame in enumerate(frame for frame in frames if frame != NOBODY):
        if frame.begins:
            current[frame.stream] = []
            found.append((frame.stream, current[frame.stream]))
        current[frame.stream].append(number)
    golden = GoldenLSTM(bundle)
    return [Lived(stream, golden.run(x[steps][None]), steps) for stream, steps in found]


def expected_logits(bundle: Bundle, frames: Sequence[Frame], x: np.ndarray) -> list[list[int]]:
    """The logits that are sent, in the order of the frames."""
    answers = dict[int, torch.Tensor]()
    real = [frame for frame in frames if frame != NOBODY]
    every = bundle.spec.task.every_step
    for sequence in sequences(bundle, frames, x):
        for step, number in enumerate(sequence.steps):
            if every:
                answers[number] = sequence.trace.logits[0, step]
            elif real[number].ends:
                answers[number] = sequence.trace.logits[0]
    return [answers[number].tolist() for number in sorted(answers)]
