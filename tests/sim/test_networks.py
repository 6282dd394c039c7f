"""Random networks on the RTL: every result, in its cycle, equal to the program's execution and the golden model."""

from collections import Counter
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
import torch
from bundles import MODELS, random_bundle, random_image, random_layers, random_spec, with_task
from occurrences import SEED, assert_occurred, occurrences
from pipelines import BETWEEN

from fdht.compiler.image import Image, compile_bundle
from fdht.compiler.mapping import map_step
from fdht.compiler.pace import STEPS, cycles_per_step, step_ends
from fdht.compiler.planner import candidates, map_model, plan
from fdht.compiler.resolved import resolve
from fdht.compiler.tiling import tilings
from fdht.model.golden import GoldenLSTM
from fdht.sim.simulate import Job, simulate_jobs
from fdht.spec.errors import CapacityError
from fdht.spec.fixed import Fixed
from fdht.spec.formats import InputFormat
from fdht.spec.instructions import LoaderOp, Segment, Token
from fdht.spec.lstm import Region, dense_lstm, fdht_lstm
from fdht.spec.pipeline import COMPACT, PIPELINED
from fdht.spec.target import Levels, Target, find_target
from fdht.spec.task import Task

SHAPES = {
    (8, 1): COMPACT,
    (4, 4): PIPELINED,
    (2, 4): PIPELINED,
    (5, 3): COMPACT,
    (3, 8): PIPELINED,
    (6, 2): BETWEEN["registered gates"],
    (4, 2): BETWEEN["mixed"],
    (7, 2): BETWEEN["hasty"],
}
"""P × Q: one column, square, P < Q, divisible by nothing, and wide; others between the two pipelines. K < P occurs on
(8, 1) and (5, 3)."""

SLOW = {(2, 4), (5, 3), (4, 2), (6, 2), (7, 2)}

WIDE = {(4, 4), (3, 8)}
"""Those with inputs of as many words at once as there are columns."""

NETWORKS = 40


def small_target(rows: int, columns: int) -> Target:
    return Target(
        f"test-{rows}x{columns}",
        rows,
        columns,
        factor_width=8,
        pipeline=SHAPES[rows, columns],
        input_lanes=columns if (rows, columns) in WIDE else 1,
        count_width=5 if (rows, columns) == (2, 4) else 16,  # loops of 32 and more, that have to be split
        bank_words=1024,
        single_port=columns == 1,
        factor_words=2048,
        result_words=512,
        hidden=64,
        levels=Levels.each(8),
    )


def random_job(rng: np.random.Generator, target: Target, number: int) -> tuple[Job, GoldenLSTM]:
    """A random network compiled for a target; every third starts from a random state, every fourth pauses.

    Networks are drawn until one is found in which h is heard: without it, the next h differs in 90 % of the steps.
    """
    order = 1 + number % 5  # coprime to the kinds
    while True:
        layers = random_layers(rng, MODELS[number % len(MODELS)], (order, order))
        try:
            stage_lists = plan(layers, target)
            if layers[0].network.kind == "bt":  # one factor per stage, so that the block index is a batch index of some
                stage_lists = (tuple((factor.name,) for factor in layers[0].network.factors),)
            bundle = random_bundle(rng, layers, stage_lists, steps=4)
            image = random_image(rng, bundle, target)
        except CapacityError:
            continue
        units = sum(spec.hidden for spec in layers)
        initial = rng.integers(-8192, 8192, (units, 2)) if number % 3 else None
        pauses = int(rng.integers(1 << 30)) if number % 4 == 3 else None
        job, golden = Job(image, bundle.clips, initial, every_h=bool(number % 2), pauses=pauses), GoldenLSTM(bundle)
        differs = (golden_run(job, golden).h != golden_run(job, golden, zero_h=True).h).any(dim=2)[0]
        if differs[initial is None :].double().mean() >= 0.9:
            return job, golden


def golden_run(job: Job, golden: GoldenLSTM, zero_h: bool = False):
    state = (
        [None, None]
        if job.initial is None
        else list(torch.from_numpy(job.initial).T.reshape(2, job.image.layers, 1, -1))
    )
    return golden.run(job.clips, *state, zero_h=zero_h)


