"""The driver on an engine of several lanes behind its link, where streams wait in registers and words become beats."""

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from bundles import random_bundle

from fdht import Device
from fdht.compiler.image import Image, check_states, compile_bundle
from fdht.compiler.planner import plan
from fdht.console import Output
from fdht.host.arrivals import Arrival
from fdht.host.connection import Connection
from fdht.model.golden import GoldenLSTM
from fdht.sim.simulate import simulate
from fdht.sim.simulated_board import Pins, SimulatedBoard, build_system
from fdht.spec.bundle import Bundle
from fdht.spec.errors import SpecError
from fdht.spec.lstm import fdht_lstm
from fdht.spec.protocol import Request, target_id
from fdht.spec.target import Build, Features, Levels, Target
from fdht.spec.task import OutputScaling, Task
from fdht.workflow import rates, serving
from fdht.workflow.running import Place

TARGET = Target(
    "linked-2x2",
    2,
    2,
    input_lanes=2,
    banks=3,
    bank_words=256,
    factor_words=512,
    result_words=256,
    bias_words=256,
    hidden=128,
    levels=Levels.each(4),
    streams=6,
    gates=2,
)
BARE = replace(TARGET, build=Build(features=Features(counters=False, initial_state=False, collision=False)))
"""The same engine without all that can be left out."""

PINS = Pins(divisor=None)
TIMEOUT = 10
"""Seconds, for a simulator on a busy machine."""


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """Frames of 45 words, which fill 22 beats and a half."""
    spec = fdht_lstm(45, 6, 3, (5, 4, 3), (2, 2, 6), 3)
    return random_bundle(np.random.default_rng(5), spec, plan(spec, TARGET), clips=3, steps=3)


@pytest.fixture(scope="module")
def image(bundle) -> Image:
    return compile_bundle(bundle, TARGET)


@pytest.fixture(scope="module")
def device() -> Iterator[Device]:
    with SimulatedBoard(build_system(TARGET, PINS), PINS) as board, Device(board.url, timeout=TIMEOUT) as device:
        yield device


def test_clips_are_those_of_the_golden_model(bundle, image, device):
    assert device.load(image)
    golden = GoldenLSTM(bundle).run(bundle.clips)
    results = list(device.run(bundle.clips))
    assert [result.logits.tolist() for result in results] == golden.logits.tolist()
    assert [result.hidden.tolist() for result in results] == golden.h[:, -1].tolist()
    assert [result.cells.tolist() for result in results] == golden.c[:, -1].tolist()
    runs = [image.machine.run(clip) for clip in bundle.clips]
    assert [result.status.saturations for result in results] == [run.saturations for run in runs]
    assert all(result.status.cycles >= image.cycles(3) for result in results)
    assert not device.status().collision and not device.status().errors


def test_states_go_in_and_every_h_comes_out(bundle, image, device):
    device.load(image)
    initial = np.random.default_rng(2).integers(-8192, 8192, (bundle.spec.hidden, 2))
    h, c = torch.from_numpy(initial.T.reshape(2, 1, 1, -1))
    results = list(device.run(bundle.clips[:2], initial=initial, every_h=True, keep=True))
    first = GoldenLSTM(bundle).run(bundle.clips[:1], h, c)
    second = GoldenLSTM(bundle).run(bundle.clips[1:2], first.h[None, :, -1], first.c[None, :, -1])
    for result, trace in zip(results, (first, second), strict=True):
        assert result.every_h is not None and result.every_h.tolist() == trace.h[0].tolist()
        assert result.cells.tolist() == trace.c[0, -1].tolist()
        assert result.logits.tolist() == trace.logits[0].tolist()


