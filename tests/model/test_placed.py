"""Modules of users: what goes to the engine is found however it is written, and what cannot go is named."""

import pytest
import torch
from torch import nn

from fdht import FDHTLSTM, fdht_lstm
from fdht.model.placed import EACH, LAST, place_module
from fdht.spec.errors import SpecError

SPEC = fdht_lstm(6, 8, 0, (7, 2), (4, 8), 3)
UPPER = fdht_lstm(8, 8, 0, (8, 2), (4, 8), 3)
X = torch.randn(3, 5, 6, generator=torch.Generator().manual_seed(1))


class Model(nn.Module):
    """What most people write; its parts can be exchanged."""

    def __init__(self, lstm=None, head=None, **more):
        super().__init__()
        self.lstm = FDHTLSTM(SPEC, batch_first=True) if lstm is None else lstm
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(8, 4) if head is None else head
        for name, part in more.items():
            setattr(self, name, part)

    def forward(self, x):
        output, (_, _) = self.lstm(x)
        return self.head(self.dropout(output[:, -1]))


def variant(forward, **parts) -> nn.Module:
    """A Model with another forward."""
    model = Model(**parts)
    model.forward = forward.__get__(model)
    return model


def of_state(self, x):
    _, (h, _) = self.lstm(x)
    return self.head(h[-1])


def each_step(self, x):
    return self.head(self.dropout(self.lstm(x)[0]))


def each_step_flat(self, x):
    output = self.lstm(x)[0]
    return self.head(output.reshape(-1, 8)).view(x.shape[0], x.shape[1], -1)


def time_first(self, x):
    output, _ = self.lstm(x.transpose(0, 1))
    return self.head(output[-1])


def with_states(self, x):
    zeros = x.new_zeros(1, len(x), 8)
    return self.head(self.lstm(x, (zeros, zeros))[0][:, -1]).log_softmax(1)


def branching(self, x):
    if x.shape[1] > 2 and float(x.abs().sum()) > 0:  # what symbolic tracing gives up at
        x = x.reshape(len(x), -1, 6)
    return torch.softmax(self.head(self.lstm(x)[0][:, -1]), -1)


@pytest.mark.parametrize(
    ("forward", "parts", "x", "steps"),
    [
        (Model.forward, {}, X, LAST),
        (Model.forward, {"lstm": nn.LSTM(6, 8, 2, batch_first=True)}, X, LAST),
        (Model.forward, {"lstm": FDHTLSTM([SPEC, UPPER], batch_first=True)}, X, LAST),
        (of_state, {}, X, LAST),
        (each_step, {}, X, EACH),
        (each_step_flat, {}, X, EACH),
        (with_states, {}, X, LAST),
        (branching, {}, X, LAST),
        (branching, {}, X.reshape(3, 30, 1), LAST),
    ],
)
def test_what_goes_to_the_engine_is_found(forward, parts, x, steps):
    model = variant(forward, **parts)
    model.train()
    placed = place_module(model, x)
    assert [name for name, _ in placed.layers] == ["lstm"] and placed.head == ("head", model.head)
    assert placed.steps == steps and all(part.training for part in model.modules())
    torch.testing.assert_close(placed.inputs(X), X)


def test_batches_in_the_second_dimension():
    model = variant(time_first, lstm=nn.LSTM(6, 8))
    placed = place_module(model, X)
    assert placed.steps == LAST
    torch.testing.assert_close(placed.inputs(X), X)


def test_layers_on_top_of_each_other_and_inside_of_others():
    class Inner(nn.Module):
        def __init__(self):
            super().__init__()
            self.below, self.above = FDHTLSTM(SPEC, batch_first=True), nn.LSTM(8, 8, batch_first=True)

        def forward(self, x):
            return self.above(self.below(x)[0])

    placed = place_module(variant(Model.forward, lstm=Inner()), X)
    assert [name for name, _ in placed.layers] == ["lstm.below", "lstm.above"]


def test_what_stays_on_the_host_is_run_there():
    def forward(self, x):
        return self.head(self.lstm(self.front(x))[0][:, -1])

    front = nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 6), nn.ReLU())
    model = variant(forward, front=front)
    with pytest.raises(SpecError, match=r"front\.0 \(LayerNorm\) is in front of lstm.*host=\['front\.0'\]"):
        place_module(model, X)
    placed = place_module(model, X, host=["front"])
    torch.testing.assert_close(placed.inputs(X), front(X))
    assert place_module(model, X, host="front").host == ("front",)
    with pytest.raises(SpecError, match="has no part 'back' for the host; it has lstm"):
        place_module(model, X, host=["back"])
    with pytest.raises(SpecError, match="dropout runs behind lstm; only what is in front can stay on the host"):
        place_module(Model(), X, host=["dropout"])


def scaled(self, x):
    return self.head(self.lstm(x * 2)[0][:, -1])


