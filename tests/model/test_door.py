"""The layers as people use torch's: made of the same arguments, and put through all that is done to a module."""

import copy
import pickle
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.autograd import forward_ad
from torch.func import functional_call, jvp, stack_module_state, vmap
from torch.nn.utils.rnn import PackedSequence, pack_sequence

from fdht.model import layers
from fdht.model.layers import FDHTLSTM, FDHTLSTMLayer, HTLinear
from fdht.model.recipe import RECURRENT_START
from fdht.model.recurrence import Kept
from fdht.spec.choose import FORMATS, chosen_lstm
from fdht.spec.errors import SpecError
from fdht.spec.lstm import dense_lstm, fdht_lstm, lstm_on
from fdht.spec.network import balanced_tree, dense_network, ht_network
from tests.model.networks import models, small_lstm
from tests.model.test_layers import EXACT, torch_lstm


def small(**changed) -> FDHTLSTM:
    """13 inputs, 7 hidden units, two layers."""
    torch.manual_seed(0)
    return FDHTLSTM(**{"input_size": 13, "hidden_size": 7, "num_layers": 2, "rank": 3, **changed})


@pytest.fixture(params=["formed", "contracted"])
def way(request, monkeypatch) -> str:
    """Both ways in which a layer computes."""
    if request.param == "contracted":
        monkeypatch.setattr(layers, "MOST_FORMED", 0)
    return request.param


def test_it_is_made_and_looks_like_torchs():
    given = 13, 7, 2, False, True, 0.25
    ours, theirs = FDHTLSTM(*given, rank=3), nn.LSTM(*given)
    for name in (
        *("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional"),
        "proj_size",
    ):
        assert getattr(ours, name) == getattr(theirs, name) and type(getattr(ours, name)) is type(getattr(theirs, name))
    assert ours.extra_repr() == theirs.extra_repr()
    ours.flatten_parameters()
    assert not [name for name, _ in ours.named_parameters() if "bias" in name]
    linear = HTLinear(13, 7, False, rank=3)
    assert linear.extra_repr() == nn.Linear(13, 7, False).extra_repr()
    assert linear.bias is None and HTLinear(13, 7, rank=3).bias is not None


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
def test_it_computes_as_torchs(bias, batch_first, way):
    ours = small(bias=bias, batch_first=batch_first, dtype=torch.float64)
    x, state = torch.randn(4, 4, 13).double(), tuple(torch.randn(2, 2, 4, 7).double())
    torch.testing.assert_close(ours(input=x, hx=state), torch_lstm(ours)(input=x, hx=state), **EXACT)
    torch.testing.assert_close(ours(x[0]), torch_lstm(ours)(x[0]), **EXACT)


@pytest.mark.parametrize("format", FORMATS)
def test_formats(format):
    size = {} if format == "dense" else {"max_factors": 500}
    layer = FDHTLSTM(13, 7, format=format, **size)
    assert layer.spec.network.kind == format and layer(torch.randn(2, 3, 13))[0].shape == (2, 3, 7)
    assert format == "dense" or layer.spec.network.parameters <= 500


def test_modes_tree_and_specifications():
    layer = FDHTLSTM(13, 8, rank=3, modes=((4, 3, 2), (4, 2, 4)), tree=(1, (2, 3)))
    assert layer.spec.network.input_shape == (4, 3, 2) and "B23" in layer.spec.network.factor
    spec = small_lstm(2)
    assert FDHTLSTM(spec).specs == FDHTLSTM(spec=spec).specs == FDHTLSTM(20, 4, spec=spec).specs == (spec,)
    assert FDHTLSTM([small_lstm(2, classes=0), dense_lstm(4, 4, 0)], batch_first=True).num_layers == 2
    assert FDHTLSTM(13, 7, 2, max_factors=900).num_layers == 2


def test_dropout_between_layers():
    ours = small(dropout=1.0, dtype=torch.float64)
    theirs = torch_lstm(ours)
    theirs.dropout = 1.0
    x = torch.randn(3, 2, 13).double()
    torch.testing.assert_close(ours(x), theirs(x), **EXACT)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), **EXACT)
    packed = pack_sequence([torch.randn(length, 13).double() for length in (3, 1)])
    torch.testing.assert_close(ours.train()(packed)[0].data, theirs.train()(packed)[0].data, **EXACT)
    with pytest.warns(UserWarning, match=r"dropout=0\.5 is applied between layers, and there is one"):
        FDHTLSTM(13, 7, dropout=0.5, rank=3)