@pytest.mark.parametrize(
    ("states", "words"),
    [
        (np.zeros((6, 2)), "initial states of float64 in the shape (6, 2); pass integers, 6 x 2"),
        (np.zeros((2, 6), int), "int64 in the shape (2, 6); pass integers, 6 x 2"),
        (np.full((6, 2), 32768), "an initial state of 32768, where words of 16 bits reach from -32768 to 32767"),
        (np.full((6, 2), -32769), "an initial state of -32769"),
    ],
)
def test_states_that_would_be_cut_are_refused(bundle, image, device, states, words):
    device.load(image)
    for begin in (
        lambda: list(device.run(bundle.clips[:1], initial=states)),
        lambda: next(device.stream(iter(bundle.clips[0]), initial=states)),
        lambda: simulate(image, bundle.clips[:1], initial=states),
    ):
        with pytest.raises(SpecError) as refused:
            begin()
        assert words in str(refused.value)


def test_states_of_a_stack_are_those_of_every_layer(image):
    stack = replace(image, layers=2)
    check_states(stack, np.full((12, 2), -32768))
    with pytest.raises(SpecError, match="12 x 2: a row"):
        check_states(stack, np.zeros((6, 2), int))


@pytest.mark.slow
def test_an_engine_without_its_features_computes_the_same(bundle, image):
    """On its own ports in the same cycles, and behind its link; what it lacks is said and refused."""
    bare = replace(image, target=BARE)
    assert target_id(BARE) == target_id(TARGET), "images do not depend on features"
    alone = simulate(bare, bundle.clips[:2], every_h=True, keep=True)
    full = simulate(image, bundle.clips[:2], every_h=True, keep=True)
    assert not alone.mismatches and alone.words_compared == full.words_compared > 0
    assert alone.cycles_simulated == full.cycles_simulated == alone.cycles_predicted
    assert any(full.saturations) and not any(alone.saturations) and not any(alone.stalls)
    initial = np.ones((bundle.spec.hidden, 2), dtype=np.int64)
    with pytest.raises(SpecError, match="is built without initial_state; leave `initial` out"):
        simulate(bare, bundle.clips[:1], initial=initial)
    with SimulatedBoard(build_system(BARE, PINS), PINS) as board, Device(board.url, timeout=TIMEOUT) as device:
        device.load(image)
        results = list(device.run(bundle.clips))
        assert [result.logits.tolist() for result in results] == GoldenLSTM(bundle).run(bundle.clips).logits.tolist()
        status = device.status()
        assert status.features == BARE.build.features and status.cycles == status.saturations == 0
        with pytest.raises(SpecError, match="was built without initial_state; leave `initial` out"):
            list(device.run(bundle.clips[:1], initial=initial))


@pytest.fixture(scope="module")
def stepwise() -> Bundle:
    """The same network with a regression after every step, and numbers that its outputs stand for."""
    spec = replace(fdht_lstm(45, 6, 3, (5, 4, 3), (2, 2, 6), 3), task=Task.REGRESS_STEPS)
    bundle = random_bundle(np.random.default_rng(6), spec, plan(spec, TARGET), clips=3, steps=8)
    return replace(bundle, outputs=OutputScaling((1.5, -20.0, 0.0), (2.0, 0.25, 1e3)))


def test_outputs_of_every_step_and_what_they_stand_for(stepwise, device):
    device.load(compile_bundle(stepwise, TARGET))
    golden = GoldenLSTM(stepwise).run(stepwise.clips)
    results = list(device.run(stepwise.clips, every_h=True))
    assert [result.logits.tolist() for result in results] == golden.logits.tolist()
    assert [result.hidden.tolist() for result in results] == golden.h[:, -1].tolist()
    lsb = stepwise.formats.head.result.lsb
    real = golden.logits[0].numpy() * lsb * [2.0, 0.25, 1e3] + [1.5, -20.0, 0.0]
    assert results[0].values.shape == (8, 3) and np.allclose(results[0].values, real, rtol=1e-15)
    assert results[0].predicted == -1 and set(results[0].classes) == {-1}


