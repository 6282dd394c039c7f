"""The factorised layers against torch's own dense ones."""

from dataclasses import replace
from itertools import combinations, pairwise
from math import prod

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence, pad_packed_sequence
from torch.utils._python_dispatch import TorchDispatchMode

from fdht.model import contraction
from fdht.model.contraction import BoxContraction, join_stages, left_to_right, stage_weights
from fdht.model.layers import FDHTLSTM, Classifier, FDHTLSTMLayer, HTLinear, NetworkWeight
from fdht.model.recipe import RECURRENT_START
from fdht.spec.errors import SpecError
from fdht.spec.lstm import LSTMSpec, Region, dense_lstm, fdht_lstm, lstm_on
from fdht.spec.network import balanced_tree, bt_network, dense_network, ht_network, linear_tree, tree_from, tt_network
from fdht.spec.stages import stages
from tests.model.networks import SHAPES, block_term_lstm, dense, every_kind, lstms, models, small_lstm, stage_lists

EXACT = {"rtol": 0, "atol": 1e-12}
"""float64 sums in another order: the only tolerance between factorised and dense."""


KINDS = [(depth, kind) for depth in range(1, 6) for kind in every_kind(depth)]


def torch_lstm(ours: FDHTLSTM) -> torch.nn.LSTM:
    """torch's LSTM with the same, dense, weights."""
    sizes = ours.input_size, ours.hidden_size, ours.num_layers
    lstm = torch.nn.LSTM(*sizes, bias=ours.bias, batch_first=ours.batch_first).double()
    with torch.no_grad():
        for k, layer in enumerate(ours.lstm_layers):
            matrix = ours.to_dense(k).detach()
            lstm.get_parameter(f"weight_ih_l{k}").copy_(matrix[:, : layer.spec.inputs])
            lstm.get_parameter(f"weight_hh_l{k}").copy_(matrix[:, layer.spec.inputs :])
            if layer.bias is not None:
                lstm.get_parameter(f"bias_ih_l{k}").copy_(layer.bias.flatten())
                lstm.get_parameter(f"bias_hh_l{k}").zero_()
    return lstm


@settings(max_examples=60)
@given(st.data())
def test_lstm_is_torchs_lstm(data):
    spec = data.draw(models())[-1]
    torch.manual_seed(data.draw(st.integers(0, 1000)))
    stage_list = data.draw(st.none() | stage_lists(spec.network))
    layer = FDHTLSTM(spec, batch_first=data.draw(st.booleans()), stage_lists=[stage_list]).double()
    x = torch.randn(3, 2, spec.inputs, dtype=torch.float64)
    batch = x.shape[0 if layer.batch_first else 1]
    state = torch.randn(2, 1, batch, spec.hidden, dtype=torch.float64).unbind() if data.draw(st.booleans()) else None
    output, (h, c) = layer(x, state)
    expected, (expected_h, expected_c) = torch_lstm(layer)(x, state)
    torch.testing.assert_close(output, expected, **EXACT)
    torch.testing.assert_close(h, expected_h, **EXACT)
    torch.testing.assert_close(c, expected_c, **EXACT)


def test_unbatched_like_torch():
    torch.manual_seed(0)
    layer = FDHTLSTM(small_lstm(4)).double()
    x, state = torch.randn(6, 20).double(), (torch.randn(1, 4).double(), torch.randn(1, 4).double())
    output, (h, c) = layer(x, state)
    expected, (expected_h, expected_c) = torch_lstm(layer)(x, state)
    for got, wanted in ((output, expected), (h, expected_h), (c, expected_c)):
        torch.testing.assert_close(got, wanted, **EXACT)


@pytest.mark.parametrize("depth", SHAPES)
@pytest.mark.parametrize("recurrent", [None, dense_network(4, (4, 4)), tt_network((2, 2), (4, 4), 3)], ids=str)
def test_to_dense_is_the_network_contracted_by_numpy(depth, recurrent):
    torch.manual_seed(depth)
    spec = small_lstm(depth if recurrent is None else 2)
    if recurrent is not None:
        spec = lstm_on(spec.network, 20, 4, 0, recurrent)
    layer = FDHTLSTM(spec).double()

    def matrix(weight: NetworkWeight) -> np.ndarray:
        network, tensors = weight.network, {name: factor.detach().numpy() for name, factor in weight.factors.items()}
        whole = dense(network, tensors, (*network.outputs, *network.inputs))
        return whole.reshape(np.prod(network.output_shape), -1)[spec.z_positions]

    own = layer.layers[0]
    of_x = matrix(own.weight)
    of_h = of_x if own.recurrent is None else matrix(own.recurrent)
    expected = np.concatenate([of_x[:, spec.x_positions], of_h[:, spec.h_positions]], 1)
    np.testing.assert_allclose(layer.to_dense().detach(), expected, **EXACT)


