"""Accuracies on test splits: the rows of a file of results, and differences paired over clips."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, NotRequired

import numpy as np
from pydantic import Field, StringConstraints
from typing_extensions import TypedDict

from fdht.spec.container import write_whole
from fdht.spec.errors import SpecError
from fdht.spec.lstm import LSTMSpec
from fdht.spec.record import Checked, Count, Seed, Text, read_rows

RESULTS = Path("build/results/accuracy.json")
"""Where commands leave rows; those of this project's own pages are kept in docs/results."""

FORMATS = ("dense", "tt", "tr", "bt", "ht-input", "fdht")
FLOAT = "float"
MODELS = ("float", "golden", "rtl")

Bits = Annotated[str, StringConstraints(max_length=1 << 16, pattern="^([0-9a-f]{2})+$")]
"""A bit per clip, in hexadecimal: up to 262,144 clips."""


class Measured(TypedDict):
    """What is kept of a measured model: `correct`, `total` and `hits` of a row, and what else was found."""

    __pydantic_config__ = Checked.__pydantic_config__  # type: ignore[misc]

    correct: Count
    total: Annotated[int, Field(ge=1)]
    hits: Bits
    seconds: Annotated[float, Field(ge=0)]
    logits: NotRequired[Count]
    mismatches: NotRequired[Count]