ONE = FDHTLSTM(13, 7, rank=3)
X = torch.zeros(5, 3, 13)
H = torch.zeros(1, 3, 7)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: FDHTLSTM(13, 7, bidirectional=True, rank=3), "bidirectional=True is not supported"),
        (lambda: FDHTLSTM(13, 7, proj_size=3, rank=3), "proj_size=3 is not supported.*smaller hidden_size"),
        (lambda: FDHTLSTM(13, 7), "give rank .*or max_factors"),
        (lambda: FDHTLSTM(13, rank=3), "no hidden_size; give input_size and hidden_size"),
        (lambda: FDHTLSTM(rank=3), "no input_size"),
        (lambda: FDHTLSTM(13, 7.5, rank=3), r"hidden_size = 7\.5 is no count"),
        (lambda: FDHTLSTM(13, 0, rank=3), "hidden_size = 0 is no count"),
        (lambda: FDHTLSTM(13, 7, 0, rank=3), "num_layers = 0 is no count"),
        (lambda: FDHTLSTM(13, 7, True, rank=3), "num_layers = True is no count"),
        (lambda: FDHTLSTM("13", 7, rank=3), "input_size = '13' is no count"),
        (lambda: FDHTLSTM([13, 7]), "spec is an LSTMSpec, or one per layer"),
        (lambda: FDHTLSTM(13, 7, rank=3, max_factors=90), "give one of them"),
        (lambda: FDHTLSTM(13, 7, rank=2.5), r"rank = 2\.5 is none; give an integer"),
        (lambda: FDHTLSTM(13, 7, max_factors=3), "with ranks of 1 there are"),
        (lambda: FDHTLSTM(13, 7, rank=3, format="cp"), "no format 'cp'; known: ht, tt, tr, bt, dense"),
        (lambda: FDHTLSTM(13, 7, rank=3, tree="star"), "no tree 'star'"),
        (lambda: FDHTLSTM(13, 7, rank=3, tree="linear", format="tt"), "format tt has no tree"),
        (lambda: FDHTLSTM(13, 7, rank=3, modes=(4, 7)), "no pair of input modes and output modes"),
        (lambda: FDHTLSTM(13, 7, 2, rank=3, modes=((20,), (28,))), "modes are those of one layer, not of 2"),
        (lambda: FDHTLSTM(13, 7, rank=3, dropout=2), "dropout = 2 is no probability"),
        (lambda: FDHTLSTM(small_lstm(2), True), "pass batch_first and the like by name"),
        (lambda: FDHTLSTM(spec=small_lstm(2), rank=3), "rank beside a spec"),
        (lambda: FDHTLSTM(21, spec=small_lstm(2)), "input_size = 21 beside a specification of 20"),
        (lambda: ONE(X, (H, H, H)), r"a state is a pair of tensors \(h_0, c_0\), not 3 of them"),
        (lambda: ONE(X, (None, None)), r"pair of tensors \(h_0, c_0\), not \(NoneType, NoneType\)"),
        (lambda: ONE(X, H), r"pair of tensors \(h_0, c_0\), not Tensor"),
        (lambda: ONE(X, (H[:, :2], H)), r"h_0 has shape \(1, 2, 7\), not \(1, 3, 7\)"),
        (lambda: ONE(X[:, 0], (H, H)), r"h_0 has shape \(1, 3, 7\), not \(1, 7\)"),
        (lambda: ONE(X, (H, H.double())), "c_0 of dtype torch.float64 for an input of torch.float32"),
        (lambda: ONE(X.to(torch.uint8)), r"input of dtype torch\.uint8; .*convert it, as by input\.float\(\)"),
        (lambda: ONE(X.long()), r"input of dtype torch\.int64"),
        (lambda: ONE(X.double()), r"input of dtype torch\.float64 for parameters of torch\.float32"),
        (lambda: ONE(X.numpy()), "input is a ndarray; pass a tensor"),
        (lambda: ONE(X[None]), "no steps of 13 inputs"),
        (lambda: ONE(X, mask_h=torch.ones(5, 7)), r"mask_h has shape \(5, 7\), not \(1, 3, 7\) or \(3, 7\)"),
        (lambda: HTLinear(13, rank=3), "no out_features"),
        (lambda: HTLinear(dense_network(3, 2), False), "pass bias, device and dtype by name"),
        (lambda: HTLinear(13, 7, rank=3)(torch.zeros(2, 12)), r"shape \(2, 12\) ends in no dimension of 13 features"),
        (lambda: HTLinear(13, 7, rank=3)(torch.zeros(2, 13).int()), r"input\.float\(\)"),
        (lambda: HTLinear(13, network=dense_network(3, 2)), "in_features = 13 does not fit modes"),
    ],
)
def test_what_is_refused(call, says):
    with pytest.raises(SpecError, match=says):
        call()


