"""Models of one protocol side by side: mean and spread over the seeds, and how much better FDHT is."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from fdht.studies.accuracy import Difference, Row, by_series, difference


@dataclass(frozen=True)
class Standing:
    """A model of a comparison: its rows, one a seed, and how much better FDHT is; None for FDHT itself."""

    rows: list[Row]
    fdht_minus_it: Difference | None

    @property
    def mean(self) -> float:
        return float(np.mean([row.accuracy for row in self.rows]))

    @property
    def spread(self) -> float | None:
        """Standard deviation over the seeds, None of a single one."""
        return float(np.std([row.accuracy for row in self.rows], ddof=1)) if len(self.rows) > 1 else None

    def figures(self) -> dict:
        first = self.rows[0]
        names = ("data", "format", "recurrent", "factors", "parameters", "clips", "settings", "total")
        gap = self.fdht_minus_it
        return {
            **{name: getattr(first, name) for name in names},
            "seeds": [row.seed for row in self.rows],
            "accuracy": self.mean,
            "spread": self.spread,
            "fdht_minus_it": None if gap is None else asdict(gap) | {"verdict": gap.verdict},
        }


def standings(rows: Sequence[Row]) -> dict[tuple[str, int], list[Standing]]:
    """Per data set and number of clips, the models from few to many parameters, each held against FDHT."""
    result: dict[tuple[str, int], list[Standing]] = {}
    series = sorted(by_series(rows).values(), key=lambda each: (each[0].data, each[0].clips, each[0].parameters))
    for each in series:
        first = each[0]
        ours = [r for r in rows if (r.data, r.clips, r.format) == (first.data, first.clips, "fdht")]
        gap = difference(ours, each) if ours and first.format != "fdht" else None
        result.setdefault((first.data, first.clips), []).append(Standing(each, gap))
    return result


def gap_text(gap: Difference | None) -> str:
    """A difference in points, its interval, and the verdict."""
    if gap is None:
        return ""
    mean, low, high = (f"{100 * value:+.1f}" for value in (gap.mean, gap.low, gap.high))
    return f"{mean} [{low}, {high}] {gap.verdict}{', 1 seed' if gap.seeds == 1 else ''}"
