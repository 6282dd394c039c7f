"""Which parts of a user's own module the engine can run: its LSTM layers, what it reads of them, and the linear head.

A module is run once on an example and watched. What it does to its numbers is then checked against the numbers
themselves, so it does not matter how its `forward` is written: between the parts that go to the engine nothing may
change a value, in front of the first one only the shape may change, and what is behind the head may not change which
class is the largest.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise, permutations
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from fdht.model.layers import FDHTLSTM, HTLinear
from fdht.spec.errors import SpecError

LAST, EACH = "last", "each"
"""Which steps the head is asked for."""

LAYERS = (FDHTLSTM, nn.LSTM)
HEADS = (nn.Linear, HTLinear)

HARMLESS = (nn.Dropout, nn.Dropout1d, nn.AlphaDropout, nn.Identity, nn.Flatten, nn.Unflatten)
"""What changes no value in evaluation."""

BEHIND = (nn.Softmax, nn.LogSoftmax)
"""What may follow the head: the largest stays the largest, and the host need not compute it."""

WAYS_OUT = {
    nn.GRU: "train an FDHTLSTM or an nn.LSTM in its place",
    nn.RNN: "train an FDHTLSTM or an nn.LSTM in its place",
    nn.Conv1d: "in front of the LSTM it can run on the host, if you name it",
    nn.Conv2d: "in front of the LSTM it can run on the host, if you name it",
    nn.BatchNorm1d: "fold it into the layer behind it, or train without it",
    nn.LayerNorm: "train without it",
    nn.MultiheadAttention: "train without it; the engine reads the last step or all steps",
}


@dataclass(frozen=True, eq=False)
class Placed:
    """The parts of a module that go to the engine.

    Attributes:
        module: the whole.
        layers: the recurrent layers, the lowest first, by name.
        head: the linear layer on top, and its name.
        steps: which steps the head is asked for: the last of a sequence, or each.
        host: names of submodules that the user keeps on the host, in front of the first layer.
        softmax: whether the module ends in a softmax, which the engine leaves out.
        time_first: whether the head is given T × B × H.
    """

    module: nn.Module
    layers: tuple[tuple[str, nn.Module], ...]
    head: tuple[str, nn.Module]
    steps: str
    host: tuple[str, ...] = ()
    softmax: bool = False
    time_first: bool = False

    def outputs(self, x: Tensor) -> Tensor:
        """What the module's own head gives for an x of the module's: B × K, or B × T × K if it is asked for each."""
        seen: list[Tensor] = []

        def keep(_part: nn.Module, _given: tuple, gave: Tensor) -> None:
            seen.append(gave)

        with _evaluating(self.module), torch.no_grad():
            handle = self.head[1].register_forward_hook(keep, prepend=True)  # before a hook of the user's changes it
            try:
                _called(self.module, x)
            finally:
                handle.remove()
        if self.time_first:
            gave = seen[-1].unflatten(0, (-1, len(x))) if seen[-1].dim() == 2 else seen[-1]
            gave = gave.transpose(0, 1)
        else:
            gave = seen[-1].reshape(len(x), -1, seen[-1].shape[-1])
        return gave if self.steps == EACH else gave[:, -1]

    def inputs(self, x: Tensor) -> Tensor:
        """What the first layer is given for an x of the module's: B × T × N. Runs only what is in front of it."""
        name, layer = self.layers[0]

        def stop(_module, arguments, keywords) -> None:
            raise _Reached(_input(name, arguments, keywords))

        with _evaluating(self.module), torch.no_grad():
            handle = layer.register_forward_pre_hook(stop, with_kwargs=True)
            try:
                _called(self.module, x)
            except _Reached as reached:
                given = _batch_first(layer, reached.value)
                _check_front(name, given, x, self.host)
                return given
            finally:
                handle.remove()
        raise SpecError(f"the module no longer calls {name}; compile it as it was traced")


class _Reached(Exception):
    """The first layer was reached: its input."""

    def __init__(self, value: Tensor):
        super().__init__()
        self.value = value


