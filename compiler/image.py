"""The image: a bundle compiled for one target."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from fdht.compiler.arithmetic import macs_of
from fdht.compiler.assembler import assemble, instructions, places_of
from fdht.compiler.machine import Machine
from fdht.compiler.mapping import StepMap
from fdht.compiler.overlap import overlapped
from fdht.compiler.planner import fitting_shares
from fdht.compiler.segments import Segments, stream_words
from fdht.compiler.verifier import verify
from fdht.spec import container
from fdht.spec.activation import SEGMENTS, PiecewiseLinear, check_tables, table_width, table_words
from fdht.spec.bundle import Bundle
from fdht.spec.cards import card, fill_bars
from fdht.spec.container import Tensors, expect, expect_only
from fdht.spec.errors import SpecError
from fdht.spec.fixed import Fixed
from fdht.spec.formats import InputFormat
from fdht.spec.instructions import UNITS, Segment, segment_width
from fdht.spec.lstm import LONGEST_VECTOR, MOST_CLASSES
from fdht.spec.record import Checked, Hex, Text, dump
from fdht.spec.rounds import NOBODY, Frame, in_turn, rounds
from fdht.spec.scaling import Scaling
from fdht.spec.target import Target
from fdht.spec.task import OutputScaling, Task, check_outputs


@dataclass(frozen=True, eq=False)
class Image:
    """Programs, factors, biases and tables for one target, and what a driver must know to use them.

    Attributes:
        target: what it runs on.
        segments: memory words by segment, from address 0.
        sigmoid, tanh: the tables, as functions.
        inputs, hidden, classes: words of a frame, units of a layer, logits.
        layers: how many.
        macs: useful multiplications per step.
        steps: of the clips that the bundle was made with; a run may have others.
        input: how a raw word of a frame becomes a number (h and c: see the target's gate_formats).
        logits: format of the logits; None without a head.
        order: positions in a frame of its raw words in the order they are to be sent; None for their own.
        bundle_hash: content hash of the bundle it was made from, "" if that was never saved.
        task: what logits mean, and whether they are sent after every step.
        outputs: how logits become real numbers, if the task has any; None: as they are.
        scaling: how real values become raw words; None where these are what there is.
        streams: sequences that it serves at the same time (see fdht.spec.rounds); 0 for one, whose frames come without
            a word in front.
        apart: from the number by which the engine knows one of them to that of the next.
        places: the stage of each array instruction, by the names of fdht.model.golden.Trace.
        clipping: words per step that clip at each place on the bundle's clips; empty if nobody has
            looked (fdht.compiler.clipping).
        host: names of the user's module's parts that stay on the host, see fdht.spec.bundle.Bundle.host; `scaling` is
            that of what they give.
    """

    target: Target
    segments: Segments
    sigmoid: PiecewiseLinear
    tanh: PiecewiseLinear
    inputs: int
    hidden: int
    classes: int
    layers: int
    macs: int
    steps: int
    input: InputFormat
    logits: Fixed | None = None
    order: np.ndarray | None = None
    bundle_hash: str = ""
    task: Task = Task.CLASSIFY
    outputs: OutputScaling | None = None
    scaling: Scaling | None = None
    streams: int = 0
    apart: int = 1
    places: tuple[str, ...] = ()
    clipping: dict[str, float] = field(default_factory=dict)
    host: tuple[str, ...] = ()

    @cached_property
    def machine(self) -> Machine:
        """The engine in numpy, loaded with this image."""
        return Machine(self.target, self.segments, self.sigmoid, self.tanh, self.order)

    def _repr_html_(self) -> str:
        from fdht.compiler.explain import fill  # which looks at plans; an image needs none

        cycles = self.cycles(self.steps)
        facts = {
            "target": f"{self.target.name}, an array of {self.target.rows} × {self.target.columns}",
            "inputs, hidden, outputs": f"{self.inputs:,}, {self.hidden:,}, {self.classes:,}",
            f"cycles of {self.steps:,} steps": cycles,
            "multiplications per step": self.macs,
            "utilisation": f"{self.utilisation(self.steps):.1%}",
        }
        return card("Image", facts, fill_bars(fill(self.machine.programs, self.target)))

    def stream(self) -> np.ndarray:
        """The 16-bit words that load the image into the engine."""
        return stream_words(self.segments, self.target, table_width(self.target.data_width))

    @property
    def sent_words(self) -> int:
        """Raw words in which a frame passes the input port: whole beats, and with several streams the one before it
        that says whose it is.
        """
        lanes = self.target.input_lanes
        return (-(-self.inputs // lanes) + (self.streams > 0)) * lanes

    def cycles(self, steps: int) -> int:
        """Predicted cycles of a run with inputs and outputs always ready; of several streams, of one in which each has
        a sequence of so many steps.
        """
        if not self.streams:
            return self.machine.cycles(steps)
        taken = rounds(self.known(in_turn([steps] * self.streams)), self.machine.streams)
        return self.machine.cycles(steps, taken=taken)

    def known(self, frames: Iterable[Frame]) -> list[Frame]:
        """Frames as the engine knows their streams.

        Raises:
            SpecError: one is of a stream that the image does not have.
        """
        frames = list(frames)
        rounds(frames, self.streams)  # says so
        return [each if each == NOBODY else replace(each, stream=each.stream * self.apart) for each in frames]

    def utilisation(self, steps: int) -> float:
        """Useful multiplications ÷ (multipliers × cycles) of a whole run."""
        return self.macs * steps * max(self.streams, 1) / (self.target.multipliers * self.cycles(steps))

    def save(self, path: Path | str) -> str:
        """Writes the image and returns its content hash."""
        description = dump(_Description(**{name: getattr(self, name) for name in _Description.__dataclass_fields__}))
        arrays = {} if self.order is None else {"order": self.order}
        for segment, words in self.segments.items():
            size = _bytes(self.target, segment)
            blob = b"".join(int(word).to_bytes(size, "little") for word in words)
            arrays[segment.name] = np.frombuffer(blob, dtype=np.uint8).reshape(len(words), size)
        return container.write(path, "image", description, arrays)

    @staticmethod
    def load(path: Path | str) -> "Image":
        """Reads an image, and makes sure that its programs can run.

        Raises:
            FileError: missing, damaged, tampered with or inconsistent.
        """
        description, arrays = container.read(path, "image", _Description, _check_tensors)
        order = arrays.pop("order", None)
        segments = {
            Segment[name]: np.array([int.from_bytes(row.tobytes(), "little") for row in rows], dtype=object)
            for name, rows in arrays.items()
        }
        image = Image(segments=segments, order=order, **vars(description))
        try:
            image.verify()
        except SpecError as error:
            raise container.inconsistent(path, "image", error) from None
        return image

    def verify(self) -> None:
        """Checks what an image from elsewhere says.

        Raises:
            SpecError: words wider than their memory, an order that is none, or programs that cannot run.
        """
        formats = self.target.gate_formats
        check_tables(self.sigmoid, self.tanh, formats.z, formats.activation)
        if list(self.segments[Segment.TABLES]) != table_words(self.sigmoid, self.tanh, self.target.data_width):
            raise SpecError("its table memory holds other tables than it says")
        for segment, words in self.segments.items():
            width = segment_width(self.target, segment, table_width(self.target.data_width))
            if any(int(word) >> width for word in words):
                raise SpecError(f"a word of {segment.name.lower()} has more than {width} bits")
        if self.order is not None and not np.array_equal(np.sort(self.order), np.arange(self.inputs)):
            raise SpecError(f"its order is none of {self.inputs} words")
        if self.input.raw.width > self.target.input_width or (self.logits is None) != (self.classes == 0):
            raise SpecError("its formats are not those of its target and its classes")
        if self.places and len(self.places) != len(self.machine.programs[Segment.ARRAY_PROGRAM]):
            raise SpecError("it names the stages of more or fewer instructions than it has")
        if not self.clipping.keys() <= set(self.places):
            raise SpecError("it says how much a stage clips that it does not name")
        check_outputs(self.outputs, self.task, self.classes)
        if self.scaling is not None:
            self.scaling.check(self.inputs, self.input)
        verify(
            self.machine,
            inputs=self.inputs,
            hidden=self.hidden * self.layers,
            classes=self.classes,
            every_step=self.task.every_step,
            streams=self.streams,
            apart=self.apart,
        )


def check_states(image: Image, states: np.ndarray) -> None:
    """Refuses what no run can begin with: on the way it would be cut, or too few words would be sent.

    Args:
        states: of a run, see `Device.run`.

    Raises:
        SpecError: other than layers·H × 2 integers, or one that a data word does not hold.
    """
    units, width = image.layers * image.hidden, image.target.data_width
    if states.shape != (units, 2) or states.dtype.kind not in "iu":
        raise SpecError(
            f"initial states of {states.dtype} in the shape {states.shape}; pass integers, {units} x 2: a row (h, c) "
            "for each unit, layer by layer"
        )
    word = Fixed(width, 0)
    for state in (states.min(), states.max()):
        if not word.min <= state <= word.max:
            raise SpecError(
                f"an initial state of {state}, where words of {width} bits reach from {word.min} to {word.max}"
            )


@dataclass(frozen=True)
class _Description(Checked):
    """What an image's file says in JSON."""

    target: Target
    sigmoid: PiecewiseLinear
    tanh: PiecewiseLinear
    inputs: Annotated[int, Field(ge=1, le=LONGEST_VECTOR)]
    hidden: Annotated[int, Field(ge=1, le=LONGEST_VECTOR)]
    classes: Annotated[int, Field(ge=0, le=MOST_CLASSES)]
    layers: Annotated[int, Field(ge=1, le=LONGEST_VECTOR)]
    macs: Annotated[int, Field(ge=1, lt=1 << 53)]
    steps: Annotated[int, Field(ge=1, lt=1 << 53)]
    input: InputFormat
    logits: Fixed | None
    bundle_hash: Hex
    task: Task
    outputs: OutputScaling | None
    scaling: Scaling | None
    streams: Annotated[int, Field(ge=0)] = 0
    apart: Annotated[int, Field(ge=1)] = 1
    places: tuple[Text, ...] = ()
    clipping: dict[Text, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = field(default_factory=dict)
    host: tuple[Text, ...] = ()


def _bytes(target: Target, segment: Segment) -> int:
    """Bytes of a memory word in an image's file."""
    return -(-segment_width(target, segment, table_width(target.data_width)) // 8)


def _check_tensors(description: _Description, tensors: Tensors) -> None:
    target = description.target
    rooms = {
        Segment.ARRAY_PROGRAM: target.program_words,
        Segment.LOADER_PROGRAM: target.program_words,
        Segment.GATE_PROGRAM: target.program_words,
        Segment.FACTORS: target.factor_words,
        Segment.BIAS: target.bias_words,
        Segment.TABLES: 2 * SEGMENTS,
        Segment.SCRATCHPAD: target.scratchpad_words,
    }
    for segment, room in rooms.items():
        words, _ = expect(tensors, segment.name, "u", (None, _bytes(target, segment)))
        if words > room:
            raise SpecError(f"{words} words of {segment.name.lower()}, where the target has {room}")
    for unit, record in UNITS.items():
        words, size = tensors[unit.name].shape[0], record(target).words
        if words == 0 or words % size:
            raise SpecError(f"{words} words of {unit.name.lower()}, where each instruction has {size}")
    if "order" in tensors:
        expect(tensors, "order", "i", (description.inputs,))
    expect_only(tensors, {*Segment.__members__, "order"})


def compile_bundle(
    bundle: Bundle, target: Target, bundle_hash: str = "", step: StepMap | None = None, streams: int = 0
) -> Image:
    """Compiles a bundle for a target.

    Args:
        step: a memory map, instead of the one with the fewest cycles.
        streams: sequences that it is to serve at the same time; 0 for one alone.

    Raises:
        CapacityError: something does not fit; names the resource, the need and the limit.
        SpecError: the bundle's formats are not those the target was built for.
    """
    formats = bundle.formats
    if formats.gate != target.gate_formats:
        raise SpecError(
            f"the bundle's gate formats {formats.gate} are not those of target {target.name}; quantise it anew"
        )
    if formats.input.raw.width > target.input_width:
        raise SpecError(
            f"inputs of {formats.input.raw.width} bits do not pass target {target.name}'s {target.input_width}-bit "
            "port; train on words of so few (--input-bits 8), or take a target with a wider one"
        )
    low, high = (
        formats.input.widen(np.array(raw), formats.gate.hidden)
        for raw in (formats.input.raw.min, formats.input.raw.max)
    )
    shift = formats.input.shift(formats.gate.hidden)
    for raw, wide in ((formats.input.raw.min, low), (formats.input.raw.max, high)):
        if (raw - formats.input.offset) << shift != wide:
            raise SpecError(f"input value {raw} leaves the data format {formats.gate.hidden}; use a coarser scale")
    for name, format in (*((f"stage {s}", f) for s, f in enumerate(formats.stages)), ("head", formats.head)):
        if format is not None and not (format.weight.signed and format.result.signed):
            raise SpecError(f"the weight and result of {name} must be signed; the engine knows nothing else")
        if format is not None and format.result.width != target.data_width:
            raise SpecError(
                f"results of {format.result.width} bits ({name}) are not those of target {target.name}, which have "
                f"{target.data_width}; quantise it anew"
            )
    factor_width = max(stage.weight.width for stage in (*formats.stages, *([formats.head] if formats.head else [])))
    if factor_width > target.factor_width:
        raise SpecError(
            f"factors of {factor_width} bits do not fit target {target.name}'s {target.factor_width}; "
            f"quantise with --factor-width {target.factor_width}"
        )
    step = step or fitting_shares(bundle.layers, bundle.stage_lists, target, streams)[0].step
    programs = overlapped(instructions(step, formats), target)
    x, sent = step.resolved.layers[0].x, step.chains[0].chain.x
    assert sent is not None
    order = None
    if sent != x:
        shape = step.resolved.layers[0].network.input_shape
        order = np.argsort(x.flat(shape))[np.searchsorted(np.sort(x.flat(shape)), sent.flat(shape))]
    return Image(
        target,
        assemble(bundle, step, programs),
        formats.sigmoid,
        formats.tanh,
        bundle.layers[0].inputs,
        bundle.spec.hidden,
        bundle.spec.classes,
        len(bundle.layers),
        sum(map(sum, macs_of(step.resolved.chains, step.resolved.stages))),
        bundle.clips.shape[1],
        formats.input,
        formats.head and formats.head.result,
        order,
        bundle_hash,
        bundle.spec.task,
        bundle.outputs,
        bundle.scaling,
        step.resolved.sharing.streams,
        step.resolved.sharing.apart,
        places_of(step, programs),
        host=bundle.host,
    )
