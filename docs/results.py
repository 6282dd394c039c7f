"""Writes the tables of docs/results.md: the performance table from what fdht bench left in docs/results, and, if they
are given, those of other commands from what these printed; the short table of the main README, and that of streams in
docs/streams.md. Those of accuracies go to docs/accuracy.md.

fdht bench -o docs/results
fdht baselines --data faces-hard --data clip-segments -o docs/results/accuracy.json
fdht demo --json > build/demo.json
fdht synth --board icebreaker --json > build/icebreaker.json
fdht synth --board ulx3s-85f --json > build/ulx3s-85f.json
.venv/bin/python -m docs.results build/demo.json build/icebreaker.json build/ulx3s-85f.json
"""

import json
import sys
from pathlib import Path

from docs import accuracy_page
from docs.marked import page_with
from fdht.model.presets import PRESETS
from fdht.spec.lstm import dense_lstm
from fdht.spec.target import STREAM_TARGETS
from fdht.studies.measurements import load

PAGE = Path(__file__).parent / "results.md"
README = Path(__file__).parent.parent / "README.md"
RESULTS = Path(__file__).parent / "results" / "bench.json"
MARKS = "<!-- results: python -m docs.results -->", "<!-- end of results -->"
HEADLINE = "<!-- headline: python -m docs.results -->", "<!-- end of headline -->"
SHORT = (("digits", "icebreaker"), ("ucf11", "icebreaker"), ("faces", "ulx3s-85f"), ("ucf11", "ulx3s-85f"))
"""What the README shows: presets and targets."""
BENCH = "<!-- bench: python -m docs.results -->", "<!-- end of bench -->"
STREAMS_PAGE = Path(__file__).parent / "streams.md"
STREAMS = "<!-- streams: python -m docs.results -->", "<!-- end of streams -->"
STREAMS_MHZ = 66.7
"""Clock of the rates in the table of streams: that of the bitstream for the ULX3S (docs/streams.md)."""


def demo_table(figures: dict) -> str:
    """The demo: one row per figure."""
    accuracy, cycles, parameters = figures["accuracy"], figures["cycles"], figures["parameters"]
    clips = figures["clips_in_bundle"]
    rows = {
        "parameters": ", ".join(f"{name} {count:,}" for name, count in parameters.items()),
        f"accuracy on {clips} test clips, float": f"{100 * accuracy['float']:.1f} %",
        "the same, integers (golden model = RTL)": f"{100 * accuracy['golden']:.1f} %",
        "the same, float with h forced to zero": f"{100 * accuracy['float_zero_h']:.1f} %",
        "clips that float and integers classify differently": len(figures["disagreements"]),
        "clips simulated in RTL": len(figures["clips"]),
        "of these, RTL class equal to the golden model's": f"{100 * figures['rtl_equals_golden']:.0f} %",
        "words compared, mismatches": f"{figures['words_compared']:,}, {figures['mismatches']:,}",
        "cycles predicted, simulated": f"{cycles['predicted']:,}, {cycles['simulated']:,}",
        "multiplications per step, multipliers": f"{figures['macs']:,}, {figures['multipliers']}",
        "utilisation over whole clips": f"{100 * figures['utilisation']:.1f} %",
        "seconds: train, compile, simulate": ", ".join(
            str(figures["seconds"][k]) for k in ("train", "compile", "simulate")
        ),
    }
    lines = [f"| `fdht demo`: {figures['preset']} on {figures['target']} | |", "|---|---|"]
    return "\n".join(lines + [f"| {name} | {value} |" for name, value in rows.items()])


