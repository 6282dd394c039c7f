"""From a bundle and a memory map to the three programs and the words of factor, bias and table memory."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod

import numpy as np

from fdht.compiler.lanes import SMALLER, factor_words_named, kept_rows, lane_words, stage_factor_words
from fdht.compiler.mapping import Layout, StepMap, head_words, longest, region_nest
from fdht.compiler.nest import Loop, encode_nest, merge, walk
from fdht.compiler.program import ArrayInstruction, GateInstruction, LoaderInstruction, StepPrograms
from fdht.compiler.resolved import Resolved
from fdht.compiler.segments import Segments, pack
from fdht.compiler.sharing import STREAM, Sharing, of_stream
from fdht.spec import timing
from fdht.spec.activation import table_words
from fdht.spec.bundle import Bundle
from fdht.spec.errors import CapacityError, Resource, SpecError
from fdht.spec.formats import Formats
from fdht.spec.instructions import (
    TOKEN_BITS,
    UNITS,
    WORD,
    Condition,
    GateOp,
    LoaderOp,
    Segment,
    Token,
    gate_instruction,
    loader_instruction,
)
from fdht.spec.lstm import Chain, LSTMSpec, Region
from fdht.spec.network import TensorNetwork, dense_network
from fdht.spec.stages import Stage, accumulator_bits
from fdht.spec.target import Target

HEAD = (-1, -1)
"""Stands for the head where stages are numbered by chain and stage."""


@dataclass(frozen=True)
class Work:
    """One contraction, ready to be lowered: what an array instruction says, before addresses.

    Attributes:
        network, stage: sizes and roles of the indices.
        source, result: layouts.
        of: chain and stage, or HEAD, whose weight is h; all tiles of a stage share its weight.
        biased: a bias is added.
        to_results: the result goes to the result memory. add: it is added to what is there.
        shift: fractional bits that the accumulator has more than the result; the bias has those of the result.
    """

    network: TensorNetwork
    stage: Stage
    source: Layout
    result: Layout
    of: tuple[int, int] = HEAD
    biased: bool = False
    to_results: bool = False
    add: bool = False
    shift: int = 0


def contractions(step: StepMap, formats: Formats | None = None) -> list[Work]:
    """The contractions of a step in their order, then the head (if any). Without `formats`, shifts stay 0."""
    result = []
    for c, of_chain in enumerate(step.chains):
        chain, tiled, takes_x = of_chain.chain, of_chain.tiled, of_chain.chain.x is not None
        pieces = [(tile.network, s, pair) for tile in of_chain.tiles for s, pair in enumerate(pairwise(tile.tensors))]
        pieces += [(chain.network, s, pair) for s, pair in enumerate(pairwise(of_chain.tensors), tiled)]
        for network, s, (source, into) in pieces:
            last = s + 1 == len(of_chain.stages)
            shift = formats.shift(c, s) if formats else 0
            result.append(
                Work(
                    network,
                    of_chain.stages[s],
                    source,
                    into,
                    (c, s),
                    last and takes_x,
                    last,
                    last and not takes_x,
                    shift,
                )
            )
    top = step.resolved.layers[-1]
    if top.classes:
        shift = formats.head_shift if formats else 0
        head = head_contraction(top, step.resolved.target, step.logits)
        result.append(Work(*head, biased=True, to_results=True, shift=shift))
    return result


def head_contraction(spec: LSTMSpec, target: Target, logits: int = 0) -> tuple[TensorNetwork, Stage, Layout, Layout]:
    """The head as a stage: its network, and where it reads and writes.

    Its weights are the data (a column per class), h is the weight of one row: so they take no factor memory.

    Args:
        logits: the first result word that it writes.
    """
    network = dense_network(spec.hidden, spec.classes)
    stage = Stage(("h",), (), ("n1",), ("m1",), ())
    words, lane = head_words(spec, target), "m1" if target.columns > 1 else None
    return (
        network,
        stage,
        Layout(lane, ("m1", "n1"), {"m1": spec.hidden, "n1": 1}, words, target.scratchpad_words - words),
        Layout(lane, ("m1",), {"m1": 1}, lane_words(network, "m1", lane, target), logits),
    )


@dataclass(frozen=True)
class Nests:
    """How a stage is walked.

    Attributes:
        read, write: nest records. reduction: levels of `read` that are K, less one.
        emit: old lanes that are written of a transposed block.
        rows, reduced, columns: the stage's indices in the order they are walked, the slowest first.
    """

    read: dict
    write: dict
    reduction: int
    emit: int
    rows: tuple[str, ...]
    reduced: tuple[str, ...]
    columns: tuple[str, ...]


def stage_nests(
    network: TensorNetwork, stage: Stage, source: Layout, result: Layout, target: Target, factor_base: int = 0
) -> Nests:
    """The loops of a stage between two layouts.

    Raises:
        CapacityError: more loop levels than an address generator has.
    """
    size, transpose = network.size, source.lane != result.lane
    reduction = tuple(index for index in source.order if index in stage.reduction)
    columns = tuple(index for index in source.order if index in stage.columns)
    rows = tuple(index for index in result.order if index in stage.rows and not (transpose and index == result.lane))
    if transpose:
        assert result.lane is not None
        rows = (*rows, result.lane)
    passes = -(-kept_rows(network, stage, source.lane, result.lane, target) // target.rows)
    depth = prod(network.shape(reduction))

    # Read nest: K, then passes over the rows, then columns, then batch. Factor words follow each other in that order.
    factor_stride, inner = {}, 1
    for index in reversed(reduction):
        factor_stride[index] = inner
        inner *= size[index]
    k_loops = merge(
        [Loop(size[i], {"data": source.stride[i], "factor": factor_stride[i]}) for i in reversed(reduction)],
        longest(target),
    ) or [Loop(1, {"data": 0, "factor": 0})]
    outer = [Loop(passes, {"data": 0, "factor": depth})]
    outer += [
        Loop(lane_words(network, i, source.lane, target), {"data": source.stride[i], "factor": 0})
        for i in reversed(columns)
    ]
    inner = passes * depth
    for index in reversed(stage.batch):
        outer.append(Loop(size[index], {"data": source.stride[index], "factor": inner}))
        inner *= size[index]
    read = encode_nest(
        [*k_loops, *merge(outer, longest(target))],
        {"data": source.base, "factor": factor_base},
        target.levels.read,
    )

    # Write nest: one iteration per word written.
    loops, emit = [], 1
    if transpose:
        if source.lane is not None:
            emit = min(size[source.lane], target.columns)
            loops.append(Loop(emit, {"word": result.stride[source.lane]}))
        loops.append(Loop(lane_words(network, rows[-1], result.lane, target), {"word": result.stride[rows[-1]]}))
    for index in reversed(rows[:-1] if transpose else rows):
        loops.append(Loop(size[index], {"word": result.stride[index]}))
    for index in reversed(columns):
        scale = target.columns if transpose and index == source.lane else 1
        loops.append(Loop(lane_words(network, index, source.lane, target), {"word": result.stride[index] * scale}))
    loops += [Loop(size[index], {"word": result.stride[index]}) for index in reversed(stage.batch)]
    write = encode_nest(merge(loops, longest(target)), {"word": result.base}, target.levels.write)
    return Nests(read, write, len(k_loops) - 1, emit, rows, reduction, columns)


def lower(work: Work, target: Target, factor_base: int, bias_base: int) -> ArrayInstruction:
    """An array instruction that waits for nothing.

    Raises:
        CapacityError: too many loop levels.
    """
    network, stage, source, result = work.network, work.stage, work.source, work.result
    nests = stage_nests(network, stage, source, result, target, factor_base)
    return ArrayInstruction(
        read=nests.read,
        reduction=nests.reduction,
        hidden=int(work.of == HEAD),
        rows=kept_rows(network, stage, source.lane, result.lane, target) - 1,
        to_results=int(work.to_results),
        add=int(work.add),
        write=nests.write,
        transpose=int(source.lane != result.lane),
        emit=nests.emit - 1,
        shift=work.shift,
        bias=bias_base if work.biased else 0,
        bias_step=int(work.biased),
    )


def check_accumulator(work: Work, weight: np.ndarray, target: Target) -> None:
    """Refuses weights whose worst case leaves the accumulator."""
    need = accumulator_bits(weight, prod(work.network.shape(work.stage.reduction)), target.data_width)
    if need > target.accumulator_width:
        raise CapacityError(
            Resource.ACCUMULATOR_BITS,
            need,
            target.accumulator_width,
            "choose a target with wider accumulators or quantise to fewer bits",
            f"accumulator bits for stage {'+'.join(work.stage.factors)}",
        )


def _row_coordinates(work: Work, rows: tuple[str, ...], row_count: int, target: Target) -> np.ndarray:
    """For each kept row its coordinates along `rows`, or -1 where it is padding: row_count × len(rows)."""
    shape = list(work.network.shape(rows))
    if work.source.lane != work.result.lane:
        shape[-1] = -(-shape[-1] // target.columns) * target.columns
    coordinates = np.indices(shape).reshape(len(rows), -1).T.copy() if rows else np.zeros((1, 0), dtype=np.int64)
    assert len(coordinates) == row_count
    if rows:
        coordinates[coordinates[:, -1] >= work.network.size[rows[-1]]] = -1
    return coordinates


def factor_words(work: Work, weight: np.ndarray, target: Target) -> np.ndarray:
    """The words of P factors (words × P) that a stage's weight fills, in the order they are read.

    Args:
        weight: integers, indices in the order of `stage.weight`.
    """
    stage, network = work.stage, work.network
    nests = stage_nests(network, stage, work.source, work.result, target)
    rows, reduction = nests.rows, nests.reduced
    row_count = kept_rows(network, stage, work.source.lane, work.result.lane, target)
    axes = [stage.weight.index(index) for index in (*stage.batch, *rows, *reduction)]
    batch, depth = prod(network.shape(stage.batch)), prod(network.shape(reduction))
    matrix = np.transpose(weight, axes).reshape(batch, prod(network.shape(rows)), depth)
    coordinates = _row_coordinates(work, rows, row_count, target)
    padded = np.zeros((batch, -(-row_count // target.rows) * target.rows, depth), dtype=np.int64)
    real = np.flatnonzero((coordinates >= 0).all(axis=1))
    flat = np.ravel_multi_index(tuple(coordinates[real].T), network.shape(rows)) if rows else np.zeros(1, dtype=int)
    padded[:, real] = matrix[:, flat]
    # The array's rows leave in reverse order, so the factors of each pass are loaded upside down.
    passes = padded.reshape(batch, -1, target.rows, depth)[:, :, ::-1]
    return passes.transpose(0, 1, 3, 2).reshape(-1, target.rows)


def bias_words(work: Work, bias: np.ndarray, target: Target) -> np.ndarray:
    """Bias words (words × Q), one per row that leaves the array, in that order; lanes are those of the row.

    Args:
        bias: integers per result entry, indices in the order of the network's outputs.
    """
    network, stage, lane = work.network, work.stage, work.source.lane
    nests = stage_nests(network, stage, work.source, work.result, target)
    rows, columns = nests.rows, (*stage.batch, *nests.columns)
    row_count = kept_rows(network, stage, lane, work.result.lane, target)
    lanes = min(network.size[lane], target.columns) if lane else 1
    words = np.zeros((prod(lane_words(network, i, lane, target) for i in columns), row_count, target.columns), np.int64)
    column_shape = [lane_words(network, index, lane, target) for index in columns]
    column_coordinates = np.indices(column_shape).reshape(len(columns), -1).T if columns else np.zeros((1, 0), np.int64)
    row_coordinates = _row_coordinates(work, rows, row_count, target)
    for c, column in enumerate(column_coordinates):
        for q in range(lanes):
            at = dict(zip(columns, column, strict=True))
            if lane:
                at[lane] = at[lane] * target.columns + q
                if at[lane] >= network.size[lane]:
                    continue
            for r, row in enumerate(row_coordinates):
                if (row >= 0).all():
                    at |= dict(zip(rows, row, strict=True))
                    words[c, r, q] = bias[tuple(at[index] for index in network.outputs if index != STREAM)]
    return words.reshape(-1, target.columns)


PROGRAM_WORDS = {
    Segment.ARRAY_PROGRAM: Resource.ARRAY_PROGRAM_WORDS,
    Segment.LOADER_PROGRAM: Resource.LOADER_PROGRAM_WORDS,
    Segment.GATE_PROGRAM: Resource.GATE_PROGRAM_WORDS,
}
"""What there is too little of where a program is too long."""


def instructions(step: StepMap, formats: Formats | None = None) -> StepPrograms:
    """The three programs. Without `formats`, shifts and offsets stay 0: timing is right, values are not. Planning uses
    this.

    Raises:
        CapacityError: too many loop levels, factors or biases.
    """
    works = contractions(step, formats)
    return StepPrograms(
        tuple(_array_program(works, memory_bases(step.resolved, works), step)),
        tuple(_loader_program(step, formats)),
        tuple(_gate_program(step)),
    )


def places_of(step: StepMap, programs: StepPrograms) -> tuple[str, ...]:
    """The place of every array instruction, by the names of fdht.model.golden.Trace."""
    bases = memory_bases(step.resolved, contractions(step))
    firsts = sorted((factors, of) for of, (factors, _) in bases.items() if of != HEAD)

    def place(instruction: ArrayInstruction) -> str:
        if instruction.hidden:
            return "logits"
        (chain, stage) = max(each for each in firsts if each[0] <= instruction.read["factor"])[1]
        of = step.chains[chain]
        layer = f"layer {of.chain.layer} " if len(step.resolved.layers) > 1 else ""
        last = stage + 1 == len(step.resolved.stages[chain])
        return layer + ("" if of.chain.x else "h ") + ("z" if last else f"stage {stage}")

    return tuple(place(instruction) for instruction in programs.array)


def first_of_each(works: list[Work]) -> list[Work]:
    """The first contraction of each stage: those of its other tiles use the same weight."""
    return list({work.of: work for work in reversed(works)}.values())[::-1]


def memory_bases(resolved: Resolved, works: list[Work]) -> dict[tuple[int, int], tuple[int, int]]:
    """First factor word (of the head: first unit of h) and first bias word of each stage; bias word 0 is for those
    without.

    Raises:
        CapacityError: too many factors or biases.
    """
    target, bases = resolved.target, dict[tuple[int, int], tuple[int, int]]()
    factors, biases = 0, 1
    for work in first_of_each(works):
        lanes = work.source.lane, work.result.lane
        if work.of == HEAD:
            bases[HEAD] = sum(spec.hidden for spec in resolved.layers[:-1]), biases
        else:
            bases[work.of] = factors, biases
            factors += stage_factor_words(work.network, work.stage, *lanes, target)
        if work.biased:
            columns = (*work.stage.batch, *work.stage.columns)
            words = prod(lane_words(work.network, index, lanes[0], target) for index in columns)
            biases += words * kept_rows(work.network, work.stage, *lanes, target)
    check_room(Resource.FACTOR_WORDS, factors, target.factor_words, factor_words_named(target))
    check_room(Resource.BIAS_WORDS, biases, target.bias_words)
    return bases


def assemble(bundle: Bundle, step: StepMap, programs: StepPrograms) -> Segments:
    """Every segment of the image: memory words as Python integers in object arrays, index = address.

    Raises:
        CapacityError: a program, the factors or the biases do not fit, or an accumulator is too narrow.
    """
    target, formats = step.resolved.target, bundle.formats
    factors, biases = [], [np.zeros((1, target.columns), dtype=np.int64)]
    for work in first_of_each(contractions(step)):
        weight, bias = _contents(bundle, work)
        check_accumulator(work, weight, target)
        if work.of != HEAD:
            factors.append(factor_words(work, weight, target))
        if work.biased:
            biases.append(bias_words(work, bias, target))
    check_programs(programs, target)
    segments = {segment: _encode(record(target), programs[segment]) for segment, record in UNITS.items()}
    return segments | {
        Segment.FACTORS: pack(np.concatenate(factors), target.factor_width),
        Segment.BIAS: pack(np.concatenate(biases), target.data_width),
        Segment.TABLES: np.array(table_words(formats.sigmoid, formats.tanh, target.data_width), dtype=object),
        Segment.SCRATCHPAD: pack(head_data(bundle, target), WORD),
    }


def head_data(bundle: Bundle, target: Target) -> np.ndarray:
    """The head's weights as data: words × Q, class group by class group, in which a word is a unit."""
    if bundle.head_weight is None:
        return np.zeros((0, target.columns), dtype=np.int64)
    weight = np.pad(bundle.head_weight, ((0, -len(bundle.head_weight) % target.columns), (0, 0)))
    return weight.reshape(-1, target.columns, weight.shape[1]).transpose(0, 2, 1).reshape(-1, target.columns)


