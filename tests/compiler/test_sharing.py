"""Streams that share an engine: what each gets is what it would get alone, in whatever way they share it."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from bundles import random_bundle
from occurrences import SEED
from services import expected_logits, random_frames, random_service, sequences, target

from fdht.compiler.image import Image, compile_bundle
from fdht.compiler.planner import plan, share
from fdht.compiler.sharing import sharings
from fdht.model.presets import PRESETS
from fdht.spec.costs import engine, logic
from fdht.spec.errors import CapacityError, FileError, SpecError
from fdht.spec.instructions import GateOp, LoaderOp, Segment
from fdht.spec.lstm import fdht_lstm, stack
from fdht.spec.protocol import OutputKind
from fdht.spec.rounds import NOBODY, Frame, rounds
from fdht.spec.target import STREAM_TARGETS, TARGETS, Target

ENGINES = [target(8, 1), target(4, 4), target(3, 8), target(4, 4, 4), target(3, 8, 2), target(5, 4, 2)]


@pytest.mark.parametrize("on", ENGINES, ids=lambda on: on.name)
def test_interleaved_streams_are_each_as_alone(on):
    """Logits, and h and c of every stream at the end, against the golden model on each sequence alone."""
    print(f"reproduce with FDHT_SEED={SEED}")
    rng, seen = np.random.default_rng([SEED, on.rows, on.columns, on.gates, 20]), Counter[str]()
    for _ in range(8):
        service = random_service(rng, on)
        image, bundle = service.image, service.bundle
        image.verify()
        frames = random_frames(rng, image.streams)
        raw = bundle.clips.reshape(-1, bundle.clips.shape[-1])
        x = raw[rng.integers(len(raw), size=sum(frame != NOBODY for frame in frames))]
        run = image.machine.run_streams(image.known(frames), x)
        sent = [value for kind, value, _ in run.outputs if kind == OutputKind.LOGIT]
        assert np.array(sent).reshape(-1, max(image.classes, 1)).tolist() == (
            expected_logits(bundle, frames, x) if image.classes else []
        )
        assert run.memory is not None
        units, of_gate = image.layers * image.hidden, on.hidden // on.gates
        for stream, last in {each.stream: each for each in sequences(bundle, frames, x)}.items():
            number = stream * image.apart
            first = number % on.gates * of_gate + number // on.gates * units
            for kept, name in ((run.memory.hidden, "h"), (run.memory.cell, "c")):
                states = [getattr(layer, name)[0, -1] for layer in last.trace.layers]
                assert kept[first : first + units].tolist() == np.concatenate(states).tolist()
        seen.update(service.kind)
    assert seen["together"] and seen["in groups"]


def digits_shared(streams: int, on: Target) -> float:
    """Cycles of digits per step of all streams."""
    spec = PRESETS["digits"].spec
    found, refusal = share(spec, plan(spec, replace(on, streams=1, gates=1)), on, streams)
    if not found:
        assert refusal is not None
        raise refusal
    return found[0].cycles / max(streams, 1)


def test_streams_fill_what_one_leaves_idle():
    """The figures of docs/streams.md."""
    on = STREAM_TARGETS["ulx3s-85f-streams"]
    assert digits_shared(0, on) == 1070
    assert digits_shared(4, replace(TARGETS["ulx3s-85f"], name="four", streams=4)) <= 640, "one gate unit"
    assert digits_shared(4, on) <= 640
    assert digits_shared(8, on) <= 340
    assert digits_shared(16, on) <= 260
    faces = PRESETS["faces"].spec
    (best, *_), _ = share(faces, plan(faces, on), on, 2)
    macs = 770_048
    assert 2 * macs / (on.multipliers * best.cycles) >= 0.90
    ucf11 = PRESETS["ucf11"].spec
    lists = plan(ucf11, on)
    alone, two = (share(ucf11, lists, on, streams)[0][0].cycles / max(streams, 1) for streams in (0, 2))
    assert two <= alone == 8053


def test_what_does_not_fit_is_said():
    small = fdht_lstm(60, 10, 3, (4, 5, 4), (2, 2, 10), 3)
    rng = np.random.default_rng(1)
    on = target(4, 4, 2)
    bundle = random_bundle(rng, small, plan(small, replace(on, streams=1, gates=1)))
    with pytest.raises(SpecError, match="target icebreaker serves one sequence; for 2 streams take one with a field"):
        compile_bundle(random_bundle(rng, small, plan(small, TARGETS["icebreaker"])), TARGETS["icebreaker"], streams=2)
    with pytest.raises(SpecError, match=r"17 streams on target .*, which has 16; see its field streams"):
        compile_bundle(bundle, on, streams=17)
    with pytest.raises(CapacityError, match="hidden units: 80 needed, 64 available"):
        compile_bundle(bundle, replace(on, hidden=64), streams=8)
    headless = replace(small, classes=0)
    alone = random_bundle(rng, headless, plan(headless, replace(on, streams=1, gates=1)))
    with pytest.raises(SpecError, match="9 streams of a model without a head, on target streams-4x4-2, which"):
        compile_bundle(alone, on, streams=9)
    assert compile_bundle(alone, on, streams=8).apart == 2
    image = compile_bundle(bundle, on, streams=3)
    with pytest.raises(SpecError, match="a frame of stream 3; the image serves streams 0 to 2"):
        image.known([Frame(3)])


def test_nothing_is_predicted_of_logic_that_was_not_measured():
    on = STREAM_TARGETS["ulx3s-85f-streams"]
    assert logic(on) is None and logic(replace(on, streams=1, gates=1)) is not None
    predicted = engine(on)
    assert predicted.multipliers == 128 + 8, "a multiplier for each of the gates"


def test_every_way_to_share_serves_all_streams_once():
    layers = stack(fdht_lstm(60, 10, 3, (4, 5, 4), (2, 2, 10), 3))
    for on in ENGINES:
        for streams in range(1, 17):
            for sharing in sharings(layers, streams, on):
                served = [number for group in range(sharing.groups) for number in sharing.of(group)]
                assert served == [stream * sharing.apart for stream in range(streams)]


def test_images_of_streams_are_checked_when_read(tmp_path):
    """What says that a stream is asked for, loaded, stepped and sent otherwise than its number says."""
    on = target(4, 4)
    spec = fdht_lstm(60, 10, 3, (4, 5, 4), (2, 2, 10), 3)
    bundle = random_bundle(np.random.default_rng(1), spec, plan(spec, replace(on, streams=1)))
    image = compile_bundle(bundle, on, streams=3)
    image.save(tmp_path / "good.image")
    assert Image.load(tmp_path / "good.image").streams == 3
    with pytest.raises(FileError, match=r"is not a consistent image \(instruction 2 of array: factor words"):
        replace(image, streams=2).save(tmp_path / "bad.image")
        Image.load(tmp_path / "bad.image")

    for unit, op, fields, sentence in (
        (Segment.LOADER_PROGRAM, LoaderOp.ADMIT, {"stream": 1}, "a round asks for frames of"),
        (Segment.LOADER_PROGRAM, LoaderOp.ADMIT, {"opens": 0}, "a round asks for frames of"),
        (Segment.LOADER_PROGRAM, LoaderOp.LOAD, {"op": LoaderOp.ZERO}, "raw words of the streams are taken"),
        (Segment.GATE_PROGRAM, GateOp.STEP, {"condition": 0}, "under condition 0"),
        (Segment.GATE_PROGRAM, GateOp.STEP, {"stream": 1}, "no step ends in new states of streams"),
        (Segment.GATE_PROGRAM, GateOp.EMIT, {"condition": 2}, "under condition 2"),
        (Segment.GATE_PROGRAM, GateOp.EMIT, {"stream": 1}, "logits of the streams are sent"),
    ):
        instruction = next(each for each in image.machine.programs[unit] if each["op"] == op)
        kept = dict(instruction)
        instruction.update(fields)
        with pytest.raises(SpecError, match=sentence):
            image.verify()
        instruction.update(kept)
    image.verify()


def test_cycles_are_of_every_stream():
    on = target(4, 4)
    spec = fdht_lstm(60, 10, 3, (4, 5, 4), (2, 2, 10), 3)
    bundle = random_bundle(np.random.default_rng(1), spec, plan(spec, replace(on, streams=1)))
    image = compile_bundle(bundle, on, streams=3)
    frames = [Frame(stream, step == 0, step == 4) for step in range(5) for stream in range(3)]
    taken = rounds(frames, 3)
    assert (
        image.cycles(5)
        == image.machine.cycles(5, taken=taken)
        == image.machine.run_streams(frames, np.repeat(bundle.clips[0, :1], 15, axis=0)).cycles
    )
    assert image.utilisation(5) == image.macs * 15 / (16 * image.cycles(5))
