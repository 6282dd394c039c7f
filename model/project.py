"""A project: a small file that says which data, which network and which training, for people to read and edit."""

import json
import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from fdht.model.presets import MOST, Preset
from fdht.model.recipe import BY_SIZE, RECURRENT_START, TRAPEZOID, WEIGHT_DECAY
from fdht.spec.choose import chosen_lstm
from fdht.spec.errors import FileError, SpecError
from fdht.spec.lstm import LSTMSpec
from fdht.spec.record import Checked, Text, parse, read_text
from fdht.spec.task import Task

SUFFIX = ".toml"

Modes = Annotated[tuple[Annotated[int, Field(ge=1, le=1 << 24)], ...], Field(min_length=1, max_length=12)]
Rank = Annotated[int, Field(ge=1, le=1 << 12)]

BALANCED = "balanced"


@dataclass(frozen=True)
class Data(Checked):
    """Which data.

    Attributes:
        file: relative to the project's file.
        inputs: values of a step. outputs: classes, or numbers of a regression.
        task: see fdht.spec.task.Task.
    """

    file: Text
    inputs: Annotated[int, Field(ge=1, le=1 << 24)]
    outputs: Annotated[int, Field(ge=1, le=1 << 16)]
    task: Task = Task.CLASSIFY


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

    epochs: int
    batch: int
    learning_rate: float
    weight_decay: float = WEIGHT_DECAY
    schedule: Text = TRAPEZOID
    rates: Text = BY_SIZE
    recurrent_start: float = RECURRENT_START
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
    training: Training

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
        found = chosen_lstm(
            data.inputs,
            of.hidden,
            data.outputs,
            rank=None if of.format == "dense" else of.rank,
            modes=None if of.format == "dense" else (of.input_modes, of.output_modes),
            tree=None if of.format != "ht" or of.tree == BALANCED else of.tree,
            format=of.format,
        )
        return replace(found, task=data.task)

    def preset(self, folder: Path) -> Preset:
        """The project as every command takes it.

        Args:
            folder: where the project's file lies.

        Raises:
            SpecError: what `spec` refuses, or a setting that cannot be trained with.
        """
        given = {field.name: getattr(self.training, field.name) for field in fields(Training)}
        return Preset(self.name, data=str(folder / self.data.file), spec=self.spec, clips_per_epoch=MOST, **given)

    @staticmethod
    def of(preset: Preset, board: str, file: str, rank: int) -> "Project":
        """The project of a preset on a chosen network.

        Args:
            file: the data, relative to the project's file. rank: of the network.
        """
        spec = preset.spec
        return Project(
            preset.name,
            board,
            Data(file, spec.inputs, spec.classes, spec.task),
            Network(spec.hidden, spec.network.input_shape, spec.network.output_shape, rank),
            Training(**{field.name: getattr(preset, field.name) for field in fields(Training)}),
        )

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
