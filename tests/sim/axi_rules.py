"""A passive checker of the AXI rules: it only watches, and knows nothing of what is on either side."""

from collections import Counter
from collections.abc import Sequence

import cocotb
from cocotb.triggers import FallingEdge

CHANNELS = {
    "s_axi_aw": ("addr", "prot"),
    "s_axi_w": ("data", "strb"),
    "s_axi_b": ("resp",),
    "s_axi_ar": ("addr", "prot"),
    "s_axi_r": ("data", "resp"),
    "s_axis_x_t": ("data", "keep", "last"),
    "s_axis_state_t": ("data", "keep", "last"),
    "m_axis_result_t": ("data", "keep", "id", "user", "last"),
}
"""Every channel's prefix and what it carries."""

OF_STREAMS = {"s_axis_x_t": ("id", "user"), "m_axis_result_t": ("dest",)}
"""What they carry as well where an engine has several streams."""

OURS = ("s_axi_b", "s_axi_r", "m_axis_result_t")
"""Channels on which the block drives valid."""


class Channel:
    """One channel: whether what was offered stays until it is taken, and what was taken."""

    def __init__(self, dut, prefix: str, carried: Sequence[str]):
        self.prefix = prefix
        self.valid, self.ready = getattr(dut, f"{prefix}valid"), getattr(dut, f"{prefix}ready")
        self.carried = [getattr(dut, f"{prefix}{name}") for name in carried]
        self.beats = self.waits = 0
        self.waiting: list | None = None

    def sample(self) -> str:
        """Looks at a cycle; returns what is wrong with it, or nothing."""
        valid = bool(self.valid.value)
        if not valid and self.waiting is None:
            return ""
        offered = [signal.value for signal in self.carried] if valid else None
        wrong = ""
        if self.waiting is not None and offered != self.waiting:
            wrong = f"{self.prefix}: {self.waiting} was offered and not taken, then came {offered}"
        taken = valid and bool(self.ready.value)
        self.waiting = offered if valid and not taken else None
        self.beats += taken
        self.waits += valid and not taken
        return wrong


class Rules:
    """Watches every channel of the block from now on, and fails the test at once when a rule is broken.

    Attributes:
        beats: taken on each channel. waits: cycles in which something was offered and not taken.
    """

    def __init__(self, dut):
        self.dut = dut
        several = OF_STREAMS if hasattr(dut, "s_axis_x_tid") else {}
        self._channels = {
            prefix: Channel(dut, prefix, (*carried, *several.get(prefix, ()))) for prefix, carried in CHANNELS.items()
        }
        cocotb.start_soon(self._watch())

    @property
    def beats(self) -> Counter:
        return Counter({prefix: channel.beats for prefix, channel in self._channels.items()})

    @property
    def waits(self) -> Counter:
        return Counter({prefix: channel.waits for prefix, channel in self._channels.items()})

    async def _watch(self) -> None:
        """Signals change at rising edges: in the middle of a cycle they are what the next one finds."""
        dut, channels = self.dut, self._channels
        writes, reads = ("s_axi_aw", "s_axi_w", "s_axi_b"), ("s_axi_ar", "s_axi_r")
        bus = [channels[prefix] for prefix in (*writes, *reads)]
        cycles = 0  # of a reset
        begun = [0] * len(bus)  # beats before it
        while True:
            await FallingEdge(dut.aclk)
            if not dut.aresetn.value:
                cycles += 1
                for prefix, channel in channels.items():
                    channel.waiting = None
                    if cycles > 1 and prefix in OURS and channel.valid.value:
                        raise AssertionError(f"{prefix}: valid is high in a reset")
                begun = [channel.beats for channel in bus]
                continue
            cycles = 0
            for channel in channels.values():
                if wrong := channel.sample():
                    raise AssertionError(wrong)
            address, data, response, asked, read = (each.beats - was for each, was in zip(bus, begun, strict=True))
            # A response may be offered only for what was taken in an earlier cycle.
            assert response <= min(address, data), f"{response} writes answered, {address} addresses, {data} words"
            assert read <= asked, f"{read} reads answered of {asked}"

    def check_quiet(self) -> None:
        """Fails if an access has not been answered or something still waits; where there was no reset."""
        beats = self.beats
        assert beats["s_axi_aw"] == beats["s_axi_w"] == beats["s_axi_b"]
        assert beats["s_axi_ar"] == beats["s_axi_r"]
        assert not any(self._channels[prefix].waiting for prefix in OURS)