def _contents(bundle: Bundle, work: Work) -> tuple[np.ndarray, np.ndarray]:
    """Weight and bias of a contraction, with its indices."""
    if work.of == HEAD:
        assert bundle.head_weight is not None and bundle.head_bias is not None
        return bundle.head_weight, bundle.head_bias
    (chain, stage), network = work.of, work.network
    layer = bundle.chains[chain].layer
    spec = bundle.layers[layer]
    bias = np.zeros(prod(spec.network.output_shape), dtype=np.int64)
    bias[spec.z_positions] = bundle.biases[layer].ravel()
    outputs = [index for index in network.outputs if index != STREAM]
    weight = bundle.weights[chain][stage].reshape(network.shape(work.stage.weight))
    return weight, bias.reshape(network.shape(outputs))


def _array_program(works: list[Work], bases: Mapping, step: StepMap) -> list[ArrayInstruction]:
    """The contractions of a step, in the loop, and the head: in the loop, too, or behind it.

    h has one port. So where there is a head in every step, the loader copies h only after it: the head gives H_DONE, or
    EMIT where the logits must have left before the next step. For the head itself the gate unit gives H_READY, which
    nobody else waits for so late in a step.
    """
    target, every_step = step.resolved.target, step.resolved.layers[-1].task.every_step
    layer_of = [of_chain.chain.layer for of_chain in step.chains]
    numbered = [(chain, stage) for chain, of_chain in enumerate(step.chains) for stage in range(len(of_chain.stages))]
    last_reader = (0, 0) if step.chains[0].tiled else [*numbered, HEAD][step.x_free_after]  # after it, x is free
    program, heads = [], []
    for work in works:
        (chain, stage), instruction = work.of, lower(work, target, *bases[work.of])
        if work.of == last_reader:
            instruction = instruction.giving(Token.X_FREE)
        if work.of == HEAD:
            heads.append(instruction.giving(Token.LOGITS_READY))
            continue
        if stage == 0 and (chain == 0 or layer_of[chain - 1] < layer_of[chain]):
            instruction = instruction.waiting(Token.H_READY if chain else Token.X_READY)
        if work.to_results and layer_of[chain + 1 : chain + 2] != [layer_of[chain]]:
            instruction = instruction.giving(Token.Z_READY)
        program.append(instruction)
    if step.resolved.sharing.streams:
        body, after = _array_of_streams(program, heads, works, step)
    else:
        heads = [head.waiting(Token.H_READY if every_step else Token.H_DONE) for head in heads]
        heads = [head if step.logits_leave_first else head.giving(Token.H_DONE) for head in heads]
        body, after = ([*program, *heads], []) if every_step else (program, heads)
    body[-1] = body[-1].ending_loop(0)
    in_loop, program = len(body), [*body, *after]
    program[-1] = program[-1].halting()
    if target.pipeline.prefetch:
        previous = [program[in_loop - 1], *program[:-1]]  # the loop's first follows its last
        program = [
            replace(instruction, chained=int(_can_chain(other, instruction, target)))
            for other, instruction in zip(previous, program, strict=True)
        ]
    return program


