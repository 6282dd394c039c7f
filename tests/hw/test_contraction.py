"""The contraction unit against the machine that decodes the same instruction: values, addresses, cycles."""

import numpy as np
import pytest
from amaranth.sim import Simulator
from pipelines import BETWEEN

from fdht.compiler.assembler import Work, factor_words, lower
from fdht.compiler.lanes import lane_words
from fdht.compiler.machine import results
from fdht.compiler.mapping import Layout
from fdht.compiler.schedule import Contraction
from fdht.hw.engine.contraction_unit import ContractionUnit
from fdht.spec import timing
from fdht.spec.instructions import array_instruction
from fdht.spec.network import Factor, TensorNetwork
from fdht.spec.pipeline import COMPACT, PIPELINED, Pipeline
from fdht.spec.stages import stages
from fdht.spec.target import Levels, Target

SHAPES = [(1, 1), (8, 1), (2, 4), (4, 4), (3, 2), (5, 3), (4, 8)]
"""P × Q: single, a column, P < Q, square, and shapes that divide by nothing."""

HEADER = {"wait": 0, "give": 0, "loop_end": 0, "back": 0, "halt": 0, "chained": 0}


def small_target(shape: tuple[int, int], pipeline: Pipeline = PIPELINED) -> Target:
    levels = Levels.each(8)
    return Target("test", *shape, 10, 8, accumulator_width=32, pipeline=pipeline, bank_words=1024, levels=levels)