def transposed(self, x):
    return self.head(self.lstm(x.transpose(1, 2))[0][:, -1])


def clamped(self, x):
    return self.head(self.lstm(x.clamp(-9, 9))[0][:, -1])


def pooled(self, x):
    return self.head(self.lstm(x)[0].mean(1))


def activated(self, x):
    return torch.sigmoid(self.head(self.lstm(x)[0][:, -1]))


def two_heads(self, x):
    return self.more(torch.relu(self.head(self.lstm(x)[0][:, -1])))


def between(self, x):
    return self.head(self.more(torch.tanh(self.lstm(x)[0]))[0][:, -1])


def normed(self, x):
    return self.head(self.more(self.lstm(x)[0][:, -1]))


def started(self, x):
    ones = x.new_ones(1, len(x), 8)
    return self.head(self.lstm(x, (ones, ones))[0][:, -1])


def headless(self, x):
    return self.lstm(x)[0][:, -1]


def dropped(self, x):
    self.head(self.lstm(x)[0][:, -1])
    return x.sum()


@pytest.mark.parametrize(
    ("forward", "parts", "words"),
    [
        (each_step, {"lstm": nn.GRU(6, 8, batch_first=True)}, r"no FDHTLSTM.*lstm is a GRU: train an FDHTLSTM"),
        (Model.forward, {"lstm": nn.LSTM(6, 4, batch_first=True, bidirectional=True)}, "lstm is bidirectional.*False"),
        (Model.forward, {"lstm": nn.LSTM(6, 9, batch_first=True, proj_size=8)}, "proj_size = 8.*train without"),
        (scaled, {}, r"lstm is given other numbers than the module.*host="),
        (
            transposed,
            {"lstm": nn.LSTM(5, 8, batch_first=True)},
            r"the module's samples of \(3, 5, 6\) in another order, as \(3, 6, 5\): samples, steps, values",
        ),
        (pooled, {}, "head is given neither h of the last step of lstm nor h of each step"),
        (activated, {}, "changes what head gives by something else than a softmax"),
        (two_heads, {"more": nn.Linear(4, 4)}, "more follows head: the engine has one linear layer"),
        (
            between,
            {"more": nn.LSTM(8, 5, batch_first=True), "head": nn.Linear(5, 4)},
            "more has 5 hidden units and lstm has 8; .* train them with 8 each",
        ),
        (between, {"more": nn.LSTM(8, 8, batch_first=True)}, "what more is given is not what lstm gives"),
        (normed, {"more": nn.LayerNorm(8)}, r"cannot run more \(LayerNorm\): train without it"),
        (started, {}, "lstm begins with states that are not zero"),
        (headless, {}, "no linear layer behind lstm"),
        (dropped, {}, "does not return what head gives"),
    ],
)
def test_what_cannot_go_is_named_with_a_way_out(forward, parts, words):
    with pytest.raises(SpecError, match=words):
        place_module(variant(forward, **parts), X)


def test_what_no_traced_sample_reached_is_found_where_one_does():
    placed = place_module(variant(clamped), X)
    with pytest.raises(SpecError, match="lstm is given other numbers than the module"):
        placed.inputs(10 * X)


def test_a_lone_layer_is_no_model():
    with pytest.raises(SpecError, match="a lone LSTM is no model; give a module with an LSTM and a linear layer"):
        place_module(nn.LSTM(6, 8), X)


def test_a_head_for_each_step_of_which_the_last_is_returned():
    """And outputs with the classes before the steps, as torch's cross entropy wants them."""

    class Net(nn.Module):
        def __init__(self, end, batch_first=True):
            super().__init__()
            self.lstm, self.head, self.end = nn.LSTM(4, 8, batch_first=batch_first), nn.Linear(8, 3), end
            self.batch_first = batch_first

        def forward(self, x):
            return self.end(self.head(self.lstm(x if self.batch_first else x.transpose(0, 1))[0]))

    x = torch.randn(5, 6, 4)
    for end, batch_first, steps, softmax in (
        (lambda out: out[:, -1], True, LAST, False),
        (lambda out: out[:, -1].softmax(-1), True, LAST, True),
        (lambda out: out.transpose(1, 2), True, EACH, False),
        (lambda out: out.log_softmax(-1).transpose(1, 2), True, EACH, True),
        (lambda out: out.transpose(0, 1), False, EACH, False),
        (lambda out: out, False, EACH, False),
        (lambda out: out[-1], False, LAST, False),
    ):
        model = Net(end, batch_first)
        placed = place_module(model, x)
        assert (placed.steps, placed.softmax) == (steps, softmax)
        with torch.no_grad():
            each = model.head(model.lstm(x if batch_first else x.transpose(0, 1))[0])
        each = each if batch_first else each.transpose(0, 1)
        torch.testing.assert_close(placed.outputs(x), each if steps == EACH else each[:, -1])