@pytest.mark.parametrize(("depth", "kind"), KINDS)
def test_gradients_are_those_of_the_dense_lstm(depth, kind):
    spec = lstm_on(every_kind(depth)[kind], 20, 4, 0)
    torch.manual_seed(0)
    layer = FDHTLSTM(spec, batch_first=True).double()
    x = torch.randn(2, 3, 20).double().requires_grad_()
    parameters = [x, *layer.parameters()]
    target = torch.randn(2, 3, 4).double()
    got = torch.autograd.grad((layer(x)[0] - target).square().sum(), parameters)

    # The same loss with the dense matrix in every step; to_dense is differentiable and checked above.
    h = c = torch.zeros(2, 4).double()
    loss = 0
    for step in range(3):
        z = torch.cat([x[:, step], h], 1) @ layer.to_dense().T + layer.layers[0].bias.flatten()
        i, f, g, o = z.split(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        loss = loss + (h - target[:, step]).square().sum()
    for a, b in zip(got, torch.autograd.grad(loss, parameters), strict=True):
        assert a.abs().max() > 0
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_gradcheck():
    torch.manual_seed(0)
    network = ht_network((3, 2, 2, 2), (2, 2, 1, 3), balanced_tree(4, 2))
    layer = HTLinear(network).double()
    x = torch.randn(2, layer.in_features, dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in layer.named_parameters()]

    def apply(x, *parameters):
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))

    assert torch.autograd.gradcheck(apply, (x, *layer.parameters()))


@pytest.mark.parametrize(("depth", "kind"), KINDS)
def test_linear_is_its_dense_self(depth, kind):
    torch.manual_seed(depth)
    layer = HTLinear(every_kind(depth)[kind]).double()
    with torch.no_grad():
        layer.bias.normal_()
    x = torch.randn(2, 3, layer.in_features).double()
    torch.testing.assert_close(layer(x), torch.nn.functional.linear(x, layer.to_dense(), layer.bias), **EXACT)


def test_a_matrix_too_large_to_exist():
    """4096 × 1,048,576 entries would be 17 GB; forward and backward need a few MB."""
    torch.manual_seed(0)
    layer = HTLinear(ht_network((8,) * 4, (32,) * 4, balanced_tree(4, 2)), bias=False)
    loss = layer(torch.randn(1, 4096)).square().mean()
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in layer.parameters())
    assert 0.2 < loss.item() < 5


@pytest.mark.parametrize("depth", SHAPES)
@pytest.mark.parametrize("rank", [1, 3, 8])
def test_initialisation_keeps_the_variance(depth, rank):
    """W_x brings the mean square of x into z, and W_h that of h, for any depth and rank."""
    ratios = []
    for seed in range(10):
        torch.manual_seed(seed)
        layer = FDHTLSTM(small_lstm(depth, rank))
        check_variances(layer.layers[0])
        ratios.append((torch.randn(500, 20) @ layer.to_dense()[:, :20].T).square().mean().item())
        assert torch.equal(layer.layers[0].bias, torch.tensor([[0.0], [1], [0], [0]]).expand(4, 4))
    assert 0.8 < np.mean(ratios) < 1.25


def check_variances(layer: FDHTLSTMLayer, recurrent_start: float = RECURRENT_START) -> None:
    """Mean squares of the columns that x's and h's boxes meet, as the layer counts them and in the dense matrix."""
    spec = layer.spec
    for weight, box, wanted in (
        (layer.weight, spec.x, 1 / spec.inputs),
        (layer.recurrent or layer.weight, spec.h, recurrent_start / spec.hidden),
    ):
        shape = weight.network.input_shape
        columns = np.arange(prod(shape)).reshape(shape)
        met = columns[
            tuple(slice(start, start + size) for start, size in zip(box.start, box.shape, strict=True))
        ].ravel()
        exact = weight.dense()[:, met].square().mean()
        torch.testing.assert_close(weight.mean_square(box), exact, rtol=1e-4, atol=0)
        assert exact.item() == pytest.approx(wanted, rel=1e-4)