@dataclass(frozen=True)
class Row(Checked):
    """One model of one seed on a test split.

    Attributes:
        study: what the row was measured for, and so the table it is in: `baselines`, `precision`, `presets`, ...
        data: name of the data set.
        format: dense, tt, tr, bt, ht-input (hierarchical Tucker for the inputs alone) or fdht (for all eight matrices).
        recurrent: `whole` if one network holds W_x and W_h, `dense` if W_h is a matrix of its own, as the papers before
            FDHT have it.
        factors: numbers in the network, of W_x alone if `recurrent` is dense.
        parameters: numbers in the whole model: factors, dense W_h, bias, head.
        clips: clips that it was trained on, all epochs together.
        seed: of the training.
        bits: `float`, or factor/activation widths such as `8/16`.
        qat: trained with the rounding of the hardware.
        recipe: what else tells trainings of one table apart, in a few words; empty for nothing.
        model: what gave the classes: float, golden (the integers) or rtl.
        target: whose stage list and formats the integers have; empty for float.
        correct, total: clips of the test split whose class was right, and clips it was asked about.
        hits: which: a bit per clip, first clip in the highest bit of the first digit (hexadecimal, filled up with 0).
        settings: what it was trained with that was chosen for it, in a few words; does not tell rows apart.
        error: of what a trained matrix was truncated to, relative; 0 where none was.
        seconds: of the training; 0 where nothing was trained for the row.
        split: which of several divisions of the data; empty for the data set's own.
        rate: peak learning rate, 0 where `settings` say it, or nothing was trained.
        correct_zero_h: clips that were right with h = 0 in every step; None where that was not asked.
        recurrent_parameters: numbers in the recurrent part: factors, dense W_h, bias; 0 where they were not counted.

    Raises:
        SpecError: an unknown format or model, widths that are none, counts that disagree.
    """

    study: Text
    data: Text
    format: Text
    recurrent: Text
    factors: Count
    parameters: Count
    clips: Count
    seed: Seed
    correct: Count
    total: Count
    hits: Bits
    bits: Text = FLOAT
    qat: bool = False
    recipe: Text = ""
    model: Text = "float"
    target: Text = ""
    settings: Text = ""
    error: float = 0.0
    seconds: float = 0.0
    split: Text = ""
    rate: float = 0.0
    correct_zero_h: Count | None = None
    recurrent_parameters: Count = 0

    def __post_init__(self):
        for what, value, known in (
            ("format", self.format, FORMATS),
            ("recurrent", self.recurrent, ("whole", "dense")),
            ("model", self.model, MODELS),
        ):
            if value not in known:
                raise SpecError(f"{what} {value!r} of a row of results is none of {', '.join(known)}")
        factor, slash, data = self.bits.partition("/")
        if self.bits != FLOAT and not (slash and factor.isdecimal() and data.isdecimal() and self.bits.isascii()):
            raise SpecError(f"bits {self.bits!r} are neither {FLOAT} nor widths like 8/16")
        if self.bits == FLOAT and self.model != "float":
            raise SpecError(f"a {self.model} model computes with integers; say their widths instead of {FLOAT}")
        if int(self.correct_clips.sum()) != self.correct:
            raise SpecError(f"{self.correct} clips are right and {int(self.correct_clips.sum())} marked so")

    @property
    def key(self) -> tuple:
        """What tells rows apart, in the order in which they are sorted."""
        names = ("study", "data", "recurrent", "format", "factors", "parameters", "clips")
        names += ("bits", "qat", "recipe", "target", "model", "split", "rate", "seed")
        return tuple(getattr(self, name) for name in names)

    @property
    def series(self) -> tuple:
        """What rows have in common that differ in nothing but the seed."""
        return self.key[:-1]

    @property
    def accuracy(self) -> float:
        return self.correct / self.total

    @property
    def correct_clips(self) -> np.ndarray:
        """Clip by clip, whether the class was right: `total` booleans."""
        try:
            packed = np.frombuffer(bytes.fromhex(self.hits), dtype=np.uint8)
        except ValueError:
            raise SpecError(f"hits {self.hits!r} are not hexadecimal digits") from None
        if len(packed) != -(-self.total // 8) or self.total < 1:
            raise SpecError(f"hits {self.hits!r} do not hold {self.total} clips")
        return np.unpackbits(packed, count=self.total).astype(bool)


def hits(correct: np.ndarray) -> dict:
    """`correct`, `total` and `hits` of a row, from whether each clip was right."""
    return {
        "correct": int(correct.sum()),
        "total": len(correct),
        "hits": np.packbits(np.asarray(correct, dtype=bool)).tobytes().hex(),
    }


def sizes(*layers: LSTMSpec) -> dict:
    """`format`, `recurrent` and the numbers of parameters of a row, from the model's specification, layer by layer."""
    last = layers[-1]
    kind = last.network.kind
    every = [part for spec in layers for part in spec.parameters.items()]
    return {
        "format": {"ht": "fdht" if last.recurrent is None else "ht-input"}.get(kind, kind),
        "recurrent": "whole" if last.recurrent is None else "dense",
        "factors": sum(count for part, count in every if part == "factors"),
        "recurrent_parameters": sum(count for part, count in every if part != "head"),
        "parameters": sum(count for _, count in every),
    }


def load(path: Path = RESULTS) -> list[Row]:
    """The rows of a file; none if there is no file.

    Raises:
        FileError: something that is no list of rows.
    """
    return read_rows(path, Row)


def merge(rows: Iterable[Row], path: Path = RESULTS) -> None:
    """Puts rows into a file, in place of those with the same key; sorted, one a line, whole or not at all.

    Raises:
        FileError: the file there is none of this kind, or cannot be written.
    """
    kept = {row.key: row for row in [*load(path), *rows]}
    lines = ",\n".join(json.dumps(asdict(kept[key]), ensure_ascii=False) for key in sorted(kept))
    write_whole(path, f"[\n{lines}\n]\n".encode())


def by_series(rows: Iterable[Row]) -> dict[tuple, list[Row]]:
    """Rows that differ in nothing but the seed, together."""
    result: dict[tuple, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row.key):
        result.setdefault(row.series, []).append(row)
    return result


RESAMPLES, COVERAGE = 4_000, 0.95
DRAWS_AT_ONCE = 1 << 24


@dataclass(frozen=True)
class Difference:
    """How much more often one model is right than another, on the same clips.

    Attributes:
        mean: difference of the accuracies, over all seeds of both.
        low, high: its interval of 95 %.
        seeds: of the model that has fewer; with a single one the interval is of the clips alone.
    """

    mean: float
    low: float
    high: float
    seeds: int

    @property
    def verdict(self) -> str:
        """`better`, `worse`, or `open` while the interval holds 0."""
        return "better" if self.low > 0 else "worse" if self.high < 0 else "open"


def difference(ours: Sequence[Row], theirs: Sequence[Row]) -> Difference:
    """The difference of two models, paired over clips.

    A percentile bootstrap of two levels: clips are drawn anew (the same for all seeds of both models: that is the
    pairing), and so are the seeds of each model, which do not belong together. The test clips stand for clips of the
    same source; clips that share photographs or scenes are not independent, so the interval is rather too narrow.

    Args:
        ours, theirs: the rows of each, one per seed.

    Raises:
        SpecError: no rows, or rows of different clips.
    """
    kinds = {(row.data, row.total) for row in (*ours, *theirs)}
    if not ours or not theirs or len(kinds) != 1:
        raise SpecError(f"only rows of the same clips can be paired, not {sorted(kinds)}")
    a, b = (np.stack([row.correct_clips for row in rows]).astype(float) for rows in (ours, theirs))
    rng = np.random.default_rng(0)

    def drawn(count: int, times: int = RESAMPLES) -> np.ndarray:
        """How often each of `count` is drawn, as a part of all draws: times × count."""
        return rng.multinomial(count, np.full(count, 1 / count), times) / count

    # Clips are drawn in pieces: all draws of many clips would fill gigabytes.
    piece = max(1, DRAWS_AT_ONCE // a.shape[1])
    pieces = [drawn(a.shape[1], min(piece, RESAMPLES - k)) for k in range(0, RESAMPLES, piece)]
    ours_of, theirs_of = (np.concatenate([p @ rows.T for p in pieces]) for rows in (a, b))
    means = (drawn(len(a)) * ours_of).sum(1) - (drawn(len(b)) * theirs_of).sum(1)
    low, high = np.quantile(means, ((1 - COVERAGE) / 2, (1 + COVERAGE) / 2))
    return Difference(float(a.mean() - b.mean()), float(low), float(high), min(len(a), len(b)))