@dataclass(frozen=True, eq=False)
class _Call:
    """A call of a submodule that was watched."""

    name: str
    module: nn.Module
    given: tuple
    keywords: dict
    gave: Any


def place_module(module: nn.Module, x: Tensor, host: Sequence[str] | str | None = ()) -> Placed:
    """Finds the parts of a module that go to the engine.

    Args:
        module: inputs → LSTM layers on top of each other → the last step or all steps → a linear layer. `FDHTLSTM`
            and `nn.LSTM` are layers. Dropout, identities and reshapes may be anywhere between, a
            softmax at the end.
        x: what the module is called with, more than one sample and several steps.
        host: names of submodules in front of the first layer (as `named_modules` has them) that stay on the host, or
            the name of one.

    Raises:
        SpecError: what the engine cannot run, by its name in the module, with what to do.
    """
    host = (host,) if isinstance(host, str) else tuple(host or ())
    if not isinstance(module, nn.Module):
        raise SpecError(f"{module!r:.80} is no torch.nn.Module; pass one that was trained")
    known = dict(module.named_modules())
    for name in host:
        if name not in known or name == "":
            raise SpecError(f"the module has no part {name!r} for the host; it has {', '.join(n for n in known if n)}")
    for name, part in known.items():
        _check_kind(name, part)
    saved = module.state_dict()
    buffers = [(name, buffer) for name, buffer in module.named_buffers() if name in saved]
    for name, tensor in [*module.named_parameters(), *buffers]:
        if tensor.is_meta or not torch.isfinite(tensor).all():
            raise SpecError(f"{name} holds infinities, NaN or nothing; train anew, or load other parameters")
    with _evaluating(module), torch.no_grad():
        calls, output = _watched(module, x, host)
    layers = [call for call in calls if isinstance(call.module, LAYERS)]
    if not layers:
        raise SpecError(
            f"{type(module).__name__} calls no FDHTLSTM and no nn.LSTM, and these are what the engine runs"
            + _others(calls)
        )
    _refuse(calls, layers, host)
    for call in layers:
        _check_layer(call)
    _check_hidden(layers)
    _check_front(layers[0].name, _given(layers[0]), x, host)
    for below, above in pairwise(layers):
        if not _equal(_sequence(below), _given(above)):
            raise SpecError(
                f"what {above.name} is given is not what {below.name} gives for each step: something between changes "
                "values, and the engine passes h on as it is; take it out"
            )
    head, steps, time_first = _head(calls, layers[-1])
    steps, softmax = _end(head, output, steps, time_first)
    parts = tuple((call.name, call.module) for call in layers)
    return Placed(module, parts, (head.name, head.module), steps, tuple(host), softmax, time_first)


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    training = {name: each.training for name, each in module.named_modules()}
    module.eval()
    try:
        yield
    finally:
        for name, each in module.named_modules():
            each.training = training[name]


def _watched(module: nn.Module, x: Tensor, host: Sequence[str]) -> tuple[list[_Call], Any]:
    """The calls of parts that are not looked into any further, in their order, and what the module gives."""
    calls: list[_Call] = []

    def hook(name: str) -> Callable:
        def seen(part, given, keywords, gave):
            calls.append(_Call(name, part, given, keywords, gave))

        return seen

    with ExitStack() as stack:
        for name, part in _parts(module, host):
            # Before hooks of the user's: what they change is then seen as a change between the parts.
            stack.callback(part.register_forward_hook(hook(name), prepend=True, with_kwargs=True).remove)
        return calls, _called(module, x)


def _called(module: nn.Module, x: Tensor) -> Any:
    """What a module gives for samples; what it says of those it cannot take, in a sentence."""
    try:
        return module(x)
    except _Reached:
        raise
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise SpecError(
            f"{type(module).__name__} cannot be called with samples of {tuple(x.shape)}, {x.dtype} ({why}); pass what "
            "it is trained with, samples first"
        ) from None
    except Exception as error:
        raise SpecError(
            f"{type(module).__name__} raised {type(error).__name__} ({error}) with samples of {tuple(x.shape)}; mend it"
        ) from None