def synthesis_table(boards: list[dict]) -> str:
    """Bitstreams: one row per board."""
    lines = [
        "| `fdht synth` | clock | reached | by nextpnr alone | LUTs | flip-flops | multipliers | block RAMs | SPRAMs "
        "| seconds |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for f in boards:
        clocks = f"{f['clock_mhz']:g} MHz | {f['fmax_mhz']:g} MHz | {f['fmax_mhz_nextpnr']:g} MHz"
        blocks = f"{f['luts']:,} | {f['ffs']:,} | {f['multipliers']} | {f['block_rams']} | {f['sprams']}"
        lines.append(f"| {f['board']} | {clocks} | {blocks} | {f['seconds']:g} |")
    return "\n".join(lines)


def bench_table(rows: list[dict]) -> str:
    """The performance table: one row per network and engine."""
    lines = [
        "| `fdht bench` | target | factors | MACs a step | cycles a step | utilisation | efficiency | reached | clock "
        "| a step | steps/s | GOP/s | dense-equivalent | lone frame | mismatches |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in (r for r in rows if r["kind"] == "engine" and r["target"] not in STREAM_TARGETS):
        cycles = f"{r['cycles_per_step']:,}" if r["fits"] else f"({r['cycles_per_step']:,})"
        latency = figure(r["latency_us"], 0, " µs") if r["latency_us"] else figure(r["latency_cycles"], 0, " cycles")
        cells = [
            f"{r['preset']}, {r['format']}",
            r["target"],
            f"{r['parameters']:,}",
            f"{r['macs_per_step']:,}",
            cycles,
            f"{r['utilisation']:.3f}",
            f"{r['efficiency']:.3f}",
            figure(r["fmax_mhz"], 1, " MHz"),
            f"{r['clock_mhz']:g} MHz" if r["clock_mhz"] else "",
            figure(r["step_us"], 1, " µs"),
            figure(r["frames_per_s"], 0),
            figure(r["gops"], 1),
            figure(r["gops_dense_equivalent"], 0),
            latency,
            figure(r["mismatches"], 0) if r["fits"] else "does not fit",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def streams_table(rows: list[dict]) -> str:
    """What several streams bring: one row per network and number of them, fewest first."""
    lines = [
        f"| model, target | streams | cycles a step | utilisation | steps/s at {STREAMS_MHZ} MHz | words compared "
        "| mismatches |",
        "|---|---|---|---|---|---|---|",
    ]
    served = [r for r in rows if r["kind"] == "engine" and r["target"] in STREAM_TARGETS]
    for r in sorted(served, key=lambda r: (list(PRESETS).index(r["preset"]), r["streams"])):
        rate = 1e6 * STREAMS_MHZ / r["cycles_per_step"]
        cells = [
            f"{r['preset']}, {r['target']}",
            str(r["streams"]),
            f"{r['cycles_per_step']:,.0f}",
            f"{r['utilisation']:.3f}",
            figure(float(f"{rate:.4g}"), 0),
            figure(r["words_compared"], 0),
            figure(r["mismatches"], 0),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cpu_table(rows: list[dict]) -> str:
    """A step in PyTorch: one row per layer and batch."""
    lines = ["| A step in PyTorch, one CPU thread | batch | weights | a step |", "|---|---|---|---|"]
    for r in (r for r in rows if r["kind"] == "cpu"):
        lines.append(f"| {r['layer']} | {r['batch']} | {r['parameters']:,} | {figure(r['step_us'], 0, ' µs')} |")
    return "\n".join(lines)


def epoch_table(rows: list[dict]) -> str:
    """An epoch of training in PyTorch: one row per layer."""
    lines = [
        "| An epoch of training in PyTorch, one CPU thread | clips | batch | weights | an epoch |",
        "|---|---|---|---|---|",
    ]
    for r in (r for r in rows if r["kind"] == "epoch"):
        cells = [r["layer"], str(r["clips"]), str(r["batch"]), f"{r['parameters']:,}", figure(r["epoch_s"], 1, " s")]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def short_table(rows: list[dict]) -> str:
    """A few rows of the performance table, for the README; dense weights are those that an nn.LSTM has."""
    lines = [
        "| model, inputs of a step | target | weights | as a dense LSTM | cycles a step | clock, reached | steps/s "
        "| mismatches |",
        "|---|---|---|---|---|---|---|---|",
    ]
    engines = {(r["preset"], r["target"]): r for r in rows if r["kind"] == "engine" and r["format"] == "ht"}
    for key in SHORT:
        r, spec = engines[key], PRESETS[key[0]].spec
        dense = dense_lstm(spec.inputs, spec.hidden, spec.classes).parameters["factors"]
        cells = [
            f"`{key[0]}`, {spec.inputs:,}",
            key[1],
            f"{r['parameters']:,}",
            f"{dense:,}",
            f"{r['cycles_per_step']:,}",
            f"{r['clock_mhz']:g} MHz, {r['fmax_mhz']:.1f}",
            figure(r["frames_per_s"], 0),
            figure(r["mismatches"], 0),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def figure(value: float | None, digits: int, unit: str = "") -> str:
    return "" if value is None else f"{value:,.{digits}f}{unit}"


def main(paths: list[str]) -> None:
    accuracy_page.write()
    if rows := load(RESULTS):
        parts = [("engine", bench_table), ("cpu", cpu_table), ("epoch", epoch_table)]
        README.write_text(page_with(README, HEADLINE, short_table(rows)))
        tables = [table(rows) for kind, table in parts if any(r["kind"] == kind for r in rows)]
        PAGE.write_text(page_with(PAGE, BENCH, *tables))
        STREAMS_PAGE.write_text(page_with(STREAMS_PAGE, STREAMS, streams_table(rows)))
    figures = [json.loads(Path(path).read_text()) for path in paths]
    demos = [demo_table(f) for f in figures if "accuracy" in f]
    boards = [f for f in figures if "bitstream" in f]
    if figures:
        PAGE.write_text(page_with(PAGE, MARKS, *demos, *([synthesis_table(boards)] if boards else [])))


if __name__ == "__main__":
    main(sys.argv[1:])
