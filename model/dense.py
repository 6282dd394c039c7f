"""Plain PyTorch models in and out: state dicts of a torch.nn.LSTM and of the linear head on its last hidden state."""

import io
import pickle
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite, prod
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from fdht.model.decompose import Decomposition, lstm_from_dense
from fdht.model.layers import Classifier, NetworkWeight
from fdht.spec.container import kind_of, write_whole
from fdht.spec.errors import FileError, SpecError
from fdht.spec.formats import InputFormat
from fdht.spec.lstm import MOST_PARAMETERS, LSTMSpec, dense_lstm
from fdht.spec.scaling import Scaling

_WEIGHT = "weight_ih_l0"
LARGEST = 1 << 30
"""Most bytes of a file: an LSTM of 268 million numbers."""

_SHOWN = 5
"""Names of parameters that an error shows."""


@dataclass(frozen=True, eq=False)
class DenseModel:
    """One LSTM layer, and a linear head on its last hidden state.

    Attributes:
        lstm: a layer with `batch_first`.
        head: None if the file has none.
    """

    lstm: nn.LSTM
    head: nn.Linear | None

    def classifier(self, input_format: InputFormat) -> Classifier:
        """The same model as a network of one dense factor.

        Raises:
            SpecError: there is no head.
        """
        if self.head is None:
            raise SpecError("without a head there are no classes")
        model = Classifier(
            dense_lstm(self.lstm.input_size, self.lstm.hidden_size, self.head.out_features), input_format
        )
        (layer,) = model.lstm_layers
        of_x, of_h, *biases = self.lstm.all_weights[0]
        with torch.no_grad():
            factor = layer.weight.factors["W"]
            factor.copy_(torch.cat([of_x, of_h], 1).reshape(factor.shape))
            layer.biases.copy_(sum(biases, torch.zeros(4 * self.lstm.hidden_size)).reshape(layer.biases.shape))
        _copy(model.head, self.head)
        return model.eval()

    def rescaled(self, input_format: InputFormat, low: float, high: float) -> "DenseModel":
        """The same model for the real numbers that a format makes of raw words.

        Args:
            low, high: what the model takes for the smallest and the largest raw word, as 0 and 1 for pixels / 255.

        Raises:
            SpecError: a range that is none.
        """
        if not (isfinite(low) and isfinite(high)) or low == high:
            raise SpecError(
                f"inputs from {low} to {high} are no range; say what the smallest and largest word stand for"
            )
        raw = input_format.raw
        step = (high - low) / (raw.max - raw.min)
        return self.taking(step / raw.lsb, low + step * (input_format.offset - raw.min))

    def for_values(self, scaling: Scaling) -> "DenseModel":
        """The same model for the real numbers that stand for a scaling's words, where it takes the values themselves:
        of every value of a step its centre and its step go into W_x and the bias.
        """
        centre, step = np.array(scaling.centre), np.array(scaling.step)
        return self.taking(step / scaling.input_format.raw.lsb, centre)

    def for_standardised(self, scaling: Scaling, words: np.ndarray) -> "DenseModel":
        """The same where it takes (value − mean) ÷ deviation.

        Args:
            words: rows × N, whose values have that mean and deviation; a deviation of 0 counts as 1.
        """
        centre, step = np.array(scaling.centre), np.array(scaling.step)
        mean, deviation = words.mean(0, np.float64) - scaling.input_format.offset, words.std(0, np.float64)
        mean, deviation = centre + step * mean, np.where(deviation > 0, step * deviation, 1)
        return self.taking(step / scaling.input_format.raw.lsb / deviation, (centre - mean) / deviation)

    def taking(self, scale: np.ndarray | float, zero: np.ndarray | float) -> "DenseModel":
        """The same model for numbers x in place of what it takes, scale · x + zero: one of each per value of a step, or
        for all.
        """
        inputs = self.lstm.input_size
        scale, zero = (torch.from_numpy(np.broadcast_to(each, inputs).astype(np.float32)) for each in (scale, zero))
        lstm = nn.LSTM(self.lstm.input_size, self.lstm.hidden_size, batch_first=True)
        of_x, of_h, *biases = self.lstm.all_weights[0]
        bias = sum(biases, of_x @ zero)
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        values = (scale * of_x, of_h, bias, torch.zeros_like(bias))
        lstm.load_state_dict({name: value.detach() for name, value in zip(names, values, strict=True)})
        return DenseModel(lstm.eval(), self.head)

    def compressed(
        self, spec: LSTMSpec, input_format: InputFormat, ranks: int | Mapping[str, int] | None = None
    ) -> tuple[Classifier, Decomposition]:
        """The model as an FDHT-LSTM, by hierarchical SVD; with a new head, drawn at random, if it has none.

        All factors have entries of the same mean square, as where training begins otherwise.

        Args:
            spec: modes, tree and placements; see `lstm_from_dense`.
            ranks: as for `from_dense`.

        Raises:
            SpecError: sizes or classes that are not the specification's, or what `lstm_from_dense` refuses.
        """
        if self.head is not None and self.head.out_features != spec.classes:
            raise SpecError(f"a head of {self.head.out_features} outputs does not fit {spec.classes} classes")
        layer, decomposition = lstm_from_dense(self.lstm, spec, ranks)
        model = Classifier(layer.spec, input_format)
        model.lstm.load_state_dict(layer.state_dict())
        _balance(model.networks[0])
        if self.head is not None:
            _copy(model.head, self.head)
        return model.eval(), decomposition


