"""What a model is asked for: a class or real numbers, once for a sequence or after every step."""

from enum import StrEnum, unique

import numpy as np

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
