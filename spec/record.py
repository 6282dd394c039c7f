"""Dataclasses that are written as JSON, and read from it with every field checked."""

from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import TypeAdapter, ValidationError

from spec.errors import FileError, SpecError


class JsonRecord:
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
            return _adapter(cls).validate_json(text)
        except ValidationError as error:
            raise SpecError(f"not {cls.KIND}: {error.errors()[0]['msg']}") from None

    @classmethod
    def read(cls, path: Path | str) -> Self:
        """One in a file, as `fdht explore --take` writes it.

        Raises:
            FileError: no such file, or something else in it.
        """
        try:
            return cls.from_json(Path(path).read_bytes())
        except (OSError, SpecError) as error:
            kind = cls.KIND.partition(" ")[2]
            raise FileError(f"no {kind} in {path} ({error}); pass one that fdht explore --take wrote") from None


@cache
def _adapter(kind: type) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
