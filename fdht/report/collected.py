"""Tables that commands print, kept for a page."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fdht.console import Output, shown


@dataclass(frozen=True)
class Table:
    """A table as it is shown: a title, heads (none of names with values), rows of text, which columns are numbers."""

    title: str
    heads: tuple[str, ...]
    rows: list[list[str]]
    numbers: tuple[bool, ...]


def table(title: str, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A table of values."""
    rows = [list(row) for row in rows]
    numbers = tuple(
        bool(rows) and all(isinstance(row[k], int | float) or row[k] is None for row in rows) for k in range(len(heads))
    )
    return Table(title, tuple(heads), [[shown(value) for value in row] for row in rows], numbers)


def facts(title: str, named: dict[str, object]) -> Table:
    """A table of names and values."""
    return Table(title, (), [[name, shown(value)] for name, value in named.items()], (False, False))


_named = facts  # whose name a parameter below has


class Collected(Output):
    """An output that keeps tables in place of printing them."""

    def __init__(self):
        super().__init__(as_json=False, quiet=True)
        self.tables: list[Table] = []

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        self.tables.append(table(title, columns, rows))

    def facts(self, title: str, facts: dict[str, object]) -> None:
        self.tables.append(_named(title, facts))
