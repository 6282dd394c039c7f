"""`fdht compile module:name`: a PyTorch module of the user's to a bundle and an image."""

import sys
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

from torch import nn

from fdht import compiled
from fdht.console import Output
from fdht.model.data.arrays import Samples, as_array, samples
from fdht.model.data.files import read_arrays
from fdht.spec.errors import SpecError
from fdht.spec.named import called, named
from fdht.spec.target import Target
from fdht.workflow.compilation import place_of


def run(
    output: Output,
    name: str,
    target: Target,
    data: str | None,
    folder: Path,
    host: Sequence[str],
    ranks: int | None,
    regression: bool,
) -> dict:
    """Compiles and returns the figures for `--json`; leaves NAME.bundle and NAME.TARGET.image in `folder`.

    Args:
        name: `module:name`. data: a file with samples. folder: or the bundle's own name, NAME.bundle; the others as for
            `fdht.compile`.

    Raises:
        SpecError: no module of PyTorch, no samples, or what `fdht.compile` refuses.
        FileError: no readable samples.
        CapacityError: it does not fit the target.
    """
    if data is None:
        raise SpecError(f"{name} needs samples to choose its number formats on; say which file has them with --data")
    model_name = name.partition(":")[2]
    folder, stem = place_of(folder, model_name)
    with redirect_stdout(sys.stderr):  # what the user's code prints
        model = named(name, "a torch.nn.Module, or a function that returns one,")
        if not isinstance(model, nn.Module) and callable(model):
            model = called(model, name)
    if not isinstance(model, nn.Module):
        raise SpecError(f"{name} is a {type(model).__name__}; name a torch.nn.Module, or a function that returns one")
    arrays = read_arrays(Path(data))
    told = {key: arrays[key] for key in ("class_names", "task") if key in arrays}

    def names(of: str) -> list[str]:
        return as_array(arrays[of]).ravel().tolist() if of in arrays else []

    def part(ending: str) -> Samples:
        given = {key: arrays[f"{key}{ending}"] for key in ("x", "y", "lengths") if f"{key}{ending}" in arrays}
        return samples(**given, **told, name=f"{data}{ending}")

    main = part("")
    tested = part("_test") if "x_test" in arrays else main
    with (
        output.progress(f"tracing, quantising and compiling {name}"),
        redirect_stdout(sys.stderr),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", compiled.ClippingWarning)  # said below, as all else
        made = compiled.compile(
            model,
            main.x,
            target,
            vectors=tested.x,
            labels=tested.y,
            lengths=tested.lengths,
            calibration_lengths=main.lengths,
            class_names=names("class_names"),
            value_names=names("value_names"),
            regression=regression or (tested.task is not None and tested.task.real),
            host=host,
            ranks=ranks,
            name=model_name,
        )
    path = made.save(folder / f"{stem}.bundle")
    report = made.report()
    output.facts(f"{name}: compiled", {"bundle": str(path), **report.figures})
    if made.saturation.trouble:
        output.say(made.saturation.trouble)
    found = {kind: made.bundle.about[kind] for kind in compiled.KINDS if kind in made.bundle.about}
    return {
        "bundle": str(path),
        "image": str(made.image_path(path)),
        **report.figures,
        **found,
        "saturation": made.saturation.rates,
    }