@pytest.mark.parametrize(("inputs", "outputs"), [(13, 7), (1, 1), (30, 16), (5, 64)])
def test_a_linear_layer_of_any_size(inputs, outputs, way):
    torch.manual_seed(0)
    layer = HTLinear(inputs, outputs, rank=3, dtype=torch.float64)
    with torch.no_grad():
        layer.bias.normal_()
    x = torch.randn(2, 3, inputs).double()
    expected = nn.functional.linear(x, layer.to_dense(), layer.bias)
    torch.testing.assert_close(layer(input=x), expected, **EXACT)
    assert layer.to_dense().shape == (outputs, inputs)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_formed_is_contracted(data):
    """Outputs, states and gradients of both ways: states, masks, packed sequences, every kind of network."""
    specs = data.draw(models())
    batch_first, form = data.draw(st.booleans()), data.draw(st.sampled_from(["batch", "packed", "alone"]))
    masked, with_state = data.draw(st.booleans()), data.draw(st.booleans())
    torch.manual_seed(data.draw(st.integers(0, 1000)))
    formed = FDHTLSTM(specs, batch_first=batch_first).double()
    assert all(layer._forms for layer in formed.lstm_layers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layers, "MOST_FORMED", 0)
        contracted = FDHTLSTM(specs, batch_first=batch_first).double()
    contracted.load_state_dict(formed.state_dict())
    assert not any(layer._forms for layer in contracted.lstm_layers)
    inputs, hidden = formed.input_size, formed.hidden_size
    if form == "packed":
        x = pack_sequence([torch.randn(length, inputs).double() for length in (2, 4, 1)], enforce_sorted=False)
        size = (len(specs), 3, hidden)
    else:
        x = torch.randn(*((3, 3, inputs) if form == "batch" else (3, inputs))).double()
        size = (len(specs), *((3,) if form == "batch" else ()), hidden)
    hx = tuple(torch.randn(2, *size).double()) if with_state else None
    mask = torch.rand(size).double() if masked else None

    def results(module: FDHTLSTM) -> list[torch.Tensor]:
        output, (h, c) = module(x, hx, mask_h=mask)
        output = output.data if isinstance(output, PackedSequence) else output
        loss = output.square().sum() + h.sin().sum() + (2 * c).cos().sum()
        return [output, h, c, *torch.autograd.grad(loss, [*module.parameters()])]

    for a, b in zip(results(formed), results(contracted), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def unordered(inputs: int = 6) -> FDHTLSTMLayer:
    """Gates that are halves of two modes, so that they are found out of order."""
    network = ht_network((inputs + 2, 2), (6, 2), balanced_tree(2, 3))
    layer = FDHTLSTMLayer(lstm_on(network, inputs, 3, 0))
    assert not layer._gates_in_order
    return layer


def test_from_the_meta_device(way):
    """meta → to_empty → load_state_dict, and to_empty → reset_parameters; with gates out of order, too."""
    specs = [unordered().spec, dense_lstm(3, 3, 0)]
    whole = FDHTLSTM(specs)
    x = torch.randn(4, 2, 6)
    nowhere = FDHTLSTM(specs, device="meta")
    assert nowhere(x.to("meta"))[0].shape == (4, 2, 3)
    made = nowhere.to_empty(device="cpu")
    made.load_state_dict(whole.state_dict())
    torch.testing.assert_close(made(x), whole(x), rtol=0, atol=0)
    assert not [*whole.buffers()]
    torch.manual_seed(1)
    expected = FDHTLSTM(specs)
    again = FDHTLSTM(specs, device="meta").to_empty(device="cpu")
    torch.manual_seed(1)
    again.reset_parameters()
    assert all(a.isfinite().all() for a in again.parameters()) and {*again.state_dict()} == {*expected.state_dict()}
    with torch.no_grad():
        for layer in again.lstm_layers:
            box = layer.spec.h
            source = layer.recurrent or layer.weight
            assert source.mean_square(box).item() == pytest.approx(RECURRENT_START / 3, rel=1e-4)


def test_copies_and_old_names():
    layer = small(num_layers=1)
    x = torch.randn(4, 2, 13)
    with torch.no_grad():
        expected = layer(x)
    for made in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), copy.copy(layer)):
        torch.testing.assert_close(made(x), expected, rtol=0, atol=1e-6)
    old = {name.removeprefix("layers.0."): tensor for name, tensor in layer.state_dict().items()}
    assert "bias" in old and "weight.factors.U1" in old
    other = small(num_layers=1)
    other.reset_parameters()
    assert not other.load_state_dict(old).missing_keys
    torch.testing.assert_close(other(x), layer(x), rtol=0, atol=0)
    within = nn.ModuleDict({"lstm": other})
    assert not within.load_state_dict({f"lstm.{name}": tensor for name, tensor in old.items()}).missing_keys


