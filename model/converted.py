"""A user's own module as a `Classifier` of raw words: its layers as they are, its inputs' scaling folded in."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import nn

from fdht.model.decompose import lstm_from_dense
from fdht.model.layers import FDHTLSTM, Classifier, FDHTLSTMLayer, HTLinear
from fdht.model.placed import EACH, Placed
from fdht.spec.choose import chosen_lstm
from fdht.spec.errors import SpecError
from fdht.spec.lstm import dense_lstm
from fdht.spec.scaling import Scaling
from fdht.spec.task import Task

TASKS = {
    (False, False): Task.CLASSIFY,
    (True, False): Task.LABEL_STEPS,
    (False, True): Task.REGRESS,
    (True, True): Task.REGRESS_STEPS,
}
"""By whether the head sees every step, and whether its outputs are real numbers."""


def converted(placed: Placed, scaling: Scaling, regression: bool = False, ranks: int | None = None) -> Classifier:
    """The module's parts as one model of raw words that computes the same.

    The words of `scaling` stand for numbers of about ±1, the module was trained on real values. Both are the same up to
    an affine map, which goes into the first layer: the part of its weight that x meets takes the scale, its bias the
    centre.

    Args:
        placed: the parts.
        scaling: how values become words; one step for all values, see `Scaling`.
        regression: the head's outputs are real numbers, not logits.
        ranks: that every nn.LSTM is brought to; None leaves them dense.

    Raises:
        SpecError: layers that do not fit each other, or steps that differ.
    """
    layers = [layer for _, part in placed.layers for layer in _layers(part, ranks)]
    head = placed.head[1]
    assert isinstance(head, nn.Linear | HTLinear)
    specs = [replace(layer.spec, classes=0, task=Task.CLASSIFY) for layer in layers]
    specs[-1] = replace(specs[-1], classes=head.out_features, task=TASKS[placed.steps == EACH, regression])
    model = Classifier(specs, scaling.input_format)
    with torch.no_grad():
        for own, layer in zip(model.lstm_layers, layers, strict=True):
            own.load_state_dict({"bias": own.bias.zero_(), **layer.state_dict()})
        model.head.weight.copy_(head.to_dense() if isinstance(head, HTLinear) else head.weight)
        model.head.bias.copy_(torch.zeros(head.out_features) if head.bias is None else head.bias)
        _fold(model.lstm_layers[0], scaling)
    return model.eval()


def _layers(part: nn.Module, ranks: int | None) -> Iterator[FDHTLSTMLayer]:
    """The layers of a part."""
    if isinstance(part, FDHTLSTM):
        yield from part.lstm_layers
    else:
        assert isinstance(part, nn.LSTM)
        for number in range(part.num_layers):
            yield from _of_dense(_single(part, number), ranks).lstm_layers


def _single(lstm: nn.LSTM, number: int) -> nn.LSTM:
    """One layer of an nn.LSTM, alone."""
    inputs = lstm.input_size if number == 0 else lstm.hidden_size
    alone = nn.LSTM(inputs, lstm.hidden_size, bias=lstm.bias)
    with torch.no_grad():
        for parameter, of in zip(alone.all_weights[0], lstm.all_weights[number], strict=True):
            parameter.copy_(of)
    return alone


def _of_dense(lstm: nn.LSTM, ranks: int | None) -> FDHTLSTM:
    """An nn.LSTM of one layer, on one matrix or brought to a rank."""
    if ranks is not None:
        return lstm_from_dense(lstm, chosen_lstm(lstm.input_size, lstm.hidden_size, rank=ranks), ranks)[0]
    layer = FDHTLSTM(dense_lstm(lstm.input_size, lstm.hidden_size, 0))
    of_x, of_h, *biases = (parameter.detach() for parameter in lstm.all_weights[0])
    with torch.no_grad():
        (own,) = layer.lstm_layers
        (factor,) = own.weight.factors.values()
        factor.copy_(torch.cat([of_x, of_h], 1).reshape(factor.shape))
        own.bias.copy_(sum(biases, of_x.new_zeros(4 * lstm.hidden_size)).unflatten(0, (4, lstm.hidden_size)))
    return layer


def _fold(layer: FDHTLSTMLayer, scaling: Scaling) -> None:
    """Makes the layer one of the numbers that words stand for: x = centre + scale × number."""
    if min(scaling.step) != max(scaling.step):
        raise SpecError("a layer takes words of one step for all values; fit the scaling with `alike`")
    spec, network = layer.spec, layer.spec.network
    centre = torch.tensor(scaling.centre, dtype=torch.float64).expand(spec.inputs)
    shift = layer.to_dense()[:, : spec.inputs].double() @ centre
    layer.bias += shift.unflatten(0, (4, spec.hidden)).float()
    part = layer.weight.factors[network.factors[0].name]
    if layer.recurrent is None:  # boxes that do not overlap have no index in common in some mode
        modes = zip(network.inputs, spec.x.start, spec.x.shape, spec.h.start, spec.h.shape, strict=True)
        mode, start, size = next((mode, a, m) for mode, a, m, b, n in modes if a + m <= b or b + n <= a)
        factor = next(factor for factor in network.factors if mode in factor.indices)
        part = layer.weight.factors[factor.name].narrow(factor.indices.index(mode), start, size)
    part.mul_(scaling.step[0] / scaling.input_format.raw.lsb)
