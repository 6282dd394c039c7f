"""The checker of the AXI rules sees each of them broken."""

from types import SimpleNamespace

import pytest
from axi_rules import Channel


def sampled(*cycles: tuple[int, int, int]) -> tuple[list[str], Channel]:
    """What a channel says of cycles (valid, ready, data), and the channel."""
    dut = SimpleNamespace(**{f"x_t{name}": SimpleNamespace(value=0) for name in ("valid", "ready", "data")})
    channel, said = Channel(dut, "x_t", ("data",)), []
    for valid, ready, data in cycles:
        dut.x_tvalid.value, dut.x_tready.value, dut.x_tdata.value = valid, ready, data
        said.append(channel.sample())
    return said, channel


def test_what_is_right_is_left_alone():
    said, channel = sampled((0, 0, 9), (1, 0, 1), (1, 0, 1), (1, 1, 1), (1, 1, 2), (0, 1, 3), (1, 1, 4), (0, 0, 5))
    assert not any(said) and (channel.beats, channel.waits) == (3, 2)


@pytest.mark.parametrize(
    "cycles",
    [
        ((1, 0, 1), (0, 0, 1)),  # valid is taken back
        ((1, 0, 1), (0, 1, 1)),  # in the very cycle in which ready comes
        ((1, 0, 1), (1, 0, 2)),  # the payload changes
        ((1, 0, 1), (1, 1, 2)),
        ((1, 1, 1), (1, 0, 2), (1, 0, 3)),
    ],
)
def test_what_is_wrong_is_said(cycles):
    said, _ = sampled(*cycles)
    assert not any(said[:-1]) and "was offered and not taken" in said[-1]