def test_numbers_are_kept_as_long_as_they_hold():
    """Without gradients, weights are formed once; any change of a factor, however it is made, is seen."""
    layer = small(num_layers=1)
    x = torch.randn(4, 2, 13)
    factor = layer.lstm_layers[0].weight.factors["U1"]
    made = []
    original = FDHTLSTMLayer._weights
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FDHTLSTMLayer, "_weights", lambda *of: made.append(1) or original(*of))
        for change, number in (
            (lambda: None, 0),
            (lambda: factor.data.mul_(1.5), 1),
            (lambda: setattr(factor, "data", factor.data + 0.1), 1),
            (lambda: layer.load_state_dict(small(num_layers=1).state_dict()), 1),
        ):
            with torch.no_grad():
                layer(x)
                change()
                before = len(made)
                kept = layer(x), layer(x)
            assert len(made) - before == number
            torch.testing.assert_close(kept[0], layer(x), rtol=0, atol=1e-6)
            torch.testing.assert_close(kept[1], kept[0], rtol=0, atol=0)
    with torch.inference_mode():
        layer(x)
    layer(x)[0].sum().backward()  # nothing of inference mode is in it
    assert factor.grad is not None
    kept = Kept()
    tensor = torch.tensor([1.0, float("nan")])
    with torch.no_grad():
        assert kept([tensor], lambda _: 1) == 1 and kept([tensor], lambda _: 2) == 2  # NaN is never the same


def test_what_is_kept_has_a_matrix_for_h():
    """x of a large network meets factors; h, without gradients, a matrix that is formed once."""
    torch.manual_seed(0)
    layer = FDHTLSTM(3000, 32, rank=4)
    x, state = torch.randn(3, 5, 3000), (torch.randn(1, 5, 32), torch.randn(1, 5, 32))
    expected, _ = layer(x, state)
    of_x, of_h = layer.lstm_layers[0]._weights(False)
    assert len(of_x) > 1 and isinstance(of_h, list)
    with torch.no_grad():
        made, _ = layer(x, state)
    kept = layer.lstm_layers[0]._kept._kept
    assert kept is not None
    of_x, of_h = kept[1]
    assert len(of_x) > 1 and isinstance(of_h, torch.Tensor) and of_h.shape == (32, 128)
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-6)


