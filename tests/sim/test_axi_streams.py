"""The IP block with an engine of several streams: each gets its own results, whoever else is served meanwhile."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from bundles import random_bundle, with_task
from occurrences import SEED
from test_axi import TARGETS, run_on

from fdht.compiler.image import Image, compile_bundle
from fdht.compiler.planner import plan
from fdht.hw.shell.axi import Result
from fdht.model.golden import GoldenLSTM
from fdht.spec.bundle import Bundle
from fdht.spec.lstm import fdht_lstm
from fdht.spec.rounds import NOBODY, Frame, rounds
from fdht.spec.tallies import instruction_tallies
from fdht.spec.task import Task

TARGET = TARGETS["streams"]
FRAMES = 16


def arrivals(rng: np.random.Generator, streams: int) -> list[Frame]:
    """Frames of streams in any order, NOBODY among them. Sequences end, go on and begin anew as it comes."""
    frames = list[Frame]()
    for number in range(FRAMES):
        begins, ends, closes = (rng.random(3) < (0.3, 0.4, 0.4)).tolist()
        last = number == FRAMES - 1
        frames.append(Frame(int(rng.integers(streams)), begins, ends or last, closes or last))
        frames += [NOBODY] * int(rng.choice(3, p=(0.7, 0.2, 0.1)))
    return frames


def sent(bundle: Bundle, frames: list[Frame], x: np.ndarray, options: tuple[str, ...]) -> list[list[tuple[int, int]]]:
    """What the golden model sends after each frame: kind and value, the class at the end; nothing after NOBODY."""
    golden, own, result = GoldenLSTM(bundle), dict[int, list[np.ndarray]](), list[list[tuple[int, int]]]()
    spec = bundle.spec
    rows = iter(x)
    for frame in frames:
        if frame == NOBODY:
            result.append([])
            continue
        words = next(rows)
        before = [] if frame.begins else own.get(frame.stream, [])
        own[frame.stream] = [*before, words]
        every_h = "EVERY_H" in options and not spec.classes
        if not frame.ends and not every_h and not spec.task.every_step:
            result.append([])
            continue
        trace = golden.run(np.stack(own[frame.stream])[None])
        if not spec.classes:
            h, c = (getattr(trace, name)[0, -1].tolist() for name in ("h", "c"))
            pairs = [((Result.HIDDEN, a), (Result.CELL, b))[: 1 + frame.ends] for a, b in zip(h, c, strict=True)]
            beats = [beat for pair in pairs for beat in pair] if options else []
            result.append([*beats, (Result.CLASS, -1)])
            continue
        logits = trace.logits[0, -1] if spec.task.every_step else trace.logits[0]
        result.append([*((Result.LOGIT, value) for value in logits.tolist()), (Result.CLASS, int(logits.argmax()))])
    return result


@cache
def case(classes: int, task: Task, streams: int) -> tuple[Bundle, Image]:
    rng = np.random.default_rng([SEED, 20, classes])
    layers = (fdht_lstm(46, 5, classes, (5, 3, 4), (4, 5, 1), 3),)
    layers = with_task(rng, layers, task) if classes else layers
    bundle = random_bundle(rng, layers, plan(layers, TARGET), clips=1, steps=FRAMES)
    return bundle, compile_bundle(bundle, TARGET, streams=streams)


def run(
    tmp_path: Path,
    test: str,
    classes: int = 3,
    task: Task = Task.CLASSIFY,
    streams: int = 5,
    options: tuple[str, ...] = (),
    seed: int = SEED,
) -> dict:
    """Runs a test of axi_bench on frames of several streams, which arrive as `seed` says."""
    bundle, image = case(classes, task, streams)
    frames, x = arrivals(np.random.default_rng([seed, streams, len(options)]), streams), bundle.clips[0]
    rows = iter(x.tolist())
    packets = sent(bundle, frames, x, options)
    whole = image.machine.run_streams(image.known(frames), x, "EVERY_H" in options)
    if options or classes:
        beats = [beat for packet in packets for beat in packet if beat[0] != Result.CLASS]
        assert [(kind, value) for kind, value, _ in whole.outputs] == beats
    steps = [whole.steps[k] for k in range(TARGET.streams)]
    clipped = [whole.clipped[k] for k in range(instruction_tallies(TARGET))]
    said = {
        "frames": [frame.word for frame in frames],
        "x": [[] if frame == NOBODY else next(rows) for frame in frames],
        "packets": packets,
        "rounds": len(rounds(frames, streams)),
        "tallies": [*steps, *clipped],
        "options": options,
    }
    (tmp_path / "streams.json").write_text(json.dumps(said))
    return run_on(tmp_path, TARGET, image, test, resets=2)


@pytest.mark.parametrize("task", [pytest.param(Task.CLASSIFY, marks=pytest.mark.slow), Task.LABEL_STEPS])
def test_each_stream_has_its_own_results(tmp_path, task):
    """After the ends of its sequences, or after every frame."""
    run(tmp_path, "streams", task=task)


@pytest.mark.parametrize(
    "options", [*(pytest.param(o, marks=pytest.mark.slow) for o in ((), ("STATES",))), ("EVERY_H",)]
)
def test_states_without_a_head(tmp_path, options):
    """The streams lie apart; each packet has h, and c where the sequence ends."""
    assert case(0, Task.CLASSIFY, 4)[1].apart == TARGET.gates
    run(tmp_path, "streams", 0, streams=4, options=options)


def test_nobody_brings_the_last_groups_answer(tmp_path):
    """In an image whose streams take turns, and answer every frame; some days' arrivals hold no answer that waits,
    which the bench demands, so they are the same every day.
    """
    run(tmp_path, "answered_at_once", task=Task.LABEL_STEPS, seed=3)


@pytest.mark.parametrize(
    "test", ["served_on_and_on", "strangers", pytest.param("stream_resets", marks=pytest.mark.slow)]
)
def test_streams_that_come_and_go(tmp_path, test):
    run(tmp_path, test)
