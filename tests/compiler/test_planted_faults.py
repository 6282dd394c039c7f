"""Faults in compiler and golden model are seen where the encoded image is executed in numpy beside the golden model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from bundles import MODELS
from test_planner import check_random_network

from fdht.compiler import assembler
from fdht.model.golden import GoldenLSTM, _Chain


def run_some() -> None:
    rng = np.random.default_rng(3)
    for number in range(len(MODELS)):
        check_random_network(rng, (4, 4), number, (2, 3))


@dataclass(frozen=True)
class Fault:
    """A function that does something else than it should.

    Attributes:
        owner, name: the function.
        wrong: in its place; called with the right one and the arguments.
        needs: an input that makes a difference, in words.
        bites: whether these arguments are one.
    """

    owner: Any
    name: str
    wrong: Callable
    needs: str
    bites: Callable[..., bool]


def _changed(fault: Callable) -> Callable[..., bool]:
    """Whether the fault bites a function without effects: its result is another."""
    return lambda right, *args: not np.array_equal(right(*args), fault(right, *args))


def _in_all(**changes: Callable[[Mapping], int]) -> Callable:
    """A program with fields of every instruction changed."""

    def wrong(right, *args):
        return [
            replace(fields, **{name: change(fields) for name, change in changes.items()}) for fields in right(*args)
        ]

    return wrong


def _lanes_turned(right, *args):
    return right(*args)[:, ::-1]


def _rows_turned(right, *args):
    return right(*args)[::-1]


def _from_zero(right, region, *args, **options):
    return right(replace(region, start=(0,) * len(region.start)), *args, **options)


FAULTS = {
    "factors not turned upside down": Fault(
        assembler, "factor_words", _lanes_turned, "a word of unequal factors", _changed(_lanes_turned)
    ),
    "biases in reverse": Fault(
        assembler, "bias_words", _rows_turned, "biases that are not their own mirror", _changed(_rows_turned)
    ),
    "placements taken from zero": Fault(
        assembler,
        "region_nest",
        _from_zero,
        "a box that begins elsewhere",
        lambda right, region, *args, **options: any(region.start),
    ),
    "a golden model without bias": Fault(
        _Chain,
        "_placed_bias",
        lambda right, *args: torch.zeros_like(right(*args)),
        "a bias",
        lambda right, *args: bool(right(*args).any()),
    ),
    "a golden model with gates swapped": Fault(
        GoldenLSTM,
        "_gates",
        lambda right, self, z, *args: right(self, z[:, [0, 3, 2, 1]], *args),
        "a unit with f other than o",
        lambda right, self, z, *args: bool((z[:, 1] != z[:, 3]).any()),
    ),
    "a golden model without h": Fault(
        _Chain,
        "run",
        lambda right, self, x, h, *args: right(self, x, torch.zeros_like(h), *args),
        "an h that is not zero",
        lambda right, self, x, h, *args: bool(h.any()),
    ),
    "a golden model without the recurrent network": Fault(
        GoldenLSTM,
        "_sum",
        lambda right, self, spec, parts, *args: right(self, spec, parts[:1], *args),
        "a recurrent network's z",
        lambda right, self, spec, parts, *args: any(bool(part.any()) for part in parts[1:]),
    ),
    "layers that share their cell states": Fault(
        assembler,
        "_gate_program",
        _in_all(last=lambda fields: fields["last"] - fields["first"], first=lambda fields: 0),
        "a layer above the first",
        lambda right, *args: any(fields["first"] for fields in right(*args)),
    ),
    "h copied from the wrong layer": Fault(
        assembler,
        "_loader_program",
        _in_all(first=lambda fields: 0),
        "units that are not the first",
        lambda right, *args: any(fields["first"] for fields in right(*args)),
    ),
}


def test_without_a_fault_all_agree():
    run_some()


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_seen(monkeypatch, name):
    """Where its input occurs, and not by the way."""
    fault, bitten = FAULTS[name], []
    right = getattr(fault.owner, fault.name)

    def planted(*args, **options):
        bitten.append(fault.bites(right, *args, **options))
        return fault.wrong(right, *args, **options)

    monkeypatch.setattr(fault.owner, fault.name, planted)
    with pytest.raises(AssertionError) as failure:
        run_some()
    assert any(bitten), f"no network has {fault.needs}"
    assert failure.traceback[-1].name == "check_random_network", "not seen in a comparison"
