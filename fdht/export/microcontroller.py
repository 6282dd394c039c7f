"""`fdht export --c`: a driver in C99 for a microcontroller, with a model and clips to try it on."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fdht.compiler.image import Image, compile_bundle
from fdht.console import Output
from fdht.export.integration import c_string, header, initialiser
from fdht.export.ip_block import check_folder, write_whole
from fdht.host.connection import ATTEMPTS, DAMAGES
from fdht.host.device import STANDSTILL
from fdht.hw.shell.camera import Loop, loops
from fdht.spec import container
from fdht.spec.bundle import MOST_STEPS, Bundle
from fdht.spec.errors import SpecError
from fdht.spec.protocol import (
    CHECK,
    ESCAPE,
    FLAG,
    INVERT,
    MAX_PAYLOAD,
    REFUSED,
    VERSION,
    OutputKind,
    Reason,
    Request,
    Status,
    image_check,
    lacking,
    result_bytes,
    start_payload,
    target_id,
    word_bytes,
)
from fdht.spec.target import ALL, Features, Target
from fdht.workflow.golden_vectors import class_names, own, spread

DRIVER = Path(__file__).with_name("driver")
"""The files that are the same for every model."""

DESCRIPTION = "fdht_driver.json"

REPLY_BYTES = 512
"""Payload of the longest reply: all that a ResultBuffer holds."""

MOST_LOOPS = 8
"""Deepest nest of loops that the driver walks; another order is a table."""

_ROW = 16
"""Numbers in a line of an array."""


def run(output: Output, path: Path, target: Target, folder: Path, count: int | None = None) -> dict:
    """Writes driver, model and example; returns what is in them.

    Args:
        path: of a bundle. count: clips of it in the example, spread over all it has.

    Raises:
        SpecError, FileError, CapacityError: no readable bundle, or one that does not fit the target or has no head; a
            folder with other files.
    """
    bundle = Bundle.load(path)
    if not bundle.spec.classes:
        raise SpecError(f"{path} has no head, so there is nothing that a driver could read; train one with classes")
    with output.progress(f"compiling {path} for {target.name}"):
        image = compile_bundle(bundle, target, container.hash_of(path))
    check_folder(folder, DESCRIPTION)
    clips = spread(bundle, count)
    files = {file.name: file.read_bytes() for file in sorted(DRIVER.glob("*.[ch]"))}
    made = {
        "fdht_protocol.h": protocol_header(),
        "fdht_image.h": image_header(image),
        "fdht_image.c": image_source(image, class_names(bundle)),
        "example_clips.h": clips_header(bundle, clips),
        "example_clips.c": clips_source(bundle, image, clips),
    }
    files |= {name: text.encode() for name, text in made.items()}
    description: dict[str, Any] = {
        "target": target.name,
        "target_id": target_id(target),
        "protocol_version": VERSION,
        "bundle": str(path),
        "image_bytes": 2 * len(image.stream()),
        "image_check": image_check(image.stream().astype("<u2").tobytes()),
        "clips": clips,
        "host": list(image.host),
        "files": sorted([*files, DESCRIPTION]),
    }
    files[DESCRIPTION] = (json.dumps(description, indent=2) + "\n").encode()
    write_whole(folder, files)
    return {"folder": str(folder), **description}


def protocol_header() -> str:
    """The numbers of fdht.spec.protocol for C, and those of the driver in Python."""
    plain, keep = start_payload(0), start_payload(0, keep=True)
    flags = next(at for at, (one, other) in enumerate(zip(plain, keep, strict=True)) if one != other)
    numbers = {
        "PROTOCOL": VERSION,
        "FLAG": FLAG,
        "ESCAPE": ESCAPE,
        "INVERT": INVERT,
        "REFUSED_BIT": REFUSED,
        "CHECK_BYTES": CHECK,
        "MAX_PAYLOAD": MAX_PAYLOAD,
        "REPLY_BYTES": REPLY_BYTES,
        "START_BYTES": len(plain),
        "START_FLAGS": flags,
        "START_KEEP": keep[flags],
        "MOST_STEPS": MOST_STEPS,
        "LACKING_MASK": lacking(Features(**dict.fromkeys(vars(ALL), False))),
        "STATUS_BYTES": Status.SIZE,
        **{f"STATUS_{name.upper()}": at for name, at in _status_places().items()},
    }
    limits = {"ATTEMPTS": ATTEMPTS, "DAMAGES": DAMAGES, "STANDSTILLS": STANDSTILL, "LOOPS": MOST_LOOPS}
    lines = [
        *_macros(numbers),
        *(line for kinds in (Request, Reason, OutputKind) for line in _enumeration(kinds)),
        "",
        "/* How often in a row nothing may be heard, or what is damaged; timeouts that an engine may stand still;",
        "   deepest nest of loops in which the words of a frame are sent. */",
        *_macros(limits),
    ]
    return header("fdht_protocol", "What passes between a host and an fdht engine", lines, prefix="fdht")


def _macros(numbers: dict[str, int]) -> Iterator[str]:
    return (f"#define {{}}{name} {number}" for name, number in numbers.items())


def _enumeration(kinds: Any) -> list[str]:
    """The members of an enumeration, each behind the first word of its class's name that says what it is."""
    name = {"OutputKind": "OUTPUT"}.get(kinds.__name__, kinds.__name__.upper())
    return ["", *_macros({f"{name}_{kind.name}": kind.value for kind in kinds})]


