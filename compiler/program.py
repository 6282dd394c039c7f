"""From a bundle and a memory map to the three programs and the words of factor, bias and table memory."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from compiler.mapping import Layout, StepMap, kept_rows, lane_words, longest, region_nest
from compiler.nest import Loop, encode_nest, merge
from spec.activation import table_words
from spec.bundle import Bundle
from spec.errors import CapacityError, SpecError
from spec.lstm import LSTMSpec
from spec.network import TensorNetwork, dense_network
from spec.program import (
    WORD,
    GateOp,
    LoaderOp,
    Segment,
    Token,
    array_instruction,
    gate_instruction,
    loader_instruction,
    segment_width,
    words_for,
)
from spec.stages import Stage, accumulator_bits, stages
from spec.target import Target


@dataclass(frozen=True)
class Work:
    """One contraction, ready to be lowered: what an array instruction says, before addresses.

    Attributes:
        network, stage: sizes and roles of the indices.
        source, result: layouts.
        weight: integers, indices in the order of `stage.weight`.
        bias: integers per result entry, indices in the order of `outputs`; None for none.
        to_results: the result goes to the result memory. add: it is added to what is there.
        shift: bits the accumulator is finer than the result, whose scale the bias has.
    """

    network: TensorNetwork
    stage: Stage
    source: Layout
    result: Layout
    weight: np.ndarray
    bias: np.ndarray | None
    to_results: bool
    add: bool
    shift: int


def contractions(bundle: Bundle, step: StepMap) -> list[Work]:
    """The stages of a step, chain by chain, then the head (if any)."""
    formats = bundle.formats
    result = []
    for c, of_chain in enumerate(step.chains):
        takes_x = of_chain.chain.x is not None
        for s, stage in enumerate(of_chain.stages):
            last = s + 1 == len(of_chain.stages)
            result.append(
                Work(
                    of_chain.chain.network,
                    stage,
                    of_chain.tensors[s],
                    of_chain.tensors[s + 1],
                    bundle.weights[c][s],
                    _scatter_bias(bundle, of_chain.chain.layer) if last and takes_x else None,
                    last,
                    last and not takes_x,
                    formats.shift(c, s),
                )
            )
    if bundle.spec.classes:
        assert bundle.head_weight is not None and bundle.head_bias is not None
        result.append(
            Work(
                *head_contraction(bundle.spec, step),
                bundle.head_weight,
                bundle.head_bias,
                True,
                False,
                formats.head_shift,
            )
        )
    return result


def head_contraction(spec: LSTMSpec, step: StepMap) -> tuple[TensorNetwork, Stage, Layout, Layout]:
    """The head as a stage: its network, and where it reads and writes."""
    network = dense_network(spec.hidden, spec.classes)
    (stage,) = stages(network, (("W",),))
    return (
        network,
        stage,
        Layout(None, ("n1",), {"n1": 1}, spec.hidden, step.copy),
        Layout(None, ("m1",), {"m1": 1}, spec.classes, step.logits),
    )


def _scatter_bias(bundle: Bundle, layer: int) -> np.ndarray:
    spec = bundle.layers[layer]
    bias = np.zeros(prod(spec.network.output_shape), dtype=np.int64)
    bias[spec.z_positions] = bundle.biases[layer].ravel()
    return bias.reshape(spec.network.output_shape)


@dataclass(frozen=True)
class Lowered:
    """An array instruction without its header, and the memory words it needs."""

    fields: dict
    factors: np.ndarray
    bias: np.ndarray


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
    tiles = -(-kept_rows(network, stage, source.lane, result.lane, target) // target.rows)
    depth = prod(network.shape(reduction))

    # Read nest: K, then row tiles, then columns, then batch. Factor words follow each other in that order.
    factor_stride, inner = {}, 1
    for index in reversed(reduction):
        factor_stride[index] = inner
        inner *= size[index]
    k_loops = merge(
        [Loop(size[i], {"data": source.stride[i], "factor": factor_stride[i]}) for i in reversed(reduction)],
        longest(target),
    ) or [Loop(1, {"data": 0, "factor": 0})]
    outer = [Loop(tiles, {"data": 0, "factor": depth})]
    outer += [
        Loop(lane_words(network, i, source.lane, target), {"data": source.stride[i], "factor": 0})
        for i in reversed(columns)
    ]
    inner = tiles * depth
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


def lower(work: Work, target: Target, factor_base: int, bias_base: int) -> Lowered:
    """Lowers one contraction.

    Returns factor words (words × P) and bias words (words × Q) to be placed at the given bases.

    Raises:
        CapacityError: the accumulator is too narrow for the worst case, or too many loop levels.
    """
    network, stage, source, result = work.network, work.stage, work.source, work.result
    check_accumulator(work, target)
    nests = stage_nests(network, stage, source, result, target, factor_base)
    row_count = kept_rows(network, stage, source.lane, result.lane, target)
    fields = {
        "read": nests.read,
        "reduction": nests.reduction,
        "rows": row_count - 1,
        "to_results": int(work.to_results),
        "add": int(work.add),
        "write": nests.write,
        "transpose": int(source.lane != result.lane),
        "emit": nests.emit - 1,
        "shift": work.shift,
        "bias": 0 if work.bias is None else bias_base,
        "bias_step": int(work.bias is not None),
    }
    return Lowered(
        fields,
        _factor_words(work, nests.rows, nests.reduced, row_count, target),
        _bias_words(work, nests.rows, (*stage.batch, *nests.columns), row_count, target),
    )


@dataclass(frozen=True)
class UnitNests:
    """The nests of loader and gate unit.

    Attributes:
        x: of the loader.
        z, h, copy: of the gate unit, per layer. h goes to its own layer's data tensor and, as a copy, to the inputs of
            the next one, or to where the head reads it.
    """

    x: dict
    z: list[dict]
    h: list[dict]
    copy: list[dict]


def unit_nests(layers: tuple[LSTMSpec, ...], step: StepMap, target: Target) -> UnitNests:
    """The nests of loader and gate unit.

    Raises:
        CapacityError: more loop levels than an address generator has.
    """
    inputs, zs, hs = list[dict](), list[dict](), list[dict]()
    for of_chain in step.chains:
        chain, data = of_chain.chain, of_chain.tensors[0]
        network, levels = chain.network, target.levels
        if chain.x is not None:
            of_x = levels.copy if chain.layer else levels.x
            inputs.append(region_nest(chain.x, network.inputs, data, target, of_x))
        if chain.h is not None:
            gate = layers[chain.layer].gates[0]
            hs.append(region_nest(chain.h, network.inputs, data, target, levels.h))
            zs.append(region_nest(gate, network.outputs, of_chain.tensors[-1], target, levels.z))
    head = [Loop(layers[-1].hidden, {"word": 1, "lane": 0})]
    inputs.append(encode_nest(merge(head, longest(target)), {"word": step.copy, "lane": 0}, target.levels.copy))
    return UnitNests(inputs[0], zs, hs, inputs[1:])


def check_accumulator(work: Work, target: Target) -> None:
    """Refuses weights whose worst case leaves the accumulator."""
    need = accumulator_bits(work.weight, prod(work.network.shape(work.stage.reduction)), target.data_width)
    if need > target.accumulator_width:
        raise CapacityError(
            f"accumulator bits for stage {'+'.join(work.stage.factors)}",
            need,
            target.accumulator_width,
            "choose a target with wider accumulators or quantise to fewer bits",
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


def _factor_words(
    work: Work, rows: tuple[str, ...], reduction: tuple[str, ...], row_count: int, target: Target
) -> np.ndarray:
    stage, network = work.stage, work.network
    axes = [stage.weight.index(index) for index in (*stage.batch, *rows, *reduction)]
    batch, depth = prod(network.shape(stage.batch)), prod(network.shape(reduction))
    matrix = np.transpose(work.weight, axes).reshape(batch, prod(network.shape(rows)), depth)
    coordinates = _row_coordinates(work, rows, row_count, target)
    padded = np.zeros((batch, -(-row_count // target.rows) * target.rows, depth), dtype=np.int64)
    real = np.flatnonzero((coordinates >= 0).all(axis=1))
    flat = np.ravel_multi_index(tuple(coordinates[real].T), network.shape(rows)) if rows else np.zeros(1, dtype=int)
    padded[:, real] = matrix[:, flat]
    # The array's rows leave in reverse order, so each tile is loaded upside down.
    tiles = padded.reshape(batch, -1, target.rows, depth)[:, :, ::-1]
    return tiles.transpose(0, 1, 3, 2).reshape(-1, target.rows)


def _bias_words(
    work: Work, rows: tuple[str, ...], columns: tuple[str, ...], row_count: int, target: Target
) -> np.ndarray:
    """Bias words in the order in which rows leave the array, lanes as they leave it."""
    if work.bias is None:
        return np.zeros((0, target.columns), dtype=np.int64)
    network, lane = work.network, work.source.lane
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
                    words[c, r, q] = work.bias[tuple(at[index] for index in network.outputs)]
    return words.reshape(-1, target.columns)


Programs = Mapping[Segment, np.ndarray]


def assemble(bundle: Bundle, step: StepMap, target: Target) -> Programs:
    """Every segment of the image: memory words as Python integers in object arrays, index = address.

    Raises:
        CapacityError: a program, the factors or the biases do not fit, or an accumulator is too narrow.
    """
    layers, formats = bundle.layers, bundle.formats
    nests = unit_nests(layers, step, target)

    factors, array = [], []
    bias = [np.zeros((1, target.columns), dtype=np.int64)]  # for those without
    factor_base, bias_base = 0, 1
    works = contractions(bundle, step)
    for work in works:
        lowered = lower(work, target, factor_base, bias_base)
        factors.append(lowered.factors)
        bias.append(lowered.bias)
        array.append(lowered.fields)
        factor_base += len(lowered.factors)
        bias_base += len(lowered.bias)
        _check_room(f"factor words of {target.rows} factors", factor_base, target.factor_words)
        _check_room("bias memory words", bias_base, target.result_words)

    array_program = []
    layer_of = [of_chain.chain.layer for of_chain in step.chains for _ in of_chain.stages]
    for s, fields in enumerate(array):
        is_stage = s < len(layer_of)
        wait, give = set(), set()
        if s == 0:
            wait.add(Token.X_READY)
        if is_stage and (s == 0 or layer_of[s - 1] < layer_of[s]):
            wait.add(Token.H_READY)
        if is_stage and s == step.x_free_after:
            give.add(Token.X_FREE)
        if is_stage and (s + 1 == len(layer_of) or layer_of[s] < layer_of[s + 1]):
            give.add(Token.Z_READY)
        if not is_stage:
            wait.add(Token.H_READY)
            give.add(Token.LOGITS_READY)
        back = 0 if s + 1 == len(layer_of) else None
        array_program.append(_header(wait, give, back, halt=s + 1 == len(array)) | fields)

    raw, data = formats.input.raw, formats.gate.hidden
    loader_program = [
        _header((), {Token.ZEROED, Token.X_FREE})
        | {
            "op": LoaderOp.ZERO,
            "count": step.persistent - 1,
            "offset": 0,
            "signed": 0,
            "shift": 0,
            "nest": encode_nest(_words_in_a_row(step.persistent, target), {"word": 0, "lane": 0}, target.levels.x),
        },
        _header({Token.X_FREE}, {Token.X_READY}, back=loader_instruction(target).words, halt=True)
        | {
            "op": LoaderOp.LOAD,
            "count": layers[0].inputs - 1,
            "offset": formats.input.offset,
            "signed": int(raw.signed),
            "shift": formats.input.shift(data),
            "nest": nests.x,
        },
    ]
    gate_program = _gate_program(layers, step, nests, target)

    segments = {
        Segment.ARRAY_PROGRAM: _encode(array_instruction(target), array_program),
        Segment.LOADER_PROGRAM: _encode(loader_instruction(target), loader_program),
        Segment.GATE_PROGRAM: _encode(gate_instruction(target), gate_program),
        Segment.FACTORS: _pack(np.concatenate(factors), target.factor_width),
        Segment.BIAS: _pack(np.concatenate(bias), target.data_width),
        Segment.TABLES: np.array(table_words(formats.sigmoid, formats.tanh, target.data_width), dtype=object),
    }
    for segment, unit in (
        (Segment.ARRAY_PROGRAM, "array"),
        (Segment.LOADER_PROGRAM, "loader"),
        (Segment.GATE_PROGRAM, "gate"),
    ):
        _check_room(f"{unit} program words", len(segments[segment]), target.program_words)
    return segments


def _gate_program(layers: tuple[LSTMSpec, ...], step: StepMap, nests: UnitNests, target: Target) -> list[dict]:
    """STATE of every layer, then in the loop STEP of every layer, then EMIT."""
    zs = {of_chain.chain.layer: of_chain.tensors[-1] for of_chain in step.chains}
    units = []
    for number, spec in enumerate(layers):
        f, g, o = _gate_words(spec, zs[number], target)
        first = sum(below.hidden for below in layers[:number])
        units.append(
            {
                "first": first,
                "last": first + spec.hidden - 1,
                "top": int(spec is layers[-1]),
                "z": nests.z[number],
                "f": f,
                "g": g,
                "o": o,
                "h": nests.h[number],
                "copy": nests.copy[number],
            }
        )
    top = layers[-1]
    program = []
    for spec, fields in zip(layers, units, strict=True):
        wait = {Token.ZEROED} if spec is layers[0] else ()
        give = {Token.H_READY} if spec is top else ()
        program.append(_header(wait, give) | {"op": GateOp.STATE} | fields)
    start = len(layers) * gate_instruction(target).words
    for spec, fields in zip(layers, units, strict=True):
        back = start if spec is top else None
        halt = spec is top and not top.classes
        program.append(_header({Token.Z_READY}, {Token.H_READY}, back, halt) | {"op": GateOp.STEP} | fields)
    if top.classes:
        logits = [Loop(top.classes, {"word": 1, "lane": 0})]
        program.append(
            _header({Token.LOGITS_READY}, (), halt=True)
            | {
                "op": GateOp.EMIT,
                "first": 0,
                "last": top.classes - 1,
                "top": 0,
                "z": encode_nest(logits, {"word": step.logits, "lane": 0}, target.levels.z),
                "f": 0,
                "g": 0,
                "o": 0,
                "h": encode_nest([], {"word": 0, "lane": 0}, target.levels.h),
                "copy": encode_nest([], {"word": 0, "lane": 0}, target.levels.copy),
            }
        )
    return program


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


def _check_room(name: str, need: int, limit: int) -> None:
    if need > limit:
        raise CapacityError(name, need, limit, "choose a larger target, or smaller modes or ranks")


def _header(wait, give, back: int | None = None, halt: bool = False) -> dict[str, int]:
    """A header; `back` ends the loop's body and is the address of its first instruction."""
    return {
        "wait": sum(1 << token for token in wait),
        "give": sum(1 << token for token in give),
        "loop_end": int(back is not None),
        "back": back or 0,
        "halt": int(halt),
    }