def _parts(module: nn.Module, host: Sequence[str], name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Parts that compute something themselves; what a layer or the host's part has inside is its own business."""
    inside = list(module.named_children())
    whole = isinstance(module, (*LAYERS, *HEADS, *WAYS_OUT)) or name in host or not inside
    if name and whole:
        yield name, module
    elif not name and isinstance(module, (*LAYERS, *HEADS)):
        raise SpecError(f"a lone {type(module).__name__} is no model; give a module with an LSTM and a linear layer")
    else:
        for child, part in inside:
            yield from _parts(part, host, f"{name}.{child}" if name else child)


def _others(calls: list[_Call]) -> str:
    """What else is there, for an error; the first that has a way out."""
    for call in calls:
        if (way := _way_out(call.module)) is not None:
            return f"; {call.name} is a {type(call.module).__name__}: {way}"
    return ""


def _way_out(module: nn.Module) -> str | None:
    return next((way for kind, way in WAYS_OUT.items() if isinstance(module, kind)), None)


def _refuse(calls: list[_Call], layers: list[_Call], host: Sequence[str]) -> None:
    """Refuses parts that the engine does not have, where they stand."""
    first, last = calls.index(layers[0]), calls.index(layers[-1])
    for position, call in enumerate(calls):
        if call.name in host:
            if position > first:
                raise SpecError(f"{call.name} runs behind {layers[0].name}; only what is in front can stay on the host")
            continue
        if isinstance(call.module, (*LAYERS, *HARMLESS)) or (position > last and isinstance(call.module, HEADS)):
            continue
        if position > last and isinstance(call.module, BEHIND):
            continue
        kind, way = type(call.module).__name__, _way_out(call.module)
        if position < first:
            raise SpecError(
                f"{call.name} ({kind}) is in front of {layers[0].name}, and the engine begins with an LSTM layer; keep "
                f"it on the host: host=[{call.name!r}]"
            )
        raise SpecError(f"the engine cannot run {call.name} ({kind}): {way or 'it runs LSTM layers and a linear head'}")


def _check_kind(name: str, layer: nn.Module) -> None:
    """Refuses LSTMs that are more than the engine's, before they are run."""
    if isinstance(layer, nn.LSTM):
        if layer.bidirectional:
            raise SpecError(
                f"{name} is bidirectional, and the engine goes through a sequence once, forwards; train it with "
                "bidirectional=False"
            )
        if layer.proj_size:
            raise SpecError(f"{name} has proj_size = {layer.proj_size}, which the engine does not have; train without")


def _check_layer(call: _Call) -> None:
    """Refuses what the engine cannot begin with."""
    name = call.name
    states = (
        call.given[1]
        if len(call.given) > 1
        else next((call.keywords[key] for key in ("hx",) if call.keywords.get(key) is not None), None)
    )
    if states is not None and any(bool(state.count_nonzero()) for state in states):
        raise SpecError(f"{name} begins with states that are not zero; the engine's runs begin with zeros")
    if isinstance(_input(name, call.given, call.keywords), PackedSequence):
        raise SpecError(
            f"{name} was given a PackedSequence; let forward pass the tensor itself, whose sequences are all as long "
            "here, and pack only while training"
        )


def _check_hidden(layers: list[_Call]) -> None:
    """Refuses layers of different sizes, which the engine's stacks do not have."""
    sizes = {call.name: _sequence(call).shape[-1] for call in layers}
    first, hidden = next(iter(sizes.items()))
    for name, size in sizes.items():
        if size != hidden:
            raise SpecError(
                f"{name} has {size} hidden units and {first} has {hidden}; layers of a stack have equally many on the "
                f"engine: train them with {max(hidden, size)} each"
            )


def _input(name: str, given: tuple, keywords: dict) -> Tensor:
    value = given[0] if given else next((keywords[key] for key in ("input",) if key in keywords), None)
    if value is None:
        raise SpecError(f"{name} is called without its input")
    return value


def _batch_first(layer: nn.Module, x: Tensor) -> Tensor:
    if x.dim() != 3:
        raise SpecError(f"a layer was given x of shape {tuple(x.shape)}; trace the module with batches of sequences")
    return x if getattr(layer, "batch_first", False) else x.transpose(0, 1)


def _given(call: _Call) -> Tensor:
    """B × T × N."""
    return _batch_first(call.module, _input(call.name, call.given, call.keywords))


def _sequence(call: _Call) -> Tensor:
    """h of every step: B × T × H."""
    return _batch_first(call.module, call.gave[0])


def _equal(a: Any, b: Tensor) -> bool:
    return isinstance(a, Tensor) and a.shape == b.shape and bool(torch.equal(a, b))


def _check_front(name: str, given: Tensor, x: Tensor, host: Sequence[str]) -> None:
    """Without parts on the host, the first layer (B × T × N) must be given the module's own numbers."""
    own = x.to(given.dtype)
    if host or (given.numel() == own.numel() and torch.equal(given.flatten(), own.flatten())):
        return
    ways_out = "Put that into a submodule and keep it on the host (host=['its name']), or leave it out and"
    for order in permutations(range(own.dim())) if own.dim() == 3 else ():
        if _equal(own.permute(order), given):
            raise SpecError(
                f"{name} is given the module's samples of {tuple(x.shape)} in another order, as {tuple(given.shape)}: "
                f"samples, steps, values. {ways_out} pass samples in that order"
            )
    raise SpecError(
        f"{name} is given other numbers than the module: something in front of it changes them. {ways_out} scale the "
        "data before"
    )


def _head(calls: list[_Call], top: _Call) -> tuple[_Call, str, bool]:
    """The linear layer on top, the steps that it is given, and whether these come first."""
    behind = calls[calls.index(top) + 1 :]
    heads = [call for call in behind if isinstance(call.module, HEADS)]
    if not heads:
        raise SpecError(f"there is no linear layer behind {top.name}, and the engine's results are one's outputs")
    if len(heads) > 1:
        raise SpecError(
            f"{heads[1].name} follows {heads[0].name}: the engine has one linear layer behind its LSTM layers; without "
            "a nonlinearity between, two are one"
        )
    (head,) = heads
    given, each = _input(head.name, head.given, head.keywords), _sequence(top)
    if _equal(given, each[:, -1]) or _equal(given, each[:, -1:]):
        return head, LAST, False
    if _equal(given, each) or _equal(given, each.flatten(0, 1)):
        return head, EACH, False
    if _equal(given, each.transpose(0, 1)):
        return head, EACH, True
    raise SpecError(
        f"{head.name} is given neither h of the last step of {top.name} nor h of each step: something between changes "
        "values (a mean over time, a nonlinearity), which the engine does not have; take it out"
    )


def _end(head: _Call, output: Any, steps: str, time_first: bool) -> tuple[str, bool]:
    """Which steps of the head the module returns, and whether through a softmax; behind the head only what keeps the
    order of its outputs.
    """
    output = output[0] if isinstance(output, tuple) and output else output
    gave = head.gave
    ways = [(gave, steps)]
    if steps == EACH:
        each = gave.transpose(0, 1) if time_first else gave
        ways += [(each, EACH), (each.transpose(0, 1), EACH), (each[:, -1], LAST)] if each.dim() == 3 else []
    if not isinstance(output, Tensor) or output.numel() not in {way.numel() for way, _ in ways}:
        raise SpecError(
            f"the module does not return what {head.name} gives; return its outputs, alone or first of a tuple"
        )
    for way, asked in ways:
        for function in (None, torch.softmax, torch.log_softmax):
            made = way if function is None else function(way, dim=-1)
            shapes = [made.reshape(output.shape)] if made.numel() == output.numel() else []
            shapes += [made.movedim(-1, 1)] if made.movedim(-1, 1).shape == output.shape else []
            same = torch.equal if function is None else partial(torch.allclose, atol=1e-6)
            if any(same(each, output) for each in shapes):
                return asked, function is not None
    raise SpecError(
        f"the module changes what {head.name} gives by something else than a softmax; do that on the host, behind "
        "the accelerator's outputs"
    )
