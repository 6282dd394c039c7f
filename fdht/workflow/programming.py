"""`fdht program`: a bitstream onto a board."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from fdht.boards.board import Board
from fdht.console import Output
from fdht.spec.errors import FdhtError, FileError
from fdht.workflow.bitstream import folder_of

LOADER = "openFPGALoader"

INSTALL_LOADER = "apt install openfpgaloader, or brew install openfpgaloader"


class ProgrammingError(FdhtError):
    """The loader is missing or failed."""


def run(output: Output, board: Board, bitstream: Path | None, build: Path) -> dict:
    """Loads a bitstream with openFPGALoader.

    Args:
        bitstream: the file; None for the one that `fdht synth` left below `build`.

    Raises:
        FileError: no bitstream there.
        ProgrammingError: openFPGALoader is missing or failed.
    """
    path = find_bitstream(board, bitstream, build)
    return {"board": board.name, "bitstream": str(path), "command": load(output, board, path)}


def find_bitstream(board: Board, bitstream: Path | None, build: Path) -> Path:
    """The bitstream to take, see `run`.

    Raises:
        FileError: there is none.
    """
    path = bitstream or folder_of(board, build) / f"{board.name}{board.family.suffix}"
    if not path.is_file():
        raise FileError(f"there is no bitstream {path}; make it with: fdht synth {board.options}")
    return path


def load(output: Output, board: Board, path: Path, options: Sequence[str] = (), what: str = "") -> list[str]:
    """Has openFPGALoader load a file, and returns how it was called.

    Args:
        options: more of its options.
        what: the file is; "" for the board's bitstream.

    Raises:
        ProgrammingError: openFPGALoader is missing or failed.
    """
    loader = shutil.which(LOADER)
    if loader is None:
        raise ProgrammingError(
            f"{LOADER} was not found; install it ({INSTALL_LOADER}, or see "
            f"https://trabucayre.github.io/openFPGALoader), or load {path} with the board's own tool"
        )
    command = [loader, "-b", board.loader or board.name, *options, str(path)]
    with output.progress(f"loading {what or board.name}"):
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        last = lines[-1] if lines else "it said nothing"
        raise ProgrammingError(f"{LOADER} could not load {what or board.name} ({last}); look at cable and power")
    return command
