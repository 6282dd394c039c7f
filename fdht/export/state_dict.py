"""`fdht export --dense`: a checkpoint's model for plain PyTorch."""

from pathlib import Path

from fdht.console import Output
from fdht.model.checkpoint import load_checkpoint
from fdht.model.dense import write_dense


def run(output: Output, checkpoint: Path, out: Path) -> dict:
    """Writes a checkpoint's model as plain PyTorch's state dict; returns what is in it."""
    trained = load_checkpoint(checkpoint)
    with output.progress("multiplying out the factors"):
        shapes = write_dense(out, trained.model)
    return {
        "checkpoint": str(checkpoint),
        "file": str(out),
        "parameters": {name: list(s) for name, s in shapes.items()},
    }


def report(output: Output, figures: dict) -> None:
    """What was written."""
    rows = [(name, " × ".join(f"{size:,}" for size in shape)) for name, shape in figures["parameters"].items()]
    output.table(f"{figures['file']}: a state dict of plain PyTorch", ("parameter", "shape"), rows)
