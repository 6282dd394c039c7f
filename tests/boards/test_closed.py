"""Parts with closed tools: what they have, what is predicted and measured of them, and the commands that say it."""

from dataclasses import asdict, replace

import pytest
from amaranth.hdl import Module
from amaranth.lib.wiring import In, Out

from docs import closed_parts as page
from fdht.boards import closed
from fdht.boards.fullness import available
from fdht.boards.parts import CLOSED, find_closed
from fdht.boards.synthesis import Netlist
from fdht.hw.component import Component
from fdht.hw.technology import MultiplyAccumulate, RegisteredMemory
from fdht.spec import costs
from fdht.spec.costs import Inferred, Resources
from fdht.spec.errors import CapacityError, Resource, SpecError
from fdht.spec.protocol import target_id
from fdht.spec.target import GENERIC, PART_TARGETS, TARGETS, Target, find_target

KEPT = page.kept()

LITTLE = Target(
    "little",
    rows=2,
    columns=2,
    banks=2,
    bank_words=64,
    factor_words=64,
    result_words=64,
    bias_words=64,
    program_words=64,
    hidden=16,
)
"""Few cells, for Yosys's sake."""


def test_every_part_has_an_engine_of_its_name():
    assert list(CLOSED) == list(PART_TARGETS) and not set(PART_TARGETS) & set(TARGETS)
    for name, engine in PART_TARGETS.items():
        assert engine.name == name and engine.build == GENERIC and find_target(name) is engine
        assert closed.engine_in(name.upper()) == (CLOSED[name], engine)


def test_images_of_one_run_on_the_other():
    """The Zynq's engine is that of the larger Artix."""
    assert target_id(PART_TARGETS["xc7z020"]) == target_id(PART_TARGETS["xc7a100t"])
    assert len({target_id(engine) for engine in (TARGETS | PART_TARGETS).values()}) == len(TARGETS) + 3


@pytest.mark.parametrize("name", CLOSED)
def test_an_engine_fills_its_part_prudently(name):
    """At most three quarters, and no less than three fifths of what it scales by."""
    part, engine = closed.engine_in(name)
    takes, there = asdict(closed.resources(part, engine)), available(part)
    assert all(0.6 <= takes[kind] / there[kind] <= closed.PRUDENT[kind] for kind in ("multipliers", "block_rams"))
    measured = KEPT["parts"].get(page.twin(name))
    if measured:
        assert all(measured[kind] / there[kind] <= share for kind, share in closed.PRUDENT.items())


@pytest.mark.parametrize(
    ("family", "memory", "count"),
    [
        (Inferred.XC7, (1024, 16), 1),
        (Inferred.XC7, (2048, 16), 2),  # one RAMB36 rather than two RAMB18
        (Inferred.XC7, (512, 64), 2),
        (Inferred.XC7, (1025, 16), 2),
        (Inferred.CYCLONE_V, (512, 16), 1),
        (Inferred.CYCLONE_V, (2048, 16), 4),
        (Inferred.CYCLONE_V, (512, 128), 7),
        (Inferred.CYCLONE_V, (8192, 16), 16),
    ],
)
def test_block_rams_of_a_memory(family, memory, count):
    assert costs.block_rams(family, *memory) == count


@pytest.mark.parametrize("name", KEPT["parts"])
def test_what_was_measured_is_what_is_predicted(name):
    kept = KEPT["parts"][name]
    found = Resources(kept["multipliers"], kept["block_rams"], kept["sprams"])
    assert found == closed.resources(*closed.engine_in(name)) and kept["luts"] > 0 and kept["ffs"] > 0


def test_cells_are_counted():
    xc7 = closed.SYNTHESES[Inferred.XC7].count(
        {"LUT2": 3, "LUT6": 2, "RAM32M": 1, "FDRE": 5, "FDSE": 1, "DSP48E1": 4, "RAMB18E1": 1, "RAMB36E1": 2}
    )
    assert xc7 == Netlist(Resources(4, 5), 9, 6)
    cyclone = closed.SYNTHESES[Inferred.CYCLONE_V].count(
        {"MISTRAL_ALUT6": 2, "MISTRAL_ALUT_ARITH": 3, "MISTRAL_FF": 4, "MISTRAL_MUL18X18": 2, "MISTRAL_M10K": 6}
    )
    assert cyclone == Netlist(Resources(2, 6), 7, 4)


