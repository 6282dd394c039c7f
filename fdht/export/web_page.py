"""`fdht export --web`: a page that runs a model on the gateware itself, compiled to WebAssembly."""

import base64
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from fdht.compiler.image import Image, compile_bundle
from fdht.compiler.machine import Machine
from fdht.compiler.schedule import parts
from fdht.console import Output
from fdht.export.ip_block import check_folder, write_whole
from fdht.hw.engine.signatures import output_word
from fdht.sim.webassembly import webassembly
from fdht.spec import container
from fdht.spec.bundle import Bundle
from fdht.spec.errors import SpecError
from fdht.spec.formats import PIXELS
from fdht.spec.instructions import UNITS, GateOp, LoaderOp, Segment
from fdht.spec.protocol import OutputKind
from fdht.spec.record import dump
from fdht.spec.target import Target
from fdht.workflow.golden_vectors import class_names, own, spread, value_names

PARTS = Path(__file__).with_name("page")
"""What the page is made of."""

SCRIPTS = ("golden.js", "engine.js", "drawing.js", "page.js")
"""In their order in the page."""

DESCRIPTION = "fdht_page.json"

CLIPS = 24
"""Clips of the bundle in a page, where nobody says and there are as many."""

MOST_BYTES = 6_000_000
"""Of a page; what makes it larger is refused."""

DRAWN = "digits"
"""The data set whose clips are drawn by hand: a picture of 8 × 8, a row a step."""

FRAMES = ((120, 160, 3), (120, 160))
"""Height, width and channels of a frame, by which a model of pictures is told; see fdht.model.data."""

_UNITS = {
    Segment.ARRAY_PROGRAM: ("Array", "array", None),
    Segment.LOADER_PROGRAM: ("Loader", "loader", LoaderOp),
    Segment.GATE_PROGRAM: ("Gate unit", "gates", GateOp),
}
"""The units' names, for people and in a picture, and what they do, if that has names."""


def bundle_of(output: Output, name: str, target: Target, folder: Path) -> Path:
    """The bundle of that name; or that of a preset for the target, which is trained if it is not yet.

    Args:
        folder: where checkpoint and bundle of a preset lie.

    Raises:
        SpecError, FileError: no such preset, or one that cannot be trained here.
        CapacityError: it does not fit the target.
    """
    path = Path(name)
    if path.exists() or path.suffix or len(path.parts) > 1:
        return path
    from fdht.compiler.planner import plan as planned
    from fdht.model.presets import find_preset
    from fdht.workflow import compilation, demonstration

    preset = find_preset(name)
    planned(preset.spec, target)  # what does not fit is refused before it is trained
    checkpoint = folder / f"{preset.name}.checkpoint"
    demonstration.trained(output, preset, checkpoint)
    with output.progress("planning, quantising, compiling"):
        return compilation.compile_checkpoint(checkpoint, target).bundle_path


def run(output: Output, path: Path, target: Target, folder: Path, count: int | None = None) -> dict:
    """Writes the page; returns what is in it.

    Args:
        path: of a bundle. count: clips of it in the page, spread over all it has; when left out `CLIPS` or all there
            are, and none where frames are pictures, which may show people.

    Raises:
        SpecError, FileError, CapacityError: no readable bundle, or one that does not fit the target or has no head; a
            folder with other files; a page of more than `MOST_BYTES`.
        ToolError: the engine is not the one that comes with fdht, and cannot be built.
    """
    bundle = Bundle.load(path)
    if not bundle.spec.classes:
        raise SpecError(f"{path} has no head, so there is nothing that a page could show; train one with classes")
    image = compile_bundle(bundle, target, container.hash_of(path))
    check_folder(folder, DESCRIPTION)
    clips = _chosen(bundle, count)
    with output.progress(f"the engine of {target.name} as WebAssembly"):
        module, key = webassembly(target)
    model = describe(bundle, image, module, clips)
    text = page(model).encode()
    if len(text) > MOST_BYTES:
        raise SpecError(
            f"a page of {len(text):,} bytes, {MOST_BYTES:,} are the most; take fewer of its clips than {len(clips)} "
            "(--clips)"
        )
    description = {
        "target": target.name,
        "bundle": str(path),
        "input": model["kind"],
        "clips": clips,
        "cycles": image.cycles(image.steps),
        "engine": key,
        "engine_bytes": len(module),
        "page_bytes": len(text),
        "host": list(image.host),
        "files": ["index.html", DESCRIPTION],
    }
    written = (json.dumps(description, indent=2) + "\n").encode()
    write_whole(folder, {"index.html": text, DESCRIPTION: written})
    return {"folder": str(folder), **description}


