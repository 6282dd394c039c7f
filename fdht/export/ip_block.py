"""`fdht export`: the engine as an IP block for other designs, in a folder that is written whole or not at all."""

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ConfigDict
from typing_extensions import TypedDict

from fdht.console import Output
from fdht.export import catalogues, integration
from fdht.hw.shell.axi import NAME, AXIAccelerator
from fdht.hw.yosys import find_yosys
from fdht.sim.build import convert, gateware_sources
from fdht.spec.errors import FileError, SpecError, no_such
from fdht.spec.protocol import image_check, target_id
from fdht.spec.record import Text, dump, read_kept
from fdht.spec.registers import MAP_VERSION, OFFSET, mask, registers_of
from fdht.spec.target import Target, Technology, find_target

if TYPE_CHECKING:
    from fdht.compiler.image import Image


def build_id() -> int:
    """32 bits that identify the gateware's sources."""
    return int.from_bytes(hashlib.sha256(gateware_sources()).digest()[:4], "little")


def with_technology(target: Target, technology: str | None) -> Target:
    """A target made of the primitives of a technology, at no fixed places.

    Raises:
        SpecError: no such technology, or one that the target cannot be made of.
    """
    if technology is None:
        return target.made_of(target.build.technology)
    if technology not in list(Technology):
        raise no_such("technology", technology, [each.value for each in Technology])
    return target.made_of(Technology(technology))


def run(
    output: Output,
    target_name: str,
    folder: Path,
    *,
    technology: str | None = None,
    name: str | None = None,
    image: Path | None = None,
) -> dict:
    """Writes the block and what belongs to it; returns its description.

    Args:
        technology: of the primitives, instead of the target's own.
        name: of the module and the files, if not fdht.hw.shell.axi.NAME.
        image: an image for the target, to be written as a program loads it.

    Raises:
        SpecError: an unknown target or technology, a name that is none in Verilog, an image for another target.
        FileError: the folder holds other files.
        YosysError: none is new enough.
    """
    name = NAME if name is None else name
    if not name.isidentifier() or not name.isascii():
        raise SpecError(f"{name!r} is no name of a Verilog module; take letters, digits and underscores")
    target = with_technology(find_target(target_name), technology)
    check_folder(folder, f"{name}.json")
    find_yosys()
    files = {} if image is None else image_files(image, target, name)
    with output.progress(f"the block of {target.name} in Verilog"):
        block = AXIAccelerator(target, build_id())
        verilog = convert(block, name, assertions=False)
    description = describe(block, name, verilog, files)
    files |= {
        f"{name}.v": verilog.encode(),
        f"{name}_template.v": integration.template(name, block).encode(),
        f"{name}.h": integration.c_header(name, block).encode(),
        f"{name}_registers.md": integration.registers_page().encode(),
        f"{name}.xdc": integration.vivado_notes(name, block).encode(),
        f"{name}_litex.py": integration.litex_example(name, block).encode(),
        f"{name}.core": catalogues.core(name, block).encode(),
        f"{name}.component.xml": catalogues.component(name, block, build_id()).encode(),
    }
    description["files"] = sorted([*files, f"{name}.json"])
    files[f"{name}.json"] = (json.dumps(description, indent=2) + "\n").encode()
    write_whole(folder, files)
    return {"folder": str(folder), **description}


def describe(block: AXIAccelerator, name: str, verilog: str, files: dict[str, bytes]) -> dict[str, Any]:
    """What the block is, for programs."""
    target = block.target
    buffered = target.pipeline.ports
    return {
        "module": name,
        "target": target.name,
        "target_id": target_id(target),
        "register_map_version": MAP_VERSION,
        "build_id": build_id(),
        "parameters": dump(target),
        "formats": {
            "h": integration.number_format(target.gate_formats.hidden),
            "c": integration.number_format(target.gate_formats.cell),
        },
        "registers": {
            register.name: {
                "address": OFFSET[register.name],
                "fields": {field.name: field.mask for field in register.fields},
            }
            for register in registers_of(target)
        },
        "ports": [{"name": port, "direction": way, "width": width} for port, way, width in integration.ports(block)],
        "latency_cycles": {"s_axis_x to engine": 1 + buffered, "engine to m_axis_result": 1 + buffered},
        "resources": {
            "multipliers": block.multipliers,
            "block_rams": block.block_rams if target.build.technology is not Technology.GENERIC else None,
            "sprams": block.sprams,
        },
        "verilog_sha256": hashlib.sha256(verilog.encode()).hexdigest(),
        **({"image": json.loads(files[f"{name}_image.json"])} if files else {}),
    }


