"""Traces: the slices are the machine's cycles and the RTL's, tokens flow from who gives to who waits, layouts fit."""

import io
import json
import re
from bisect import bisect_right
from collections import defaultdict
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from docs.worked_example import TARGET
from fdht.compiler.image import compile_bundle
from fdht.compiler.machine import Machine
from fdht.sim import waves
from fdht.spec.instructions import GateOp, LoaderOp, Segment, Token
from fdht.spec.protocol import OutputKind
from fdht.spec.target import TARGETS, find_target
from fdht.workflow import timeline, traces
from fdht.workflow.golden_vectors import Disagreement

STEPS = 4


def of_kind(trace: dict, kind: str, process: int = 1) -> list[dict]:
    return [each for each in trace["traceEvents"] if each["ph"] == kind and each["pid"] == process]


@pytest.fixture(scope="module", params=[TARGET, find_target("ulx3s-85f")], ids=lambda each: each.name)
def image(request, small_bundle):
    """One engine that carries out instruction by instruction, and one in which two of the array are under way."""
    return compile_bundle(small_bundle, request.param)


@pytest.fixture(scope="module")
def plan(image):
    return json.loads(json.dumps(traces.trace(image, [traces.planned(image, STEPS)], "a plan")))


def test_slices_are_the_machines_cycles(image, plan):
    slices, expected = of_kind(plan, "X"), defaultdict(list)
    for unit, step, instruction, start, done in image.machine.schedule(STEPS):
        number = next(k for k, each in enumerate(image.machine.programs[unit]) if each is instruction)
        expected[unit].append((step, number, start, done))
    for unit, thread in traces.UNIT_THREADS.items():
        found = [each for each in slices if each["tid"] == thread]
        told = [tuple(each["args"][name] for name in ("step", "instruction", "start", "done")) for each in found]
        assert told == expected[unit] and [each["ts"] for each in found] == [start for *_, start, _ in told]
        if thread != traces.ARRAY:
            assert [each["dur"] for each in found] == [done - start for *_, start, done in told]
    drained = [each["ts"] + each["dur"] for each in slices if each["tid"] == traces.RESULTS]
    assert drained == [done for *_, done in expected[Segment.ARRAY_PROGRAM]]
    assert {each["args"]["name"] for each in of_kind(plan, "M") if each["name"] == "thread_name"} == set(
        traces.THREADS.values()
    )


def test_slices_of_a_thread_do_not_overlap(plan):
    """What chrome://tracing and Perfetto ask of complete events on one thread."""
    by_thread = defaultdict(list)
    for each in of_kind(plan, "X"):
        by_thread[each["tid"]].append((each["ts"], each["ts"] + each["dur"]))
    assert set(by_thread) == set(traces.THREADS)
    for spans in by_thread.values():
        assert all(before[1] <= after[0] for before, after in pairwise(spans))
        assert all(end > begin for begin, end in spans)


def test_tokens_flow_from_who_gives_to_who_waited(image, plan):
    spans = defaultdict(list)
    for each in of_kind(plan, "X"):
        spans[each["tid"]].append(each)

    def inside(event: dict) -> dict:
        those = spans[event["tid"]]
        found = those[bisect_right([each["ts"] for each in those], event["ts"]) - 1]
        assert found["ts"] <= event["ts"] < found["ts"] + found["dur"]
        return found

    starts, ends = ({each["id"]: each for each in of_kind(plan, kind)} for kind in "sf")
    waits = sum((instruction["wait"]).bit_count() for _, _, instruction, _, _ in image.machine.schedule(STEPS))
    assert len(starts) == waits == len(of_kind(plan, "s")) and starts.keys() == ends.keys()
    for number, begins in starts.items():
        assert begins["name"] == ends[number]["name"] and begins["ts"] <= ends[number]["ts"]
        assert begins["name"] in inside(begins)["args"]["gives"].split(", ")
        taker = inside(ends[number])
        assert taker["ts"] == ends[number]["ts"] and begins["name"] in taker["args"]["waits for"].split(", ")


def test_counters_count(image, plan):
    counters = defaultdict(list)
    for each in of_kind(plan, "C"):
        counters[each["name"]].append((each["ts"], *each["args"].values()))
    given = {f"token {token.name}" for token in Token}
    assert {name for name in counters if name.startswith("token ")} <= given
    assert not any(name.startswith("behind") for name in counters)
    for name in given & counters.keys():
        assert all(value >= 0 for _, value in counters[name])
    words = dict(counters["scratchpad"])
    for cycle, value in words.items():
        assert value == in_use(image.machine, cycle)