@pytest.mark.parametrize(
    "shape",
    [pytest.param(shape, marks=pytest.mark.slow) if shape in SLOW else shape for shape in SHAPES],
    ids=lambda shape: f"{shape[0]}x{shape[1]}",
)
def test_random_networks(shape, simulator):
    print(f"reproduce with FDHT_SEED={SEED}")
    rng = np.random.default_rng([SEED, *shape])
    target = small_target(*shape)
    jobs = [random_job(rng, target, number) for number in range(NETWORKS)]
    seen, stalls = Counter[str](), 0
    results = simulate_jobs([job for job, _ in jobs], simulator=simulator)
    for (job, golden), result in zip(jobs, results, strict=True):
        assert result.mismatches == []
        assert result.words_compared == result.words_expected
        trace = golden_run(job, golden)
        run = job.image.machine.run(job.clips[0], job.initial)
        seen += occurrences(golden.bundle, job.image, run, trace)
        assert result.logits.tolist() == trace.logits.tolist()
        assert result.hidden[0].tolist() == [h for layer in trace.layers for h in layer.h[0, -1].tolist()]
        assert result.cells[0].tolist() == [c for layer in trace.layers for c in layer.c[0, -1].tolist()]
        if job.pauses is None:
            assert result.cycles_simulated == result.cycles_predicted == [job.image.cycles(job.clips.shape[1])]
            assert result.stalls == [0]
        else:
            assert result.cycles_simulated[0] >= result.cycles_predicted[0]
            stalls += result.stalls[0]

    assert stalls > 0
    of_shape = {"transposed drain": 2} if shape[1] > 1 else {}
    if not target.pipeline.prefetch:  # else rarely the last to be waited for
        of_shape |= {"gate unit back to back": 3}
    assert_occurred(seen, EXPECTED | of_shape)


EXPECTED = {
    **{f"d = {order}": 2 for order in range(1, 6)},
    **{kind: 3 for kind in ("ht", "tt", "tr", "bt", "dense")},
    **{f"{kind} recurrent": 3 for kind in ("dense", "ht")},
    **{f"{layers} layers": 3 for layers in (1, 2, 3)},
    **{f"wait {token.name}": 20 for token in Token} | {"wait H_READY": 3},  # between layers
    "merge": 10,
    "batch": 1,
    "ring bond": 1,
    "padded rows": 5,
    "K < P": 1,
    "stage saturates": 3,
}
"""How often each case has to occur at least among the networks of a shape."""


def every_step_job(rng: np.random.Generator, target: Target, number: int) -> tuple[Job, GoldenLSTM]:
    """A random network with a head after every step, its logits behind z or in the place of z; the other options of a
    run in turn.
    """
    while True:
        order = 1 + number % 5
        task = (Task.LABEL_STEPS, Task.REGRESS_STEPS)[number % 2]
        layers = with_task(rng, random_layers(rng, MODELS[number % len(MODELS)], (order, order)), task, 30)
        with suppress(CapacityError):
            bundle = random_bundle(rng, layers, plan(layers, target), steps=4)
            image = random_image(rng, bundle, target)
            if number // 2 % 2:
                step = map_model(resolve(layers, bundle.stage_lists, target))
                image = compile_bundle(bundle, target, step=replace(step, logits=0))
            break
    units = sum(spec.hidden for spec in layers)
    initial = rng.integers(-8192, 8192, (units, 2)) if number % 3 else None
    pauses = int(rng.integers(1 << 30)) if number % 4 == 3 else None
    return Job(image, bundle.clips, initial, every_h=bool(number % 5 % 2), pauses=pauses), GoldenLSTM(bundle)