def _encode(record, instructions) -> np.ndarray:
    return np.array([word for instruction in instructions for word in record.encode(instruction)], dtype=object)


def _pack(lanes: np.ndarray, width: int) -> np.ndarray:
    """Words × lanes of signed integers as one integer per word, lane 0 in the least significant bits."""
    mask = (1 << width) - 1
    result = np.zeros(len(lanes), dtype=object)
    for lane in range(lanes.shape[1]):
        result += np.array([(int(value) & mask) << lane * width for value in lanes[:, lane]], dtype=object)
    return result


def unpack(words: np.ndarray, lanes: int, width: int) -> np.ndarray:
    """The inverse of packing: signed integers, words × lanes."""
    mask, sign = (1 << width) - 1, 1 << width - 1
    rows = [[((word >> lane * width & mask) ^ sign) - sign for lane in range(lanes)] for word in words]
    return np.array(rows, dtype=np.int64).reshape(len(words), lanes)


def stream_words(segments: Programs, target: Target, table_width: int) -> np.ndarray:
    """The image as the 16-bit words hw.loader.ImageLoader takes: per segment number, address, count, words."""
    words: list[int] = []
    for segment, content in segments.items():
        parts = words_for(segment_width(target, segment, table_width))
        words += [int(segment), 0, len(content)]
        words += [int(word) >> WORD * part & (1 << WORD) - 1 for word in content for part in range(parts)]
    return np.array(words, dtype=np.uint16)
