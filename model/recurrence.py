"""The recurrence of an LSTM: step by step in few operations, or by torch's own fused one."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from torch import _VF, Tensor  # pyright: ignore[reportPrivateUsage]
from torch.autograd import forward_ad
from torch.nn import Parameter, functional

T = TypeVar("T")


def steps(
    of_x: Sequence[Tensor], h: Tensor, c: Tensor, of_h: Callable[[Tensor], Tensor] | None, mask_h: Tensor | None = None
) -> tuple[list[Tensor], Tensor, Tensor]:
    """The recurrence, step by step.

    Args:
        of_x: W_x x + b, per step b × 4H. b may shrink from step to step: the last sequences have then ended.
        h, c: B × H before the first step.
        of_h: maps h (b × H) to W_h h (b × 4H); None puts 0 in place of h.
        mask_h: B × H, what h is multiplied by before it meets W_h.

    Returns:
        h after every step (b × H each), and each sequence's last h and c (B × H).
    """
    outputs, ended, hidden = [], [], h.shape[-1]
    for z in of_x:
        count = z.shape[0]
        if count < h.shape[0]:
            ended.append((h[count:], c[count:]))
            h, c = h[:count], c[:count]
        if of_h is not None:
            kept = h if mask_h is None else h * mask_h[:count]
            z = z + of_h(kept)
        g = torch.tanh(z[:, 2 * hidden : 3 * hidden])
        i, f, _, o = torch.sigmoid(z).chunk(4, 1)
        c = torch.addcmul(f * c, i, g)
        h = o * torch.tanh(c)
        outputs.append(h)
    last_h, last_c = zip((h, c), *reversed(ended), strict=True)
    return (outputs, h, c) if not ended else (outputs, torch.cat(last_h), torch.cat(last_c))


def autocast_on(device: torch.device) -> bool:
    """Whether products on a device are in another precision than their factors."""
    return device.type != "meta" and torch.is_autocast_enabled(device.type)


def autocast_off(device: torch.device) -> AbstractContextManager[object]:
    """Weights are formed in the precision of their factors, whatever meets them then."""
    if not autocast_on(device):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def unwatched() -> bool:
    """Whether a call is only carried out: no transform of functions, tracing or compilation looks at it."""
    return (
        not torch.compiler.is_compiling()
        and not torch._C._are_functorch_transforms_active()  # pyright: ignore[reportPrivateUsage]
        and forward_ad._current_level < 0  # pyright: ignore[reportPrivateUsage]
    )


def can_fuse(x: Tensor) -> bool:
    """Whether torch's own LSTM does all that is asked for: on the CPU, in one precision, for plain autograd.

    What transforms a function, or traces it, sees the operations of `steps`: oneDNN's LSTM has no forward derivative
    and no batching rule. On a GPU, cuDNN's would want its weights in one piece of memory, and has no second derivative.
    """
    return x.device.type == "cpu" and not autocast_on(x.device) and unwatched()


class Kept:
    """What was made of some tensors, as long as they hold the same numbers: for calls that need no gradients.

    The numbers themselves are compared. torch counts the changes of a tensor, but not those by way of its `data`, as
    moving averages of weights are often written.
    """

    def __init__(self):
        self._kept: tuple[list[Tensor], Any] | None = None

    def __reduce__(self):
        return Kept, ()

    def __call__(self, tensors: Iterable[Tensor], make: Callable[[bool], T]) -> T:
        """What `make` returns, perhaps of an earlier call; it is told whether that will be kept."""
        given = [*tensors]
        if torch.is_grad_enabled() or not unwatched() or not all(_plain(tensor) for tensor in given):
            self._kept = None
            return make(False)
        kept = self._kept
        if kept is None or not all(
            a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(kept[0], given, strict=True)
        ):
            kept = self._kept = [tensor.detach().clone() for tensor in given], make(True)
        return kept[1]


def _plain(tensor: Tensor) -> bool:
    return type(tensor) in (Tensor, Parameter) and tensor.device.type == "cpu"


def fused(
    x: Tensor, batch_sizes: Tensor | None, h: Tensor, c: Tensor, weights: Sequence[Tensor], batch_first: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The recurrence by torch's own LSTM.

    Args:
        x: T × B × N, or B × T × N with `batch_first`; with `batch_sizes`, the data of a packed sequence.
        batch_sizes: sequences per step.
        h, c: B × H before the first step.
        weights: W_x (4H × N), W_h (4H × H), and a bias of 4H, if there is one.

    Returns:
        h after every step, laid out as x, and each sequence's last h and c (B × H).
    """
    if not torch.is_grad_enabled():
        return _run(batch_sizes, batch_first, x, h, c, *weights)
    return _Fused.apply(batch_sizes, batch_first, x, h, c, *weights)  # type: ignore[no-any-return]


def _run(batch_sizes: Tensor | None, batch_first: bool, x: Tensor, h: Tensor, c: Tensor, *weights: Tensor):
    of_x, of_h, *biases = weights
    every = [of_x, of_h, *biases, *(torch.zeros_like(bias) for bias in biases)]
    state, has_biases, training = (h[None], c[None]), bool(biases), torch.is_grad_enabled()
    if batch_sizes is None:
        output, h, c = _VF.lstm(x, state, every, has_biases, 1, 0.0, training, False, batch_first)
    else:
        output, h, c = _VF.lstm(x, batch_sizes, state, every, has_biases, 1, 0.0, training, False)
    return output, h[0], c[0]


class _Fused(torch.autograd.Function):
    """torch's own LSTM, whose derivative can be differentiated: then the recurrence is gone through step by step."""

    @staticmethod
    def forward(ctx: Any, batch_sizes: Tensor | None, batch_first: bool, *tensors: Tensor):
        ctx.how = batch_sizes, batch_first
        ctx.save_for_backward(*tensors)
        if not any(ctx.needs_input_grad):
            return _run(*ctx.how, *tensors)
        with torch.enable_grad():
            inner = tuple(
                tensor.detach().requires_grad_(needed)
                for tensor, needed in zip(tensors, ctx.needs_input_grad[2:], strict=True)
            )
            ctx.inner = inner, _run(*ctx.how, *inner)
        return tuple(result.detach() for result in ctx.inner[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor):
        inner, results = ctx.inner
        if torch.is_grad_enabled():  # somebody differentiates the derivative, which oneDNN cannot
            inner = ctx.saved_tensors
            results = _stepwise(*ctx.how, *inner)
        wanted = [tensor for tensor, needed in zip(inner, ctx.needs_input_grad[2:], strict=True) if needed]
        found = iter(
            torch.autograd.grad(
                results,
                wanted,
                gradients,
                retain_graph=True,
                create_graph=torch.is_grad_enabled(),
                allow_unused=True,
            )
        )
        return None, None, *(next(found) if needed else None for needed in ctx.needs_input_grad[2:])


def _stepwise(batch_sizes: Tensor | None, batch_first: bool, x: Tensor, h: Tensor, c: Tensor, *weights: Tensor):
    of_x, of_h, *biases = weights
    z = functional.linear(x, of_x, *biases)
    time = 1 if batch_first and batch_sizes is None else 0
    every = z.unbind(time) if batch_sizes is None else z.split(batch_sizes.tolist())
    outputs, h, c = steps(every, h, c, lambda h: functional.linear(h, of_h))
    return torch.stack(outputs, time) if batch_sizes is None else torch.cat(outputs), h, c