def test_a_recurrent_matrix_of_its_own_starts_with_its_own_variance():
    torch.manual_seed(0)
    network = tt_network((5, 4), (4, 4), 2)
    spec = lstm_on(network, 20, 4, 0, recurrent=dense_network(4, (4, 4)))
    check_variances(FDHTLSTMLayer(spec))
    again = FDHTLSTMLayer(spec, recurrent_start=1.0)
    check_variances(again, 1.0)
    again.reset_parameters()
    check_variances(again, 1.0)


@pytest.mark.parametrize(("depth", "kind"), KINDS)
def test_every_kind_starts_with_the_same_variance(depth, kind, monkeypatch):
    """W_x and W_h have mean squares 1 / N and 1 / 3H; before rescaling, entries have 1 on average over draws."""
    network = every_kind(depth, 3)[kind]
    torch.manual_seed(0)
    check_variances(FDHTLSTMLayer(lstm_on(network, 20, 4, 0)))

    monkeypatch.setattr("fdht.model.layers.mean_square", lambda *_: torch.tensor(1.0))
    draws = [NetworkWeight(network).factors for _ in range(100)]
    variances = [np.mean([draw[name].square().mean().item() for draw in draws]) for name in network.factor]
    bonds = [size for name, size in network.sizes if name not in (*network.inputs, *network.outputs)]
    assert 0.5 < np.prod(variances) * np.prod(bonds) < 2


def test_the_factors_of_block_terms_share_their_variance():
    """Each of d+1 factors takes the (d+1)-th root of 1/blocks; a factor has one rank, the core all d."""
    torch.manual_seed(0)
    factors = HTLinear(bt_network((8, 8, 8), (8, 8, 8), 3, 9)).weight.factors
    factor, core = factors["A1"].square().mean().item(), factors["C"].square().mean().item()
    assert factor / core == pytest.approx(9, rel=0.2)


def test_initial_factors_cancel_the_sums_over_their_bonds():
    """A bond of size r, shared by two, divides the variance of each by sqrt(r): leaves have one, transfers three."""
    torch.manual_seed(0)
    factors = FDHTLSTMLayer(fdht_lstm(190, 16, 0, (12, 3, 3, 2), (4, 4, 2, 2), 16)).weight.factors
    leaf, transfer = factors["U2"].square().mean().item(), factors["B12"].square().mean().item()
    assert leaf / transfer == pytest.approx(16, rel=0.2)


def test_default_stage_list():
    assert left_to_right(small_lstm(4).network) == (("U1",), ("B12", "U2"), ("B1234", "B34", "U3"), ("U4",))
    assert left_to_right(block_term_lstm().network) == (("A1",), ("C", "A2"))


@pytest.mark.parametrize(
    "split", [(1, (2, (3, 4))), (1, ((2, 3), 4)), ((1, 2), (3, 4)), ((1, (2, 3)), 4), (((1, 2), 3), 4)]
)
def test_default_stage_list_leaves_one_bond_open(split):
    """On every tree of four modes: two open ones would multiply what a stage takes by a rank."""
    network = ht_network((2, 2, 2, 2), (2, 2, 2, 2), tree_from(split, 2))
    modes = {*network.inputs, *network.outputs}
    *before, last = (set(stage.result) - modes for stage in stages(network, left_to_right(network)))
    assert [len(bonds) for bonds in before] == [1, 1, 1] and not last


def whole_box(network) -> Region:
    shape = network.input_shape
    return Region((0,) * len(shape), shape, tuple(range(len(shape))), prod(shape))


class Copies(TorchDispatchMode):
    """Entries that are copied."""

    def __init__(self):
        super().__init__()
        self.entries = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.clone.default:
            self.entries += result.numel()
        return result


@pytest.mark.parametrize(("depth", "kind"), KINDS)
@pytest.mark.parametrize("start", [0, 50, contraction.START])
def test_joined_stages_cost_the_least(depth, kind, start):
    """Against every way to join neighbours; copies are counted where torch makes them."""
    network = every_kind(depth)[kind]
    box, listed = whole_box(network), left_to_right(network)
    box = replace(box, order=box.order[::-1])
    factors = dict(NetworkWeight(network).factors.items())

    def cost(stage_list) -> int:
        path = BoxContraction(network, box, stage_list)
        matrices = path.matrices(stage_weights(network, path.stages, factors))
        with torch.no_grad(), Copies() as copies:
            path(torch.zeros(3, box.count), matrices)
        listed = stages(network, stage_list)
        return (
            sum(s.macs(network) + start + prod(network.shape(s.weight)) for s in listed)
            + contraction.COPY * copies.entries // 3
        )

    ways = [
        tuple(sum(listed[a:b], ()) for a, b in pairwise((0, *cuts, len(listed))))
        for count in range(len(listed))
        for cuts in combinations(range(1, len(listed)), count)
    ]
    assert cost(join_stages(network, box, listed, start)) == min(map(cost, ways))


