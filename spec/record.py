"""Dataclasses that are written as JSON, and read from it with every field checked.

Whatever a file says is data: each field is strictly of its type, there is no other field, numbers are finite, and
nothing that is read is ever imported, called or run.
"""

import re
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, TypeVar, overload

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from fdht.spec.errors import FileError, SpecError

JSON_BYTES = 16 << 20
"""Most bytes of a JSON text that is read."""

T = TypeVar("T")


class Checked:
    """What a dataclass or a TypedDict inherits, or names as its configuration, to be read strictly from JSON."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


def _shown(text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"{text!r} holds characters that cannot be shown")
    return text


LONGEST_TEXT = 500
"""Characters of words for people."""

Text = Annotated[str, StringConstraints(max_length=LONGEST_TEXT), AfterValidator(_shown)]
"""Words for people, on one line."""

Hex = Annotated[str, StringConstraints(max_length=64, pattern="^[0-9a-f]*$")]
"""A hash, or none."""


def _plain(value: Any) -> Any:
    """Goes through what JSON may hold; its depth was limited when it was parsed."""
    if isinstance(value, dict):
        return {_shown(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, float) and not isfinite(value):
        raise ValueError(f"{value} is no finite number")
    return _shown(value) if isinstance(value, str) else value


Plain = Annotated[Any, AfterValidator(_plain)]
"""Anything that JSON can say: its numbers are finite, and its strings fit to be shown."""

Count = Annotated[int, Field(ge=0, lt=1 << 53)]
Share = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=1 << 32)]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._,+-]{0,79}")


def check_name(what: str, name: str) -> None:
    """Whether a name can be part of a file's name and of a picture's title.

    Args:
        what: whose it is, for the message.

    Raises:
        SpecError: it cannot.
    """
    if not _NAME.fullmatch(name):
        raise SpecError(
            f"{what} is called {name[:80]!r}; a name has 1 to 80 letters, digits, spaces or any of ._,+- and begins "
            "with a letter or a digit"
        )


class JsonRecord(Checked):
    """What a dataclass inherits to be written and read. `KIND` says what it is, in errors."""

    KIND: ClassVar[str]

    def to_json(self) -> str:
        return _adapter(type(self)).dump_json(self, indent=2).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The opposite of `to_json`.

        Raises:
            SpecError: it is something else.
        """
        try:
            return parse(cls, text)
        except SpecError as error:
            raise SpecError(f"not {cls.KIND}: {error}") from None

    @classmethod
    def read(cls, path: Path | str) -> Self:
        """One in a file, as `fdht explore --take` writes it.

        Raises:
            FileError: no such file, or something else in it.
        """
        kind = cls.KIND.partition(" ")[2]
        try:
            return cls.from_json(read_text(path))
        except (SpecError, FileError) as error:
            raise FileError(f"no {kind} in {path} ({error}); pass one that fdht explore --take wrote") from None


@overload
def parse(kind: type[T], text: str | bytes) -> T: ...
@overload
def parse(kind: Any, text: str | bytes) -> Any: ...
def parse(kind: Any, text: str | bytes) -> Any:
    """JSON as a value of a type, checked strictly.

    Raises:
        SpecError: it is something else; says where and what.
    """
    if len(text) > JSON_BYTES:
        raise SpecError(f"{len(text):,} bytes of JSON; at most {JSON_BYTES:,} are read")
    try:
        return _adapter(kind).validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        reason = first["msg"].removeprefix("Value error, ")
        raise SpecError(f"{where}: {reason}" if where else reason) from None


def dump(value: Any) -> Any:
    """A dataclass as JSON has it: the opposite of `parse`."""
    return _adapter(type(value)).dump_python(value, mode="json")


def read_text(path: Path | str) -> bytes:
    """A text file, of no more bytes than a JSON text may have.

    Raises:
        FileError: no such file (or a device, or a pipe), no permission, or too large.
    """
    if not Path(path).is_file():
        raise FileError(f"there is no file {path}; check the path")
    try:
        with Path(path).open("rb") as file:
            text = file.read(JSON_BYTES + 1)
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror}; check the path") from None
    if len(text) > JSON_BYTES:
        raise FileError(f"{path} has more than the {JSON_BYTES:,} bytes that a JSON file may have; pass another")
    return text


def read_rows(path: Path, kind: Any) -> list[Any]:
    """A list of rows in a JSON file; none if there is no file.

    Raises:
        FileError: something else in it.
    """
    if not path.is_file():
        return []
    try:
        return parse(list[kind], read_text(path))
    except SpecError as error:
        raise FileError(f"{path} is no list of results ({error}); restore it from git or remove it") from None


def read_kept(path: Path, kind: type[T]) -> T | None:
    """What was kept in a JSON file; None where there is none, or not whole: it can be made again."""
    try:
        return parse(kind, read_text(path)) if path.is_file() else None
    except (SpecError, FileError):
        return None


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