def in_use(machine: Machine, cycle: int) -> int:
    """By hand, word by word: from a first write (or from the image) to the last read before the next write."""
    history = defaultdict(list)
    for visit in timeline.visits(machine.schedule(STEPS), machine.target):
        if visit.scratchpad:
            for address, when in zip(visit.addresses.tolist(), visit.cycles.tolist(), strict=True):
                history[address].append((when, visit.writes))
    count = 0
    for events in history.values():
        born, read = 0, None
        for when, writes in [*sorted(events), (1 << 30, True)]:  # of one cycle, what is read comes first
            if not writes:
                read = when
            elif read is not None:
                count += born <= cycle <= read
                born, read = when, None
            elif born == 0:
                born = when
    return count


def test_info_writes_the_plan_of_an_image(fdht, small_bundle, tmp_path):
    image = compile_bundle(small_bundle, TARGET)
    image.save(tmp_path / "small.image")
    outcome = fdht("info", "small.image", "--trace", "plan.json", "--json")
    assert outcome.code == 0 and outcome.figures["trace"] == "plan.json"
    trace = json.loads((tmp_path / "plan.json").read_text())
    last = max(each["args"]["done"] for each in of_kind(trace, "X"))
    assert last == image.cycles(image.steps) and trace["otherData"]["target"] == TARGET.name
    small_bundle.save(tmp_path / "small.bundle")
    assert "--trace is for an image" in fdht("info", "small.bundle", "--trace", "no.json").sentence
    assert "--listing is for an image" in fdht("info", "small.bundle", "--listing").sentence
    assert not (tmp_path / "no.json").exists()


@pytest.fixture
def engine(monkeypatch) -> str:
    monkeypatch.setitem(TARGETS, TARGET.name, TARGET)
    return TARGET.name


def test_the_rtl_begins_and_ends_instructions_when_the_machine_does(fdht, engine, bundle_file, small_bundle, tmp_path):
    """The trace of two clips equals the plan; with pauses instructions come later, and say by how much."""
    outcome = fdht("simulate", bundle_file, "-t", engine, "--clips", 2, "--trace", "rtl.json", "--json")
    assert outcome.code == 0, outcome.err
    image = compile_bundle(small_bundle, TARGET)
    expected = traces.trace(image, [traces.planned(image, 3)], "")
    seen = json.loads((tmp_path / "rtl.json").read_text())
    for process in (1, 2):
        assert [each["args"] for each in of_kind(seen, "X", process)] == [e["args"] for e in of_kind(expected, "X")]
    names = [each["args"]["name"] for each in seen["traceEvents"] if each["name"] == "process_name"]
    assert names == ["clip 0", "clip 4"]
    assert fdht("simulate", bundle_file, "-t", engine, "--pauses", "--trace", "late.json").code == 0
    late = json.loads((tmp_path / "late.json").read_text())
    behind = [each for each in of_kind(late, "C") if each["name"].startswith("behind the plan")]
    assert behind and all(each["args"]["cycles"] >= 0 for each in behind)
    planned = {(e["tid"], e["args"]["step"], e["args"]["instruction"]): e["ts"] for e in of_kind(expected, "X")}
    load = next(each for each in behind if each["name"].endswith("loader"))
    moved = next(e for e in of_kind(late, "X") if e["tid"] == traces.LOADER and e["ts"] == load["ts"])
    key = moved["tid"], moved["args"]["step"], moved["args"]["instruction"]
    assert moved["ts"] - planned[key] == load["args"]["cycles"]


def test_an_instruction_that_is_missing_is_noticed(small_bundle):
    image = compile_bundle(small_bundle, TARGET)
    seen = {unit.name: [(start, done) for u, _, _, start, done in image.machine.schedule(3) if u is unit]
            for unit in image.machine.programs}  # fmt: skip
    assert traces.simulated(image, "clip", seen, 3).executed == image.machine.schedule(3)
    seen["GATE_PROGRAM"].pop()
    with pytest.raises(Disagreement, match="gate_program"):
        traces.simulated(image, "clip", seen, 3)


HEADER = """$version by hand $end
$timescale 1ps $end
 $scope module $rootio $end
  $var wire 1 ! clk $end
 $upscope $end
 $scope module accelerator $end
  $var wire 1 ! clk $end
  $var wire 2 " out__payload.kind [1:0] $end
  $var wire 1 ' busy $end
  $var wire 1 ( $auto$verilog_backend.cc:2505:dump_module$1 $end
  $scope module loader $end
   $var wire 3 # \\instruction.op [2:0] $end
   $var wire 16 $ instruction.count [15:0] $end
  $upscope $end
  $scope module gate_program $end
   $var wire 6 % take [5:0] $end
   $var wire 1 & a.name.that.nobody.asks.for $end
  $upscope $end
 $upscope $end
$enddefinitions $end
#0
b001 #
0'
#10000
1'
#70000
"""


