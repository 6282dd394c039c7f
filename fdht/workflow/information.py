"""`fdht info`: what a checkpoint, bundle or image is."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from fdht.console import Output, percent
from fdht.spec import container
from fdht.spec.bundle import Bundle
from fdht.spec.errors import FileError, SpecError
from fdht.spec.lstm import LSTMSpec, chains
from fdht.spec.network import TensorNetwork
from fdht.spec.score import Score
from fdht.spec.task import Task
from fdht.workflow.explanation import stage_rows, stage_table
from fdht.workflow.golden_vectors import figure_of, listed, score_facts, value_names

Printer = Callable[[Output], None]

SHOWN = 8
"""Files of a folder that are named."""


def describe(path: Path, listing: bool, rate: float | None = None, trace: Path | None = None) -> tuple[dict, Printer]:
    """The figures of a file, and what prints them for people.

    Args:
        rate: steps per second that an image is to make. trace: where to leave the plan of a clip on an image.

    Raises:
        FileError: missing, damaged, or none of fdht's; of folders and data, what takes them.
        SpecError: a listing, a rate or a trace of what is no image, or a rate not above 0.
    """
    _check_ours(path)
    kind, writer = container.kind_of(path), container.written_by(path)
    of_images = {"--listing": listing, "--trace": trace is not None, "--rate": rate is not None}
    if kind == "image":
        figures, show = _image(path, listing, rate, trace)
    elif asked := [option for option, given in of_images.items() if given]:
        raise SpecError(f"{path} is a {kind}; {asked[0]} is for an image, which fdht compile writes beside its bundle")
    else:
        figures, show = {"checkpoint": _checkpoint, "bundle": _bundle}[kind](path)
    figures |= {"format_version": container.VERSION, "fdht_version": writer}

    def show_all(output: Output) -> None:
        show(output)
        output.text(f"format {container.VERSION}, written by fdht {writer or 'of a version it does not name'}")

    return figures, show_all


HOST = "parts on the host"
"""What a table calls the parts of a module that neither bundle nor image has: real values go through them first."""

ELSEWHERE = {
    ".toml": ("a project", "fdht train {} trains it"),
    ".json": ("JSON, as targets, presets and results are", "--target {} takes a target, fdht train {} a preset"),
    ".pt": ("a model of PyTorch", "fdht compress {} --data NAME reads it"),
    ".pth": ("a model of PyTorch", "fdht compress {} --data NAME reads it"),
    ".vcd": ("a trace of signals", "GTKWave and Surfer show it"),
}
"""What files of other endings are, and what is done with them."""


def _check_ours(path: Path) -> None:
    """Refuses what is no file of fdht's own and can be told from outside, with what takes it.

    Raises:
        FileError: a folder, data, or a file of another ending.
    """
    ours = {f".{kind}" for kind in container.LARGEST}
    if path.is_dir():
        inside = sorted(file.name for file in path.iterdir() if file.suffix in ours)
        more = f" and {len(inside) - SHOWN} more" if len(inside) > SHOWN else ""
        way_out = (
            f"name a file in it: {', '.join(inside[:SHOWN])}{more}"
            if inside
            else f"name a file; if it holds clips, fdht data --data-folder {path} says what they are"
        )
        raise FileError(f"{path} is a folder; {way_out}")
    if path.suffix in ours or not path.is_file():
        return
    from fdht.model.data.files import is_file_name

    if is_file_name(path.name):
        raise FileError(f"{path} is a file of data; fdht data {path} says what is in it")
    if path.suffix in ELSEWHERE:
        kind, way_out = ELSEWHERE[path.suffix]
        raise FileError(f"{path} is {kind}, none of {', '.join(sorted(ours))}; {way_out.format(path, path)}")


def _network(network: TensorNetwork) -> dict:
    modes = (*network.inputs, *network.outputs)
    return {
        "kind": network.kind,
        "input_modes": list(network.input_shape),
        "output_modes": list(network.output_shape),
        "ranks": {name: size for name, size in network.sizes if name not in modes},
    }


def _model(layers: Sequence[LSTMSpec]) -> dict:
    parameters = Counter[str]()
    for spec in layers:
        parameters.update(spec.parameters)
    return {
        "inputs": layers[0].inputs,
        "hidden": layers[-1].hidden,
        "classes": layers[-1].classes,
        "task": str(layers[-1].task),
        "layers": len(layers),
        "networks": [{"layer": chain.layer, **_network(chain.network)} for chain in chains(layers)],
        "parameters": dict(parameters),
    }


def _model_facts(layers: Sequence[LSTMSpec]) -> dict[str, object]:
    model = _model(layers)
    parameters = model["parameters"]
    weights = parameters["factors"] + parameters.get("recurrent", 0)
    dense = sum(4 * spec.hidden * (spec.inputs + spec.hidden) for spec in layers)
    facts: dict[str, object] = {
        f"inputs, hidden units, {_outputs(layers[-1].task)}": f"{model['inputs']:,}, {model['hidden']:,}, "
        f"{model['classes']:,}",
        **({} if layers[-1].task is Task.CLASSIFY else {"task": str(layers[-1].task)}),
    }
    for chain, network in zip(chains(layers), model["networks"], strict=True):
        takes = " and ".join(name for name, region in (("x", chain.x), ("h", chain.h)) if region)
        name = f"weight of {takes}" + (f", layer {chain.layer}" if len(layers) > 1 else "")
        n, m = (" × ".join(map(str, network[modes])) for modes in ("input_modes", "output_modes"))
        ranks = ", ".join(f"{name} = {size}" for name, size in network["ranks"].items())
        facts[name] = f"{network['kind']}, n = {n}, m = {m}" + (f", {ranks}" if ranks else "")
    return facts | {
        "parameters": ", ".join(f"{name} {count:,}" for name, count in parameters.items()),
        "dense weight": f"{dense:,} numbers, {dense / weights:,.0f} × as many",
    }


def _outputs(task: Task) -> str:
    """What a head's outputs are called."""
    return "outputs" if task.real else "classes"


