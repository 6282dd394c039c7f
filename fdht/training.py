"""`fdht train`: a preset, with other modes or ranks if wanted, to a checkpoint."""

from dataclasses import replace
from pathlib import Path

from fdht import datasets
from fdht.console import Output, percent
from model.data import Source
from model.presets import Preset
from model.train import train
from spec.errors import SpecError
from spec.lstm import fdht_lstm


def reshaped(preset: Preset, inputs: str | None, outputs: str | None, rank: int | None) -> Preset:
    """The preset with other input modes, output modes (`"61,10,4,8"`) or rank.

    Raises:
        SpecError: modes that are no numbers, do not hold the model, or a rank below 1.
    """
    if inputs is None and outputs is None and rank is None:
        return preset
    spec = preset.spec
    ranks = {name: size for name, size in spec.network.sizes if name.startswith("r")}
    modes = spec.network.input_shape if inputs is None else _modes(inputs)
    if rank is None and len(modes) != len(spec.network.inputs):
        raise SpecError(f"{len(modes)} modes instead of {len(spec.network.inputs)} need a rank; add --rank")
    return replace(
        preset,
        spec=fdht_lstm(
            spec.inputs,
            spec.hidden,
            spec.classes,
            modes,
            spec.network.output_shape if outputs is None else _modes(outputs),
            {name[1:]: size for name, size in ranks.items()} if rank is None else rank,
        ),
    )


def _modes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(mode) for mode in text.split(","))
    except ValueError:
        raise SpecError(f"modes {text!r} are not whole numbers with commas between, like 61,10,4,8") from None


def run(
    output: Output,
    preset: Preset,
    path: Path,
    *,
    seed: int,
    epochs: int | None,
    resume: bool,
    source: Source | None = None,
) -> dict:
    """Trains with a progress bar and returns the figures of `train`."""
    with output.progress(f"training {preset.name}", epochs or preset.epochs) as advance:

        def progress(done: int, total: int, record: dict) -> None:
            advance(done, total, f"loss {record['loss']:.3f}, accuracy {percent(record['accuracy'])}")

        def reading(done: int, total: int) -> None:
            advance(note=f"reading clips, {done:,} of {total:,}")

        figures = train(
            preset, path, source=source, seed=seed, epochs=epochs, resume=resume, progress=progress, reading=reading
        )
    return {"preset": preset.name, **figures}


def report(output: Output, figures: dict) -> None:
    """The table of a finished training."""
    output.facts(
        f"{figures['preset']}: trained",
        {
            "checkpoint": figures["path"],
            "data": figures["data"],
            **({"clips skipped": datasets.skipped(figures["skipped"])} if figures["skipped"] else {}),
            "epochs": figures["epochs"],
            "seconds": round(figures["seconds"], 1),
            "parameters": ", ".join(f"{name} {count:,}" for name, count in figures["parameters"].items()),
            f"accuracy ({figures['split']})": percent(figures["accuracy"]),
        },
    )
