"""The image: a bundle compiled for one target."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from compiler.arithmetic import useful_macs
from compiler.machine import Machine
from compiler.mapping import StepMap
from compiler.overlap import overlapped
from compiler.planner import map_model
from compiler.program import Programs, assemble, instructions, stream_words
from spec import container
from spec.activation import PiecewiseLinear, table_width
from spec.bundle import Bundle
from spec.errors import FileError, SpecError
from spec.program import Segment, segment_width
from spec.target import Target

_TARGET = TypeAdapter(Target)
_TABLE = TypeAdapter(PiecewiseLinear)


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
        order: positions in a frame of its raw words in the order they are to be sent; None for their own.
        bundle_hash: content hash of the bundle it was made from, "" if that was never saved.
    """

    target: Target
    segments: Programs
    sigmoid: PiecewiseLinear
    tanh: PiecewiseLinear
    inputs: int
    hidden: int
    classes: int
    layers: int
    macs: int
    order: np.ndarray | None = None
    bundle_hash: str = ""

    @cached_property
    def machine(self) -> Machine:
        """The engine in numpy, loaded with this image."""
        return Machine(self.target, self.segments, self.sigmoid, self.tanh, self.order)

    def stream(self) -> np.ndarray:
        """The 16-bit words that load the image into the engine."""
        return stream_words(self.segments, self.target, table_width(self.target.data_width))

    def cycles(self, steps: int) -> int:
        """Predicted cycles of a run with inputs and outputs always ready."""
        return self.machine.cycles(steps)

    def utilisation(self, steps: int) -> float:
        """Useful multiplications ÷ (multipliers × cycles) of a whole run."""
        return self.macs * steps / (self.target.multipliers * self.cycles(steps))

    def save(self, path: Path | str) -> str:
        """Writes the image and returns its content hash."""
        description = {
            "target": _TARGET.dump_python(self.target, mode="json"),
            "sigmoid": _TABLE.dump_python(self.sigmoid, mode="json"),
            "tanh": _TABLE.dump_python(self.tanh, mode="json"),
        } | {name: getattr(self, name) for name in ("inputs", "hidden", "classes", "layers", "macs", "bundle_hash")}
        arrays = {} if self.order is None else {"order": self.order}
        for segment, words in self.segments.items():
            size = -(-segment_width(self.target, segment, table_width(self.target.data_width)) // 8)
            blob = b"".join(int(word).to_bytes(size, "little") for word in words)
            arrays[segment.name] = np.frombuffer(blob, dtype=np.uint8).reshape(len(words), size)
        return container.write(path, "image", description, arrays)

    @staticmethod
    def load(path: Path | str) -> "Image":
        """Reads an image.

        Raises:
            FileError: missing, damaged or tampered with.
        """
        description, arrays, _ = container.read(path, "image")
        try:
            order = arrays.pop("order", None)
            segments = {
                Segment[name]: np.array([int.from_bytes(bytes(row), "little") for row in rows], dtype=object)
                for name, rows in arrays.items()
            }
            target = _TARGET.validate_python(description.pop("target"))
            tables = {name: _TABLE.validate_python(description.pop(name)) for name in ("sigmoid", "tanh")}
            return Image(target, segments, **tables, order=order, **description)
        except (KeyError, TypeError, ValidationError, SpecError) as error:
            raise FileError(f"{path} is not a consistent image ({str(error).splitlines()[0]}); make it anew") from None


def compile_bundle(bundle: Bundle, target: Target, bundle_hash: str = "", step: StepMap | None = None) -> Image:
    """Compiles a bundle for a target.

    Args:
        step: a memory map, instead of the one with the fewest cycles.

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
            f"inputs of {formats.input.raw.width} bits do not pass target {target.name}'s {target.input_width}-bit port"
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
    step = step or map_model(bundle.layers, bundle.stage_lists, target)
    programs = overlapped(instructions(bundle.layers, step, target, formats), target)
    x, sent = bundle.layers[0].x, step.chains[0].chain.x
    assert sent is not None
    order = None
    if sent != x:
        shape = bundle.layers[0].network.input_shape
        order = np.argsort(x.flat(shape))[np.searchsorted(np.sort(x.flat(shape)), sent.flat(shape))]
    return Image(
        target,
        assemble(bundle, step, programs, target),
        formats.sigmoid,
        formats.tanh,
        bundle.layers[0].inputs,
        bundle.spec.hidden,
        bundle.spec.classes,
        len(bundle.layers),
        sum(map(sum, useful_macs(bundle.layers, bundle.stage_lists))),
        order,
        bundle_hash,
    )