def test_zero_h_is_no_feedback():
    torch.manual_seed(0)
    layer = FDHTLSTM(small_lstm(3), batch_first=True).double()
    x = torch.randn(2, 5, 20).double()
    with_h, without_h = layer(x)[0], layer(x, zero_h=True)[0]
    torch.testing.assert_close(with_h[:, 0], without_h[:, 0], rtol=0, atol=0)
    assert (with_h[:, 1:] != without_h[:, 1:]).all(dim=-1).all()
    lstm = torch_lstm(layer)
    with torch.no_grad():
        lstm.weight_hh_l0.zero_()
    torch.testing.assert_close(without_h, lstm(x)[0], **EXACT)


def masked_lstm(layer: FDHTLSTMLayer, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """torch's cell with a mask on what goes back into it."""
    matrix, inputs = layer.to_dense(), layer.spec.inputs
    h = c = x.new_zeros(x.shape[1], layer.spec.hidden)
    for step in x:
        z = torch.cat([step, h * mask], 1) @ matrix.T + layer.bias.flatten()
        i, f, g, o = z.chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
    assert matrix.shape[1] == inputs + layer.spec.hidden
    return h


@pytest.mark.parametrize("form", ["batch", "unbatched", "packed"])
def test_a_mask_of_h(form):
    torch.manual_seed(0)
    layer = FDHTLSTM(small_lstm(4)).double()
    x, mask = torch.randn(5, 3, 20).double(), (torch.rand(3, layer.spec.hidden) < 0.5).double() / 0.5
    lengths = [2, 5, 3] if form == "packed" else [5, 5, 5]
    expected = [masked_lstm(layer.layers[0], x[:n, k : k + 1], mask[k : k + 1])[0] for k, n in enumerate(lengths)]
    if form == "batch":
        h = layer(x, mask_h=mask)[1][0][0]
    elif form == "packed":
        h = layer(pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False), mask_h=mask)[1][0][0]
    else:
        h = torch.cat([layer(x[:, k], mask_h=mask[k])[1][0] for k in range(3)])
    torch.testing.assert_close(h, torch.stack(expected), **EXACT)


def test_dropout_of_a_classifier():
    """Masks keep the mean, hold in every step, and are there in training alone."""
    torch.manual_seed(0)
    spec = lstm_on(dense_network(25, (2, 2, 5)), 20, 5, 3)
    model = Classifier(spec, dropout=0.5, input_dropout=0.2, hidden_dropout=0.4)
    masks = model.masks(2000, torch.Generator().manual_seed(1))
    for mask, p, shape in zip(masks, (0.2, 0.4, 0.5), ((2000, 20), (1, 2000, 5), (2000, 5)), strict=True):
        assert mask.shape == shape and set(mask.unique().tolist()) == {0, torch.tensor(1 / (1 - p)).item()}
        assert mask.mean().item() == pytest.approx(1, abs=0.05)
    some = masks.of(torch.tensor([7, 3]), torch.device("cpu"))
    assert torch.equal(some.x, masks.x[[7, 3]]) and torch.equal(some.h, masks.h[:, [7, 3]])
    clips = torch.randn(2, 4, 20)
    h = masked_lstm(model.lstm.layers[0], (clips * some.x[:, None]).transpose(0, 1), some.h[0])
    torch.testing.assert_close(model(clips, masks=some), model.head(h * some.head))
    assert not torch.equal(model(clips), model(clips))
    assert torch.equal(model.eval()(clips), model(clips))
    assert Classifier(spec).masks(5) == (None, None, None)


def test_bad_shapes():
    layer = FDHTLSTM(small_lstm(2))
    with pytest.raises(SpecError, match="20 inputs"):
        layer(torch.zeros(3, 2, 19))
    with pytest.raises(SpecError, match=r"h_0 has shape \(1, 3, 4\), not \(1, 2, 4\)"):
        layer(torch.zeros(3, 2, 20), (torch.zeros(1, 3, 4), torch.zeros(1, 2, 4)))
    with pytest.raises(SpecError, match="names"):
        FDHTLSTM(small_lstm(2), stage_lists=[(("U1",),)])
    with pytest.raises(SpecError, match="at least one class"):
        Classifier(small_lstm(2, classes=0))