def test_autocast(way):
    """Products in bfloat16, gates and states as the parameters are."""
    layer = small()
    x = torch.randn(6, 2, 13)
    with torch.autocast("cpu", torch.bfloat16):
        output, (h, c) = layer(x)
        output.sum().backward()
    expected, _ = layer(x)
    assert output.dtype == h.dtype == c.dtype == torch.float32
    torch.testing.assert_close(output, expected, rtol=0, atol=0.03)
    assert not torch.equal(output, expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert HTLinear(13, 7, rank=3)(torch.randn(2, 13)).dtype == torch.bfloat16


def as_function(module: nn.Module, x: torch.Tensor):
    """A module's first result as a function of its parameters and of x."""
    names = [name for name, _ in module.named_parameters()]

    def call(x: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        result = functional_call(module, dict(zip(names, parameters, strict=True)), (x,))
        return result[0] if isinstance(result, tuple) else result

    return call, (x, *(parameter.detach() for parameter in module.parameters()))


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # which torch does within jvp
@pytest.mark.parametrize("make", [partial(small, num_layers=1), lambda dtype: HTLinear(13, 7, rank=2, dtype=dtype)])
def test_functional_transforms(make, way):
    """jvp is the transpose of vjp, forward-mode AD is jvp, and vmap is a loop, over samples and over models."""
    module = make(dtype=torch.float64)
    x = torch.randn(3, 2, 13).double()
    call, primals = as_function(module, x)
    tangents = tuple(torch.randn_like(primal) for primal in primals)
    output, tangent = jvp(call, primals, tangents)
    cotangent = torch.randn_like(output)
    _, back = torch.func.vjp(call, *primals)
    pulled = sum((a * b).sum() for a, b in zip(back(cotangent), tangents, strict=True))
    torch.testing.assert_close((cotangent * tangent).sum(), pulled)
    with forward_ad.dual_level():
        duals = [forward_ad.make_dual(a, b) for a, b in zip(primals, tangents, strict=True)]
        torch.testing.assert_close(forward_ad.unpack_dual(call(*duals)).tangent, tangent)
    several = torch.stack([x, x + 1])
    torch.testing.assert_close(vmap(lambda x: call(x, *primals[1:]))(several)[1], call(x + 1, *primals[1:]))
    other = make(dtype=torch.float64)
    other.load_state_dict({name: tensor + 0.1 for name, tensor in module.state_dict().items()})
    parameters, buffers = stack_module_state([module, other])
    base = copy.deepcopy(module).to("meta")

    def run(parameters, buffers):
        result = functional_call(base, (parameters, buffers), (x,))
        return result[0] if isinstance(result, tuple) else result

    expected = [call(x, *(p for p in each.parameters())) for each in (module, other)]
    torch.testing.assert_close(vmap(run)(parameters, buffers), torch.stack(expected))


def test_double_backward(way):
    torch.manual_seed(0)
    layer = FDHTLSTM(fdht_lstm(3, 2, 0, (3, 2), (2, 4), 2), dtype=torch.float64)
    x = torch.randn(2, 2, 3, dtype=torch.float64)
    call, primals = as_function(layer, x)
    primals = tuple(primal.requires_grad_() for primal in primals)
    assert torch.autograd.gradcheck(call, primals)
    assert torch.autograd.gradgradcheck(call, primals)


@pytest.mark.parametrize("packed", [False, True])
def test_double_backward_in_single_precision(packed):
    """oneDNN's LSTM, which computes in single precision, has no second derivative of its own."""
    layer, penalties = small(batch_first=True), []
    for dtype in (torch.float32, torch.float64):
        layer = layer.to(dtype)
        data = torch.randn(2, 3, 13, generator=torch.Generator().manual_seed(1)).to(dtype).requires_grad_()
        output, (_, c) = layer(pack_sequence([data[0], data[1]]) if packed else data)
        loss = (output.data if packed else output).square().sum() + c.sum()
        (slope,) = torch.autograd.grad(loss, data, create_graph=True)
        penalty = slope.square().sum()
        penalties.append(
            [tensor.double() for tensor in torch.autograd.grad(penalty, [*layer.parameters()], retain_graph=True)]
        )
        loss.backward(retain_graph=True)
        loss.backward()
    for single, double in zip(*penalties, strict=True):
        torch.testing.assert_close(single, double, rtol=1e-3, atol=1e-4)


def test_distributed(tmp_path, way):
    """The gradients of DistributedDataParallel over gloo are the layer's own."""
    layer = small()
    x = torch.randn(4, 2, 13)
    layer(x)[0].square().sum().backward()
    expected = [parameter.grad.clone() for parameter in layer.parameters()]
    layer.zero_grad()
    torch.distributed.init_process_group("gloo", f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        nn.parallel.DistributedDataParallel(layer)(x)[0].square().sum().backward()
    finally:
        torch.distributed.destroy_process_group()
    for parameter, gradient in zip(layer.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


@pytest.mark.filterwarnings("ignore")  # those that torch.export makes within torch
def test_export_with_a_dynamic_batch(way):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = small(batch_first=True, num_layers=1)
            self.head = HTLinear(7, 5, rank=3)

        def forward(self, x):
            return self.head(self.lstm(x)[0][:, -1])

    net = Net().eval()
    exported = torch.export.export(net, (torch.randn(3, 2, 13),), dynamic_shapes=({0: torch.export.Dim("batch")},))
    for batch in (2, 7):
        x = torch.randn(batch, 2, 13)
        torch.testing.assert_close(exported.module()(x), net(x))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # those that torch.compile makes within torch
@pytest.mark.parametrize("backend", ["eager", "inductor"])
def test_compile(way, backend):
    layer = small()
    compiled = torch.compile(layer, backend=backend, fullgraph=True)
    for batch in (2, 3, 5):
        x = torch.randn(4, batch, 13)
        torch.testing.assert_close(compiled(x), layer(x))
    compiled(x)[0].sum().backward()
    assert all(parameter.grad is not None for parameter in layer.parameters())


def test_a_specification_of_the_rule_survives():
    assert FDHTLSTM(13, 7, rank=3).spec == chosen_lstm(13, 7, rank=3)