def test_layouts_name_units_and_values(tmp_path):
    """Every signal of a layout is in the trace, and every value's name is the specification's."""
    path = tmp_path / "some waves.vcd"
    with path.open("wb") as file:
        waves.copy(io.BytesIO(HEADER.encode()), file)
    text = path.read_text()
    assert "instruction_op [2:0]" in text and "instruction.op" not in text and text.endswith("\n1'\n#70000\n")
    assert "$auto$verilog_backend_cc_2505_dump_module$1 $end" in text  # which GTKWave takes for a range otherwise
    files = waves.lay_out(path, "accelerator")
    assert {file.name for file in files} == {
        "some waves.gtkw", "some waves.sucl", "fdht_LoaderOp_3", "fdht_OutputKind_2", "fdht_tokens_6"
    }  # fmt: skip
    layout = (tmp_path / "some waves.gtkw").read_text()
    assert f'[dumpfile] "{path}"' in layout
    traced = re.findall(r"^\+\{(\S+)\} (\S+)$", layout, re.MULTILINE)
    assert ("loader.instruction_op", "accelerator.loader.instruction_op[2:0]") in traced and len(traced) == 6
    # The whole of the trace is in the window, and the marker where the run begins.
    zoom, marker = map(float, re.findall(r"^\*(\S+) (\S+)", layout, re.MULTILINE)[0])
    assert marker == 10_000 and 2**-zoom * waves.SHOWN / waves.FRAME == pytest.approx(70_000)
    names = tmp_path / ".surfer" / "mappings"
    assert f"^2 {names / 'fdht_LoaderOp_3'}" in layout or f"^1 {names / 'fdht_LoaderOp_3'}" in layout
    commands = (tmp_path / "some waves.sucl").read_text().splitlines()
    assert [line.split()[1] for line in commands if line.startswith("divider_add")] == list(waves.GROUPS)
    at = commands.index("variable_add accelerator.loader.instruction_op")
    assert commands[at + 1] == "item_set_format fdht_LoaderOp_3"

    def read(name: str) -> dict[int, str]:
        bits, *lines = (names / name).read_text().splitlines()
        assert bits.startswith("Bits = ")
        return {int(value): label for value, label in (line.split(maxsplit=1) for line in lines)}

    assert read("fdht_LoaderOp_3") == {each.value: each.name for each in LoaderOp}
    assert read("fdht_OutputKind_2") == {each.value: each.name for each in OutputKind}
    tokens = read("fdht_tokens_6")
    assert tokens[0] == "-" and tokens[1 << Token.Z_READY | 1 << Token.X_FREE] == "X_FREE+Z_READY" and len(tokens) == 64
    narrow = waves.Signal("gate", "instruction_op", 1, "", "fdht_GateOp_1")
    assert waves.names_of(narrow).splitlines() == ["Bits = 1", "0 STATE", "1 STEP"] and GateOp.EMIT.value > 1


@pytest.mark.slow
def test_a_real_trace_has_every_signal_of_the_layouts(fdht, engine, bundle_file, tmp_path):
    """Of this engine all but what only engines of several streams have; loader operations change while it runs."""
    outcome = fdht("simulate", bundle_file, "-t", engine, "--waves", "out/waves.vcd")
    assert outcome.code == 0, outcome.err
    shown = waves.signals(tmp_path / "out" / "waves.vcd", "accelerator")
    wanted = {(place, name) for parts in waves.GROUPS.values() for place, names in parts for name in names}
    found = {(signal.place, signal.name) for group in shown.values() for signal in group}
    assert wanted - found == {
        ("loader", "instruction_stream"), ("gate", "instruction_condition"), ("contraction", "instruction_condition")
    }  # fmt: skip
    assert (tmp_path / "out" / "waves.gtkw").is_file() and (tmp_path / "out" / ".surfer" / "mappings").is_dir()


def test_an_image_of_streams_is_traced(small_bundle):
    target = replace(find_target("ulx3s-85f-streams"), name="")
    image = compile_bundle(small_bundle, target, streams=2)
    trace = traces.trace(image, [traces.planned(image, 2)], "")
    assert {each["args"]["stream"] for each in of_kind(trace, "X")} >= {0, image.apart}
    last = max(each["args"]["done"] for each in of_kind(trace, "X"))
    assert last == image.cycles(2) and np.isfinite(last)


def test_of_an_image_of_streams_a_step_is_that_of_one(fdht, small_bundle):
    """Its cycles, of which as many as there are streams make a round, and its multiplications."""
    image = compile_bundle(small_bundle, find_target("ulx3s-85f-streams"), streams=4)
    image.save("four.image")
    figures = fdht("info", "four.image", "--rate", "100", "--json").figures
    assert figures["cycles_per_step"] == figures["effort"]["cycles_per_step"]
    assert figures["utilisation"] == pytest.approx(image.macs / (image.target.multipliers * figures["cycles_per_step"]))
