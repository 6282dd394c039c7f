"""What all pictures have in common."""

from io import BytesIO
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fdht.spec.container import write_whole

DPI = 130

COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb", "#994455")
"""Colours that stay apart for people who see few, for things side by side: stages, curves."""

X, H, GATES, READ, WRITE, IDLE = "#66aa99", "#dd9944", "#5d4a8a", "#444444", "#b5651d", "#eeeeee"
"""Of inputs, h, the gate unit, reads, writes, and of memories that rest."""


def plain(axes: Axes) -> None:
    """A faint grid, and no frame above and at the right."""
    axes.grid(True, color="#dddddd", lw=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def write(figure: Figure, path: Path) -> None:
    """Writes a picture, whole or not at all, also when another process does the same.

    Raises:
        FileError: no permission, no room.
    """
    content = BytesIO()
    figure.savefig(content, dpi=DPI)
    write_whole(path, content.getvalue())
