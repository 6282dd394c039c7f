"""What might help a tree: changes to FDHT-LSTM, each trained alone beside FDHT-LSTM as it is, at as many factors.

The trainings are part of the plan of docs/formats_study.py and are measured on validation splits. They have a loop of
their own, the one of `fdht train` without dropout and augmentation, since some of the changes are no options of that.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import prod

import numpy as np
import torch
from torch import Tensor, nn

from fdht.model import objective
from fdht.model.data import DataSet, Split
from fdht.model.layers import Classifier, NetworkWeight
from fdht.model.optimiser import BETAS, parameter_groups, set_rate
from fdht.model.parallel import one_thread
from fdht.model.presets import Preset
from fdht.model.recipe import SCHEDULES
from fdht.model.train import TrainingDiverged, predict
from fdht.spec.choose import capped, chosen_lstm
from fdht.spec.errors import SpecError
from fdht.spec.lstm import LSTMSpec, place_gates
from fdht.spec.network import Split as Tree
from fdht.spec.network import TensorNetwork, ht_network, ht_tree, linear_tree, tree_from

EVEN = [(b, c) for b in range(2, 17) for c in range(b, 17)]
"""Sizes of the second and third mode that are looked at."""

DAMPING = 1e-2
"""Of a Gram matrix, in parts of its mean eigenvalue, before it is inverted."""


def with_ranks(spec: LSTMSpec, shape: Tree, wanted: Callable[[str], float]) -> LSTMSpec:
    """The specification on another tree, or with other ranks, with as many factors as can be of those that it has.

    Args:
        wanted: the relative rank of a node, by its name.
    """
    n, m, budget = spec.network.input_shape, spec.network.output_shape, spec.network.parameters
    names = [node.name for node in tree_from(shape, 1).walk()][:-1]
    best = None
    for scale in np.arange(1, 40, 0.05):
        ranks = {name: max(1, round(scale * wanted(name))) for name in names}
        network = ht_network(n, m, capped(tree_from(shape, ranks), n, m))
        if network.parameters <= budget and (best is None or network.parameters > best.parameters):
            best = network
    assert best is not None
    return replace(spec, network=best)


def other_tree(spec: LSTMSpec) -> LSTMSpec:
    """The linear tree (1, (2, ...)), which joins other modes than the balanced one."""
    return with_ranks(spec, linear_tree(len(spec.network.inputs), 1).split, lambda _: 1.0)


def uneven(spec: LSTMSpec, top: float) -> LSTMSpec:
    """Ranks of the root's two children so many times those of the other nodes."""
    tree = ht_tree(spec.network)
    first = {child.name for child in tree.children or ()}
    return with_ranks(spec, tree.split, lambda name: top if name in first else 1.0)


