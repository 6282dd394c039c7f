"""`fdht synth`: a bitstream, and what it uses."""

from dataclasses import asdict
from pathlib import Path

from boards import find_board
from boards.synthesis import synthesise
from fdht.console import Output


def run(output: Output, board_name: str, folder: Path, seed: int) -> dict:
    """Builds and returns the figures of the report."""
    board = find_board(board_name)
    with output.progress(f"synthesis, place and route for {board_name}"):
        return asdict(synthesise(board, folder, seed=seed))


def report(output: Output, figures: dict) -> None:
    output.facts(f"{figures['board']}: bitstream", {name: value for name, value in figures.items() if name != "board"})
