import subprocess
import sys

import pytest

TOUCHES = """
import ctypes, resource, sys
from fdht.allocator import keep_freed

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]

def batch():
    place = libc.malloc(SIZE)
    ctypes.memset(place, 1, SIZE)
    libc.free(place)

SIZE = 64 << 20
if sys.argv[1:]:
    keep_freed()
batch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
batch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*arguments: str) -> int:
    """Pages that the system hands out for a second batch of 64 MiB (4 KiB each, or 2 MiB)."""
    run = subprocess.run([sys.executable, "-c", TOUCHES, *arguments], capture_output=True, text=True, check=True)
    return int(run.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is on Linux")
def test_a_second_batch_has_the_memory_of_the_first():
    assert faults() >= 32
    assert faults("keep") < 32
