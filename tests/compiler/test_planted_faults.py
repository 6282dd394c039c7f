"""Faults in compiler and golden model are seen where the encoded image is executed in numpy beside the golden model."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from bundles import MODELS
from test_planner import check_random_network

import compiler.program
from model.golden import GoldenLSTM, _Chain
from spec.lstm import Region


def run_some() -> None:
    rng = np.random.default_rng(3)
    for number in range(len(MODELS)):
        check_random_network(rng, (4, 4), number, (2, 3))


def test_without_a_fault_all_agree():
    run_some()


def factors_not_turned(monkeypatch):
    right = compiler.program.factor_words
    monkeypatch.setattr(compiler.program, "factor_words", lambda *args: right(*args)[:, ::-1])


def bias_rows_reversed(monkeypatch):
    right = compiler.program.bias_words
    monkeypatch.setattr(compiler.program, "bias_words", lambda *args: right(*args)[::-1])


def regions_from_zero(monkeypatch):
    right = compiler.program.region_nest

    def wrong(region: Region, *args, **options):
        return right(replace(region, start=(0,) * len(region.start)), *args, **options)

    monkeypatch.setattr(compiler.program, "region_nest", wrong)


def golden_without_bias(monkeypatch):
    right = _Chain._placed_bias
    monkeypatch.setattr(_Chain, "_placed_bias", lambda *args: torch.zeros_like(right(*args)))


def golden_gates_swapped(monkeypatch):
    right = GoldenLSTM._gates
    order = [0, 3, 2, 1]
    monkeypatch.setattr(GoldenLSTM, "_gates", lambda self, z, *args: right(self, z[:, order], *args))


def golden_forgets_h(monkeypatch):
    right = _Chain.run
    monkeypatch.setattr(_Chain, "run", lambda self, x, h, *args: right(self, x, torch.zeros_like(h), *args))


def golden_forgets_the_recurrent_network(monkeypatch):
    right = GoldenLSTM._sum
    monkeypatch.setattr(GoldenLSTM, "_sum", lambda self, spec, parts, *args: right(self, spec, parts[:1], *args))


def layers_share_cells(monkeypatch):
    right = compiler.program._gate_program

    def wrong(*args):
        program = right(*args)
        for fields in program:
            fields["last"] -= fields["first"]
            fields["first"] = 0
        return program

    monkeypatch.setattr(compiler.program, "_gate_program", wrong)


def copies_of_the_wrong_layer(monkeypatch):
    right = compiler.program._loader_program

    def wrong(*args):
        program = right(*args)
        for fields in program:
            fields["first"] = 0
        return program

    monkeypatch.setattr(compiler.program, "_loader_program", wrong)


@pytest.mark.parametrize(
    "fault",
    [
        factors_not_turned,
        bias_rows_reversed,
        regions_from_zero,
        golden_without_bias,
        golden_gates_swapped,
        golden_forgets_h,
        golden_forgets_the_recurrent_network,
        layers_share_cells,
        copies_of_the_wrong_layer,
    ],
)
def test_a_fault_is_seen(monkeypatch, fault):
    fault(monkeypatch)
    with pytest.raises(AssertionError):
        run_some()