def read_dense(path: Path | str, head: str | None = None) -> DenseModel:
    """Reads a state dict, as torch.save(model.state_dict()) or safetensors write it.

    The LSTM is found by its parameters' names, with any prefix; the head is the one other matrix whose columns are its
    hidden units. A dictionary that holds the state dict beside other things (epoch, optimiser) will do.

    Args:
        head: prefix of the head's parameters (`fc`), where there are several.

    Raises:
        FileError: no such file, none of these kinds, or pickled objects, which are never loaded.
        SpecError: no LSTM in it, numbers that are not finite, or an LSTM of several layers, two directions, a
            projection, or shapes that disagree;
            no head of that name, or several.
    """
    path = Path(path)
    state = _state(path, _loaded(path))
    prefixes = [name.removesuffix(_WEIGHT) for name in state if name.endswith(_WEIGHT)]
    if len(prefixes) != 1:
        found = ", ".join(prefixes) or "none"
        raise SpecError(f"{path} holds {len(prefixes)} LSTMs ({found}); save the state dict of a model with one")
    prefix = prefixes[0]
    own = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    for suffix, what in (
        ("_reverse", "two directions; convert one that has only the forward one"),
        ("_l1", "several layers; convert each on its own"),
        ("weight_hr_l0", "a projection of its hidden state, which FDHT has not"),
    ):
        if any(name.endswith(suffix) and name.startswith(("weight_", "bias_")) for name in own):
            raise SpecError(f"the LSTM in {path} has {what}")
    if "weight_hh_l0" not in own:
        raise SpecError(f"{path} has {prefix}{_WEIGHT} but no {prefix}weight_hh_l0; save the whole state dict")
    of_x, of_h = own[_WEIGHT], own["weight_hh_l0"]
    for name, matrix in ((_WEIGHT, of_x), ("weight_hh_l0", of_h)):
        if matrix.dim() != 2 or not matrix.numel():
            raise SpecError(f"{prefix}{name} in {path} has shape {tuple(matrix.shape)}; an LSTM's is a matrix")
    hidden = of_h.shape[1]
    for name, shape in (
        (_WEIGHT, (4 * hidden, of_x.shape[-1])),
        ("weight_hh_l0", (4 * hidden, hidden)),
        ("bias_ih_l0", (4 * hidden,)),
        ("bias_hh_l0", (4 * hidden,)),
    ):
        if name in own and tuple(own[name].shape) != shape:
            raise SpecError(
                f"{prefix}{name} in {path} has shape {tuple(own[name].shape)}, an LSTM's of {hidden} hidden units has "
                f"{shape}; other cells, such as GRU, cannot be converted"
            )
    names = [name for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0") if name in own]
    lstm = nn.LSTM(of_x.shape[1], hidden, bias="bias_ih_l0" in own, batch_first=True)
    if len(names) != len(lstm.state_dict()):
        raise SpecError(f"{path} has one of the LSTM's two biases; save the whole state dict")
    lstm.load_state_dict({name: own[name] for name in names})
    return DenseModel(lstm.eval(), _head(path, state, prefix, hidden, head))


def write_dense(path: Path | str, model: Classifier) -> dict[str, tuple[int, ...]]:
    """Writes a model as plain PyTorch's: `lstm.weight_ih_l0` and so on, `head.weight`, `head.bias`; all or nothing.

    The file is for a module with `lstm = nn.LSTM(N, H, layers, batch_first=True)` and `head = nn.Linear(H, classes)`,
    which takes the same real numbers and gives the same logits.

    Args:
        path: ends in .pt or .pth (torch.save), or in .safetensors.

    Returns:
        The shapes of what was written.

    Raises:
        SpecError: another ending.
        FileError: no permission, no room.
    """
    path = Path(path)
    if path.suffix not in (".pt", ".pth", ".safetensors"):
        raise SpecError(f"{path} ends in none of .pt, .pth, .safetensors; the ending says how to write it")
    numbers = sum(4 * spec.hidden * (spec.inputs + spec.hidden) for spec in model.layers)
    if numbers > MOST_PARAMETERS:
        raise SpecError(f"as dense matrices the model has {numbers:,} numbers; at most {MOST_PARAMETERS:,} are written")
    state = {}
    for k, layer in enumerate(model.lstm_layers):
        inputs, bias = layer.spec.inputs, layer.biases.detach().flatten().cpu()
        weight = layer.to_dense().detach().cpu()
        state[f"lstm.weight_ih_l{k}"] = weight[:, :inputs].contiguous()
        state[f"lstm.weight_hh_l{k}"] = weight[:, inputs:].contiguous()
        state |= {f"lstm.bias_ih_l{k}": bias.clone(), f"lstm.bias_hh_l{k}": torch.zeros_like(bias)}
    state |= {f"head.{name}": tensor.detach().cpu() for name, tensor in model.head.state_dict().items()}
    if path.suffix == ".safetensors":
        content = save(state)
    else:
        written = io.BytesIO()
        torch.save(state, written)
        content = written.getvalue()
    write_whole(path, content)
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _loaded(path: Path) -> object:
    if not path.is_file():
        raise FileError(f"there is no file {path}; check the path")
    if path.stat().st_size > LARGEST:
        raise FileError(f"{path} has {path.stat().st_size:,} bytes; at most {LARGEST:,} are read, save a smaller model")
    own = None
    with suppress(FileError):
        own = kind_of(path)
    if own is not None:
        raise FileError(f"{path} is a {own} of fdht's own; pass the state dict of an nn.LSTM, as torch.save writes it")
    try:
        if path.suffix == ".safetensors":
            _check_header(path)
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the loaders stumble over foreign bytes in any way there is
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, pickle.UnpicklingError) and ("GLOBAL" in str(error) or "Unsupported" in str(error)):
            raise FileError(
                f"{path} holds pickled objects, which can run anything and are not loaded; save "
                "model.state_dict() instead of the model"
            ) from None
        raise FileError(f"{path} is damaged or no checkpoint of PyTorch ({why}); save its state dict anew") from None