def random_work(rng: np.random.Generator, target: Target, transpose: bool, depth: int = 1) -> tuple[Work, np.ndarray]:
    """A stage with two reduction (K of `depth` at least), two column and two row indices, and padding wherever it can
    be.
    """
    size = {name: int(rng.integers(1, 5)) for name in ("k1", "k2", "c1", "c2", "m1", "m2")}
    size["k1"] += -(-depth // size["k2"]) if depth > 1 else 0
    size["c2"] = int(rng.integers(1, 2 * target.columns + 2))
    size["m2"] = int(rng.integers(1, 2 * target.columns + 2))
    network = TensorNetwork(
        "test",
        ("c1", "k1", "c2", "k2"),
        ("m1", "m2", "m3"),
        (*size.items(), ("m3", 1)),
        (Factor("W", ("m1", "m2", "k1", "k2")), Factor("X", ("c1", "c2", "m3"))),
    )
    stage = stages(network, (("W",), ("X",)))[0]
    lane = "c2" if target.columns > 1 else None
    out = "m2" if transpose else lane

    def layout(order: tuple[str, ...], lanes: str | None, base: int) -> Layout:
        stride, words = {}, 1
        for index in rng.permutation(order):
            stride[str(index)] = words
            extent = lane_words(network, str(index), lanes, target)
            if transpose and lanes == out and index == lane:
                extent = -(-size[lane] // target.columns) * target.columns
            words *= extent
        return Layout(lanes, tuple(reversed(stride)), stride, words, base)

    weight = rng.integers(-(1 << target.factor_width - 1), 1 << target.factor_width - 1, network.shape(stage.weight))
    result = layout(stage.result, out, 64)
    shift = int(rng.integers(0, 20))
    return Work(network, stage, layout(stage.data, lane, 5), result, shift=shift), weight


def simulate(
    target: Target,
    instructions: list[dict],
    scratchpad: np.ndarray,
    factors: np.ndarray,
    bias: np.ndarray,
    chained: bool = False,
) -> tuple[list, list[int]]:
    """Runs instructions, each in the cycle after the `done` of the one before, or chained to it; returns (cycle, to
    results, address, word) of each write, and the cycles of `done`.
    """
    dut = ContractionUnit(target)
    writes, finished, starts = [], [], [0]

    async def bench(ctx):
        latency = timing.read(target)
        data, factor = [np.zeros_like(scratchpad[0])] * latency, [np.zeros_like(factors[0])] * latency
        bias_words = [np.zeros(target.columns, dtype=np.int64)] * timing.bias(target)
        for cycle in range(100_000):
            if cycle in starts:
                fields = HEADER | instructions[starts.index(cycle)]
                ctx.set(dut.instruction, {name: fields[name] for name, _ in dut.instruction.shape()})
            ctx.set(dut.start, cycle in starts)
            ctx.set(dut.data_word, [int(v) for v in data[0]])
            ctx.set(dut.factor_word, [int(v) for v in factor[0]])
            ctx.set(dut.bias_word, [int(v) for v in bias_words[0]])
            if ctx.get(dut.write_valid):
                word = tuple(ctx.get(dut.write_data[q]) for q in range(target.columns))
                writes.append((cycle, ctx.get(dut.write_results), ctx.get(dut.write_address), word))
            if ctx.get(dut.done):
                finished.append(cycle)
                if len(finished) == len(instructions):
                    break
            if ctx.get(dut.issued if chained else dut.done) and len(starts) < len(instructions):
                starts.append(cycle + (timing.start(target) if chained else 1))
            data = [*data[1:], scratchpad[ctx.get(dut.data_address)]]
            factor = [*factor[1:], factors[min(ctx.get(dut.factor_address), len(factors) - 1)]]
            bias_words = [*bias_words[1:], bias[min(ctx.get(dut.bias_address), len(bias) - 1)]]
            await ctx.tick()
        else:
            raise AssertionError("never done")
        ctx.set(dut.start, 0)
        await ctx.tick()
        for _ in range(2 * target.rows + 20):
            assert not ctx.get(dut.write_valid), "a write too many"
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return writes, finished


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape[0]}x{shape[1]}")
@pytest.mark.parametrize("transpose", [False, True], ids=["straight", "transposed"])
def test_random_stage_matches_machine(shape, transpose):
    rng = np.random.default_rng([*shape, transpose])
    if transpose and shape[1] == 1:
        transpose = False
    for pipeline in (PIPELINED, COMPACT, *BETWEEN.values()):
        target = small_target(shape, pipeline)
        work, weight = random_work(rng, target, transpose)
        scratchpad = rng.integers(-512, 512, (target.scratchpad_words, target.columns))
        factors = np.concatenate([rng.integers(-128, 128, (3, target.rows)), factor_words(work, weight, target)])
        bias = rng.integers(-512, 512, (1 << 10, target.columns))
        fields = dict(lower(work, target, 3, 0)) | {"bias": 7, "bias_step": int(rng.integers(2))}
        record = array_instruction(target)
        decoded = record.decode(record.encode(fields | HEADER))
        contraction = Contraction(decoded, target)
        words, _ = results(contraction, scratchpad, factors, bias)
        expected = [
            (int(cycle), 0, int(address), tuple(word))
            for cycle, address, word in zip(
                contraction.offsets, contraction.write_addresses, words.tolist(), strict=True
            )
        ]
        after = contraction.done + 1
        twice = expected + [(after + cycle, *where) for cycle, *where in expected]
        done = [contraction.done, after + contraction.done]
        assert simulate(target, [fields] * 2, scratchpad, factors, bias) == (twice, done)


@pytest.mark.parametrize("shape", [(1, 1), (2, 4), (4, 4), (5, 3)], ids=lambda shape: f"{shape[0]}x{shape[1]}")
def test_chained_stages_do_not_mix(shape):
    """One instruction's operands follow the last of the other's at once: writes of both as if each were alone."""
    rng = np.random.default_rng([*shape, 5])
    target = small_target(shape)
    for number in range(6):
        pair = []
        for transpose in (number % 2 == 1 and shape[1] > 1, number >= 3 and shape[1] > 1):
            depth = timing.least_chained(target, bool(pair[0][0]["transpose"])) if pair else 1
            work, weight = random_work(rng, target, transpose, depth)
            base = sum(len(words) for _, words in pair)
            pair.append(
                (dict(lower(work, target, base, 0)) | {"bias": 7, "bias_step": 1}, factor_words(work, weight, target))
            )
        scratchpad = rng.integers(-512, 512, (target.scratchpad_words, target.columns))
        factors, bias = np.concatenate([words for _, words in pair]), rng.integers(-512, 512, (1 << 10, target.columns))
        record, expected, done, start = array_instruction(target), [], [], 0
        for fields, _ in pair:
            contraction = Contraction(record.decode(record.encode(fields | HEADER)), target)
            words, _ = results(contraction, scratchpad, factors, bias)
            for cycle, address, word in zip(
                contraction.offsets, contraction.write_addresses, words.tolist(), strict=True
            ):
                expected.append((start + int(cycle), 0, int(address), tuple(word)))
            done.append(start + contraction.done)
            start += contraction.issued + timing.start(target)
        assert simulate(target, [fields for fields, _ in pair], scratchpad, factors, bias, True) == (expected, done)


@pytest.mark.parametrize("transpose", [False, True], ids=["straight", "transposed"])
def test_lowered_stage_computes_the_contraction(transpose):
    """The machine's words, read back through the layouts, are the einsum of weight and data."""
    rng = np.random.default_rng(7 + transpose)
    for shape in SHAPES[2:]:
        target = small_target(shape)
        work, weight = random_work(rng, target, transpose)
        network, stage = work.network, work.stage
        data = rng.integers(-512, 512, network.shape(stage.data))
        scratchpad = np.zeros((target.scratchpad_words, target.columns), dtype=np.int64)
        for at in np.ndindex(*data.shape):
            scratchpad[place(work.source, dict(zip(stage.data, at, strict=True)), target)] = data[at]
        fields = dict(lower(work, target, 0, 0))
        record = array_instruction(target)
        contraction = Contraction(record.decode(record.encode(fields | HEADER)), target)
        no_bias = np.zeros((1, target.columns), dtype=np.int64)
        words, _ = results(contraction, scratchpad, factor_words(work, weight, target), no_bias)
        assert len(words) == len(set(contraction.write_addresses)), "an address is written twice"
        memory = np.zeros_like(scratchpad)
        memory[contraction.write_addresses] = words
        number = {name: k for k, name in enumerate(network.size)}
        weight_axes, data_axes, result_axes = (
            [number[name] for name in names] for names in (stage.weight, stage.data, stage.result)
        )
        exact = np.einsum(weight, weight_axes, data, data_axes, result_axes)
        expected = target.data.requantise(exact, work.shift)
        for at in np.ndindex(*expected.shape):
            assert memory[place(work.result, dict(zip(stage.result, at, strict=True)), target)] == expected[at]


def place(layout: Layout, at: dict[str, int], target: Target) -> tuple[int, int]:
    """Word and lane of an entry."""
    lane = at[layout.lane] % target.columns if layout.lane else 0
    word = layout.base + sum(
        (at[index] // target.columns if index == layout.lane else at[index]) * layout.stride[index] for index in at
    )
    return word, lane