def _array_of_streams(
    program: list[ArrayInstruction], heads: list[ArrayInstruction], works: list[Work], step: StepMap
) -> tuple[list[ArrayInstruction], list[ArrayInstruction]]:
    """The array's instructions in the loop and behind it, from those of the first group and the head of stream 0.

    The heads of a group come with the last stage of the next one: by then the gate unit is through with the group
    before. So those of the last group come with that of the first one in the next turn.
    """
    sharing, every_step = step.resolved.sharing, step.resolved.layers[-1].task.every_step
    of_heads = list[list[ArrayInstruction]]()
    for group in range(sharing.groups):
        own = [_head_of(head, step, stream, every_step) for head in heads for stream in sharing.of(group)]
        of_heads.append([own[0].waiting(Token.H_READY), *own[1:]] if own else [])
    in_tiles = sum(work.of[0] == 0 and work.of[1] < step.chains[0].tiled for work in works)
    body = list[ArrayInstruction]()
    for group, number in _order(sharing, len(program), in_tiles):
        stage, last = _of_group(program[number], step, group), number + 1 == len(program)
        with_it = of_heads[group - 1] if last else []
        body += [*with_it, stage] if sharing.early else [stage, *with_it]
    return body, of_heads[-1] if sharing.groups > 1 else []


