"""The bundle: the only hand-over from training to hardware. It knows no target."""

import json
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from fdht.spec import container
from fdht.spec.activation import check_tables
from fdht.spec.cards import card, lstm_facts, lstm_parts, table
from fdht.spec.container import Tensors, expect, expect_only
from fdht.spec.errors import SpecError
from fdht.spec.formats import Formats
from fdht.spec.lstm import MOST_CLASSES, Chain, LSTMSpec, chains, stack
from fdht.spec.record import Checked, Count, Plain, Seed, Share, Text, dump, parse
from fdht.spec.scaling import Scaling
from fdht.spec.score import R2, RMSE
from fdht.spec.stages import Stage, StageLists, check_sizes, stages_of
from fdht.spec.task import OutputScaling, check_outputs

MOST_STEPS = (1 << 16) - 1
"""Most steps of a clip: an engine counts them in 16 bits."""


@dataclass(frozen=True, eq=False)
class Bundle:
    """A quantised LSTM, complete: what it computes, in integers, and vectors that prove it.

    Attributes:
        layers: the networks, the lowest layer first.
        stage_lists: per chain (see fdht.spec.lstm.chains) the order of contraction the integers were made for.
        formats: every format.
        weights: per chain one integer array per stage, indices in the order of `Stage.weight`.
        biases: per layer 4 × H integers, gate-major in the order i, f, g, o.
        head_weight, head_bias: classes × H and classes; None without a head.
        clips: raw input clips as golden vectors, clips × steps × N.
        labels: what is true of each clip, as the last layer's task has it (see fdht.spec.task.Truth): its class, or
            that of every step, -1 where there is none; or real numbers, float64, NaN where there is none.
        logits, hidden: what the golden model makes of them: clips × classes, or clips × steps × classes of a task after
            every step, and clips × H (of the last layer after the last step).
        outputs: how the logits of a regression become real numbers; None: as the head's format has them.
        about: anything people may want to know (data set, accuracy); no code reads it for decisions, but `host`.
        lengths: steps of each clip that are its own, where they differ; labels, logits and hidden are of the last of
            these. None where all clips have all steps.
        scaling: how real values become raw words; None where these are what there is.

    Raises:
        SpecError: parts that do not belong together, or numbers outside their formats.
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
    outputs: OutputScaling | None = None
    lengths: np.ndarray | None = None
    scaling: Scaling | None = None

    def __post_init__(self):
        shapes = _shapes(stack(self.layers), self.stages, self.formats)
        names = [f"weight.{c}.{s}" for c, chain in enumerate(self.weights) for s in range(len(chain))]
        names += [f"bias.{number}" for number in range(len(self.biases))]
        names += [name for name in ("head_weight", "head_bias") if getattr(self, name) is not None]
        if names != list(shapes):
            raise SpecError(f"weights, biases and head {names} are not those that are needed, {list(shapes)}")
        formats = [stage.weight for stage in self.formats.stages] + [self.formats.gate.z] * len(self.layers)
        formats += [] if self.formats.head is None else [self.formats.head.weight, self.formats.head.result]
        for (name, array), fixed in zip(self.numbers.items(), formats, strict=True):
            if array.shape != shapes[name]:
                raise SpecError(f"{name} has shape {array.shape}, not {shapes[name]}")
            _check_range(name, array, fixed.min, fixed.max, f"its format {fixed}")
        inputs, shape = self.layers[0].inputs, self.clips.shape
        if len(shape) != 3 or not 1 <= shape[1] <= MOST_STEPS or shape[2] != inputs:
            raise SpecError(f"clips of shape {shape} are not clips x steps (1 to {MOST_STEPS:,}) x {inputs}")
        count, classes, task = len(self.clips), self.spec.classes, self.spec.task
        for name, vectors, shape in (
            ("labels", self.labels, (count, *task.truth_shape(self.clips.shape[1], classes))),
            ("logits", self.logits, (count, *task.shape(self.clips.shape[1], classes))),
            ("hidden", self.hidden, (count, self.spec.hidden)),
        ):
            if vectors.shape != shape:
                raise SpecError(f"{name} of shape {vectors.shape} do not belong to {count} clips; {shape} is needed")
        logit = self.formats.head.result if self.formats.head is not None else self.formats.gate.z
        for name, vectors, fixed in (
            ("clips", self.clips, self.formats.input.raw),
            ("logits", self.logits, logit),
            ("hidden", self.hidden, self.formats.gate.hidden),
        ):
            _check_range(name, vectors, fixed.min, fixed.max, f"their format {fixed}")
        if self.lengths is not None:
            if self.lengths.shape != (count,):
                raise SpecError(f"lengths of shape {self.lengths.shape} do not belong to {count} clips")
            _check_range("lengths", self.lengths, 1, self.clips.shape[1], "clips of so many steps")
        if self.scaling is not None:
            self.scaling.check(inputs, self.formats.input)
        if task.real:
            if self.labels.dtype != np.float64 or np.isinf(self.labels).any():
                raise SpecError(f"labels of the task {task} hold {self.labels.dtype}; they are float64, and finite")
        else:
            largest = (classes or MOST_CLASSES) - 1
            _check_range("labels", self.labels, -1, largest, f"{classes} classes, or -1 for none")
        check_outputs(self.outputs, task, classes)
        _check_about(self.about, count)

    @property
    def numbers(self) -> dict[str, np.ndarray]:
        """Weights, biases and head by the names of their tensors."""
        arrays = {f"weight.{c}.{s}": weight for c, chain in enumerate(self.weights) for s, weight in enumerate(chain)}
        arrays |= {f"bias.{number}": bias for number, bias in enumerate(self.biases)}
        head = {"head_weight": self.head_weight, "head_bias": self.head_bias}
        return arrays | {name: array for name, array in head.items() if array is not None}

    @property
    def host(self) -> tuple[str, ...]:
        """Names of the user's module's parts that stay on the host, in front of what is scaled. Nobody but the module
        has them, so real values are not what `scaling` takes then.
        """
        return tuple(self.about.get("host", ()))

    @property
    def spec(self) -> LSTMSpec:
        """The last layer, which has the head and its task."""
        return self.layers[-1]

    @cached_property
    def chains(self) -> tuple[Chain, ...]:
        return chains(self.layers)

    def _repr_html_(self) -> str:
        facts = lstm_facts(self.layers) | {
            "outputs, task": f"{self.spec.classes}, {self.spec.task}",
            "clips kept": f"{len(self.clips):,} of {self.clips.shape[1]} steps",
            "words of inputs": self.formats.input.raw,
        }
        every = [
            (chain.network, number, stage)
            for chain, stages in zip(self.chains, self.stages, strict=True)
            for number, stage in enumerate(stages, 1)
        ]
        rows = [
            (
                number,
                " ∘ ".join(stage.factors),
                *(prod(network.shape(part)) for part in (stage.rows, stage.reduction, stage.columns)),
                formats.weight,
            )
            for (network, number, stage), formats in zip(every, self.formats.stages, strict=True)
        ]
        heads = ("stage", "weight", "rows", "K", "columns", "format of the weight")
        pictures = [part for layer in self.layers for part in lstm_parts(layer)]
        return card("Bundle", facts, *pictures, table(heads, rows))

    @cached_property
    def stages(self) -> tuple[tuple[Stage, ...], ...]:
        """Per chain its stages."""
        return stages_of(self.chains, self.stage_lists)

    def clip(self, number: int) -> np.ndarray:
        """A clip's own steps, steps × N."""
        return self.clips[number] if self.lengths is None else self.clips[number, : self.lengths[number]]

    @property
    def macs(self) -> int:
        """Multiplications per step of the stage lists, also with those entries of the data tensor that stay zero."""
        parts = zip(self.chains, self.stages, strict=True)
        return sum(stage.macs(chain.network) for chain, each in parts for stage in each)

    def save(self, path: Path | str) -> str:
        """Writes the bundle and returns its content hash."""
        description = dump(
            _Description(self.layers, self.stage_lists, self.formats, self.outputs, self.about, self.scaling)
        )
        vectors = {name: getattr(self, name) for name in ("clips", "labels", "logits", "hidden")}
        vectors |= {} if self.lengths is None else {"lengths": self.lengths}
        return container.write(path, "bundle", description, self.numbers | vectors)

    @staticmethod
    def load(path: Path | str) -> "Bundle":
        """Reads a bundle.

        Raises:
            FileError: missing, damaged, tampered with or inconsistent.
        """
        description, arrays = container.read(path, "bundle", _Description, _check_tensors)
        try:
            return Bundle(
                layers=description.layers,
                stage_lists=description.stage_lists,
                formats=description.formats,
                weights=tuple(
                    tuple(arrays.pop(f"weight.{c}.{s}") for s in range(len(chain)))
                    for c, chain in enumerate(description.stage_lists)
                ),
                biases=tuple(arrays.pop(f"bias.{number}") for number in range(len(description.layers))),
                about=description.about,
                outputs=description.outputs,
                scaling=description.scaling,
                **{"head_weight": None, "head_bias": None, **arrays},
            )
        except SpecError as error:
            raise container.inconsistent(path, "bundle", error) from None


