"""`fdht compile module:name`: a PyTorch module of the user's to a bundle and an image."""

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from fdht import compiled
from fdht.console import Output
from fdht.model.data.files import read_arrays
from fdht.spec.errors import SpecError
from fdht.spec.named import named
from fdht.spec.target import Target


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
        name: `module:name`. data: a file with samples; the others as for `fdht.compile`.

    Raises:
        SpecError: no module of PyTorch, no samples, or what `fdht.compile` refuses.
        FileError: no readable samples.
        CapacityError: it does not fit the target.
    """
    if data is None:
        raise SpecError(f"{name} needs samples to choose its number formats on; say which file has them with --data")
    model = named(name, "a torch.nn.Module, or a function that returns one,")
    if not isinstance(model, nn.Module) and callable(model):
        model = model()
    if not isinstance(model, nn.Module):
        raise SpecError(f"{name} is a {type(model).__name__}; name a torch.nn.Module, or a function that returns one")
    arrays = read_arrays(Path(data))
    part = "_test" if "x_test" in arrays else ""
    with output.progress(f"tracing, quantising and compiling {name}"):
        made = compiled.compile(
            model,
            arrays["x"],
            target,
            vectors=arrays[f"x{part}"],
            labels=arrays.get(f"y{part}"),
            class_names=list(arrays.get("class_names", ())),
            regression=regression,
            host=host,
            ranks=ranks,
            name=name.partition(":")[2],
        )
    path = made.save(folder / f"{made.name}.bundle")
    report = made.report()
    output.facts(f"{name}: compiled", {"bundle": str(path), **report.figures})
    return {"bundle": str(path), "image": str(made.image_path(path)), **report.figures}