def _order(sharing: Sharing, instructions: int, in_tiles: int) -> list[tuple[int, int]]:
    """Groups, and numbers of their instructions, in the order in which they are carried out.

    The instructions of a group that is woven with the next one come between those of that, each after one that came
    before it in its own group. Tiles come group by group, as their inputs do; what follows the tiles of one group is
    spread among those of the next.
    """

    def place(group: int, number: int) -> tuple[int, float, int]:
        of_set, member = divmod(group, sharing.woven)
        if not in_tiles:
            return of_set, member + number, -member
        if number < in_tiles:
            return of_set, member * in_tiles + number, member
        rest = instructions - in_tiles
        return of_set, (member + 1) * in_tiles + (number - in_tiles + 0.5) * max(in_tiles, rest) / rest - 0.5, member

    every = [(group, number) for group in range(sharing.groups) for number in range(instructions)]
    return sorted(every, key=lambda each: place(*each))


def _of_group(instruction: ArrayInstruction, step: StepMap, group: int) -> ArrayInstruction:
    """What the first group of streams has done, done for another one."""
    read, write, z = instruction.read, instruction.write, group * step.z_words
    into = write["word"] + z if instruction.to_results else step.of_group(write["word"], group)
    return replace(
        instruction,
        read={**read, "data": step.of_group(read["data"], group)},
        write={**write, "word": into},
    )


