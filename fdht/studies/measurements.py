"""The rows of `fdht bench`, in files: what each says, and reading and writing lists of them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field
from typing_extensions import TypedDict

from fdht.spec.container import write_whole
from fdht.spec.record import Count, Plain, Text, parse, read_rows

PARTS = ("table", "scaling", "cpu", "epoch", "pictures")
"""What `fdht bench` is made of."""

Figure = Annotated[float, Field(ge=0)]
"""A finite number that is not negative."""

_OPEN = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)
"""Rows may say more than is read of them."""


class EngineRow(TypedDict):
    """A network on an engine."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]

    kind: Literal["engine", "scaling"]
    preset: Text
    format: Text
    target: Text
    inputs: Annotated[int, Field(ge=1)]
    hidden: Annotated[int, Field(ge=1)]
    parameters: Count
    multipliers: Annotated[int, Field(ge=1)]
    fits: bool
    refusal: Text | None
    cycles_per_step: Annotated[float, Field(gt=0)] | Annotated[int, Field(gt=0)]
    latency_cycles: Count | None
    mismatches: Count | None
    simulated: bool
    macs_per_step: Count
    utilisation: Figure
    efficiency: Figure
    clock_mhz: Figure | None
    fmax_mhz: Figure | None
    fmax_of_this_gateware: bool | None
    step_us: Figure | None
    frames_per_s: Figure | None
    gops: Figure | None
    gops_dense_equivalent: Figure | None
    latency_us: Figure | None


class LayerRow(TypedDict):
    """A layer in PyTorch."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]

    preset: Text
    format: Text
    target: Text
    layer: Text
    batch: Count
    parameters: Count


class StepRow(LayerRow):
    """A step of it."""

    kind: Literal["cpu"]
    step_us: Figure
    frames_per_s: Figure


class EpochRow(LayerRow):
    """An epoch of its training."""

    kind: Literal["epoch"]
    clips: Count
    epoch_s: Figure


def _finite(row: Any) -> Any:
    parse(Plain, json.dumps(row))
    return row


Row = Annotated[
    Annotated[EngineRow | StepRow | EpochRow, Field(discriminator="kind")],
    AfterValidator(_finite),
]


class Build(TypedDict):
    """A recorded build of a design for a board: what it uses and how fast it is."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]

    design: Text
    board: Text
    target: Text
    clock_mhz: Annotated[float, Field(gt=0)]
    fmax_mhz: Annotated[float, Field(gt=0)]
    gateware: Text


def load(path: Path) -> list[dict]:
    """The rows of a file; none if there is no file.

    Raises:
        FileError: something else in it.
    """
    return read_rows(path, Row)


def load_builds(path: Path) -> list[dict]:
    """The recorded builds of a file; none if there is no file.

    Raises:
        FileError: something else in it.
    """
    return read_rows(path, Annotated[Build, AfterValidator(_finite)])


def store(path: Path, rows: Sequence[dict]) -> None:
    """Writes a list, a row a line, whole or not at all.

    Raises:
        FileError: no permission, no room.
    """
    lines = ",\n".join(json.dumps(r, ensure_ascii=False) for r in rows)
    write_whole(path, f"[\n{lines}\n]\n".encode())
