"""What objects show of themselves in a notebook: the figures, drawn, escaped, and nothing loaded."""

import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from torch import nn

import fdht
from fdht.compiler.explain import explain
from fdht.spec.cards import card, fill_bars, network_picture, table
from fdht.spec.network import Factor, TensorNetwork, balanced_tree, bt_network, dense_network, ht_network, tr_network
from fdht.spec.target import find_target

N, M = (3, 2, 4), (2, 4, 2)


def well_formed(shown: str) -> ElementTree.Element:
    return ElementTree.fromstring(f"<page>{shown}</page>")


def texts(shown: str) -> list[str]:
    return [each for each in (text.strip() for text in well_formed(shown).itertext()) if each]


def test_a_tree_is_drawn_with_its_modes_and_ranks():
    network = ht_network(N, M, balanced_tree(3, {"1": 2, "2": 3, "3": 5, "12": 4}))
    shown = texts(network_picture(network))
    for words in ("U1", "U2", "U3", "B12", "B123", "m1=2 × n1=3", "m3=2 × n3=4", "2", "3", "5", "4"):
        assert words in shown
    boxes = [
        float(each.attrib["y"]) for each in well_formed(network_picture(network)).iter() if each.tag.endswith("rect")
    ]
    assert len(boxes) == 5 and len(set(boxes)) == 3  # the root above its halves above the leaves


@pytest.mark.parametrize(
    "network", [tr_network(N, M, 3), bt_network(N, M, 2, 3), dense_network(6, 8)], ids=lambda each: each.kind
)
def test_any_network_is_drawn_whole(network):
    shown = network_picture(network)
    bonds = [i for i, _ in network.sizes if i not in (*network.inputs, *network.outputs)]
    assert {factor.name for factor in network.factors} <= set(texts(shown))
    assert shown.count("<path ") >= len(bonds)
    assert all(float(y) >= 0 for y in re.findall(r' y="(-?[\d.]+)"', shown))


def test_bars_are_as_long_as_memories_are_full():
    shown = fill_bars({"scratchpad": (300, 400), "factors": (0, 512)})
    widths = [float(each) for each in re.findall(r'width="([\d.]+)" height="13" fill="#', shown)]
    assert widths == [150.0, 0.0] and "300 of 400" in texts(shown)


def test_words_from_outside_are_escaped():
    evil = "<script>alert(1)</script>\x07"
    for shown in (card(evil, {evil: evil}), table([evil], [[evil]]), fill_bars({evil: (1, 2)})):
        assert "<script" not in shown and "\x07" not in shown
        assert any("<script>alert(1)</script>\\x07" in text for text in texts(shown))


def test_layers_plans_and_accelerators_show_themselves():
    torch.manual_seed(0)
    layer = fdht.FDHTLSTM(6, 8, rank=3, batch_first=True)
    head = nn.Linear(8, 3)
    shown = texts(layer._repr_html_())
    stored = layer.spec.network.parameters
    assert f"{stored:,} in place of {4 * 8 * 14:,} ({4 * 8 * 14 / stored:,.0f} : 1)" in shown and "U1" in shown

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.head = layer, head

        def forward(self, x):
            return self.head(self.lstm(x)[0][:, -1])

    x = np.random.default_rng(0).normal(size=(8, 4, 6)).astype(np.float32)
    made = fdht.compile(Model(), calibration=x)
    report = made.report()
    shown = texts(made._repr_html_())
    assert f"{report.figures['cycles per step']:,}" in shown
    used, there = report.fill["scratchpad"]
    assert f"{used:,} of {there:,}" in shown
    shown = texts(made.image._repr_html_())
    assert f"{made.image.cycles(4):,}" in shown and f"{made.image.macs:,}" in shown
    shown = texts(made.bundle._repr_html_())
    assert "8 of 4 steps" in shown and " ∘ ".join(made.bundle.stages[0][-1].factors) in shown
    plan = explain(layer.spec, find_target("icebreaker"))
    shown = texts(plan._repr_html_())
    assert all(f"{stage.cycles:,}" in shown for stage in plan.stages)
    evil = replace(report, figures=report.figures | {"model": "<b>x</b>"})
    assert "<b>x" not in evil._repr_html_()


def test_a_network_of_an_unknown_kind_is_drawn_in_a_row():
    network = TensorNetwork(
        "mine",
        ("n1",),
        ("m1",),
        (("n1", 2), ("m1", 3), ("r1", 4)),
        (Factor("A", ("m1", "r1")), Factor("B", ("r1", "n1"))),
    )
    assert {"A", "B", "4"} <= set(texts(network_picture(network)))