def test_a_sequence_of_unknown_length_gives_its_outputs_step_by_step(stepwise, device, monkeypatch):
    """Each output is there before the next frame is drawn, also beyond the steps that one run counts."""
    monkeypatch.setattr("fdht.host.device.MOST_STEPS", 3)
    device.load(compile_bundle(stepwise, TARGET))
    initial = np.random.default_rng(2).integers(-8192, 8192, (stepwise.spec.hidden, 2))
    h, c = torch.from_numpy(initial.T.reshape(2, 1, 1, -1))
    golden, given = GoldenLSTM(stepwise).run(stepwise.clips[:1], h, c), []

    def camera() -> Iterator[np.ndarray]:
        for step, frame in enumerate(stepwise.clips[0]):
            assert len(given) == step
            yield frame

    for outputs in device.stream(camera(), initial=initial):
        given.append(outputs.logits.tolist())
    assert given == golden.logits[0].tolist()
    assert not device.status().busy
    began = device.stream(iter(stepwise.clips[1]))
    first = next(began)
    assert first.logits.tolist() == GoldenLSTM(stepwise).run(stepwise.clips[1:2]).logits[0, 0].tolist()
    assert device.status().busy
    began.close()
    assert not device.status().busy, "a stream that nobody goes on with ends its run"
    with pytest.raises(SpecError, match=r"a frame of shape \(44,\) does not have 45 words"):
        next(device.stream(iter([stepwise.clips[0, 0, :44]])))
    assert list(device.stream(iter([]))) == []


def test_a_head_after_the_last_step_is_streamed_in_runs_of_one(bundle, image, device):
    """The class of all frames so far is there before the next frame is drawn; another stream begins anew."""
    device.load(image)
    initial = np.random.default_rng(2).integers(-8192, 8192, (bundle.spec.hidden, 2))
    h, c = torch.from_numpy(initial.T.reshape(2, 1, 1, -1))
    golden, given = GoldenLSTM(bundle), []
    for begin, states in ((None, ()), (initial, (h, c))):
        given.clear()
        for outputs in device.stream(iter(bundle.clips[0]), initial=begin):
            given.append(outputs.logits.tolist())
            assert given[-1] == golden.run(bundle.clips[:1, : len(given)], *states).logits[0].tolist()
        assert len(given) == bundle.clips.shape[1] and not device.status().busy


def test_clips_side_by_side_are_as_one_after_the_other(bundle, image, stepwise, device):
    """Of different lengths, more than there are streams, with a head after the last step and after every one."""
    for of in (bundle, stepwise):
        served = compile_bundle(of, TARGET, streams=4)
        device.load(served)
        clips = [of.clips[k % 3][: 1 + k % of.clips.shape[1]] for k in range(9)]
        found = dict(device.run_streams(clips))
        golden = GoldenLSTM(of)
        assert sorted(found) == list(range(9))
        for number, outputs in found.items():
            assert outputs.logits.tolist() == golden.run(clips[number][None]).logits[0].tolist()
        alone = dict(device.run_streams(clips[:3], streams=1))
        assert [alone[k].logits.tolist() for k in range(3)] == [found[k].logits.tolist() for k in range(3)]
    for run in (device.run(bundle.clips), device.stream(iter(bundle.clips[0]))):
        with pytest.raises(SpecError, match="the image serves 4 streams, whose frames say whose they are; call run_st"):
            next(run)
    device.load(image)
    for streams in (None, 4):
        with pytest.raises(SpecError, match=r"the image serves one sequence; compile it with --streams, or call run$"):
            next(device.run_streams(bundle.clips, streams=streams))
    with pytest.raises(SpecError, match="the image serves one sequence; compile it with --streams"):
        next(device.serve([]))