@settings(max_examples=60)
@given(st.data())
def test_packed_sequences_run_as_if_alone(data):
    """Any lengths in any order, with and without states: each sequence as in a batch of its own, and as torch does."""
    spec = data.draw(lstms())
    lengths = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=5))
    enforce_sorted, zero_h = data.draw(st.booleans()), data.draw(st.booleans())
    if enforce_sorted:
        lengths.sort(reverse=True)
    torch.manual_seed(data.draw(st.integers(0, 1000)))
    layer = FDHTLSTM(spec).double()
    sequences = [torch.randn(length, spec.inputs).double() for length in lengths]
    states = torch.randn(2, 1, len(lengths), spec.hidden).double() if data.draw(st.booleans()) else None
    packed = pack_sequence(sequences, enforce_sorted)
    output, (h, c) = layer(packed, None if states is None else tuple(states), zero_h=zero_h)
    assert isinstance(output, PackedSequence) and h.shape == c.shape == (1, len(lengths), spec.hidden)
    padded, got_lengths = pad_packed_sequence(output)
    assert got_lengths.tolist() == lengths
    for k, sequence in enumerate(sequences):
        alone, (alone_h, alone_c) = layer(sequence, None if states is None else tuple(states[:, :, k]), zero_h=zero_h)
        torch.testing.assert_close(padded[: lengths[k], k], alone, **EXACT)
        torch.testing.assert_close(h[:, k], alone_h, **EXACT)
        torch.testing.assert_close(c[:, k], alone_c, **EXACT)
    if not zero_h:
        expected, final = torch_lstm(layer)(packed, None if states is None else tuple(states))
        torch.testing.assert_close(output.data, expected.data, **EXACT)
        torch.testing.assert_close((h, c), final, **EXACT)


def test_padding_never_reaches_a_packed_sequence():
    torch.manual_seed(0)
    layer = FDHTLSTM(small_lstm(3), batch_first=True).double()
    x, lengths = torch.randn(3, 5, 20).double().requires_grad_(), torch.tensor([2, 5, 3])
    output, _ = layer(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
    output.data.square().sum().backward()
    assert x.grad is not None
    for row, length in zip(x.grad, lengths.tolist(), strict=True):
        assert (row[:length] != 0).any(-1).all() and not row[length:].any()


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize(("inputs", "hidden"), [(1, 1), (1, 7), (13, 7), (5, 11)])
def test_one_step_one_sequence_and_odd_sizes(inputs, hidden, batch_first):
    torch.manual_seed(0)
    spec = fdht_lstm(inputs, hidden, 0, (5, 3, 2), (4, 4, 3), {"1": 2, "2": 3, "12": 2, "3": 1})
    layer = FDHTLSTM(spec, batch_first=batch_first).double()
    for steps, batch in ((1, 1), (1, 3), (4, 1)):
        x = torch.randn((batch, steps, inputs) if batch_first else (steps, batch, inputs)).double()
        torch.testing.assert_close(layer(x), torch_lstm(layer)(x), **EXACT)
    alone = torch.randn(1, inputs).double()
    torch.testing.assert_close(layer(alone), torch_lstm(layer)(alone), **EXACT)


STACK = [
    lstm_on(tt_network((6, 5), (4, 5), 3), 20, 5, 0),
    lstm_on(ht_network((4, 3, 2), (5, 2, 2), linear_tree(3, 2)), 5, 5, 0),
    dense_lstm(5, 5, 0),
]
"""Three layers of three kinds: 20 inputs, 5 hidden units."""


@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_a_stack_is_torchs_stack(layers, with_state):
    torch.manual_seed(layers)
    for batch_first in (False, True):
        stack = FDHTLSTM(STACK[:layers], batch_first=batch_first).double()
        lstm = torch_lstm(stack)
        x = torch.randn(3, 2, 20).double()
        batch = 3 if batch_first else 2
        state = tuple(torch.randn(2, layers, batch, 5).double()) if with_state else None
        torch.testing.assert_close(stack(x, state), lstm(x, state), **EXACT)
        state = tuple(torch.randn(2, layers, 5).double()) if with_state else None
        torch.testing.assert_close(stack(x[0], state), lstm(x[0], state), **EXACT)
        packed = pack_sequence([torch.randn(length, 20).double() for length in (2, 4, 1)], enforce_sorted=False)
        state = tuple(torch.randn(2, layers, 3, 5).double()) if with_state else None
        output, final = stack(packed, state)
        expected, expected_final = lstm(packed, state)
        torch.testing.assert_close(output.data, expected.data, **EXACT)
        torch.testing.assert_close(final, expected_final, **EXACT)


def test_gradients_reach_every_layer_of_a_stack():
    torch.manual_seed(0)
    stack = FDHTLSTM(STACK, stage_lists=[(("G2",), ("G1",)), None, None])
    assert stack.layers[0].weight.stage_list == (("G2",), ("G1",))
    stack(torch.randn(3, 2, 20))[0].square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in stack.parameters())


