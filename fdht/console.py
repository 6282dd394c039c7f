"""What a command prints: tables for people, one JSON object for programs, progress on the side."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from fdht.remaining import Remaining, in_words
from fdht.spec.errors import escaped

PLAIN_WIDTH = 120
"""Columns of tables that go to a file or a pipe."""

SECONDS_PER_LINE = 10
"""How often progress is told where there is no terminal to redraw."""

Advance = Callable[..., None]
"""`advance(done, total, note)`: moves a progress bar; all arguments optional."""


class Output:
    """Where a command writes.

    Names and words may come from files: they are shown as they are, never as markup.

    With `as_json`, stdout gets exactly one JSON object and stderr all the rest; otherwise tables go to stdout,
    progress and messages to stderr. With `quiet`, nothing goes anywhere: another process says it all.

    Attributes:
        pictures: that were drawn, see `drew`.
    """

    def __init__(self, as_json: bool, quiet: bool = False):
        self.as_json, self.quiet = as_json, quiet
        self._aside = _console(stderr=True)
        self._people = self._aside if as_json else _console(stderr=False)
        self._aside.quiet = self._people.quiet = quiet
        self.pictures: list[Path] = []

    def say(self, message: str) -> None:
        """A line of what is going on."""
        self._aside.print(escaped(message, "\n"), markup=False, highlight=False)

    def text(self, text: str) -> None:
        """Text for people, as it is."""
        self._people.print(escaped(text, "\n"), markup=False, highlight=False, soft_wrap=True)

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """A table; numbers are aligned to the right."""
        rows = [list(row) for row in rows]
        table = Table(title=Text(escaped(title)), title_justify="left", title_style="bold", header_style="bold")
        for k, column in enumerate(columns):
            numeric = bool(rows) and all(isinstance(row[k], int | float) or row[k] is None for row in rows)
            table.add_column(Text(column), justify="right" if numeric else "left", overflow="fold")
        for row in rows:
            table.add_row(*(Text(shown(value)) for value in row))
        self._people.print(table)

    def facts(self, title: str, facts: dict[str, object]) -> None:
        """A table of names and values."""
        table = Table(title=Text(escaped(title)), title_justify="left", title_style="bold", show_header=False)
        for name, value in facts.items():
            table.add_row(Text(name), Text(shown(value)))
        self._people.print(table)

    def result(self, figures: dict | list[dict]) -> None:
        """The figures for programs; nothing without `--json`."""
        if self.as_json and not self.quiet:
            print(json.dumps(figures, default=_number), flush=True)

    def drew(self, picture: Path | str) -> None:
        """A picture is there now, which `open_pictures` opens."""
        self.pictures.append(Path(picture))

    def open_pictures(self) -> None:
        """Opens what was drawn in the program that this machine shows pictures with; says so where there is none."""
        if self.quiet or not self.pictures:
            return
        names = ", ".join(map(str, self.pictures))
        if not _has_screen():
            self.say(f"there is no screen here to open {names} on; copy it to a machine that has one")
        elif any([typer.launch(str(picture)) for picture in self.pictures]):
            self.say(f"this machine does not say what it shows pictures with (xdg-open); open {names} yourself")

    @contextmanager
    def progress(self, what: str, total: int | None = None) -> Iterator[Advance]:
        """A bar on stderr with the time that is left; on anything but a terminal, a line now and then.

        How much is left follows from the steps, or, where nobody knows how many there are, from how long the same took
        last time.
        """
        remaining = Remaining(what, total)
        if not self._aside.is_terminal:
            yield self._lines(what, remaining)
            remaining.ended()
            return
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            _Steps(),
            TimeElapsedColumn(),
            _Left(remaining),
            TextColumn("{task.fields[note]}", markup=False),
        )
        with Progress(*columns, console=self._aside, transient=True) as bar:
            task = bar.add_task(what, total=total, note="")

            def advance(done: int | None = None, total: int | None = None, note: str = "") -> None:
                remaining.step(done, total)
                bar.update(task, completed=done, total=total, note=note)

            yield advance
        remaining.ended()

    def building(self, name: str) -> Callable[[], AbstractContextManager[Advance]]:
        """The progress of building a simulator, for whoever does so only where none is kept."""
        return lambda: self.progress(f"building the simulator of {name} (kept for the next time)")

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Says on a terminal that PyTorch is being loaded, which takes seconds; nothing where it is loaded already."""
        if "torch" in sys.modules or not self._aside.is_terminal:
            yield
            return
        with self.progress("loading PyTorch"):
            yield

    def _lines(self, what: str, remaining: Remaining) -> Advance:
        usual = remaining.usual if remaining.total is None else None
        self.say(f"{what} ..." + ("" if usual is None else f" (about {in_words(usual)}, as last time)"))
        last = time.monotonic()

        def advance(done: int | None = None, total: int | None = None, note: str = "") -> None:
            nonlocal last
            remaining.step(done, total)
            if time.monotonic() - last >= SECONDS_PER_LINE:
                last = time.monotonic()
                of = f" {done}/{remaining.total}" if done is not None else ""
                left = remaining.seconds()
                self.say(f"{what}{of} {note}".rstrip() + ("" if left is None else f", {in_words(left)}"))

        return advance


class _Steps(MofNCompleteColumn):
    """How many steps of how many; nothing where nobody knows."""

    def render(self, task: Task) -> Text:
        return Text() if task.total is None else super().render(task)


class _Left(ProgressColumn):
    """The time that is left, between two steps too."""

    def __init__(self, remaining: Remaining):
        super().__init__()
        self._remaining = remaining

    def render(self, task: Task) -> Text:
        left = self._remaining.seconds()
        return Text("" if left is None else in_words(left), style="progress.remaining")


def _has_screen() -> bool:
    """Whether there is somewhere to show a picture: a desktop, which Linux and its kin say in the environment."""
    return sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def told(advance: Advance, done: int, name: str, epoch: int, epochs: int, history: list[dict]) -> None:
    """How far a training is that is one of several, of which so many are done."""
    advance(done, note=f"{name}, epoch {epoch} of {epochs}, loss {history[-1]['loss']:.3f}")


def shown(value: object) -> str:
    """A figure as people read it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return escaped(str(value), "\n")


def percent(fraction: float | None) -> str:
    """A part of a whole, in percent with one decimal place."""
    return "-" if fraction is None else f"{100 * fraction:.1f} %"


def rounded(value: float | None, digits: int) -> str | None:
    """A figure with so many decimal places."""
    return None if value is None else f"{value:,.{digits}f}"


def _console(stderr: bool) -> Console:
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=PLAIN_WIDTH)


def _number(value):
    """JSON of numpy's numbers, by their own account."""
    return value.item()
