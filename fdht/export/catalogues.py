"""The IP block for tools that keep catalogues of blocks: FuseSoC's `.core`, and IP-XACT (IEEE 1685-2014)."""

from collections.abc import Iterable
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import yaml

from fdht.export.integration import Port, ports
from fdht.hw.shell.axi import AXIAccelerator
from fdht.spec.protocol import target_id
from fdht.spec.registers import ADDRESS_BITS, BYTES, IDENTIFICATION, MAP_VERSION, OFFSET, Access, Register, registers_of
from fdht.spec.target import Technology
from fdht.spec.version import VERSION

VENDOR, LIBRARY = "fdht", "ip"
"""With a block's name and VERSION, what catalogues know it by."""

NAMESPACE = "http://www.accellera.org/XMLSchema/IPXACT/1685-2014"

_MAP = "registers"
"""Name of the memory map and its block of addresses."""

_Bus = tuple[str, str, str, str]
"""Vendor, library, name and version of a bus definition; that of its signals has `_rtl` behind the name."""

_AXI_LITE: _Bus = ("amba.com", "AMBA4", "AXI4-Lite", "r0p0_0")
_AXI_STREAM: _Bus = ("amba.com", "AMBA4", "AXI4Stream", "r0p0_1")
# Arm defines none of clocks, resets and interrupts alone; these are the ones that tools for FPGAs know.
_CLOCK: _Bus = ("xilinx.com", "signal", "clock", "1.0")
_RESET: _Bus = ("xilinx.com", "signal", "reset", "1.0")
_INTERRUPT: _Bus = ("xilinx.com", "signal", "interrupt", "1.0")

_ACCESS: dict[Access, tuple[str, str | None]] = {
    Access.READ: ("read-only", None),
    Access.WRITE: ("read-write", None),
    Access.CLEAR: ("read-write", "oneToClear"),
    Access.PULSE: ("write-only", None),
    Access.PUSH: ("write-only", None),
}
"""What IP-XACT calls an access, and what a write does if it does not store."""

_KEPT = {("IMAGE_CRC", "IMAGE_CRC"), ("STATUS", "LOADED")}
"""Registers and fields of them that a reset leaves as they are."""


def _says(block: AXIAccelerator) -> str:
    """A block in one line."""
    return f"FDHT-LSTM engine for target {block.target.name}: AXI4-Lite registers, AXI4-Stream frames and results"


def core(name: str, block: AXIAccelerator) -> str:
    """FuseSoC's description of the block, CAPI2."""
    # The simulation models of a technology's primitives are its vendor's.
    missing = [] if block.target.build.technology is Technology.GENERIC else ["-Wno-MODMISSING"]
    description = {
        "name": f"{VENDOR}:{LIBRARY}:{name}:{VERSION}",
        "description": _says(block),
        "filesets": {
            "rtl": {"files": [f"{name}.v"], "file_type": "verilogSource-2001"},
            "constraints": {"files": [f"{name}.xdc"], "file_type": "xdc"},
        },
        "targets": {
            "default": {"filesets": ["rtl", "tool_vivado ? (constraints)"], "toplevel": name},
            "lint": {
                "description": "Verilator reads the block and says what is wrong",
                "filesets": ["rtl"],
                "toplevel": name,
                "flow": "lint",
                "flow_options": {
                    "tool": "verilator",
                    "verilator_options": ["-Wno-lint", "-Wno-style", "-Wno-SYMRSVDWORD", *missing],
                },
            },
        },
    }
    return "CAPI=2:\n" + yaml.safe_dump(description, sort_keys=False, width=120)


def component(name: str, block: AXIAccelerator, build: int) -> str:
    """The block in IP-XACT.

    Args:
        build: what the register BUILD says.
    """
    every = ports(block)
    described = _element(
        "component",
        *_texts(vendor=VENDOR, library=LIBRARY, name=name, version=VERSION),
        _element("busInterfaces", *_interfaces(every)),
        _element("memoryMaps", _memory_map(block, build)),
        _model(name, every),
        _element(
            "fileSets",
            _files("rtl", f"{name}.v", "verilogSource-2001"),
            _files("constraints", f"{name}.xdc", "user", user="xdc"),
            _files("software", f"{name}.h", "cSource", _element("isIncludeFile", "true")),
        ),
        _element("description", _says(block)),
    )
    described.set("{http://www.w3.org/2001/XMLSchema-instance}schemaLocation", f"{NAMESPACE} {NAMESPACE}/index.xsd")
    ElementTree.register_namespace("ipxact", NAMESPACE)
    ElementTree.indent(described)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(described, encoding="unicode")}\n'


def _element(tag: str, *content: Element | str, **attributes: str) -> Element:
    """An element of IP-XACT that has either elements or one text."""
    element = Element(f"{{{NAMESPACE}}}{tag}", attributes)
    for part in content:
        if isinstance(part, str):
            element.text = part
        else:
            element.append(part)
    return element


def _texts(**texts: object) -> list[Element]:
    """Elements of nothing but text, by their tags."""
    return [_element(tag, str(text)) for tag, text in texts.items()]