@pytest.mark.parametrize(
    "shape",
    [shape if shape in ((8, 1), (4, 4)) else pytest.param(shape, marks=pytest.mark.slow) for shape in SHAPES],
    ids=lambda shape: f"{shape[0]}x{shape[1]}",
)
def test_a_head_after_every_step(shape, simulator):
    """Logits of every step, in order, are the golden model's; cycles are those predicted, the head counted in each."""
    rng, target = np.random.default_rng([SEED, *shape, 19]), small_target(*shape)
    count = len(MODELS) * (1 if shape in ((8, 1), (4, 4)) else 3)
    jobs = [every_step_job(rng, target, number) for number in range(count)]
    for (job, golden), result in zip(jobs, simulate_jobs([job for job, _ in jobs], simulator=simulator), strict=True):
        trace = golden_run(job, golden)
        assert result.mismatches == [] and result.words_compared == result.words_expected
        assert result.logits.tolist() == trace.logits.tolist() and result.classes.tolist() == trace.classes.tolist()
        assert result.hidden[0].tolist() == [h for layer in trace.layers for h in layer.h[0, -1].tolist()]
        assert result.logits.shape[1] == job.clips.shape[1]
        if job.pauses is None:
            assert result.cycles_simulated == result.cycles_predicted == [job.image.cycles(job.clips.shape[1])]


@pytest.mark.parametrize("shape", [(8, 1), (4, 4)], ids=lambda shape: f"{shape[0]}x{shape[1]}")
def test_a_planned_step_counts_its_head(shape, simulator):
    """What the planner says of a step is what it takes in the RTL, and a head in every step makes it longer."""
    rng, target = np.random.default_rng([SEED, 21]), small_target(*shape)
    spec, planned = fdht_lstm(30, 12, 9, (4, 12), (4, 12), 3), []
    for task in (Task.CLASSIFY, Task.LABEL_STEPS):
        layers = with_task(rng, spec, task)
        best = candidates(layers, target)[0]
        bundle = random_bundle(rng, layers, best.stage_lists, steps=STEPS)
        (result,) = simulate_jobs([Job(compile_bundle(bundle, target), bundle.clips)], simulator=simulator)
        assert result.mismatches == [] and cycles_per_step(result.step_ends[0]) == best.cycles
        planned.append(best.cycles)
    assert planned[0] is not None and planned[1] is not None and planned[0] < planned[1]


def test_runs_that_follow_each_other_label_every_step(simulator):
    """Three runs with the states kept give the outputs of one that is as long as all of them."""
    rng, target = np.random.default_rng([SEED, 22]), small_target(4, 4)
    layers = with_task(rng, random_layers(rng, "2 layers"), Task.REGRESS_STEPS)
    bundle = random_bundle(rng, layers, plan(layers, target), clips=3, steps=3)
    image = compile_bundle(bundle, target)
    (kept,) = simulate_jobs([Job(image, bundle.clips, keep=True)], simulator=simulator)
    whole = GoldenLSTM(bundle).run(bundle.clips.reshape(1, 9, -1))
    assert kept.mismatches == [] and kept.logits.reshape(1, 9, -1).tolist() == whole.logits.tolist()
    assert kept.cycles_simulated == kept.cycles_predicted


@pytest.mark.parametrize("shape", [(8, 1), (4, 4)], ids=lambda shape: f"{shape[0]}x{shape[1]}")
def test_tiles(shape, simulator):
    """One bundle, a picture in bands with h in the last ones, cut in every way: the same integers; also where the
    states of the clip before are kept.
    """
    rng, target = np.random.default_rng([SEED, 9]), small_target(*shape)
    spec = fdht_lstm(15 * 3 * 4 * 4, 16, 3, (16, 3, 4, 4), (1, 2, 4, 8), 4)
    order = (2, 1, 3, 0)
    spec = replace(spec, x=replace(spec.x, order=order), h=Region((15, 0, 2, 0), (1, 3, 2, 4), order, 16))
    bundle = random_bundle(rng, spec, plan(spec, target), clips=2, steps=2)
    resolved = resolve(spec, bundle.stage_lists, target)
    images = [compile_bundle(bundle, target)]
    for way in tilings(resolved.chains[0], resolved.stages[0], resolved.lanes[0]):
        with suppress(CapacityError):
            step = map_step(resolved, way)
            images.append(compile_bundle(bundle, target, step=step))
    steady = [cycles_per_step(step_ends(image.machine.programs, target)) for image in images]
    assert len(images) > 1 and steady[0] == min(steady)
    chained = [any(i["chained"] for i in image.machine.programs[Segment.ARRAY_PROGRAM]) for image in images]
    assert any(chained) == target.pipeline.prefetch
    loaders = [image.machine.programs[Segment.LOADER_PROGRAM] for image in images]
    assert any(i["op"] == LoaderOp.CLEAR for loader in loaders for i in loader)
    golden = GoldenLSTM(bundle)
    apart, whole = golden.run(bundle.clips), golden.run(bundle.clips.reshape(1, 4, -1))
    logits = {False: apart.logits.tolist(), True: [apart.logits[0].tolist(), whole.logits[0].tolist()]}
    hidden = {False: apart.h[:, -1].tolist(), True: whole.h[0, 1::2].tolist()}
    assert logits[False] != logits[True]
    jobs = [Job(image, bundle.clips, every_h=True, keep=keep) for image in images for keep in (False, True)]
    for job, result in zip(jobs, simulate_jobs(jobs, simulator=simulator), strict=True):
        assert result.mismatches == [] and result.cycles_simulated == result.cycles_predicted
        assert result.logits.tolist() == logits[job.keep] and result.hidden.tolist() == hidden[job.keep]