def _check_header(path: Path) -> None:
    """Whether the tensors of a safetensors file are floating point, and not too many, before any is loaded."""
    numbers = 0
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 (not a dict)
            part = file.get_slice(name)
            numbers += prod(part.get_shape())
            if name.endswith((_WEIGHT, "weight_hh_l0")) and part.get_dtype() not in ("F16", "BF16", "F32", "F64"):
                raise ValueError(f"{name} holds {part.get_dtype()}, not floating point")
    if numbers > MOST_PARAMETERS:
        raise ValueError(f"{numbers:,} numbers, where at most {MOST_PARAMETERS:,} are read")


def _state(path: Path, loaded: object) -> dict[str, Tensor]:
    """The state dict: what was loaded, or what a dictionary holds beside other things; parameters in float32."""
    inside = [loaded, *loaded.values()] if isinstance(loaded, Mapping) else []
    states = [each for each in inside if isinstance(each, Mapping) and any(str(k).endswith(_WEIGHT) for k in each)]
    if not states:
        names = ", ".join(str(name) for name in list(loaded)[:_SHOWN]) if isinstance(loaded, Mapping) else ""
        what = f"it has {names}, ..." if names else f"it is a {type(loaded).__name__}"
        raise SpecError(
            f"{path} holds no {_WEIGHT}, so no torch.nn.LSTM ({what}); save the state dict of a model with one"
        )
    try:
        state = {str(name): value.float() for name, value in states[0].items() if isinstance(value, Tensor)}
        faulty = [name for name, value in state.items() if not bool(torch.isfinite(value).all())]
    except (RuntimeError, NotImplementedError, TypeError) as error:  # kinds of tensors that are no plain numbers
        raise SpecError(
            f"{path} holds tensors of no plain numbers ({str(error).splitlines()[0]}); save dense ones"
        ) from None
    if faulty:
        raise SpecError(f"{faulty[0]} in {path} holds infinities or NaN; train it anew")
    return state


def _head(path: Path, state: Mapping[str, Tensor], prefix: str, hidden: int, wanted: str | None) -> nn.Linear | None:
    """The linear layer on the hidden state."""
    found = {
        name.removesuffix("weight").removesuffix("."): tensor
        for name, tensor in state.items()
        if name.endswith("weight") and not (prefix and name.startswith(prefix)) and tensor.dim() == 2
    }
    found = {name: tensor for name, tensor in found.items() if tensor.shape[1] == hidden}
    if wanted is not None:
        if wanted not in found:
            raise SpecError(
                f"{path} has no head {wanted!r} on {hidden} hidden units; it has {', '.join(found) or 'none'}"
            )
        found = {wanted: found[wanted]}
    if len(found) > 1:
        raise SpecError(
            f"{path} has several matrices on {hidden} hidden units: {', '.join(found)}; say which is the head"
        )
    if not found:
        return None
    ((name, weight),) = found.items()
    bias = state.get(f"{name}.bias" if name else "bias", torch.zeros(len(weight)))
    if tuple(bias.shape) != (len(weight),):
        raise SpecError(f"{name}.bias in {path} has shape {tuple(bias.shape)}, not {(len(weight),)}")
    head = nn.Linear(hidden, len(weight))
    head.load_state_dict({"weight": weight, "bias": bias})
    return head


def _balance(weight: NetworkWeight) -> None:
    """Gives all factors the same mean square entry and leaves their product as it is."""
    with torch.no_grad():
        sizes = torch.stack([factor.square().mean().sqrt() for factor in weight.factors.values()])
        if sizes.min() > 0:
            for factor, size in zip(weight.factors.values(), sizes, strict=True):
                factor.mul_(sizes.log().mean().exp() / size)


def _copy(into: nn.Linear, head: nn.Linear) -> None:
    into.load_state_dict(head.state_dict())
