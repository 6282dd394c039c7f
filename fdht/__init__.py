"""The front door: the command `fdht`, and the public Python names, each loaded when it is first used."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if not (Path(__file__).parent / "spec").exists():  # sources as git keeps them: the rooms lie beside this folder
    __path__.append(str(Path(__file__).parents[1]))

from fdht.extras import lacking
from fdht.spec.version import VERSION

if TYPE_CHECKING:
    from fdht.compiled import Accelerator, compile
    from fdht.host.device import Device
    from fdht.model.decompose import from_dense, linear_from_dense, lstm_from_dense
    from fdht.model.layers import FDHTLSTM, HTLinear
    from fdht.model.optimiser import parameter_groups
    from fdht.spec.bundle import Bundle
    from fdht.spec.choose import choose_modes, chosen_lstm
    from fdht.spec.lstm import LSTMSpec, dense_lstm, fdht_lstm, lstm_on
    from fdht.spec.network import (
        balanced_tree,
        bt_network,
        dense_network,
        ht_network,
        linear_tree,
        tr_network,
        tree_from,
        tt_network,
    )

__version__ = VERSION

__all__ = [
    "FDHTLSTM",
    "Accelerator",
    "Bundle",
    "Device",
    "HTLinear",
    "LSTMSpec",
    "balanced_tree",
    "bt_network",
    "choose_modes",
    "chosen_lstm",
    "compile",
    "dense_lstm",
    "dense_network",
    "fdht_lstm",
    "from_dense",
    "ht_network",
    "linear_from_dense",
    "linear_tree",
    "lstm_from_dense",
    "lstm_on",
    "parameter_groups",
    "tr_network",
    "tree_from",
    "tt_network",
]

_NAMES = {
    "fdht.compiled": ("Accelerator", "compile"),
    "fdht.host.device": ("Device",),
    "fdht.model.decompose": ("from_dense", "linear_from_dense", "lstm_from_dense"),
    "fdht.model.layers": ("FDHTLSTM", "HTLinear"),
    "fdht.model.optimiser": ("parameter_groups",),
    "fdht.spec.bundle": ("Bundle",),
    "fdht.spec.choose": ("choose_modes", "chosen_lstm"),
    "fdht.spec.lstm": ("LSTMSpec", "dense_lstm", "fdht_lstm", "lstm_on"),
    "fdht.spec.network": (
        "balanced_tree",
        "bt_network",
        "dense_network",
        "ht_network",
        "linear_tree",
        "tr_network",
        "tree_from",
        "tt_network",
    ),
}
_HOME = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'fdht' has no attribute {name!r}; it has {', '.join(__all__)}")
    try:
        return getattr(import_module(_HOME[name]), name)
    except ModuleNotFoundError as error:
        if (sentence := lacking(error)) is None:
            raise
        raise ImportError(f"{name} needs what this installation lacks: {sentence}", name=error.name) from None


def __dir__() -> list[str]:
    return [*globals(), *__all__]