def _chosen(bundle: Bundle, count: int | None) -> list[int]:
    if count is None:
        count = 0 if kind(bundle) == "frames" else min(CLIPS, len(bundle.clips))
    return spread(bundle, count) if count else []


def kind(bundle: Bundle) -> str:
    """What a page takes: `drawing` of digits, `frames` that are pictures, or `values`."""
    steps, inputs = bundle.clips.shape[1:]
    if bundle.formats.input != PIXELS or bundle.scaling is not None:
        return "values"
    if (bundle.about.get("data"), steps, inputs) == (DRAWN, 8, 8):
        return "drawing"
    return "values" if _shape(inputs) is None else "frames"


def _shape(inputs: int) -> tuple[int, ...] | None:
    return next((shape for shape in FRAMES if int(np.prod(shape)) == inputs), None)


def describe(bundle: Bundle, image: Image, module: bytes, clips: list[int]) -> dict[str, Any]:
    """All that a page knows, for JSON; arrays as base64 of little-endian words."""
    target, word, inputs = image.target, output_word(image.target), image.inputs
    names, raw = _names(bundle), bundle.formats.input.raw
    in_bytes = raw.width <= 8 and not raw.signed  # a quarter of the text, of which clips of frames are most
    accuracy = bundle.about.get("accuracy", {}).get("golden")
    missing = " and ".join(image.host)
    facts = [
        f"{inputs:,} inputs, {image.hidden} hidden units in {image.layers} layer{'s' * (image.layers > 1)}",
        f"{sum(weight.size for chain in bundle.weights for weight in chain):,} merged weights",
        f"engine {target.name}: {target.multipliers} multipliers",
        *([f"accuracy {accuracy:.1%}"] if accuracy is not None else []),
    ]
    return {
        "about": "The gateware of an FPGA, compiled to WebAssembly, runs a trained LSTM here, clock cycle by clock "
        "cycle. Beside it the golden model computes the same in integers."
        + (f" Values here are what comes out of {missing}, which stays on the host." if missing else ""),
        "facts": "; ".join(facts) + ".",
        "kind": kind(bundle),
        "shape": _shape(inputs),
        "inputs": inputs,
        "values": value_names(bundle),
        "classes": names,
        "description": description_of(bundle),
        "tensors": {name: _words(array, "<i4") for name, array in bundle.numbers.items()},
        "engine": {
            "module": base64.b64encode(module).decode(),
            "image": _words(image.stream(), "<u2"),
            "order": None if image.order is None else image.order.tolist(),
            "lanes": target.input_lanes,
            "width": target.input_width,
            "output": {
                "kind": [word["kind"].offset, word["kind"].width],
                "value": [word["value"].offset, target.data_width],
                "logit": OutputKind.LOGIT.value,
            },
        },
        "plan": plan(image),
        "bytes": in_bytes,
        "clips": [
            {
                "number": clip,
                "words": _words(bundle.clip(clip), "u1" if in_bytes else "<i4"),
                "name": _name(bundle, clip, names),
                "truth": _truth(bundle, clip, names),
            }
            for clip in clips
        ],
    }