def _checkpoint(path: Path) -> tuple[dict, Printer]:
    from fdht.model.checkpoint import load_checkpoint  # torch takes seconds to load; bundles and images do without

    checkpoint = load_checkpoint(path)
    split = "validation" if checkpoint.choose else "test"
    integers = None if checkpoint.quantisation is None else str(checkpoint.quantisation.arithmetic)
    figures = {
        "kind": "checkpoint",
        "preset": checkpoint.preset,
        "data": str(checkpoint.data),
        "model": _model([checkpoint.spec]),
        "seed": checkpoint.seed,
        "epoch": checkpoint.epoch,
        "epochs": checkpoint.epochs,
        "trained_on": integers,
        "complete": checkpoint.complete,
        "accuracy": checkpoint.accuracy,
        "rmse": checkpoint.rmse,
        "r2": checkpoint.r2,
        "split": split,
    }
    facts = {
        "preset": checkpoint.preset,
        "data": checkpoint.data,
        **_model_facts([checkpoint.spec]),
        "seed": checkpoint.seed,
        "trained on": integers or "floating point",
        "epochs": f"{checkpoint.epoch} of {checkpoint.epochs}",
        **figure_of(checkpoint.spec.task, split, asdict(checkpoint.score or Score())),
    }
    return figures, lambda output: output.facts(f"{path}: a checkpoint", facts)


def _bundle(path: Path) -> tuple[dict, Printer]:
    return of_bundle(Bundle.load(path), f"{path}: a bundle")


def _told(about: dict) -> dict:
    """What a bundle says about itself, in the words of a table."""
    names = {"clips": "clips seen in training, all epochs", "saturated": "input values saturated in validation"}
    shown = {"clips": lambda count: f"{count:,}", "saturated": percent}
    return {names.get(name, name): shown[name](value) if name in shown else value for name, value in about.items()}