@pytest.mark.parametrize("order", [6, 7, 8])
def test_many_modes(order):
    rng = np.random.default_rng([SEED, order])
    spec = random_spec(rng, ("linear", "tree", "tr")[order % 3], (order, order))
    target = small_target(4, 4)
    bundle = random_bundle(rng, spec, plan(spec, target))
    (result,) = simulate_jobs([Job(compile_bundle(bundle, target), bundle.clips)])
    trace = GoldenLSTM(bundle).run(bundle.clips)
    assert result.mismatches == [] and result.cycles_simulated == result.cycles_predicted
    assert len(spec.network.inputs) == order and result.hidden.tolist() == trace.h[:, -1].tolist()


@pytest.mark.parametrize(("n", "m"), [((9, 2, 4), (4, 2, 8)), ((9, 2, 2), (4, 6, 5))], ids=str)
def test_joined_modes(n, m):
    """Small output modes share the lanes of a word: between the stages, and padded in z."""
    on = small_target(3, 8)
    spec = fdht_lstm(4, int(np.prod(m)) // 4, 3, n, m, 3)
    bundle = random_bundle(np.random.default_rng([SEED, *m]), spec, plan(spec, on), steps=4)
    (lanes,) = resolve(spec, bundle.stage_lists, on).lanes
    assert {"m1·m2", "m2·m3"} & {*lanes}
    (result,) = simulate_jobs([Job(compile_bundle(bundle, on), bundle.clips)])
    trace = GoldenLSTM(bundle).run(bundle.clips)
    assert result.mismatches == [] and result.cycles_simulated == result.cycles_predicted
    assert (result.hidden.tolist(), result.logits.tolist()) == (trace.h[:, -1].tolist(), trace.logits.tolist())


def test_one_bundle_same_integers_on_every_array(simulator):
    """The integers belong to the bundle; arrays differ in cycles only."""
    rng = np.random.default_rng(SEED)
    spec = random_spec(rng)
    bundle = random_bundle(rng, spec, plan(spec, small_target(4, 4)), steps=4)
    images: list[Image] = [compile_bundle(bundle, small_target(*shape)) for shape in ((8, 1), (4, 4), (5, 3))]
    results = [simulate_jobs([Job(image, bundle.clips)], simulator=simulator)[0] for image in images]
    golden = GoldenLSTM(bundle).run(bundle.clips)
    assert len({result.cycles_simulated[0] for result in results}) > 1
    for result in results:
        assert result.mismatches == []
        assert result.logits.tolist() == golden.logits.tolist()
        assert result.hidden.tolist() == golden.h[:, -1].tolist()
        assert result.cells.tolist() == golden.c[:, -1].tolist()


@pytest.mark.parametrize("shape", [(8, 1), (4, 4)], ids=lambda shape: f"{shape[0]}x{shape[1]}")
def test_states_kept_across_clips(shape, simulator):
    """Three clips with the states of both layers kept are one clip; without, each starts from zero."""
    rng = np.random.default_rng([SEED, 5])
    layers = random_layers(rng, "2 layers")
    bundle = random_bundle(rng, layers, plan(layers, small_target(*shape)), clips=3, steps=2)
    image = compile_bundle(bundle, small_target(*shape))
    kept, apart = simulate_jobs([Job(image, bundle.clips, keep=True), Job(image, bundle.clips)], simulator=simulator)
    golden = GoldenLSTM(bundle)
    whole, each = golden.run(bundle.clips.reshape(1, 6, -1)), golden.run(bundle.clips)
    for result in (kept, apart):
        assert result.mismatches == [] and result.cycles_simulated == result.cycles_predicted
    of_kept, of_apart = (
        [torch.cat([getattr(layer, name)[at] for layer in trace.layers], -1).tolist() for name in ("h", "c")]
        for trace, at in ((whole, (0, slice(1, None, 2))), (each, (slice(None), -1)))
    )
    assert [kept.hidden.tolist(), kept.cells.tolist()] == of_kept
    assert [apart.hidden.tolist(), apart.cells.tolist()] == of_apart
    assert of_kept[0][1:] != of_apart[0][1:]
    assert kept.cycles_simulated[1] == image.machine.cycles(2, keep=True) < kept.cycles_simulated[0]


def test_a_dense_layer_on_the_small_board(simulator):
    """The gate unit follows the array unit by unit: 1 input, 20 units, at most 300 cycles a step."""
    rng, target = np.random.default_rng([SEED, 20]), find_target("icebreaker")
    spec = dense_lstm(1, 20, 0)
    bundle = random_bundle(rng, spec, plan(spec, target), steps=8, factor_width=9)
    image = compile_bundle(bundle, target)
    assert image.cycles(8) - image.cycles(7) == image.cycles(7) - image.cycles(6) <= 300
    (result,) = simulate_jobs([Job(image, bundle.clips, every_h=True)], simulator=simulator)
    assert result.mismatches == [] and result.cycles_simulated == result.cycles_predicted
    assert result.hidden.tolist() == GoldenLSTM(bundle).run(bundle.clips).h[:, -1].tolist()


@pytest.mark.parametrize("task", Task)
@pytest.mark.parametrize("steps", [1, pytest.param(500, marks=pytest.mark.slow)])
def test_short_and_long_sequences(steps, task, simulator):
    """One input, a number of units that divides by nothing, 1 and 500 steps, every task."""
    rng = np.random.default_rng([SEED, steps])
    target = small_target(4, 4)
    spec = replace(fdht_lstm(1, 7, 3, (4, 3), (4, 7), 2), task=task)
    bundle = random_bundle(rng, spec, plan(spec, target), steps=steps)
    (result,) = simulate_jobs([Job(compile_bundle(bundle, target), bundle.clips, every_h=True)], simulator=simulator)
    trace = GoldenLSTM(bundle).run(bundle.clips)
    assert result.mismatches == [] and result.cycles_simulated == result.cycles_predicted
    assert result.hidden.tolist() == trace.h[:, -1].tolist() and result.logits.tolist() == trace.logits.tolist()


INPUTS = {
    "8 bits, signed": InputFormat(Fixed(8, 7)),
    "16 bits": InputFormat(Fixed(16, 14)),
    "15 bits, unsigned, offset": InputFormat(Fixed(15, 13, signed=False), 1 << 14),
    "12 bits of a finer scale": InputFormat(Fixed(12, 13)),
}


@pytest.mark.slow
def test_input_formats(simulator):
    """Signed and unsigned, with and without an offset, narrower than the port and as wide."""
    rng = np.random.default_rng([SEED, 16])
    target = replace(small_target(4, 4), input_width=16)
    spec = random_spec(rng, "balanced", (3, 3))
    bundles = [random_bundle(rng, spec, plan(spec, target), input_format=format) for format in INPUTS.values()]
    results = simulate_jobs(
        [Job(compile_bundle(bundle, target), bundle.clips) for bundle in bundles], simulator=simulator
    )
    for bundle, result in zip(bundles, results, strict=True):
        trace = GoldenLSTM(bundle).run(bundle.clips)
        assert result.mismatches == [] and result.hidden.tolist() == trace.h[:, -1].tolist()