def even_modes(spec: LSTMSpec) -> LSTMSpec:
    """Three modes as near to each other as can be, in place of the ones chosen for few cycles."""

    def apart(sizes: tuple[int, ...]) -> tuple[float, int]:
        return max(sizes) / min(sizes), prod(sizes)

    def placed(sizes: tuple[int, ...]) -> bool:
        try:
            place_gates(sizes, spec.hidden)
        except SpecError:
            return False
        return True

    inputs = min(((-(-spec.inputs // (b * c)) - (-spec.hidden // (b * c)), b, c) for b, c in EVEN), key=apart)
    outputs = min(
        ((4 * spec.hidden // (b * c), b, c) for b, c in EVEN if placed((4 * spec.hidden // (b * c), b, c))), key=apart
    )
    return chosen_lstm(
        spec.inputs, spec.hidden, spec.classes, max_factors=spec.network.parameters, modes=(inputs, outputs)
    )


FOUR_MODES = (4, 3, 3, 3), (4, 4, 4, 4)
"""For up to 28 values and 64 hidden units. Of three modes every tree is a train: a leaf that can carry all that its
modes hold is absorbed. Here no rank reaches that.
"""


def four_modes(spec: LSTMSpec, factors: int | None = None) -> LSTMSpec:
    """A balanced tree on four modes, of about so many factors, or as many."""
    factors = spec.network.parameters if factors is None else factors
    return chosen_lstm(spec.inputs, spec.hidden, spec.classes, max_factors=factors, modes=FOUR_MODES)


def by_correlation(train: Split, inputs: int) -> np.ndarray:
    """An order of a step's values in which those that go together are neighbours, and so share entries of a mode: each
    next one is the one that correlates most with the last.
    """
    steps = train.frames.reshape(-1, inputs).astype(float)
    alike = np.nan_to_num(np.abs(np.corrcoef(steps, rowvar=False))).reshape(inputs, inputs)
    order = [int(alike.sum(0).argmax())]
    while len(order) < inputs:
        order.append(max(set(range(inputs)) - set(order), key=lambda k: (alike[order[-1], k], -k)))
    return np.array(order)


def shuffled(_: Split, inputs: int) -> np.ndarray:
    return np.random.default_rng(0).permutation(inputs)


def orthogonal(weight: NetworkWeight) -> None:
    """Starts all factors but the root with orthonormal columns towards the root, which is scaled to the same W."""
    size = weight.mean_square()
    with torch.no_grad():
        *rest, root = weight.network.factors
        for factor in rest:
            own = weight.factors[factor.name]
            rows = torch.linalg.qr(torch.randn(own[0].numel(), max(len(own), 1)))[0].T  # rank × all else
            own.copy_(torch.nn.functional.pad(rows, (0, 0, 0, len(own) - len(rows))).reshape(own.shape))
        weight.factors[root.name].mul_(torch.sqrt(size / weight.mean_square()))


class Natural:
    """The gradient of every factor in the metric of the product: d|W|² for a change of one factor.

    A bond cuts a tree in two parts, W = A·Bᵀ. What a change of A's factors does to W is measured with Bᵀ·B, so their
    gradient is multiplied by its inverse along that bond (scaled gradients, Tong, Ma & Chi 2021). Since the parts that
    hang on a factor meet in it alone, the inverses along its bonds are the whole metric (Uschmajew & Vandereycken
    2013).
    """

    def __init__(self, weight: NetworkWeight, damping: float = DAMPING):
        self.weight, self.damping = weight, damping
        network: TensorNetwork = weight.network
        self.bonds = {index for index, _ in network.sizes} - {*network.inputs, *network.outputs}

    def beyond(self, factor: str, bond: str) -> Tensor:
        """The Gram matrix of what lies beyond a bond of a factor."""
        network = self.weight.network
        (other,) = (f for f in network.factors if bond in f.indices and f.name != factor)
        tensor = self.weight.factors[other.name].detach()
        result = tensor
        for axis, index in enumerate(other.indices):
            if index in self.bonds and index != bond:
                gram = self.beyond(other.name, index)
                result = torch.tensordot(result, gram, ([axis], [0])).movedim(-1, axis)
        axis = other.indices.index(bond)
        rest = [k for k in range(tensor.ndim) if k != axis]
        return torch.tensordot(result, tensor, (rest, rest))

    def apply(self) -> None:
        """Changes the gradients of all factors, and leaves their norm as it was."""
        for factor in self.weight.network.factors:
            own = self.weight.factors[factor.name]
            assert own.grad is not None
            grad, before = own.grad, own.grad.norm()
            for axis, index in enumerate(factor.indices):
                if index in self.bonds:
                    gram = self.beyond(factor.name, index)
                    damped = gram + self.damping * gram.diagonal().mean() * torch.eye(len(gram))
                    grad = torch.tensordot(grad, torch.linalg.inv(damped), ([axis], [0])).movedim(-1, axis)
            own.grad = grad * (before / grad.norm().clamp(min=1e-30))


class Apart:
    """Steps by the size of the columns of x, and by that of the columns of h, in place of the size of both together.

    At the start the two differ in size, and one factor is scaled where it meets them (`NetworkWeight.scale_apart`). A
    step of AdamW is as large in all entries of a factor: seen from the smaller columns it is larger.
    """

    def __init__(self, weight: NetworkWeight, spec: LSTMSpec):
        name, axis, k = weight.parting(spec.x, spec.h)
        self.factor = weight.factors[name]
        own, ratio = self.factor.detach(), torch.ones(self.factor.shape)
        for region in (spec.x, spec.h):
            part = own.narrow(axis, region.start[k], region.shape[k])
            ratio.narrow(axis, region.start[k], region.shape[k]).fill_(part.square().mean().sqrt().item())
        self.ratio = ratio / own.square().mean().sqrt()

    @torch.no_grad()
    def step(self, optimiser: torch.optim.Optimizer) -> None:
        """A step of the optimiser, that of the factor as large as its columns are; what decays does so alike."""
        (group,) = (group for group in optimiser.param_groups if any(p is self.factor for p in group["params"]))
        kept = self.factor * (1 - group["lr"] * group["weight_decay"])
        optimiser.step()
        self.factor.copy_(kept + self.ratio * (self.factor - kept))


@dataclass(frozen=True)
class Change:
    """One change to FDHT-LSTM.

    Attributes:
        what: in a few words.
        spec: of the model.
        order: of the values of a step, from the training split and their number.
        start: of the factors.
        natural: gradients in the metric of the product.
        decay: of the product; that of the recipe when left out.
        apart: steps by the size of the columns of x and of those of h.
        rate: in place of the format's.
    """

    what: str
    spec: Callable[[LSTMSpec], LSTMSpec] = lambda spec: spec
    order: Callable[[Split, int], np.ndarray] = lambda _, inputs: np.arange(inputs)
    start: Callable[[NetworkWeight], None] = lambda _: None
    natural: bool = False
    decay: float | None = None
    apart: bool = False
    rate: float | None = None


CHANGES = {
    each.what: each
    for each in (
        Change("as it is"),
        Change("another tree: (1, (2, 3))", spec=other_tree),
        Change("modes of even size", spec=even_modes),
        Change("ranks below the root twice those further down", spec=partial(uneven, top=2.0)),
        Change("ranks below the root half those further down", spec=partial(uneven, top=0.5)),
        Change("values that correlate side by side", order=by_correlation),
        Change("values in a random order", order=shuffled),
        Change("orthogonal start", start=orthogonal),
        Change("natural gradient", natural=True),
        Change("no decay of the product", decay=0.0),
        Change("decay of the product 1", decay=1.0),
        Change("four modes", spec=four_modes),
        Change("steps for x and h apart", apart=True),
        Change("steps for x and h apart, at a rate of 0.1", apart=True, rate=0.1),
    )
}


@one_thread()
def fitted_by(change: Change, preset: Preset, data: DataSet, seed: int) -> np.ndarray:
    """Trains a preset, whose model has been changed, on the training split: whether each clip of the validation split
    was right.

    Raises:
        TrainingDiverged: a gradient that is no number.
    """
    order = change.order(data.train, data.inputs)
    torch.manual_seed(seed)
    model = Classifier(preset.spec, data.input_format, recurrent_start=preset.recurrent_start)
    change.start(model.networks[0])
    decay = preset.weight_decay if change.decay is None else change.decay
    groups = parameter_groups(model, preset.learning_rate, decay)
    optimiser, natural = torch.optim.AdamW(groups, betas=BETAS), Natural(model.networks[0])
    apart = Apart(model.networks[0], preset.spec) if change.apart else None
    x, truth = torch.from_numpy(data.train.clips[..., order]), torch.from_numpy(data.train.labels)
    lengths = None if data.train.lengths is None else torch.from_numpy(data.train.lengths)
    each = min(preset.clips_per_epoch, len(x))
    for epoch in range(preset.epochs):
        batches = torch.randperm(len(x))[:each].split(preset.batch)
        for k, batch in enumerate(batches):
            rate = SCHEDULES[preset.schedule]((epoch + k / len(batches)) / preset.epochs)
            set_rate(optimiser.param_groups, preset.learning_rate * rate)
            logits = model(model.widen(x[batch]), lengths=None if lengths is None else lengths[batch])
            optimiser.zero_grad()
            (objective.loss(model.task, logits, truth[batch]) / len(batch)).backward()
            if not torch.isfinite(nn.utils.clip_grad_norm_(model.parameters(), 1.0)):
                raise TrainingDiverged(f"epoch {epoch + 1}, step {k + 1}")
            if change.natural:
                natural.apply()
            if apart is None:
                optimiser.step()
            else:
                apart.step(optimiser)
    asked = data.validation
    return predict(model, asked.clips[..., order], lengths=asked.lengths) == asked.labels