def _status_places() -> dict[str, int]:
    """Where numbers lie in the payload of STATUS: found in one whose every byte is its own place."""
    status = Status.parse(bytes(range(Status.SIZE)))
    names = ("version", "cycles", "stalls", "saturations", "target", "build", "image")
    return {name: getattr(status, name) & 0xFF for name in names}


def image_header(image: Image) -> str:
    """What a program must know of the model when it is compiled."""
    facts = {
        "FRAME_WORDS": image.inputs,
        "FRAME_BYTES": image.inputs * word_bytes(image.target.input_width),
        "CLASSES": image.classes,
        "EVERY_STEP": int(image.task.every_step),
        "STEPS": image.steps,
    }
    lines = [
        '#include "fdht.h"',
        "",
        "/* A frame; logits, of the last step or of every one; frames of a clip in training. */",
        *(f"#define {{}}MODEL_{name} {number}" for name, number in facts.items()),
        "",
        "extern const fdht_image fdht_model;",
        "",
        "/* What class k is called, in UTF-8; its number where the model does not say. */",
        "extern const char *const fdht_model_classes[{}MODEL_CLASSES];",
    ]
    if image.host:
        parts = " and ".join(map(c_string, image.host))
        lines += [
            "",
            f"/* In front of the model stood {parts}, which is not in this image: fdht_word takes what",
            "   came out of that, and no values of a sensor. Compute it in the host's program first. */",
        ]
    return header("fdht_image", f"A model, compiled for target {image.target.name}", lines, prefix="fdht")


def image_source(image: Image, names: Sequence[str] = ()) -> str:
    """The model as arrays that a linker puts into read-only memory.

    Args:
        names: of its classes; their numbers when left out.
    """
    words = image.stream().astype(np.uint16)
    raw = image.input.raw
    nest = _nest(image)
    parts = [
        "/* The model. Generated: do not edit. */",
        '#include "fdht_image.h"',
        "",
        *_array("static const uint16_t words[]", words),
    ]
    places = {"loops": "0", "order": "0", "centre": "0", "step": "0", "output_scale": "0", "output_mean": "0"}
    if image.order is not None and nest is not None:
        loop_rows = [f"{{{count}, {stride}}}" for count, stride in (*nest, (0, 0))]
        parts += ["", f"static const fdht_loop loops[] = {{{', '.join(loop_rows)}}};"]
        places["loops"] = "loops"
    elif image.order is not None:
        parts += ["", *_array("static const uint32_t order[]", image.order)]
        places["order"] = "order"
    reals = {}
    if image.scaling is not None:
        reals |= {"centre": image.scaling.centre, "step": image.scaling.step}
    if image.outputs is not None:
        reals |= {"output_scale": image.outputs.scale, "output_mean": image.outputs.mean}
    for name, numbers in reals.items():
        parts += ["", f"static const double {name}[] = {initialiser(numbers)};"]
        places[name] = name
    assert image.logits is not None
    fields = {
        "words": "words",
        "count": len(words),
        "check": f"{image_check(words.astype('<u2').tobytes()):#010x}u",
        "target": f"{target_id(image.target):#010x}u",
        "inputs": image.inputs,
        "sent": image.sent_words,
        "states": 2 * image.hidden * image.layers,
        "classes": image.classes,
        "x_bytes": word_bytes(image.target.input_width),
        "result_bytes": result_bytes(image.target.data_width),
        "every_step": int(image.task.every_step),
        "logit_fraction": image.logits.frac,
        "x_min": raw.min,
        "x_max": raw.max,
        "x_offset": image.input.offset,
        "scales": 0 if image.scaling is None else len(image.scaling.centre),
        **places,
    }
    parts += ["", "const fdht_image fdht_model = {", *(f"    .{name} = {value}," for name, value in fields.items())]
    called = names or [str(k) for k in range(image.classes)]
    parts += ["};", "", "const char *const fdht_model_classes[] = {", *(f"    {c_string(name)}," for name in called)]
    return "\n".join([*parts, "};", ""])