def test_an_engine_that_is_too_large(tmp_path):
    sentence = "multipliers of the XC7A35T: 129 needed, 90 available; ulx3s-85f fits with"
    with pytest.raises(CapacityError, match=sentence) as raised:
        closed.engine_in("xc7a35t", "ulx3s-85f")
    assert raised.value.resource is Resource.MULTIPLIERS
    file = tmp_path / "deep.json"
    file.write_bytes(replace(PART_TARGETS["5ceba4"], name="deep", bank_words=4096).to_file())
    with pytest.raises(CapacityError, match="block RAMs of the 5CEBA4: 336 needed, 308 available; deep fits with"):
        closed.engine_in("5ceba4", str(file))


def test_a_netlist_that_is_too_large():
    part = CLOSED["xc7a35t"]
    closed.check(part, Netlist(part.blocks, part.luts, part.ffs))
    with pytest.raises(CapacityError, match="LUTs of the XC7A35T, by Yosys: 20801 needed") as raised:
        closed.check(part, Netlist(part.blocks, part.luts + 1, part.ffs))
    assert raised.value.resource is Resource.CELLS


def test_a_part_that_there_is_not():
    known = r"known: xc7a35t, xc7a100t, xc7z020, 5ceba4; of parts with"
    with pytest.raises(SpecError, match=rf"no part 'xc7a15t' \(did you mean xc7a35t\?\); {known}"):
        find_closed("xc7a15t")


def test_the_page_has_the_tables_of_what_is_kept():
    assert page.PAGE.read_text() == page.page(), "write it anew: .venv/bin/python -m docs.closed_parts --page"


def test_cycles_on_the_page_are_the_planners(monkeypatch):
    monkeypatch.setattr(page, "PRESETS", {"digits": page.PRESETS["digits"]})
    assert page.cycles() == {name: {"digits": KEPT["cycles"][name]["digits"]} for name in PART_TARGETS}


class Element(Component):
    """What an engine is made of: a multiply-accumulate, its operands from a registered memory of 2,048 words."""

    def __init__(self):
        super().__init__({"write": In(1), "data": In(16), "address": In(11), "o": Out(40)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = RegisteredMemory(16, 2048)
        m.submodules.mac = mac = MultiplyAccumulate(16, 16, 40, latency=4)
        m.d.comb += [
            memory.write_enable.eq(self.write),
            memory.write_address.eq(self.address),
            memory.write_data.eq(self.data),
            memory.read_address.eq(self.address),
            mac.a.eq(memory.read_data),
            mac.b.eq(self.data),
            mac.valid.eq(self.write),
            self.o.eq(mac.o),
        ]
        return m


@pytest.mark.parametrize("name", ["xc7a35t", "5ceba4"])
def test_yosys_infers_the_blocks_of_an_element(name):
    """No LUT is made a multiplier or a memory: the adder takes 40, the rest little."""
    part = CLOSED[name]
    made = closed.measure(part, page.convert(Element(), "element", assertions=False), "element")
    assert made.blocks == Resources(1, costs.registered_block_rams(part.family, 2048, 16))
    assert made.luts < 120 and 40 <= made.ffs < 250


def measured(name: str, engine: Target) -> tuple[Netlist, Resources]:
    """What Yosys makes of an engine for a part, and what is predicted."""
    part = CLOSED[name]
    verilog = page.convert(page.AXIAccelerator(engine), page.NAME, assertions=False)
    return closed.measure(part, verilog, page.NAME), closed.resources(part, engine)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["xc7a35t", "5ceba4"])
def test_a_little_engine_measured(name):
    """Cyclone V has no memory of less than 512 bits in an M10K, so it is given more."""
    made, predicted = measured(name, replace(LITTLE, bank_words=512, result_words=512, hidden=256))
    assert made.blocks == predicted and made.luts > 0 and made.ffs > 0


@pytest.mark.slow
def test_the_smallest_measured_anew():
    made, predicted = measured("xc7a35t", PART_TARGETS["xc7a35t"])
    kept = KEPT["parts"].get("xc7a35t", {"luts": made.luts, "ffs": made.ffs})
    assert made.blocks == predicted
    assert made.luts == pytest.approx(kept["luts"], rel=0.02) and made.ffs == pytest.approx(kept["ffs"], rel=0.02)