@dataclass(frozen=True)
class _Description(Checked):
    """What a bundle's file says in JSON."""

    layers: tuple[LSTMSpec, ...]
    stage_lists: StageLists
    formats: Formats
    outputs: OutputScaling | None
    about: dict[Text, Plain]
    scaling: Scaling | None


def _shapes(
    layers: tuple[LSTMSpec, ...], stages: tuple[tuple[Stage, ...], ...], formats: Formats
) -> dict[str, tuple[int, ...]]:
    """The shapes of weights, biases and head, by the names of their tensors.

    Raises:
        SpecError: chains, formats and layers that do not belong together.
    """
    every, last = chains(layers), layers[-1]
    for chain, resolved in zip(every, stages, strict=True):
        check_sizes(chain.network, resolved)
    sizes = [[len(chain) for chain in parts] for parts in (stages, formats.chains)]
    if sizes[0] != sizes[1]:
        raise SpecError(f"chains of {sizes[0]} stages need as many formats, not {sizes[1]}")
    if (last.classes > 0) != (formats.head is not None):
        raise SpecError(f"{last.classes} classes and head format {formats.head} disagree")
    shapes = {
        f"weight.{c}.{s}": chain.network.shape(stage.weight)
        for c, chain in enumerate(every)
        for s, stage in enumerate(stages[c])
    }
    shapes |= {f"bias.{number}": (4, last.hidden) for number in range(len(layers))}
    if last.classes:
        shapes |= {"head_weight": (last.classes, last.hidden), "head_bias": (last.classes,)}
    return shapes


