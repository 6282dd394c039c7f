"""What a model is asked for: a class or real numbers, once for a sequence or after every step."""

from dataclasses import dataclass
from enum import StrEnum, unique

import numpy as np

from fdht.spec.clips import classes_of
from fdht.spec.errors import SpecError
from fdht.spec.fixed import Fixed
from fdht.spec.record import Checked

Truth = np.ndarray
"""What is true of B clips of T steps: classes, B or B × T integers (-1 where nothing is known), or real numbers, B × K
or B × T × K (NaN where nothing is known), as the task says.
"""


@unique
class Task(StrEnum):
    """What the head's outputs mean, and when there are any."""

    CLASSIFY = "classify"
    """The class of a sequence: logits after its last step."""
    LABEL_STEPS = "label-steps"
    """A class after every step: logits then."""
    REGRESS = "regress"
    """Real numbers after the last step."""
    REGRESS_STEPS = "regress-steps"
    """Real numbers after every step."""

    @property
    def every_step(self) -> bool:
        """Whether there are outputs after every step, not only after the last one."""
        return self in (Task.LABEL_STEPS, Task.REGRESS_STEPS)

    @property
    def real(self) -> bool:
        """Whether outputs are real numbers, not logits."""
        return self in (Task.REGRESS, Task.REGRESS_STEPS)

    def shape(self, steps: int, outputs: int) -> tuple[int, ...]:
        """That of what the head sends for a clip of so many steps: outputs, or steps × outputs."""
        return (steps, outputs) if self.every_step else (outputs,)

    def truth_shape(self, steps: int, outputs: int) -> tuple[int, ...]:
        """That of what is true of a clip: see `Truth`."""
        return self.shape(steps, outputs) if self.real else self.shape(steps, outputs)[:-1]

    def classes_of(self, logits: np.ndarray) -> np.ndarray:
        """The class of each vector of logits (… × classes → …); -1 without a head, and where they are no logits."""
        return classes_of(logits[..., :0] if self.real else logits)


@dataclass(frozen=True)
class OutputScaling(Checked):
    """How the outputs of a regression become the numbers that were asked for: output × scale + mean, one of each per
    output. A model is trained on the opposite, (number − mean) ÷ scale.

    Raises:
        SpecError: not as many of one as of the other, or a scale that is not above zero.
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]

    def __post_init__(self):
        if len(self.mean) != len(self.scale) or not self.mean:
            raise SpecError(f"{len(self.mean)} means and {len(self.scale)} scales; an output has one of each")
        if not (np.isfinite(self.mean).all() and np.isfinite(self.scale).all() and min(self.scale) > 0):
            raise SpecError(f"means {self.mean} and scales {self.scale}; they are finite, and scales above 0")

    @staticmethod
    def fitted(values: np.ndarray) -> "OutputScaling":
        """Mean and standard deviation of each output over real numbers (… × K), NaN where nothing is known; a scale of
        1 for an output that is always the same.

        Raises:
            SpecError: an output of which nothing is known.
        """
        flat = np.asarray(values, dtype=np.float64).reshape(-1, values.shape[-1])
        known = np.isfinite(flat)
        if not known.any(axis=0).all():
            raise SpecError("an output has no number to learn; leave it out, or pass some")
        mean = np.where(known, flat, 0).sum(0) / known.sum(0)
        scale = np.sqrt(np.square(np.where(known, flat - mean, 0)).sum(0) / known.sum(0))
        # What rounding leaves of a constant is none of its own.
        constant = scale <= 1e-12 * np.maximum(np.abs(mean), 1e-300)
        return OutputScaling(tuple(mean.tolist()), tuple(np.where(constant, 1.0, scale).tolist()))

    @property
    def outputs(self) -> int:
        return len(self.mean)

    def scaled(self, values: np.ndarray) -> np.ndarray:
        """What a model learns for real numbers (… × K)."""
        return (np.asarray(values, dtype=np.float64) - np.array(self.mean)) / np.array(self.scale)

    def values(self, outputs: np.ndarray) -> np.ndarray:
        """The numbers that outputs (… × K) stand for."""
        return np.asarray(outputs, dtype=np.float64) * np.array(self.scale) + np.array(self.mean)

    def values_of(self, integers: np.ndarray, format: Fixed) -> np.ndarray:
        """The numbers that integers of the head (… × K) stand for."""
        return self.values(format.dequantise(integers))


def check_outputs(scaling: OutputScaling | None, task: Task, outputs: int) -> None:
    """Whether a scaling belongs to a task with so many outputs; there need be none.

    Raises:
        SpecError: it does not.
    """
    if scaling is not None and (not task.real or scaling.outputs != outputs):
        raise SpecError(f"a scaling of {scaling.outputs} outputs does not belong to {outputs} of the task {task}")


def only_classes(command: str, data: str, task: Task) -> None:
    """Refuses what compares the classes of clips and nothing else.

    Raises:
        SpecError: the task is another.
    """
    if task is not Task.CLASSIFY:
        raise SpecError(
            f"{command} compares models by the classes of clips; {data} is for the task {task}: use fdht train, "
            "compile and compare"
        )
