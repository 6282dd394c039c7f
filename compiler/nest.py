"""Loop nests: from strides, as a compiler thinks, to jumps, as the address generators step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fdht.spec.errors import CapacityError, Resource


@dataclass(frozen=True)
class Loop:
    """One level: how often, and how far each address moves per iteration. `fixed` levels are never merged."""

    count: int
    strides: Mapping[str, int]
    fixed: bool = False


def merge(loops: Sequence[Loop], longest: int) -> list[Loop]:
    """The same walk with fewer loops, innermost first: loops of one iteration vanish, and neighbours that walk
    like one loop become one, unless `fixed` or of more than `longest` iterations together.

    Raises:
        CapacityError: a loop is longer than that by itself.
    """
    most = max((loop.count for loop in loops), default=0)
    if most > longest:
        raise CapacityError(Resource.LOOP_ITERATIONS, most, longest, "choose a larger target or smaller modes")
    kept: list[Loop] = []
    for loop in loops:
        if loop.fixed:
            kept.append(loop)
        elif loop.count > 1:
            inner = kept[-1] if kept and not kept[-1].fixed else None
            alike = inner and all(s == inner.strides[name] * inner.count for name, s in loop.strides.items())
            if inner and alike and inner.count * loop.count <= longest:
                kept[-1] = Loop(inner.count * loop.count, inner.strides)
            else:
                kept.append(loop)
    return kept


def encode_nest(kept: Sequence[Loop], bases: Mapping[str, int], levels: int, tail: int | None = None) -> dict:
    """The nest record (see fdht.spec.instructions) of loops given innermost first.

    Args:
        bases: first address of each name in the loops' strides.
        levels: loops an address generator of the target has.
        tail: if given, the innermost `fixed` loop runs `tail` times, not `count` times, in the last turn of the
            loop around it, which is fixed too.

    Raises:
        CapacityError: more loops than levels.
    """
    if len(kept) > levels:
        raise CapacityError(Resource.LOOP_LEVELS, len(kept), levels, "choose a target with more levels")
    tailed = next((k for k, loop in enumerate(kept) if loop.fixed), 0) if tail is not None else None
    records = []
    covered = dict.fromkeys(bases, 0)
    for k, loop in enumerate(kept):
        records.append({"count": loop.count - 1} | {name: loop.strides[name] - covered[name] for name in bases})
        for name in bases:
            if k - 1 == tailed:
                inner = kept[k - 1]
                covered[name] -= inner.strides[name] * (inner.count - (tail or 0))
            covered[name] += loop.strides[name] * (loop.count - 1)
    while len(records) < levels:
        records.append({"count": 0} | dict.fromkeys(bases, 0))
    nest = {**bases, "levels": records}
    if "lane" in bases:
        nest |= {"tail": (tail or 1) - 1, "tail_level": 0 if tailed is None else 1 << tailed}
    return nest


def walk(nest: Mapping, limit: int | None = None) -> dict[str, np.ndarray]:
    """Addresses that an address generator visits, in order; the executable definition of a nest record.

    Args:
        nest: a nest record. limit: stop after so many.
    """
    names = [name for name in nest["levels"][0] if name != "count"]
    offsets = {name: np.zeros(1, dtype=np.int64) for name in names}
    tail_level = nest.get("tail_level", 0).bit_length() - 1
    ends = {name: 0 for name in names}  # where the walk so far stops, relative to its start
    pending: dict[str, np.ndarray] | None = None  # the shortened last turn of the tailed level
    pending_ends: dict[str, int] = {}
    for k, level in enumerate(nest["levels"]):
        count = level["count"] + 1
        turn = {name: ends[name] + level[name] for name in names}
        if pending is not None:
            parts = {name: [offsets[name] + t * turn[name] for t in range(count - 1)] for name in names}
            for name in names:
                parts[name].append(pending[name] + (count - 1) * turn[name])
                offsets[name] = np.concatenate(parts[name])
                ends[name] = (count - 1) * turn[name] + pending_ends[name]
            pending = None
            continue
        if k == tail_level:
            short = nest["tail"] + 1
            pending = {
                name: (offsets[name][None, :] + turn[name] * np.arange(short)[:, None]).ravel() for name in names
            }
            pending_ends = {name: ends[name] + turn[name] * (short - 1) for name in names}
        offsets = {name: (offsets[name][None, :] + turn[name] * np.arange(count)[:, None]).ravel() for name in names}
        ends = {name: ends[name] + turn[name] * (count - 1) for name in names}
    return {name: nest[name] + offsets[name][:limit] for name in names}