@pytest.mark.parametrize("port", [None, "/dev/ttyUSB1"])
def test_only_a_boards_time_is_a_rate(bundle, device, monkeypatch, tmp_path, port):
    """Not the simulator's, which takes up to a thousand times as long."""
    bundle.save(tmp_path / "a.bundle")
    monkeypatch.setattr(serving, "opened", lambda *_: nullcontext(device))
    monkeypatch.setattr(serving, "target_of", lambda *_: TARGET)
    _, served = serving.run(Output(False), tmp_path / "a.bundle", Place(port, None), 3, streams=2)
    figures = serving.device_figures(bundle, 2, served, compare=False)
    assert figures["frames"] == 9
    assert all((figures[rate] is None) == (port is None) for rate in ("seconds", "frames_per_s"))


@pytest.mark.parametrize("streams", [0, 3])
def test_a_rate_counts_the_words_that_are_sent(bundle, device, monkeypatch, streams):
    """Whole beats of every frame, and of streams the beat that says whose it is."""
    image, do, sent = compile_bundle(bundle, TARGET, streams=streams), Connection.do, list[bytes]()

    def watched(self: Connection, request: Request, parts: Iterable[bytes] = (b"",), *others) -> None:
        parts = list(parts)
        sent.append(b"".join(parts) if request is Request.X else b"")
        do(self, request, parts, *others)

    device.load(image)
    monkeypatch.setattr(Connection, "do", watched)
    list(device.run_streams(bundle.clips) if streams else device.run(bundle.clips))
    frames = sum(len(clip) for clip in bundle.clips)
    of_frames = sum(len(each) for each in sent if len(each) > TARGET.input_lanes)  # a beat alone is nobody's
    assert of_frames == frames * (48 if streams else 46) == rates.figures(image, frames)["input_bytes_per_s"]


def test_streams_come_and_go(stepwise, device, monkeypatch):
    """Frames in any order; answers of frames that close come before the next one is drawn, also beyond the rounds that
    one run counts.
    """
    monkeypatch.setattr("fdht.host.device.MOST_STEPS", 7)
    served = compile_bundle(stepwise, TARGET, streams=5)
    device.load(served)
    rng, golden = np.random.default_rng(7), GoldenLSTM(stepwise)
    given, wanted, past = [], [], dict[int, list[np.ndarray]]()
    drawn = list[Arrival]()

    def sensors() -> Iterator[Arrival]:
        for _ in range(40):
            stream = int(rng.integers(5))
            x = stepwise.clips[int(rng.integers(3)), int(rng.integers(8))]
            begins, ends = stream not in past, bool(rng.random() < 0.2)
            past.setdefault(stream, []).append(x)
            wanted.append(golden.run(np.array(past[stream])[None]).logits[0, -1].tolist())
            if ends:
                del past[stream]
            if drawn and drawn[-1].closes:
                assert len(given) == len(drawn)
            drawn.append(Arrival(stream, x, begins, ends, closes=bool(rng.random() < 0.4)))
            yield drawn[-1]

    for outputs in device.serve(sensors()):
        given.append(outputs.logits.tolist())
        assert outputs.arrival is drawn[len(given) - 1]
    assert given == wanted and not device.status().busy
    unbegun = [Arrival(3, x, ends=step == 1) for step, x in enumerate(stepwise.clips[0, :4])]
    assert [outputs.logits.tolist() for outputs in device.serve(unbegun)] == golden.run(stepwise.clips[:1, :4]).logits[
        0
    ].tolist(), "from states of zero, and on with those of the sequence before"
    with pytest.raises(SpecError, match=r"a frame of shape \(44,\) does not have 45 words"):
        next(device.serve([Arrival(0, stepwise.clips[0, 0, :44])]))
    with pytest.raises(SpecError, match="a frame of stream 5; the image serves streams 0 to 4"):
        next(device.serve([Arrival(5, stepwise.clips[0, 0])]))
    with pytest.raises(SpecError, match="a frame of stream -1; streams are counted from 0"):
        Arrival(-1, stepwise.clips[0, 0], begins=True, ends=True, closes=True)