def other(inputs: int, hidden: int) -> LSTMSpec:
    return dense_lstm(inputs, hidden, 0)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: FDHTLSTM(small_lstm(2), bidirectional=True), "bidirectional=True is not supported.*second layer on"),
        (lambda: FDHTLSTM(STACK, bidirectional=True), "bidirectional=True is not supported"),
        (lambda: FDHTLSTM([]), "at least one specification"),
        (
            lambda: FDHTLSTM([other(20, 5), other(4, 5)]),
            "layer 1 has 4 inputs and 5 hidden units; on top of layers with 5 hidden units it needs 5 and 5",
        ),
        (lambda: FDHTLSTM([other(20, 5), other(5, 6)]), "layer 1 has 5 inputs and 6 hidden"),
        (lambda: FDHTLSTM(STACK, stage_lists=[None]), "1 stage lists for 3 layers"),
        (
            lambda: FDHTLSTM(STACK)(torch.zeros(3, 2, 20), (torch.zeros(1, 2, 5), torch.zeros(3, 2, 5))),
            r"h_0 has shape \(1, 2, 5\), not \(3, 2, 5\)",
        ),
        (
            lambda: FDHTLSTM(STACK)(torch.zeros(3, 2, 20), (torch.zeros(3, 2, 5), torch.zeros(3, 1, 5))),
            r"c_0 has shape \(3, 1, 5\), not \(3, 2, 5\)",
        ),
        (lambda: FDHTLSTM(small_lstm(2))(torch.zeros(0, 2, 20)), "no steps; a sequence has at least one"),
        (lambda: FDHTLSTM(small_lstm(2))(pack_sequence([torch.zeros(3, 19)])), "20 inputs"),
        (lambda: FDHTLSTM(small_lstm(2))(pack_sequence([torch.zeros(3, 2, 20)])), "20 inputs"),
        (
            lambda: FDHTLSTM(small_lstm(2))(
                pack_sequence([torch.zeros(3, 20)] * 2), (torch.zeros(1, 3, 4), torch.zeros(1, 2, 4))
            ),
            r"h_0 has shape \(1, 3, 4\), not \(1, 2, 4\)",
        ),
    ],
)
def test_what_is_refused(call, says):
    with pytest.raises(SpecError, match=says):
        call()


@pytest.mark.parametrize("make", [FDHTLSTM, lambda spec, **kind: FDHTLSTM([spec, dense_lstm(4, 4, 0)], **kind)])
def test_a_layer_is_made_in_a_dtype_and_on_a_device(make):
    """As `torch.nn.LSTM(..., device=..., dtype=...)`; where neither is said, the numbers are as ever."""
    spec = lstm_on(ht_network((6, 5), (4, 4), balanced_tree(2, 3)), 20, 4, 0)
    made = make(spec, device="cpu", dtype=torch.float64)
    assert {tensor.dtype for tensor in made.parameters()} == {torch.float64}
    output, (h, c) = made(torch.randn(3, 2, 20, dtype=torch.float64))
    assert {tensor.dtype for tensor in (output, h, c)} == {torch.float64}
    nowhere = make(spec, device="meta", dtype=torch.bfloat16)
    assert {(tensor.device.type, tensor.dtype) for tensor in nowhere.parameters()} == {("meta", torch.bfloat16)}
    with torch.random.fork_rng():
        torch.manual_seed(1)
        plain = make(spec)
        torch.manual_seed(1)
        said = make(spec, device=None, dtype=None)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), said.parameters(), strict=True))


def test_a_linear_layer_is_made_in_a_dtype_and_on_a_device():
    network = ht_network((6, 5), (4, 4), balanced_tree(2, 3))
    assert HTLinear(network, dtype=torch.float64)(torch.zeros(30, dtype=torch.float64)).dtype == torch.float64
    nowhere = HTLinear(network, device="meta")
    assert {parameter.device.type for parameter in nowhere.parameters()} == {"meta"}
