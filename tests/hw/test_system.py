"""The register between two streams: nothing lost, nothing twice, whatever pauses there are on either side."""

import pytest
from test_packets import PAUSES, drive

from fdht.hw.shell.system import StreamBuffer


@pytest.mark.parametrize("into", PAUSES)
@pytest.mark.parametrize("out", PAUSES)
def test_a_buffer_passes_everything_once_and_in_order(into, out):
    words = list(range(1, 100))
    assert drive(StreamBuffer(8), words, into, out, int) == words
