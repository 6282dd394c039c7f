"""The bundle: the only hand-over from training to hardware. It knows no target."""

from dataclasses import dataclass, field
from math import prod
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from spec import container
from spec.errors import FileError, SpecError
from spec.formats import Formats
from spec.lstm import LSTMSpec
from spec.stages import Stage, StageList, stages


@dataclass(frozen=True, eq=False)
class Bundle:
    """A quantised LSTM, complete: what it computes, in integers, and vectors that prove it.

    Attributes:
        spec: the network.
        stage_list: the order of contraction the integers were made for.
        formats: every format.
        weights: one integer array per stage, indices in the order of `Stage.weight`.
        bias: 4 × H integers, gate-major in the order i, f, g, o.
        head_weight, head_bias: classes × H and classes; None without a head.
        clips: raw input clips as golden vectors, clips × steps × N.
        labels: the true class of each clip, -1 where there is none.
        logits, hidden: what the golden model makes of them: clips × classes, and clips × H (after the last step).
        about: anything people may want to know (data set, accuracy); no code reads it for decisions.
    """

    spec: LSTMSpec
    stage_list: StageList
    formats: Formats
    weights: tuple[np.ndarray, ...]
    bias: np.ndarray
    head_weight: np.ndarray | None
    head_bias: np.ndarray | None
    clips: np.ndarray
    labels: np.ndarray
    logits: np.ndarray
    hidden: np.ndarray
    about: dict = field(default_factory=dict)

    def __post_init__(self):
        if len(self.weights) != len(self.stages) or len(self.formats.stages) != len(self.stages):
            raise SpecError(f"{len(self.stages)} stages need as many weights and formats")
        for s, (stage, weight) in enumerate(zip(self.stages, self.weights, strict=True)):
            shape, fixed = self.spec.network.shape(stage.weight), self.formats.stages[s].weight
            _check(f"weight of stage {s}", weight, shape, fixed)
        _check("bias", self.bias, (4, self.spec.hidden), self.formats.gate.z)
        if (self.spec.classes > 0) != (self.formats.head is not None):
            raise SpecError(f"{self.spec.classes} classes and head format {self.formats.head} disagree")
        if self.formats.head is not None:
            shape = (self.spec.classes, self.spec.hidden)
            _check("head weight", self.head_weight, shape, self.formats.head.weight)
            _check("head bias", self.head_bias, shape[:1], self.formats.head.result)
        if self.clips.ndim != 3 or self.clips.shape[2] != self.spec.inputs:
            raise SpecError(f"clips of shape {self.clips.shape} are not clips x steps x {self.spec.inputs}")
        raw, count = self.formats.input.raw, len(self.clips)
        if self.clips.size and (self.clips.min() < raw.min or self.clips.max() > raw.max):
            raise SpecError(f"clips leave the range {raw.min}..{raw.max} of their format {raw}")
        for name, vectors, shape in (
            ("labels", self.labels, (count,)),
            ("logits", self.logits, (count, self.spec.classes)),
            ("hidden", self.hidden, (count, self.spec.hidden)),
        ):
            if vectors.shape != shape:
                raise SpecError(f"{name} of shape {vectors.shape} do not belong to {count} clips; {shape} is needed")

    @property
    def stages(self) -> tuple[Stage, ...]:
        return stages(self.spec.network, self.stage_list)

    @property
    def macs(self) -> int:
        """Useful multiplications per step: of the stage list, on true modes."""
        return sum(stage.macs(self.spec.network) for stage in self.stages)

    def save(self, path: Path | str) -> str:
        """Writes the bundle and returns its content hash."""
        description = {
            "spec": _SPEC.dump_python(self.spec, mode="json"),
            "stage_list": self.stage_list,
            "formats": _FORMATS.dump_python(self.formats, mode="json"),
            "about": self.about,
        }
        arrays = {f"weight.{s}": weight for s, weight in enumerate(self.weights)}
        for name in ("bias", "head_weight", "head_bias", "clips", "labels", "logits", "hidden"):
            if getattr(self, name) is not None:
                arrays[name] = getattr(self, name)
        return container.write(path, "bundle", description, arrays)

    @staticmethod
    def load(path: Path | str) -> "Bundle":
        """Reads a bundle.

        Raises:
            FileError: missing, damaged, tampered with or inconsistent.
        """
        description, arrays, _ = container.read(path, "bundle")
        try:
            weights = tuple(arrays.pop(f"weight.{s}") for s in range(len(description["stage_list"])))
            arrays = {"head_weight": None, "head_bias": None, **arrays}
            return Bundle(
                spec=_SPEC.validate_python(description["spec"]),
                stage_list=tuple(tuple(group) for group in description["stage_list"]),
                formats=_FORMATS.validate_python(description["formats"]),
                weights=weights,
                about=description["about"],
                **arrays,
            )
        except (KeyError, TypeError, ValidationError, SpecError) as error:
            raise FileError(f"{path} is not a consistent bundle ({str(error).splitlines()[0]}); make it anew") from None


_SPEC = TypeAdapter(LSTMSpec)
_FORMATS = TypeAdapter(Formats)


def _check(name: str, array: np.ndarray | None, shape: tuple[int, ...], fixed) -> None:
    if array is None or array.shape != shape:
        raise SpecError(f"{name} has shape {None if array is None else array.shape}, not {shape}")
    if array.dtype.kind != "i":
        raise SpecError(f"{name} holds {array.dtype}, not integers")
    if prod(shape) and (array.min() < fixed.min or array.max() > fixed.max):
        raise SpecError(f"{name} leaves the range of its format {fixed}")
