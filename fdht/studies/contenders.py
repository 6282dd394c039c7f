"""What `fdht bench` measures: the presets, the formats FDHT is compared with, and networks for 1 k to 1 M inputs.

The baselines do the job of the video presets, 57,600 inputs to 256 hidden units with all gates and h in one network, at
the ranks of the published ones (TT and BT 4, TR 5, BT of 2 blocks). Their modes are those, of all orders of
20 · 20 · 18 · 8 and of 4 · 4 · 4 · 16 and 4 · 4 · 8 · 8, with the fewest planned cycles.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from math import prod

import numpy as np

from fdht.boards.board import Board
from fdht.boards.catalogue import BOARDS
from fdht.model import data
from fdht.model.presets import PRESETS, Preset
from fdht.spec.errors import no_such
from fdht.spec.lstm import LSTMSpec, Region, dense_lstm, fdht_lstm, lstm_on
from fdht.spec.network import TensorNetwork, bt_network, tr_network, tt_network
from fdht.spec.target import Target, find_target, named

BIG, SMALL, SERVING = "ulx3s-85f", "icebreaker", "ulx3s-85f-streams"

SCRATCHPAD, BANK = 1 << 16, 1 << 13
"""Words of the largest scratchpad there may be, and of its banks."""

VIDEO, UNITS, CLASSES = 57600, 256, 11


STREAMS = {"digits": (4, 8, 16), "faces": (2,), "ucf11": (2,)}
"""Presets, and how many sequences they serve at once in rows of their own."""


@dataclass(frozen=True)
class Contender:
    """A network on an engine.

    Attributes:
        name: of the preset, or of the job.
        format: ht, tt, tr, bt or dense.
        spec: the model.
        target: the engine.
        frames: the data set whose pictures it is fed.
        kind: `engine` for the table, `scaling` for cost against N.
        board: with this engine, whose clock it is to have; None: that of the board that the engine is named after.
        streams: sequences that are served at once; 0 for one alone.
    """

    name: str
    format: str
    spec: LSTMSpec
    target: Target
    frames: str
    kind: str = "engine"
    board: Board | None = None
    streams: int = 0

    @property
    def home(self) -> Board | None:
        """The board whose clock it has, if there is one."""
        return self.board or BOARDS.get(self.target.name)


def roomy(target: Target) -> Target:
    """A target with memories for everything that is planned here, for what does not fit the real one."""
    return replace(
        target,
        name=f"{target.name} with more memory",
        banks=SCRATCHPAD // BANK,
        bank_words=BANK,
        factor_words=max(target.factor_words, 1 << 15),
        result_words=max(target.result_words, 1 << 12),
        program_words=max(target.program_words, 1 << 12),
        hidden=max(target.hidden, UNITS),
    )


def contenders() -> Iterator[Contender]:
    """The rows of the performance table."""
    yield from presets_on(find_target(BIG), find_target(SMALL))
    tt = _banded(tt_network((18, 8, 20, 21), (8, 8, 4, 4), 4), 3)
    tr = _banded(tr_network((20, 8, 18, 21), (4, 8, 8, 4), 5), 3)
    bt = _banded(bt_network((20, 8, 18, 21), (4, 8, 8, 4), 2, 4), 3)
    dense = dense_lstm(VIDEO, UNITS, CLASSES)
    for spec in (tt, tr, bt, dense):
        yield Contender("ucf11", spec.network.kind, spec, find_target(BIG), "faces-rgb")
    for spec in (tr, bt):  # what they would take if only they had more room for results of stages
        big = find_target(BIG)
        larger = replace(big, name=f"{BIG}, 64 k words", banks=SCRATCHPAD // BANK, bank_words=BANK)
        yield Contender("ucf11", spec.network.kind, spec, larger, "faces-rgb")
    # elastic-ai.creator's LSTM of 1 input and 20 units, 890 cycles a step on a Spartan-7
    yield Contender("1-to-20", "dense", dense_lstm(1, 20, 1), find_target(SMALL), "digits")
    for target in (BIG, SMALL):
        yield Contender("digits", "dense", dense_lstm(8, 64, 10), find_target(target), "digits")
    yield from streams_on(find_target(SERVING))


def streams_on(*targets: Target) -> Iterator[Contender]:
    """Presets that serve several sequences at once."""
    for name, streams in ((name, streams) for name, counts in STREAMS.items() for streams in counts):
        for contender in presets_on(*targets):
            if contender.name == name:
                yield replace(contender, streams=streams)


def presets_on(*targets: Target) -> Iterator[Contender]:
    """Every preset on some engines; a model that two presets share is there once."""
    models = dict[LSTMSpec, Preset]()
    for preset in PRESETS.values():
        models.setdefault(preset.spec, preset)
    for preset in models.values():
        for target in targets:
            yield Contender(preset.name, preset.spec.network.kind, preset.spec, target, preset.data)


def others(targets: list[str], there: Iterable[Contender]) -> dict[str, Target]:
    """Engines that are asked for and in no row: in files, or fdht's own. By what they were asked for as.

    Raises:
        FileError: no target in a file.
    """
    known = {contender.target.name for contender in there}
    return {
        name: find_target(name) for name in targets if name.endswith(".json") or (name in named() and name not in known)
    }


def _banded(network: TensorNetwork, mode: int) -> LSTMSpec:
    """The video job on a network of which one input mode (counted from 0) is one larger than the picture needs.

    h is in the last index of that mode and in the last indices of the first one, which is the slowest.
    """
    shape = network.input_shape
    box = tuple(size - (k == mode) for k, size in enumerate(shape))
    bands = -(-UNITS * shape[0] * shape[mode] // prod(shape))
    start = tuple(shape[0] - bands if k == 0 else size - 1 if k == mode else 0 for k, size in enumerate(shape))
    of_h = tuple(bands if k == 0 else 1 if k == mode else size for k, size in enumerate(shape))
    order = tuple(range(len(shape)))
    spec = lstm_on(network, VIDEO, UNITS, CLASSES)
    x = Region((0,) * len(shape), box, order, VIDEO)
    return replace(spec, x=x, h=Region(start, of_h, order, UNITS))


RANKS = {"1": 16, "2": 6, "3": 8, "4": 3, "12": 8, "34": 8}
"""Ranks of the networks for cost against N: those of the video presets."""

SIZES = tuple(1 << k for k in range(10, 21))
"""Numbers of inputs for cost against N."""

SIMULATED = 1 << 16
"""Up to so many inputs the planned cycles are confirmed in simulation."""


def scaling() -> Iterator[Contender]:
    """One HT network per number of inputs, 256 units, on the large engine; with more memory where it must be."""
    for inputs in SIZES:
        yield Contender(f"n-{inputs}", "ht", _pictures(inputs), find_target(BIG), "faces-rgb", "scaling")


def _pictures(inputs: int) -> LSTMSpec:
    """A picture of 8 × 8 fields, as in the video presets: the place in a field in modes 1 and 2, bands in mode 3."""
    fields = inputs // 64
    rows = 1 << (fields.bit_length() - 1) // 2
    spec = fdht_lstm(inputs, UNITS, CLASSES, (fields // rows + 1, rows, 8, 8), (1, 2, 16, 32), RANKS)
    order, bands = (2, 1, 3, 0), -(-UNITS // (8 * rows))
    h = Region((fields // rows, 0, 8 - bands, 0), (1, rows, bands, 8), order, UNITS)
    return replace(spec, x=replace(spec.x, order=order), h=h)


def pixels(contender: Contender, steps: int) -> np.ndarray:
    """A clip of real pictures: steps × N bytes. Where no frame has this size, the pixels of a data set one by one."""
    frames, inputs = _frames(contender.frames, steps), contender.spec.inputs
    return frames if frames.shape[1] == inputs else np.resize(frames, (steps, inputs))


@cache
def _frames(name: str, steps: int) -> np.ndarray:
    split = data.load(name).test
    return split.frames[split.order.ravel()[:steps]]


def find(presets: list[str], targets: list[str], formats: list[str], every: list[Contender]) -> list[Contender]:
    """Those of some presets, targets and formats; an empty list stands for all.

    Raises:
        SpecError: nothing of that name.
    """
    for what, wanted, there in (
        ("preset", presets, {c.name for c in every}),
        ("target", targets, {c.target.name for c in every}),
        ("format", formats, {c.format for c in every}),
    ):
        for name in wanted:
            if name not in there:
                raise no_such(what, name, sorted(there))
    return [
        c
        for c in every
        if (not presets or c.name in presets)
        and (not targets or c.target.name in targets)
        and (not formats or c.format in formats)
    ]