def description_of(bundle: Bundle) -> dict[str, Any]:
    """What docs/bundle.md calls the description, without what is for people."""
    return {
        "layers": [dump(layer) for layer in bundle.layers],
        "stage_lists": bundle.stage_lists,
        "formats": dump(bundle.formats),
        "outputs": None if bundle.outputs is None else dump(bundle.outputs),
        "scaling": None if bundle.scaling is None else dump(bundle.scaling),
    }


def plan(image: Image) -> dict[str, Any]:
    """When every instruction of a clip is to begin and to end, and the cycles of clips of other lengths."""
    machine, steps = image.machine, image.steps
    numbers = {id(each): k for unit in UNITS for k, each in enumerate(machine.programs[unit])}
    rows: dict[Segment, list[list[int]]] = {unit: [] for unit in UNITS}
    for unit, step, instruction, start, done in machine.schedule(steps):
        rows[unit].append([step, numbers[id(instruction)], start, done])
    units = []
    for unit, record in UNITS.items():
        name, short, _ = _UNITS[unit]
        before, body, _ = parts(machine.programs[unit], record(image.target).words)
        units.append(
            {
                "name": name,
                "short": short,
                "before": len(before),
                "body": len(body),
                "labels": _labels(image, machine, unit),
                "rows": rows[unit],
            }
        )
    return {"steps": steps, "cycles": [image.cycles(count) for count in range(1, 2 * steps + 1)], "units": units}


def _labels(image: Image, machine: Machine, unit: Segment) -> list[str]:
    """What each instruction of a unit is called: the array's by their stages."""
    operations = _UNITS[unit][2]
    if operations is not None:
        return [operations(instruction["op"]).name.lower() for instruction in machine.programs[unit]]
    return list(image.places) or [str(k) for k in range(len(machine.programs[unit]))]


def _names(bundle: Bundle) -> list[str]:
    """Of the classes, or of a regression's outputs."""
    classes = bundle.spec.classes
    if bundle.spec.task.real and len(bundle.about.get("classes", [])) != classes:
        return [f"output {k + 1}" for k in range(classes)]
    return class_names(bundle)


def _name(bundle: Bundle, clip: int, names: list[str]) -> str:
    """What a clip's button says: its class; of tasks with more to say, its number."""
    if bundle.spec.task.every_step or bundle.spec.task.real:
        return f"clip {clip}"
    (truth,) = _truth(bundle, clip, names)
    return str(truth)


def _truth(bundle: Bundle, clip: int, names: list[str]) -> list[str] | list[float | None]:
    """What is true of a clip: its class, the class of each step, or the numbers after its last step."""
    labels, task = own(bundle, clip, bundle.labels), bundle.spec.task
    if task.real:
        last = labels[-1] if task.every_step else labels
        return [None if math.isnan(value) else value for value in last.tolist()]
    return ["unknown" if label < 0 else names[label] for label in np.atleast_1d(labels).tolist()]


def _words(array: np.ndarray, kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(array).astype(kind).tobytes()).decode()


def page(model: dict[str, Any]) -> str:
    """The page as one file."""
    text = (PARTS / "page.html").read_text()
    data = json.dumps(model, separators=(",", ":")).replace("<", "\\u003c")  # never the end of its element
    script = "\n".join((PARTS / name).read_text() for name in SCRIPTS)
    for place, content in (("STYLE", (PARTS / "page.css").read_text()), ("SCRIPT", script), ("MODEL", data)):
        text = text.replace(f"/*{place}*/", content)
    return text


def report(output: Output, figures: dict) -> None:
    """What was written."""
    output.facts(
        f"A page with the engine of {figures['target']}",
        {
            "open in a browser": str(Path(figures["folder"]) / "index.html"),
            "bytes of the page, of the engine in it": f"{figures['page_bytes']:,}, {figures['engine_bytes']:,}",
            "input, clips": f"{figures['input']}, {len(figures['clips'])}",
            "cycles of a clip": f"{figures['cycles']:,}",
            **({"not in it, in front of the values": ", ".join(figures["host"])} if figures["host"] else {}),
        },
    )
