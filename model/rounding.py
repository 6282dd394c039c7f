"""Exact numbers with gradients: rounding, products and tables, as the golden model has them in integers.

A value is an integer times a power of two. Data words and weights fit float32, in which they are kept and
differentiated; products and sums are float64, in which they are exact up to 2**53. The gradient passes a rounding as if
there were none where nothing is clipped, and is 0 where something is (straight-through estimator, Bengio et al. 2013).
"""

import torch
from torch import Tensor
from torch.autograd import Function

from fdht.spec.activation import PiecewiseLinear
from fdht.spec.fixed import Fixed

Slices = tuple[slice, ...]


def rounded(value: Tensor, fixed: Fixed, dtype: torch.dtype = torch.float64) -> Tensor:
    """Values as the nearest ones of a format, half rounded up, saturated."""
    return _tensor(_Rounded.apply(value, fixed, dtype))


def parted(value: Tensor, fixed: Fixed, part: Slices | None) -> tuple[Tensor, Tensor]:
    """Splits sums in two: those that are rounded now (float32, with 0 in a part), and that part, exact, for later.

    Args:
        part: the slices that are kept exact; None for none, the second result is then empty.
    """
    whole, rest = _Parted.apply(value, fixed, part)  # type: ignore[misc]
    return _tensor(whole), _tensor(rest)


def product(a: Tensor, b: Tensor) -> Tensor:
    """The product of float32 matrices, or of batches of them, in float64."""
    return _tensor(_Product.apply(a, b))


class Table:
    """A table of the gate unit as a function of float64 values, with the slope of its chord as the gradient."""

    def __init__(self, table: PiecewiseLinear, device: torch.device):
        self.table = table
        self.base, self.slope = (torch.tensor(each, device=device) for each in (table.base, table.slope))

    def __call__(self, x: Tensor) -> Tensor:
        return _tensor(_Looked.apply(x, self))


class _Looked(Function):
    @staticmethod
    def forward(ctx, x: Tensor, of: Table) -> Tensor:
        table = of.table
        code = x.mul(2.0**table.input.frac).long()
        ctx.save_for_backward(of.slope[table.segment(code)])
        ctx.scale = table.output.lsb / (table.input.lsb * (1 << table.fraction_bits))
        return table(code, of.base, of.slope).double().mul_(table.output.lsb)

    @staticmethod
    def backward(ctx, *grads: Tensor):
        (slope,) = ctx.saved_tensors
        return grads[0] * slope * ctx.scale, None


class _Rounded(Function):
    @staticmethod
    def forward(ctx, value: Tensor, fixed: Fixed, dtype: torch.dtype) -> Tensor:
        kept, inside = _codes(value, fixed)
        ctx.save_for_backward(inside)
        return kept.mul_(fixed.lsb).to(dtype)

    @staticmethod
    def backward(ctx, *grads: Tensor):
        (inside,) = ctx.saved_tensors
        return grads[0] * inside, None, None


class _Parted(Function):
    @staticmethod
    def forward(ctx, value: Tensor, fixed: Fixed, part: Slices | None) -> tuple[Tensor, Tensor]:
        kept, inside = _codes(value, fixed)
        rest = value.new_zeros(len(value), 0) if part is None else value[part].clone()
        if part is not None:
            kept[part] = 0
        ctx.save_for_backward(inside)
        ctx.part = part
        return kept.mul_(fixed.lsb).to(torch.float32), rest

    @staticmethod
    def backward(ctx, *grads: Tensor):
        (inside,) = ctx.saved_tensors
        of_whole, of_rest = grads
        grad = of_whole * inside
        if ctx.part is not None:
            grad[ctx.part] = of_rest.to(grad.dtype)
        return grad, None, None


class _Product(Function):
    @staticmethod
    def forward(ctx, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        return torch.matmul(a.double(), b.double())

    @staticmethod
    def backward(ctx, *grads: Tensor):
        a, b = ctx.saved_tensors
        grad = grads[0].to(a.dtype)
        of_a = torch.matmul(grad, b.mT) if ctx.needs_input_grad[0] else None
        of_b = torch.matmul(a.mT, grad) if ctx.needs_input_grad[1] else None
        return of_a, of_b


def _codes(value: Tensor, fixed: Fixed) -> tuple[Tensor, Tensor]:
    """The integers of a format nearest to values, and where they are not clipped."""
    code = value.mul(2.0**fixed.frac).add_(0.5).floor_()
    kept = code.clamp(fixed.min, fixed.max)
    return kept, code == kept


def _tensor(result) -> Tensor:
    assert isinstance(result, Tensor)
    return result