def _model(name: str, every: Iterable[Port]) -> Element:
    """The module and its ports."""
    view = _element("view", *_texts(name="rtl", envIdentifier="Verilog::", componentInstantiationRef="rtl"))
    files = [_element("fileSetRef", *_texts(localName=each)) for each in ("rtl", "constraints")]
    module = _element("componentInstantiation", *_texts(name="rtl", language="Verilog", moduleName=name), *files)
    return _element(
        "model",
        _element("views", view),
        _element("instantiations", module),
        _element("ports", *(_port(*port) for port in every)),
    )


def _port(name: str, direction: str, width: int) -> Element:
    wire = _element("wire", *_texts(direction=direction.removesuffix("put")))
    if width > 1:
        wire.append(_element("vectors", _element("vector", *_texts(left=width - 1, right=0))))
    return _element("port", *_texts(name=name), wire)


def _interfaces(every: Iterable[Port]) -> list[Element]:
    """The bus interfaces: those whose ports begin with their names, then clock, reset and interrupt."""
    signals: dict[str, dict[str, str]] = {}
    for port, _, _ in every:
        prefix, _, signal = port.rpartition("_")
        if prefix:
            signals.setdefault(prefix, {})[signal.upper()] = port
    shared = {"ACLK": "aclk", "ARESETn": "aresetn"}
    buses = [
        _interface(prefix, _AXI_STREAM, mapped | shared, _element("master" if prefix.startswith("m_") else "slave"))
        if "_axis_" in prefix
        else _interface(
            prefix, _AXI_LITE, mapped | shared, _element("slave", _element("memoryMapRef", memoryMapRef=_MAP))
        )
        for prefix, mapped in signals.items()
    ]
    clock = {"ASSOCIATED_BUSIF": ":".join(signals), "ASSOCIATED_RESET": "aresetn"}
    return [
        *buses,
        _interface("aclk", _CLOCK, {"CLK": "aclk"}, _element("slave"), clock),
        _interface("aresetn", _RESET, {"RST": "aresetn"}, _element("slave"), {"POLARITY": "ACTIVE_LOW"}),
        _interface(
            "interrupt", _INTERRUPT, {"INTERRUPT": "interrupt"}, _element("master"), {"SENSITIVITY": "LEVEL_HIGH"}
        ),
    ]


def _interface(
    name: str, bus: _Bus, mapped: dict[str, str], mode: Element, parameters: dict[str, str] | None = None
) -> Element:
    """A bus interface.

    Args:
        mapped: from the bus's signals to ports.
        mode: which side of the bus it is.
    """
    maps = [
        _element(
            "portMap", _element("logicalPort", *_texts(name=logical)), _element("physicalPort", *_texts(name=physical))
        )
        for logical, physical in mapped.items()
    ]
    vendor, library, bus_name, version = bus
    signals = _element("abstractionRef", vendor=vendor, library=library, name=f"{bus_name}_rtl", version=version)
    interface = _element(
        "busInterface",
        *_texts(name=name),
        _element("busType", vendor=vendor, library=library, name=bus_name, version=version),
        _element("abstractionTypes", _element("abstractionType", signals, _element("portMaps", *maps))),
        mode,
    )
    if parameters:
        each = [
            # A value is an expression, and a text in it has quotation marks.
            _element("parameter", *_texts(name=key, value=f'"{value}"'), parameterId=f"{name}_{key}", type="string")
            for key, value in parameters.items()
        ]
        interface.append(_element("parameters", *each))
    return interface


def _memory_map(block: AXIAccelerator, build: int) -> Element:
    fixed = {"ID": IDENTIFICATION, "VERSION": MAP_VERSION, "TARGET": target_id(block.target), "BUILD": build}
    addresses = _element(
        "addressBlock",
        *_texts(name=_MAP, baseAddress=0, range=1 << ADDRESS_BITS, width=8 * BYTES, usage="register"),
        *(_register(register, fixed.get(register.name)) for register in registers_of(block.target)),
    )
    return _element("memoryMap", *_texts(name=_MAP), addresses, *_texts(addressUnitBits=8))


def _register(register: Register, fixed: int | None) -> Element:
    """A register.

    Args:
        fixed: its value, if it never has another.
    """
    access = {(True, False): "read-only", (False, True): "write-only", (True, True): "read-write"}
    described = _element(
        "register",
        *_texts(
            name=register.name,
            description=register.text,
            addressOffset=f"'h{OFFSET[register.name]:02X}",
            size=8 * BYTES,
            access=access[register.readable, register.writable],
        ),
    )
    for field in register.fields:
        accessed, written = _ACCESS[field.access]
        parts = _texts(name=field.name, description=field.text, bitOffset=field.low)
        if field.access is not Access.PUSH and (register.name, field.name) not in _KEPT:
            parts.append(_element("resets", _element("reset", *_texts(value=f"'h{fixed or 0:X}"))))
        parts += _texts(bitWidth=field.width)
        if fixed is None and field.access in (Access.READ, Access.CLEAR):
            parts += _texts(volatile="true")
        parts += _texts(access=accessed)
        if written:
            parts += _texts(modifiedWriteValue=written)
        described.append(_element("field", *parts))
    return described


def _files(name: str, file: str, kind: str, *more: Element, **attributes: str) -> Element:
    """A set of one file.

    Args:
        kind: of the file, as the standard names it.
        more: that is to be said of it.
        attributes: of its kind.
    """
    described = _element("file", *_texts(name=file), _element("fileType", kind, **attributes), *more)
    return _element("fileSet", *_texts(name=name), described)