def _nest(image: Image) -> tuple[Loop, ...] | None:
    """The order of a frame's words as loops, if it is a nest of few enough."""
    if image.order is None:
        return None
    try:
        nest = loops(image.order, 1)
    except SpecError:
        return None
    return nest if len(nest) <= MOST_LOOPS else None


def clips_header(bundle: Bundle, clips: Iterable[int]) -> str:
    """What the example shows."""
    numbers = list(clips)
    most = max(own(bundle, clip, bundle.logits).size for clip in numbers)
    lines = [
        "#include <stdint.h>",
        "",
        f"#define {{}}CLIPS {len(numbers)}",
        f"#define {{}}LOGITS {most} /* most of a clip */",
        "",
        "/* Frames, one behind the other; the golden model's logits, of the last step or of every one. */",
        "typedef struct {",
        "    const void *words;",
        "    uint16_t steps;",
        "    uint32_t count; /* of logits */",
        "    const int32_t *logits;",
        "} example_clip;",
        "",
        f"extern const example_clip example_clips[{len(numbers)}];",
    ]
    return header("example_clips", f"Clips {', '.join(map(str, numbers))} of the bundle", lines, prefix="example")


def clips_source(bundle: Bundle, image: Image, clips: Iterable[int]) -> str:
    """The clips as arrays, with the golden model's logits."""
    sign = "" if image.input.raw.signed else "u"
    word = f"{sign}int{8 * word_bytes(image.target.input_width)}_t"
    parts, rows = ["/* Clips. Generated: do not edit. */", '#include "example_clips.h"'], []
    for k, number in enumerate(clips):
        clip, logits = bundle.clip(number), own(bundle, number, bundle.logits)
        parts += ["", *_array(f"static const {word} clip_{k}[]", clip.ravel())]
        parts += ["", *_array(f"static const int32_t logits_{k}[]", logits.ravel())]
        rows.append(f"    {{clip_{k}, {len(clip)}, {logits.size}, logits_{k}}},")
    return "\n".join([*parts, "", f"const example_clip example_clips[{len(rows)}] = {{", *rows, "};", ""])


def _array(declaration: str, numbers: np.ndarray) -> list[str]:
    """An array with its numbers, some in a line."""
    values = [str(int(number)) for number in numbers]
    lines = [f"    {', '.join(values[at : at + _ROW])}," for at in range(0, len(values), _ROW)]
    return [f"{declaration} = {{", *lines, "};"]


def report(output: Output, figures: dict) -> None:
    """What was written."""
    output.facts(
        f"A driver in C for {figures['target']}",
        {
            "folder": figures["folder"],
            "files": ", ".join(figures["files"]),
            "bytes of the model": f"{figures['image_bytes']:,}",
            "clips of the example": ", ".join(map(str, figures["clips"])),
            **({"not in it, in front of real values": ", ".join(figures["host"])} if figures["host"] else {}),
            "protocol, target": f"{figures['protocol_version']}, {figures['target_id']:08x}",
        },
    )
