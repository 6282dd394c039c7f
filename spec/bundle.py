"""The bundle: the only hand-over from training to hardware. It knows no target."""

from dataclasses import dataclass, field
from math import prod
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from spec import container
from spec.errors import FileError, SpecError
from spec.formats import Formats
from spec.lstm import Chain, LSTMSpec, chains, stack
from spec.stages import Stage, StageLists, stages_of


@dataclass(frozen=True, eq=False)
class Bundle:
    """A quantised LSTM, complete: what it computes, in integers, and vectors that prove it.

    Attributes:
        layers: the networks, the lowest layer first.
        stage_lists: per chain (see spec.lstm.chains) the order of contraction the integers were made for.
        formats: every format.
        weights: per chain one integer array per stage, indices in the order of `Stage.weight`.
        biases: per layer 4 × H integers, gate-major in the order i, f, g, o.
        head_weight, head_bias: classes × H and classes; None without a head.
        clips: raw input clips as golden vectors, clips × steps × N.
        labels: the true class of each clip, -1 where there is none.
        logits, hidden: what the golden model makes of them: clips × classes, and clips × H (of the last layer after
            the last step).
        about: anything people may want to know (data set, accuracy); no code reads it for decisions.
    """

    layers: tuple[LSTMSpec, ...]
    stage_lists: StageLists
    formats: Formats
    weights: tuple[tuple[np.ndarray, ...], ...]
    biases: tuple[np.ndarray, ...]
    head_weight: np.ndarray | None
    head_bias: np.ndarray | None
    clips: np.ndarray
    labels: np.ndarray
    logits: np.ndarray
    hidden: np.ndarray
    about: dict = field(default_factory=dict)

    def __post_init__(self):
        stack(self.layers)
        sizes = [[len(chain) for chain in stages] for stages in (self.stages, self.weights, self.formats.chains)]
        if sizes.count(sizes[0]) != len(sizes) or len(self.biases) != len(self.layers):
            raise SpecError(f"chains of {sizes[0]} stages need as many weights and formats, and a bias per layer")
        for c, (chain, of_chain) in enumerate(zip(self.chains, self.stages, strict=True)):
            for s, stage in enumerate(of_chain):
                shape, fixed = chain.network.shape(stage.weight), self.formats.chains[c][s].weight
                _check(f"weight of stage {s} of chain {c}", self.weights[c][s], shape, fixed)
        for number, bias in enumerate(self.biases):
            _check(f"bias of layer {number}", bias, (4, self.spec.hidden), self.formats.gate.z)
        if (self.spec.classes > 0) != (self.formats.head is not None):
            raise SpecError(f"{self.spec.classes} classes and head format {self.formats.head} disagree")
        if self.formats.head is not None:
            shape = (self.spec.classes, self.spec.hidden)
            _check("head weight", self.head_weight, shape, self.formats.head.weight)
            _check("head bias", self.head_bias, shape[:1], self.formats.head.result)
        if self.clips.ndim != 3 or self.clips.shape[2] != self.layers[0].inputs:
            raise SpecError(f"clips of shape {self.clips.shape} are not clips x steps x {self.layers[0].inputs}")
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
    def spec(self) -> LSTMSpec:
        """The last layer, which has the head."""
        return self.layers[-1]

    @property
    def chains(self) -> tuple[Chain, ...]:
        return chains(self.layers)

    @property
    def stages(self) -> tuple[tuple[Stage, ...], ...]:
        """Per chain its stages."""
        return stages_of(self.chains, self.stage_lists)

    @property
    def macs(self) -> int:
        """Multiplications per step of the stage lists, also with those entries of the data tensor that stay zero."""
        parts = zip(self.chains, self.stages, strict=True)
        return sum(stage.macs(chain.network) for chain, each in parts for stage in each)

    def save(self, path: Path | str) -> str:
        """Writes the bundle and returns its content hash."""
        description = {
            "layers": _LAYERS.dump_python(self.layers, mode="json"),
            "stage_lists": self.stage_lists,
            "formats": _FORMATS.dump_python(self.formats, mode="json"),
            "about": self.about,
        }
        arrays = {f"weight.{c}.{s}": weight for c, chain in enumerate(self.weights) for s, weight in enumerate(chain)}
        arrays |= {f"bias.{number}": bias for number, bias in enumerate(self.biases)}
        for name in ("head_weight", "head_bias", "clips", "labels", "logits", "hidden"):
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
            stage_lists = tuple(tuple(tuple(group) for group in chain) for chain in description["stage_lists"])
            layers = _LAYERS.validate_python(description["layers"])
            weights = tuple(
                tuple(arrays.pop(f"weight.{c}.{s}") for s in range(len(chain))) for c, chain in enumerate(stage_lists)
            )
            biases = tuple(arrays.pop(f"bias.{number}") for number in range(len(layers)))
            arrays = {"head_weight": None, "head_bias": None, **arrays}
            return Bundle(
                layers=layers,
                stage_lists=stage_lists,
                formats=_FORMATS.validate_python(description["formats"]),
                weights=weights,
                biases=biases,
                about=description["about"],
                **arrays,
            )
        except (KeyError, TypeError, ValidationError, SpecError) as error:
            raise FileError(f"{path} is not a consistent bundle ({str(error).splitlines()[0]}); make it anew") from None


_LAYERS = TypeAdapter(tuple[LSTMSpec, ...])
_FORMATS = TypeAdapter(Formats)


def _check(name: str, array: np.ndarray | None, shape: tuple[int, ...], fixed) -> None:
    if array is None or array.shape != shape:
        raise SpecError(f"{name} has shape {None if array is None else array.shape}, not {shape}")
    if array.dtype.kind != "i":
        raise SpecError(f"{name} holds {array.dtype}, not integers")
    if prod(shape) and (array.min() < fixed.min or array.max() > fixed.max):
        raise SpecError(f"{name} leaves the range of its format {fixed}")