def of_bundle(bundle: Bundle, title: str) -> tuple[dict, Printer]:
    """The figures of a bundle, and what prints them for people."""
    formats = bundle.formats
    named = {
        "input": f"{formats.input.raw} less {formats.input.offset}",
        "x and h": formats.gate.hidden,
        "z": formats.gate.z,
        "c": formats.gate.cell,
        **({"head": f"{formats.head.weight}, logits {formats.head.result}"} if formats.head else {}),
    }
    about = {name: value for name, value in bundle.about.items() if isinstance(value, str | int | float)}
    accuracy, folded = bundle.about.get("accuracy", {}), bundle.about.get("folded", [])
    steps = f"{bundle.clips.shape[1]}"
    if bundle.lengths is not None and len(bundle.lengths):
        steps = f"{bundle.lengths.min()} to {bundle.lengths.max()}"
    figures = {
        "kind": "bundle",
        "model": _model(bundle.layers),
        "macs": bundle.macs,
        "stages": stage_rows(bundle),
        "formats": {name: str(value) for name, value in named.items()},
        "clips": len(bundle.clips),
        "steps": bundle.clips.shape[1],
        "scaled_to_bits": None if bundle.scaling is None else bundle.scaling.bits,
        "about": about,
        "classes": bundle.about.get("classes", []),
        "values": value_names(bundle),
        "host": list(bundle.host),
        "folded": folded,
        "accuracy": accuracy,
        **{kind: bundle.about[kind] for kind in ("rmse", "r2") if kind in bundle.about},
    }
    facts = {
        **_told(about),
        **_model_facts(bundle.layers),
        "formats": ", ".join(f"{name} {value}" for name, value in named.items()),
        **({} if bundle.scaling is None else {"real values": f"scaled to {bundle.scaling.bits} bits"}),
        **({"values of a step": listed(named_values)} if (named_values := value_names(bundle)) else {}),
        "golden vectors": f"{len(bundle.clips)} clips of {steps} steps",
        **score_facts(bundle.about, {}),
        **({HOST: ", ".join(bundle.host)} if bundle.host else {}),
        **({"parts in the scaling": ", ".join(folded)} if folded else {}),
    }

    def show(output: Output) -> None:
        output.facts(title, facts)
        stage_table(output, bundle)

    return figures, show


def _image(path: Path, listing: bool, rate: float | None, trace: Path | None) -> tuple[dict, Printer]:
    from fdht.compiler.image import Image
    from fdht.compiler.listing import listing as disassemble
    from fdht.workflow import rates, traces
    from fdht.workflow.explanation import image_figures, report_image

    image = Image.load(path)
    program = image_figures(image)
    words = {segment.name.lower(): len(content) for segment, content in image.segments.items()}
    figures: dict = {
        "kind": "image",
        "target": asdict(image.target),
        "inputs": image.inputs,
        "hidden": image.hidden,
        "layers": image.layers,
        "classes": image.classes,
        "task": str(image.task),
        "macs": image.macs,
        "multipliers": image.target.multipliers,
        "words": words,
        "bundle_hash": image.bundle_hash,
        "cycles_of_one_step": image.cycles(1),
        "host": list(image.host),
        **program,
    } | ({"listing": disassemble(image)} if listing else {})
    if rate is not None:
        figures["effort"] = rates.figures(image, rate)
    if trace is not None:
        traces.write(trace, image, [traces.planned(image, image.steps)], f"the plan of {path.name}")
        figures["trace"] = str(trace)
    facts = {
        "target": f"{image.target.name}, {image.target.rows} × {image.target.columns} multipliers",
        f"inputs, hidden units, {_outputs(image.task)}": f"{image.inputs:,}, {image.hidden:,}, {image.classes:,}",
        **({} if image.task is Task.CLASSIFY else {"task": str(image.task)}),
        "multiplications per step": image.macs,
        "made from the bundle with hash": image.bundle_hash[:16],
        **({HOST: ", ".join(image.host)} if image.host else {}),
        "memory words": ", ".join(f"{name} {count:,}" for name, count in words.items()),
        "predicted cycles of a lone step": image.cycles(1),
        "predicted cycles per step, in steady state": program["cycles_per_step"],
        "utilisation, in steady state": percent(program["utilisation"]),
    }

    def show(output: Output) -> None:
        output.facts(f"{path}: an image", facts)
        report_image(output, program)
        if rate is not None:
            rates.report(output, figures["effort"])
        if listing:
            output.text(disassemble(image))

    return figures, show
