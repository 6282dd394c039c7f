"""The models FDHT is compared with: one job for all, parameters as the papers and tednet count them."""

import contextlib
import io
from math import prod

import numpy as np
import pytest

from fdht.model.presets import PRESETS
from fdht.spec.errors import SpecError
from fdht.spec.lstm import dense_lstm
from fdht.spec.network import bt_network, tr_network, tt_network
from fdht.studies.accuracy import FORMATS
from fdht.studies.rivals import BLOCKS, PUBLISHED, models

NAMES = ("digits", "spoken-digits", "faces-hard", "clip-segments")


@pytest.mark.parametrize("name", NAMES)
def test_all_do_the_same_job(name):
    ours = PRESETS[name].spec
    every = models(ours, [])
    assert {model.format for model in every} == set(FORMATS)
    for model in every:
        spec = model.spec
        assert (spec.inputs, spec.hidden, spec.classes) == (ours.inputs, ours.hidden, ours.classes)
        assert (spec.recurrent is None) == (model.recurrent == "whole")
        if model.format != "dense":
            assert spec.network.output_shape == ours.network.output_shape and spec.gates == ours.gates
            # The k-th input has the same place in every network: only modes may end earlier.
            assert spec.x.coordinates().tolist() == (ours.x.coordinates() - np.array(ours.x.start)).tolist()


@pytest.mark.parametrize("name", NAMES)
def test_whole_networks_have_the_factors_of_fdht(name):
    ours = PRESETS[name].spec
    for model in models(ours, ["tt", "tr", "bt"]):
        ranks = set(model.spec.network.ranks.values())
        if model.recurrent == "whole":
            assert abs(model.spec.network.parameters / ours.network.parameters - 1) < 0.04
            assert max(ranks) - min(ranks) <= 1
        else:
            assert ranks == {PUBLISHED[model.format]}


def test_the_papers_way_leaves_a_dense_matrix():
    ours = PRESETS["clip-segments"].spec
    for model in models(ours, []):
        if model.recurrent == "dense":
            spec = model.spec
            assert spec.parameters["recurrent"] == 4 * ours.hidden**2
            assert prod(spec.network.input_shape) == ours.inputs, "no place for h in the network of the inputs"
            assert sum(spec.parameters.values()) > 20 * sum(ours.parameters.values())


@pytest.mark.parametrize("inputs, outputs", [((8, 20, 20, 18), (4, 4, 4, 4)), ((3, 5, 7), (2, 3, 5)), ((6, 4), (3, 2))])
def test_parameters_are_counted_as_tednet_counts_them(inputs, outputs):
    """tednet's layers, made with the same modes and ranks; its output modes carry the gates in the first one."""
    from tednet.tnn.bt_tucker import BTTLSTM  # pyright: ignore[reportMissingImports]
    from tednet.tnn.tensor_ring import TRLSTM  # pyright: ignore[reportMissingImports]
    from tednet.tnn.tensor_train import TTLSTM  # pyright: ignore[reportMissingImports]

    order, gates = len(inputs), (4 * outputs[0], *outputs[1:])
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = {
            "tt": TTLSTM([*inputs], [*outputs], [PUBLISHED["tt"]] * (order - 1)),
            "tr": TRLSTM([*inputs], [*outputs], [PUBLISHED["tr"]] * (2 * order)),
            "bt": BTTLSTM([*inputs], [*outputs], [PUBLISHED["bt"]] * order, BLOCKS),
        }
    ours = {
        "tt": tt_network(inputs, gates, PUBLISHED["tt"]),
        "bt": bt_network(inputs, gates, BLOCKS, PUBLISHED["bt"]),
    }
    for format, network in ours.items():
        own = sum(p.numel() for name, p in theirs[format].cell.weight_ih.named_parameters() if name != "bias")
        assert network.parameters == own, format
    # tednet's ring has a core for every mode, inputs and outputs apart; ours has one for each pair.
    ring = tr_network((*gates, *inputs), (1,) * (2 * order), PUBLISHED["tr"])
    own = sum(p.numel() for name, p in theirs["tr"].cell.weight_ih.named_parameters() if name != "bias")
    assert ring.parameters == own
    if inputs == (8, 20, 20, 18):
        assert ours["tt"].parameters == 3360  # as published (Yang et al. 2017)


def test_what_cannot_be_compared():
    with pytest.raises(SpecError, match="no format 'cp'"):
        models(PRESETS["digits"].spec, ["cp"])
    with pytest.raises(SpecError, match="kind dense"):
        models(dense_lstm(8, 4, 2), [])