def image_files(path: Path, target: Target, name: str) -> dict[str, bytes]:
    """An image as a program loads it: its words for the register IMAGE, and what else the driver must know.

    Raises:
        SpecError: it is for another target.
    """
    from fdht.compiler.image import Image

    image = Image.load(path)
    if target_id(image.target) != target_id(target):
        raise SpecError(
            f"{path} is an image for target {image.target.name}, not for this {target.name}; compile it with "
            f"--target {target.name}"
        )
    words = image.stream().astype("<u2").tobytes()
    facts = image_facts(image, words)
    files = {
        f"{name}_image.bin": words,
        f"{name}_image.json": (json.dumps(facts, indent=2) + "\n").encode(),
        f"{name}_image.h": integration.image_header(name, facts, target).encode(),
    }
    if image.order is not None:
        files[f"{name}_order.bin"] = image.order.astype("<u4").tobytes()
    return files


def image_facts(image: "Image", words: bytes) -> dict[str, Any]:
    """What a driver must know of an image, for programs.

    Args:
        words: of the image, as they are loaded.
    """
    gate, stages = image.target.gate_formats, list(dict.fromkeys(image.places))
    formats = {"x": image.input, "h": gate.hidden, "c": gate.cell, "logits": image.logits}
    return {
        "target_id": target_id(image.target),
        "words": len(words) // 2,
        "crc": image_check(words),
        "frame_words": image.inputs,
        "state_words": 2 * image.hidden * image.layers,
        "hidden": image.hidden,
        "layers": image.layers,
        "classes": image.classes,
        "task": str(image.task),
        "every_step": image.task.every_step,
        "outputs": None
        if image.outputs is None
        else {"scales": list(image.outputs.scale), "means": list(image.outputs.mean)},
        "steps": image.steps,
        "streams": {
            "count": image.streams,
            "apart": image.apart,
            "register": image.streams | (mask("STREAMS", "APART") if image.apart > 1 else 0),
        },
        "stages": {"names": stages, "of_instructions": [stages.index(place) for place in image.places]},
        "frames_in_their_own_order": image.order is None,
        "formats": {name: integration.number_format(format) for name, format in formats.items()},
        "scaling": None if image.scaling is None else {"centre": image.scaling.centre, "step": image.scaling.step},
        "lacking_words_stand_for": float(image.input.widen(np.array(0), gate.hidden) * gate.hidden.lsb),
        "cycles": {"1 step": image.cycles(1), "each further step": image.cycles(6) - image.cycles(5)},
    }


class _Written(TypedDict):
    """What is read of the JSON of an exported folder."""

    __pydantic_config__ = ConfigDict(strict=True, extra="allow")  # type: ignore[misc]

    files: list[Text]


def check_folder(folder: Path, mark: str) -> None:
    """Makes sure that a folder may be written.

    Args:
        mark: the file that tells one that was written before, JSON with the names of its `files`.

    Raises:
        FileError: it is no folder, or holds something else.
    """
    if folder.is_dir():
        written = read_kept(folder / mark, _Written)
        ours = set(written["files"]) if written else set()
        strange = sorted({path.name for path in folder.iterdir()} - ours)
        if strange:
            raise FileError(f"{folder} holds {strange[0]}, which fdht export did not write; choose another folder")
    elif folder.exists():
        raise FileError(f"{folder} is not a folder; choose another one")


def write_whole(folder: Path, files: dict[str, bytes]) -> None:
    """Writes a folder in one step, in the place of one that check_folder has allowed."""
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        new = scratch / "new"
        new.mkdir()
        for file, content in files.items():
            (new / file).write_bytes(content)
        if folder.exists():
            folder.rename(scratch / "old")
        new.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def report(output: Output, figures: dict) -> None:
    """The table of a written block."""
    blocks = figures["resources"]
    rams = "inferred" if blocks["block_rams"] is None else blocks["block_rams"]
    output.facts(
        f"{figures['module']}: IP block for {figures['target']}",
        {
            "folder": figures["folder"],
            "files": ", ".join(figures["files"]),
            "technology": figures["parameters"]["build"]["technology"],
            "multipliers": blocks["multipliers"],
            "block RAMs, SPRAMs": f"{rams}, {blocks['sprams']}",
            "build, target": f"{figures['build_id']:08x}, {figures['target_id']:08x}",
        },
    )
    output.table(
        "Ports", ("name", "direction", "bits"), [(p["name"], p["direction"], p["width"]) for p in figures["ports"]]
    )
