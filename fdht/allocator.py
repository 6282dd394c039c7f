"""What the C library does with memory that is freed: of a process of `fdht`, it keeps it."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Parameters of glibc's `mallopt`, from its malloc.h."""

NEVER = 2**31 - 1


def keep_freed() -> None:
    """Lets malloc use again what was freed, whatever its size, in place of giving it back to the system.

    A batch of frames is tens of megabytes. glibc asks the system for so much each time, which hands it out as pages
    that it clears one by one, when they are first touched; in a training that is half of the time
    (docs/decisions/model.md). Where there is no glibc, nothing is changed.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(M_TRIM_THRESHOLD, NEVER)
        libc.mallopt(M_MMAP_MAX, 0)
