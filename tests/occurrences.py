"""What happened in a set of runs, counted, so that a test can say how often each case has really occurred."""

import os
import re
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from fdht.compiler.image import Image
from fdht.compiler.machine import Run
from fdht.compiler.resolved import resolve
from fdht.compiler.schedule import Fields, Instructions
from fdht.model.golden import Trace
from fdht.spec import timing
from fdht.spec.bundle import Bundle
from fdht.spec.instructions import LoaderOp, Segment, Token, gate_instruction
from fdht.spec.target import Target

SEED = int(os.environ.get("FDHT_SEED", "20261123"))
"""Seed of the random tests."""


def occurrences(bundle: Bundle, image: Image, run: Run, trace: Trace) -> Counter[str]:
    """The cases one run contains, each once, by name."""
    target = image.target
    programs = image.machine.programs
    seen = {f"{image.layers} layers"}
    lanes = resolve(bundle.layers, bundle.stage_lists, target).lanes
    seen |= {"joined modes"} if any("·" in (lane or "") for own in lanes for lane in own) else set()
    for chain, stages in zip(bundle.chains, bundle.stages, strict=True):
        network = chain.network
        seen |= {f"d = {len(network.inputs)}", network.kind}
        seen |= {f"{network.kind} recurrent"} if chain.x is None else set()
        seen |= {"merge"} if any(len(stage.factors) > 1 for stage in stages) else set()
        seen |= {"batch"} if any(np.prod(network.shape(stage.batch)) > 1 for stage in stages) else set()
        # The bond that closes a ring.
        seen |= {"ring bond"} if network.kind == "tr" and network.size[f"r{len(network.inputs)}"] > 1 else set()
    loads = [i for i in programs[Segment.LOADER_PROGRAM] if i["op"] == LoaderOp.LOAD]
    seen |= {"tiled"} if len(loads) > 1 else set()
    seen |= {"beats that are words"} if any(i["whole"] for i in loads) else set()
    places = sum(i["op"] == LoaderOp.ZERO and i["give"] > 0 for i in programs[Segment.LOADER_PROGRAM])
    seen |= {"places taken in turn"} if 1 < places < len(loads) else set()
    seen |= {"places cleared"} if any(i["op"] == LoaderOp.CLEAR for i in programs[Segment.LOADER_PROGRAM]) else set()
    copies = sum(i["op"] == LoaderOp.COPY and not i["wait"] for i in programs[Segment.LOADER_PROGRAM])
    seen |= {"h in some tiles"} if len(loads) > 1 and copies else set()
    frees = [i for i in programs[Segment.ARRAY_PROGRAM] if i["give"] >> Token.X_FREE & 1]
    seen |= {"tiles of several stages"} if len(frees) > 1 and not _neighbours(frees, programs) else set()
    for instruction in programs[Segment.ARRAY_PROGRAM]:
        contraction = image.machine.contraction(instruction)
        seen |= {"transposed drain"} if instruction["transpose"] else set()
        seen |= {"padded rows"} if (instruction["rows"] + 1) % target.rows else set()
        seen |= {"K < P"} if contraction.depth < target.rows else set()
        seen |= {"padded lanes"} if instruction["transpose"] and instruction["emit"] + 1 < target.columns else set()
    for unit in programs.values():
        for instruction in unit:
            seen |= {f"wait {token.name}" for token in Token if instruction["wait"] >> token & 1}
    for place, clipped in trace.saturations.items():
        name = re.sub(r"^(layer \d )?(h )?(.*?)( \d+)?$", r"\3", place)
        seen |= {f"{name} saturates"} if clipped else set()
    at_limit = (run.array.data == target.data.max) | (run.array.data == target.data.min)
    seen |= {f"requantiser {lane} saturates" for lane in np.flatnonzero(at_limit.any(axis=0))}
    return Counter(seen | _schedule(image, run, target))


def _neighbours(frees: list[Fields], programs: Instructions) -> bool:
    """Whether the first two instructions that free inputs follow each other."""
    array = programs[Segment.ARRAY_PROGRAM]
    first, second = (next(k for k, i in enumerate(array) if i is free) for free in frees[:2])
    return second == first + 1


def _schedule(image: Image, run: Run, target: Target) -> set[str]:
    """Cases of timing: what the loader does while others work."""
    seen = {"data and result in separate banks"} if target.single_port else set()
    gates = [(start, done) for unit, _, _, start, done in run.started if unit is Segment.GATE_PROGRAM]
    soonest = timing.start(target) or 1 + timing.fetch(target, gate_instruction(target))
    seen |= {"gate unit back to back"} if any(b == done + soonest for (_, done), (b, _) in pairwise(gates)) else set()
    array = [(start, done) for unit, _, _, start, done in run.started if unit is Segment.ARRAY_PROGRAM]
    seen |= {"operands while the array drains"} if any(b < done for (_, done), (b, _) in pairwise(array)) else set()
    for unit, _, _, start, done in run.started:
        if unit is Segment.LOADER_PROGRAM:
            beside = any(start < other_done and other_start < done for other_start, other_done in array)
            seen |= {"loader beside the array"} if beside else set()
    return seen


def assert_occurred(seen: Counter[str], expected: Mapping[str, int]) -> None:
    """Every case as often as expected, or more."""
    few = {name: seen[name] for name in expected if seen[name] < expected[name]}
    assert not few, f"these occurred too rarely: {few}; reproduce with FDHT_SEED={SEED}"
