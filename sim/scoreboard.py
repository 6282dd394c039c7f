"""Compares what is seen with what is expected: order, cycle, place, value, and that none is missing or too many."""

from fdht.compiler.machine import Events


class Scoreboard:
    """Holds, per channel, the results still expected.

    Args:
        check_cycles: compare cycles too (not when inputs pause at random).
    """

    def __init__(self, check_cycles: bool):
        self.check_cycles = check_cycles
        self.compared = 0
        self.expected = 0
        self.mismatches: list[str] = []
        self._channels: dict[str, tuple[list, list, list]] = {}
        self._seen: dict[str, list] = {}

    def expect(self, channel: str, events: Events) -> None:
        """Sets what a channel must bring in the coming run. A cycle of -1 is not compared."""
        data = events.data if events.data.ndim == 2 else events.data[:, None]
        self._channels[channel] = (
            events.cycle.tolist(),
            list(map(tuple, events.where.tolist())),
            list(map(tuple, data.tolist())),
        )
        self._seen[channel] = []
        self.expected += len(events.cycle)

    def saw(self, channel: str, cycle: int, where: tuple[int, ...], data: tuple[int, ...]) -> None:
        """Compares one result; the n-th of its channel with the n-th expected."""
        seen = self._seen.setdefault(channel, [])
        position = len(seen)
        seen.append((*where, *data))
        if channel not in self._channels or position >= len(self._channels[channel][0]):
            self.mismatches.append(f"cycle {cycle}: {channel} wrote {data} to {where}, where nothing more was expected")
            return
        cycles, places, values = self._channels[channel]
        self.compared += 1
        late = self.check_cycles and cycles[position] >= 0 and cycle != cycles[position]
        if late or where != places[position] or data != values[position]:
            self.mismatches.append(
                f"cycle {cycle}: {channel} wrote {data} to {where}, expected {values[position]} to {places[position]}"
                + (f" in cycle {cycles[position]}" if self.check_cycles else "")
            )

    def finish(self) -> dict[str, list]:
        """Ends a run: reports what is missing; returns everything seen, per channel."""
        for channel, (cycles, places, _) in self._channels.items():
            missing = len(cycles) - len(self._seen[channel])
            if missing > 0:
                first = len(self._seen[channel])
                self.mismatches.append(
                    f"{channel}: {missing} results missing, the first to {places[first]} in cycle {cycles[first]}"
                )
        seen, self._seen, self._channels = self._seen, {}, {}
        return seen
