"""Pipelines between the two that fdht has: values alone, which every part of the engine must make as it is."""

from dataclasses import replace

from fdht.spec.gate_schedule import REGISTERED
from fdht.spec.pipeline import COMPACT, PIPELINED

REGISTERED_GATES = replace(COMPACT, gate=REGISTERED)
"""A compact array beside a registered gate unit."""

MIXED = replace(
    PIPELINED, row_hop=0, column_hop=1, sums_inside=True, multiply=3, request=2, factors=3, requantise=0, shift=2,
    saturate=1, result_sum=0, result_copy=False, address=0, write_request=0, load=1, tokens=1, fill=0
)  # fmt: skip
"""Registers here and there, and instructions that are fetched ahead."""

HASTY = replace(
    PIPELINED, request=1, bank=0, answer=0, factors=2, hidden=0, prefetch=False, begin=0, tokens=0, ports=0,
    gate=COMPACT.gate, program=0, shift=1, column_hop=3, load=4
)  # fmt: skip
"""Skewed rows beside a gate unit without registers, and no fetching ahead."""

BETWEEN = {"registered gates": REGISTERED_GATES, "mixed": MIXED, "hasty": HASTY}