def _check_tensors(description: _Description, tensors: Tensors) -> None:
    layers, formats = stack(description.layers), description.formats
    check_tables(formats.sigmoid, formats.tanh, formats.gate.z, formats.gate.activation)
    shapes = _shapes(layers, stages_of(chains(layers), description.stage_lists), formats)
    for name, shape in shapes.items():
        expect(tensors, name, "i", shape)
    (count, steps, _), last = expect(tensors, "clips", "iu", (None, None, layers[0].inputs)), layers[-1]
    task, classes = last.task, last.classes
    vectors = {
        "labels": (count, *task.truth_shape(steps, classes)),
        "logits": (count, *task.shape(steps, classes)),
        "hidden": (count, last.hidden),
    }
    vectors |= {"lengths": (count,)} if "lengths" in tensors else {}
    for name, shape in vectors.items():
        expect(tensors, name, "f" if task.real and name == "labels" else "i", shape)
    expect_only(tensors, {*shapes, *vectors, "clips"})


def _check_range(name: str, array: np.ndarray, low: int, high: int, what: str) -> None:
    if array.dtype.kind not in "iu":
        raise SpecError(f"{name} holds {array.dtype}, not integers")
    if array.size and not (low <= array.min() and array.max() <= high):
        raise SpecError(f"{name}: {array.min()}..{array.max()} leaves the range {low}..{high} of {what}")


def _check_about(about: dict, clips: int) -> None:
    """Whether what is known of a bundle is what its readers take it for."""
    for name, value in about.items():
        if name in _ABOUT:
            try:
                parse(_ABOUT[name], json.dumps(value))
            except (SpecError, TypeError, ValueError) as error:
                raise SpecError(f"about its {name}: {error}") from None
    if "float_classes" in about and len(about["float_classes"]) != clips:
        raise SpecError(f"about its float_classes: {len(about['float_classes'])} for {clips} clips")


Size = Annotated[int, Field(ge=1, le=1 << 20)]

_ABOUT: dict[str, Any] = {
    "preset": Text,
    "data": Text,
    "seed": Seed,
    "epochs": Count,
    "clips": Count,
    "trained_on": Text,
    "splits": dict[Text, Count],
    "recipe": dict[Text, Plain],
    "picture": list[Size],
    "classes": list[Text],
    "values": list[Text],
    "host": list[Text],
    "folded": list[Text],
    "float_classes": list[Count],
    "accuracy": dict[Text, Share],
    "rmse": dict[Text, RMSE],
    "r2": dict[Text, R2],
    "saturated": Share,
}
"""What `about` may say of the training and of the float model; anything else is for people alone."""
