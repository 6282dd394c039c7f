"""The engine as WebAssembly under wasmtime: what a page does, in Python."""

from dataclasses import dataclass, field

import numpy as np
import wasmtime

from fdht.compiler.image import Image
from fdht.hw.engine.signatures import output_word
from fdht.sim.engine_bench import beats
from fdht.spec.instructions import UNITS, Segment
from fdht.spec.protocol import OutputKind


@dataclass
class Seen:
    """What an engine did with a clip.

    Attributes:
        logits: all that were sent. cycles: of the run.
        started, ended: by unit, cycles of its instructions, counted from `start`.
    """

    logits: list[int] = field(default_factory=list)
    cycles: int = 0
    started: dict[Segment, list[int]] = field(default_factory=lambda: {unit: [] for unit in UNITS})
    ended: dict[Segment, list[int]] = field(default_factory=lambda: {unit: [] for unit in UNITS})


class WasmEngine:
    """A module, loaded with an image."""

    def __init__(self, module: bytes, image: Image):
        engine = wasmtime.Engine()
        self._store = wasmtime.Store(engine)
        compiled = wasmtime.Module(engine, module)
        assert not compiled.imports, "a page has nothing to give it"
        self._exports = wasmtime.Instance(self._store, compiled, []).exports(self._store)
        self._image = image
        words = image.stream()
        self._write(words)
        self._call("load", len(words))

    def run(self, clip: np.ndarray, slice: int = 10_000) -> Seen:
        """Runs a clip (steps × N raw words), so many cycles in a call."""
        image, seen = self._image, Seen()
        lanes, width = image.target.input_lanes, image.target.input_width
        sent = [beat >> lane * width & (1 << width) - 1 for beat in beats(clip, image) for lane in range(lanes)]
        self._write(np.array(sent))
        self._call("begin", len(clip), len(sent))
        over = False
        while not over:
            over = bool(self._call("advance", slice))
            for payload in self._read("outputs", "<u4", self._call("sent")).tolist():
                self._output(seen, payload)
            for cycle, bits in self._read("events", "<u4", 2 * self._call("happened")).reshape(-1, 2).tolist():
                for unit in UNITS:
                    if bits >> unit & 1:
                        seen.started[unit].append(cycle)
                    if bits >> 16 + unit & 1:
                        seen.ended[unit].append(cycle)
        seen.cycles = self._call("cycles")
        return seen

    def _output(self, seen: Seen, payload: int) -> None:
        layout, width = output_word(self._image.target), self._image.target.data_width
        kind = payload >> layout["kind"].offset & (1 << layout["kind"].width) - 1
        value = payload >> layout["value"].offset & (1 << width) - 1
        if kind == OutputKind.LOGIT:
            seen.logits.append(value - (value >> width - 1 << width))

    def _call(self, name: str, *arguments: int) -> int:
        return self._exports[name](self._store, *arguments)

    def _write(self, words: np.ndarray) -> None:
        self._exports["memory"].write(self._store, words.astype("<u2").tobytes(), self._call("inputs"))

    def _read(self, name: str, type: str, count: int) -> np.ndarray:
        start, words = self._call(name), np.dtype(type)
        found = self._exports["memory"].read(self._store, start, start + count * words.itemsize)
        return np.frombuffer(bytes(found), words)