def _head_of(head: ArrayInstruction, step: StepMap, stream: int, every_step: bool) -> ArrayInstruction:
    """The head of a stream, from that of stream 0."""
    read, write = head.read, head.write
    return replace(
        head,
        read={**read, "factor": read["factor"] + step.unit(stream)},
        write={**write, "word": write["word"] + step.logits_of(stream)},
        stream=stream,
        condition=Condition.of_logits(every_step),
    )


def _can_chain(previous: ArrayInstruction, instruction: ArrayInstruction, target: Target) -> bool:
    """Whether an array instruction may read its operands while the one before it drains."""
    if instruction.condition != Condition.ALWAYS:  # if it is not carried out, it is done at once
        return False
    read = instruction.read
    depth = prod(level["count"] + 1 for level in read["levels"][: instruction.reduction + 1])
    if depth < timing.least_chained(target, bool(previous.transpose)):
        return False
    if previous.to_results:
        return True
    written, wanted = np.unique(walk(previous.write)["word"]), np.unique(walk(read)["data"])
    if target.single_port:
        written, wanted = np.unique(written // target.bank_words), np.unique(wanted // target.bank_words)
    return len(np.intersect1d(written, wanted, assume_unique=True)) == 0


def _loader_program(step: StepMap, formats: Formats | None) -> list[LoaderInstruction]:
    """Before the loop, ZERO of every word that is kept from step to step; in it, group by group of streams, ADMIT of
    each stream, LOAD of the first layer's inputs, tile by tile, and COPY of h of each layer to where it is read.
    """
    target, sharing = step.resolved.target, step.resolved.sharing
    units = np.cumsum([0, *(spec.hidden for spec in step.resolved.layers)])
    program = []
    for group in range(sharing.groups if step.distance else 1):
        zeros = [(*slot, (Token.X_FREE,)) for slot in step.slots]
        zeros += [(step.others, step.others_end - step.others, ())] if step.others_end > step.others else []
        for base, words, give in zeros:
            first = {"word": step.of_group(base, group), "lane": 0}
            nest = encode_nest(_words_in_a_row(words, target), first, target.levels.x)
            program.append(LoaderInstruction(op=LoaderOp.ZERO, count=words - 1, nest=nest).giving(*give))
    body = [
        instruction for group in range(sharing.groups) for instruction in _load_of_group(step, group, units, formats)
    ]
    for of_chain in step.chains:
        chain = of_chain.chain
        if chain.layer and chain.x is not None:
            data, below = of_chain.tiles[0].tensors[0], int(units[chain.layer - 1])
            copies = _copies(step, 0, chain, chain.x, data, below, opens=False)
            copies[0] = copies[0].waiting(Token.H_DONE)
            body += [*copies[:-1], copies[-1].giving(Token.H_READY)]
    body[-1] = body[-1].ending_loop(len(program) * loader_instruction(target).words).halting()
    return [*program, *body]


def _load_of_group(
    step: StepMap, group: int, units: np.ndarray, formats: Formats | None
) -> Iterator[LoaderInstruction]:
    """What the loader does in a step for a group of streams, but for h on its way from layer to layer."""
    target, sharing = step.resolved.target, step.resolved.sharing
    streams = sharing.of(group)

    def below() -> Iterator[LoaderInstruction]:
        """h of the layers above the first."""
        for of_chain in step.chains:
            chain = of_chain.chain
            if chain.layer and chain.h is not None:
                data = of_chain.tiles[0].tensors[0]
                yield from _copies(step, group, chain, chain.h, data, int(units[chain.layer]), opens=True)

    first, body = step.chains[0], list[LoaderInstruction]()
    if not sharing.streams:
        body += below()
    of_h = next(of_chain for of_chain in step.chains if of_chain.chain.h is not None)
    for number, tile in enumerate(first.tiles):
        part, data = tile.x, tile.tensors[0]
        last = number + 1 == len(first.tiles)
        own = [_clear(box, first.chain, data, target) for box in tile.clear]
        for place, stream in enumerate(streams):
            if sharing.streams and number == 0:
                nest = encode_nest([], {"word": 0, "lane": 0}, target.levels.x)
                own.append(LoaderInstruction(op=LoaderOp.ADMIT, stream=stream, opens=int(stream == 0), nest=nest))
            if part is not None:
                region = of_stream(part.region, first.chain.network.inputs, place)
                own.append(_load(region, first.chain, data, target, formats, last))
        body += [own[0].waiting(Token.X_FREE), *own[1:]]
        if sharing.streams and number == 0:
            body += below()
        # h of a chain of its own is needed when x has been contracted: with the last tile.
        with_h = tile if of_h is first else of_h.tiles[0] if last else None
        if with_h is not None and with_h.h is not None:
            body += _copies(step, group, of_h.chain, with_h.h.region, with_h.tensors[0], with_h.h.first, opens=True)
        body[-1] = body[-1].giving(Token.X_READY)
    # h of the last layer, and of all below it, is that of the step before once its last unit is.
    waits = next(k for k, instruction in enumerate(body) if instruction.op == LoaderOp.COPY)
    body[waits] = body[waits].waiting(Token.H_DONE)
    for instruction in body:
        nest = instruction.nest
        yield replace(instruction, nest={**nest, "word": step.of_group(nest["word"], group)})


def _beside(streams: range, step: StepMap) -> range:
    """Of the streams of a group, the first of each set whose gates are computed side by side."""
    return streams[:: step.resolved.target.gates] if step.resolved.sharing.apart == 1 else streams


def _copies(
    step: StepMap, group: int, chain: Chain, region: Region, data: Layout, unit: int, opens: bool
) -> list[LoaderInstruction]:
    """COPY of h of the streams of a group, several at once where their gates are computed side by side; to where the
    first group has it.

    Args:
        unit: number of the first unit, of stream 0. opens: see fdht.spec.instructions.loader_instruction.
    """
    target, sharing, names = step.resolved.target, step.resolved.sharing, chain.network.inputs
    streams = sharing.of(group)
    result = []
    for stream in _beside(streams, step):
        nest = region_nest(of_stream(region, names, stream - streams[0]), names, data, target, target.levels.x)
        result.append(
            LoaderInstruction(
                op=LoaderOp.COPY,
                stream=stream,
                opens=int(opens and sharing.streams > 0),
                together=int(sharing.together > 1 and target.gates > 1),
                first=step.unit(stream) + unit,
                count=region.count - 1,
                nest=nest,
            )
        )
    return result


def _clear(box: Region, chain: Chain, data: Layout, target: Target) -> LoaderInstruction:
    """CLEAR of the words that hold a box of the data tensor."""
    names = chain.network.inputs
    nest = region_nest(box, names, data, target, target.levels.x, by_word=True)
    words = prod(-(-n // target.columns) if name == data.lane else n for name, n in zip(names, box.shape, strict=True))
    return LoaderInstruction(op=LoaderOp.CLEAR, count=words - 1, nest=nest)


def _load(
    region: Region, chain: Chain, data: Layout, target: Target, formats: Formats | None, flush: bool
) -> LoaderInstruction:
    """LOAD of a part of x: whole words at a time where a beat is one."""
    names = chain.network.inputs
    (mode, size), lanes = region.parts[-1], target.input_lanes
    whole = lanes > 1 and names[mode] == data.lane and size % lanes == 0 and region.count % lanes == 0
    nest = region_nest(region, names, data, target, target.levels.x, by_word=whole)
    load = LoaderInstruction(
        op=LoaderOp.LOAD,
        count=(region.count // lanes if whole else region.count) - 1,
        whole=int(whole),
        flush=int(lanes > 1 and flush),
        nest=nest,
    )
    if formats is None:
        return load
    input = formats.input
    return replace(load, offset=input.offset, signed=int(input.raw.signed), shift=input.shift(formats.gate.hidden))


def _gate_program(step: StepMap) -> list[GateInstruction]:
    """STATE of every layer, then in the loop STEP of every layer, and EMIT: in the loop, too, or behind it."""
    layers, target = step.resolved.layers, step.resolved.target
    top, first = layers[-1], 0
    every_step = top.task.every_step
    if step.resolved.sharing.streams:
        return _gates_of_streams(step)
    states, steps = list[GateInstruction](), list[GateInstruction]()
    for number, spec in enumerate(layers):
        update = _update(step, number, 0, first)
        state = replace(update, op=GateOp.STATE)
        states.append(state.giving(Token.H_DONE) if spec is top else state)
        h = Token.H_READY if spec is top and every_step else Token.H_DONE
        steps.append(update.waiting(Token.Z_READY).giving(h))
        first += spec.hidden
    emits = list[GateInstruction]()
    if top.classes:
        emit = _emit(step).waiting(Token.LOGITS_READY)
        emits.append(emit.giving(Token.H_DONE) if every_step and step.logits_leave_first else emit)
    body, after = ([*steps, *emits], []) if every_step else (steps, emits)
    body[-1] = body[-1].ending_loop(len(states) * gate_instruction(target).words)
    program = [*states, *body, *after]
    return [*program[:-1], program[-1].halting()]


def _update(step: StepMap, layer: int, place: int, first: int) -> GateInstruction:
    """STEP of a layer, of the stream at a place among those together, whose units begin with `first`."""
    target, spec = step.resolved.target, step.resolved.layers[layer]
    layout = {of_chain.chain.layer: of_chain.tensors[-1] for of_chain in step.chains}[layer]
    f, g, o = _gate_words(spec, layout, target)
    names = spec.network.outputs
    z = region_nest(of_stream(spec.gates[0], names, place), names, layout, target, target.levels.z)
    top = int(spec is step.resolved.layers[-1])
    return GateInstruction(op=GateOp.STEP, first=first, last=first + spec.hidden - 1, top=top, z=z, f=f, g=g, o=o)


def _emit(step: StepMap) -> GateInstruction:
    """EMIT of the logits, of stream 0 if there are several."""
    top, target = step.resolved.layers[-1], step.resolved.target
    network, _, _, logits = head_contraction(top, target, step.logits)
    all_of_them = Region((0,), (top.classes,), (0,), top.classes)
    z = region_nest(all_of_them, network.outputs, logits, target, target.levels.z)
    return GateInstruction(op=GateOp.EMIT, first=0, last=top.classes - 1, z=z)


def _gates_of_streams(step: StepMap) -> list[GateInstruction]:
    """STATE of all streams of each group; then in the loop, group by group, STEP of every layer and stream, and EMIT of
    the streams of the group before, whose heads the array has computed meanwhile (see _array_of_streams).
    """
    layers, target, sharing = step.resolved.layers, step.resolved.target, step.resolved.sharing
    top, every_step, units = layers[-1], layers[-1].task.every_step, sum(spec.hidden for spec in layers)
    states, of_groups, of_emits = list[GateInstruction](), list[list[GateInstruction]](), list[list[GateInstruction]]()
    for group in range(sharing.groups):
        streams = sharing.of(group)
        first, last = step.unit(streams[0]), step.unit(streams[-1]) + units - 1
        state = replace(_update(step, 0, 0, first), op=GateOp.STATE, last=last, top=0)
        states.append(state.giving(Token.H_DONE))
    for group in range(sharing.groups):
        streams, below = sharing.of(group), 0
        updates, emits = list[GateInstruction](), list[GateInstruction]()
        for layer, spec in enumerate(layers):
            own = list[GateInstruction]()
            for stream in _beside(streams, step):
                update = _update(step, layer, stream - streams[0], step.unit(stream) + below)
                z = {**update.z, "word": update.z["word"] + group * step.z_words}
                sends = int(spec is top and not top.classes)
                own.append(replace(update, z=z, stream=stream, condition=Condition.PRESENT, top=sends))
            below += spec.hidden
            own[0] = own[0].waiting(Token.Z_READY)
            late = spec is top and top.classes and step.logits_leave_first
            own[-1] = own[-1] if late else own[-1].giving(Token.H_DONE)
            updates += own
        if top.classes:
            updates[-1] = updates[-1].giving(Token.H_READY)
            for stream in streams:
                emit = _emit(step).waiting(Token.LOGITS_READY)
                z = {**emit.z, "word": emit.z["word"] + step.logits_of(stream)}
                emits.append(replace(emit, z=z, stream=stream, condition=Condition.of_logits(every_step)))
            emits[-1] = emits[-1].giving(Token.H_DONE) if step.logits_leave_first else emits[-1]
        of_groups.append(updates)
        of_emits.append(emits)
    body = [each for group in range(sharing.groups) for each in (*of_groups[group], *of_emits[group - 1])]
    after = of_emits[-1] if sharing.groups > 1 else []
    if sharing.groups > 1 and top.classes:
        states[-1] = states[-1].giving(Token.H_READY)
    body[-1] = body[-1].ending_loop(len(states) * gate_instruction(target).words)
    program = [*states, *body, *after]
    return [*program[:-1], program[-1].halting()]


def _gate_words(spec: LSTMSpec, z: Layout, target: Target) -> list[int]:
    """How many result words after its gate i the gates f, g and o of a unit are."""
    words = [
        sum(
            (start - origin) // (target.columns if index == z.lane else 1) * z.stride[index]
            for index, start, origin in zip(spec.network.outputs, gate.start, spec.gates[0].start, strict=True)
        )
        for gate in spec.gates[1:]
    ]
    if min(words) < 0:
        raise SpecError("a gate is placed before gate i in the result; place gate i first")
    return words


def _words_in_a_row(words: int, target: Target) -> list[Loop]:
    """Loops that visit at least so many words in order, each as long as it may be."""
    loops, stride = [], 1
    while stride < words or not loops:
        loops.append(Loop(min(longest(target), -(-words // stride)), {"word": stride, "lane": 0}))
        stride *= longest(target)
    return loops


def check_programs(programs: StepPrograms, target: Target) -> None:
    """Refuses programs that are longer than their memories."""
    for segment, program in programs.items():
        check_room(PROGRAM_WORDS[segment], len(program) * UNITS[segment](target).words, target.program_words)


def check_tokens(step: StepMap) -> None:
    """Refuses streams of which more tokens are given at once than are counted: of every place for inputs, and of every
    group, before the first step; of the logits of a group.
    """
    sharing, most = step.resolved.sharing, (1 << TOKEN_BITS) - 1
    if sharing.streams:
        places = len(step.slots) * (sharing.groups if step.distance else 1)
        check_room(Resource.TOKENS, max(places, sharing.groups, sharing.together), most)


def check_room(memory: Resource, needed: int, available: int, named: str = "") -> None:
    """Refuses what is larger than its memory."""
    if needed > available:
        raise CapacityError(memory, needed, available, SMALLER, named)


def _encode(record, instructions) -> np.ndarray:
    return np.array([word for instruction in instructions for word in record.encode(instruction)], dtype=object)
