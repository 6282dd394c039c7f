"""A project: a small file that says which data, which network and which training, for people to read and edit."""

import json
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from fdht.model.learning_rate import BY_SIZE
from fdht.model.presets import Preset
from fdht.spec.errors import FileError, SpecError
from fdht.spec.lstm import LSTMSpec, lstm_on
from fdht.spec.network import balanced_tree, bt_network, dense_network, ht_network, linear_tree, tr_network, tt_network
from fdht.spec.record import Checked, Count, Text, parse, read_text
from fdht.spec.scaling import BITS
from fdht.spec.task import Task

SUFFIX = ".toml"

Modes = Annotated[tuple[Annotated[int, Field(ge=1, le=1 << 24)], ...], Field(min_length=1, max_length=12)]
Rank = Annotated[int, Field(ge=1, le=1 << 12)]

TREES = {"balanced": balanced_tree, "linear": linear_tree}
"""Dimension trees of a network of format ht."""

FORMATS = ("ht", "tt", "tr", "bt", "dense")

BLOCKS = 2
"""Blocks of a network of format bt."""


@dataclass(frozen=True)
class Data(Checked):
    """Which data.

    Attributes:
        file: relative to the project's file.
        inputs: values of a step. outputs: classes, or numbers of a regression.
        task: see fdht.spec.task.Task.
        bits: of a raw input word.
    """

    file: Text
    inputs: Annotated[int, Field(ge=1, le=1 << 24)]
    outputs: Annotated[int, Field(ge=1, le=1 << 16)]
    task: Task = Task.CLASSIFY
    bits: Count = BITS[0]


@dataclass(frozen=True)
class Network(Checked):
    """Which network.

    Attributes:
        hidden: H.
        input_modes, output_modes: their products hold N + H and 4 H.
        rank: one for all, or one per node of the tree (`{ 1 = 12, 12 = 8 }`).
        format: ht, tt, tr, bt or dense. tree: of ht, balanced or linear.
    """

    hidden: Annotated[int, Field(ge=1, le=1 << 15)]
    input_modes: Modes
    output_modes: Modes
    rank: Rank | dict[Text, Rank] = 12
    format: Text = "ht"
    tree: Text = "balanced"


@dataclass(frozen=True)
class Training(Checked):
    """How it is trained; names and meaning are those of `fdht.model.presets.Preset`."""

    epochs: int = 60
    batch: int = 32
    learning_rate: float = 0.01
    weight_decay: float = 0.01
    schedule: Text = "one-cycle"
    rates: Text = BY_SIZE
    dropout: float = 0.0
    input_dropout: float = 0.0
    hidden_dropout: float = 0.0
    patience: int | None = None


@dataclass(frozen=True)
class Project(Checked):
    """What a project's file says.

    Attributes:
        name: of model and files.
        board: that it is for.
        data, network, training: see there.
    """

    name: Text
    board: Text
    data: Data
    network: Network
    training: Training = Training()

    @staticmethod
    def read(path: Path | str) -> "Project":
        """A project's file.

        Raises:
            FileError: no such file, no TOML, or something else in it.
        """
        path = Path(path)
        try:
            found = tomllib.loads(read_text(path).decode())
            return parse(Project, json.dumps(found, default=str))
        except UnicodeDecodeError:
            raise FileError(f"{path} is no text in UTF-8; save it as that") from None
        except tomllib.TOMLDecodeError as error:
            raise FileError(f"{path} is no TOML ({error}); mend it, or make one with fdht new") from None
        except SpecError as error:
            raise FileError(f"{path} is no project ({error}); mend it, or make one with fdht new") from None

    @property
    def spec(self) -> LSTMSpec:
        """The model.

        Raises:
            SpecError: modes that hold it not, or a format or tree that nobody knows.
        """
        of, data = self.network, self.data
        kind, n, m = of.format, of.input_modes, of.output_modes
        if len(n) != len(m) and kind != "dense":
            raise SpecError(f"{len(n)} input modes and {len(m)} output modes; there are as many of one as of the other")
        if of.tree not in TREES:
            raise SpecError(f"there is no tree {of.tree!r}; known: {', '.join(TREES)}")
        if kind == "ht":
            network = ht_network(n, m, TREES[of.tree](len(n), of.rank))
        elif isinstance(of.rank, dict):
            raise SpecError(f"ranks by node are for the format ht; {kind} has one rank")
        elif kind == "tt":
            network = tt_network(n, m, of.rank)
        elif kind == "tr":
            network = tr_network(n, m, of.rank)
        elif kind == "bt":
            network = bt_network(n, m, of.rank, BLOCKS)
        elif kind == "dense":
            network = dense_network(data.inputs + of.hidden, (4, of.hidden))
        else:
            raise SpecError(f"there is no format {kind!r}; known: {', '.join(FORMATS)}")
        found = lstm_on(network, data.inputs, of.hidden, data.outputs)
        return LSTMSpec(**{**vars(found), "task": data.task})

    def preset(self, folder: Path) -> Preset:
        """The project as every command takes it.

        Args:
            folder: where the project's file lies.

        Raises:
            SpecError: what `spec` refuses, or a setting that cannot be trained with.
        """
        given = {field.name: getattr(self.training, field.name) for field in fields(Training)}
        return Preset(self.name, data=str(folder / self.data.file), spec=self.spec, clips_per_epoch=10**9, **given)

    def to_toml(self, comments: tuple[str, ...] = ()) -> str:
        """The file's text: what `read` reads, with words for people."""
        lines = [
            *(f"# {comment}" for comment in comments),
            f"name = {_toml(self.name)}",
            f"board = {_toml(self.board)}",
        ]
        for title, part, about in (
            ("data", self.data, "where it lies, relative to this file, and what it holds"),
            (
                "network",
                self.network,
                "the product of the input modes holds inputs + hidden, of the output modes 4 × hidden",
            ),
            (
                "training",
                self.training,
                "a rate says by how much the network changes per step; three times more or less do",
            ),
        ):
            lines += ["", f"[{title}] # {about}"]
            values = {field.name: getattr(part, field.name) for field in fields(part)}
            lines += [f"{name} = {_toml(value)}" for name, value in values.items() if value is not None]
        return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    """A value as TOML has it; JSON's strings and numbers are TOML's."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {number}" for name, number in value.items()) + " }"
    return json.dumps(value.value if isinstance(value, Task) else value, ensure_ascii=False)
