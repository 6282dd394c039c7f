"""Writes the tables of results in README.md from what the tool printed.

fdht demo --json > build/demo.json
fdht synth --board icebreaker --json > build/icebreaker.json
fdht synth --board ulx3s-85f --json > build/ulx3s-85f.json
.venv/bin/python -m docs.results build/demo.json build/icebreaker.json build/ulx3s-85f.json
"""

import json
import sys
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- results: python -m docs.results -->", "<!-- end of results -->"


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
        "of these, RTL class equal to the golden model's": f"{100 * figures['agreement']:.0f} %",
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
        "| `fdht synth` | clock | reached | LUTs | flip-flops | multipliers | block RAMs | SPRAMs | seconds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for f in boards:
        clocks = f"{f['clock_mhz']:g} MHz | {f['fmax_mhz']:g} MHz"
        blocks = f"{f['luts']:,} | {f['ffs']:,} | {f['multipliers']} | {f['block_rams']} | {f['sprams']}"
        lines.append(f"| {f['board']} | {clocks} | {blocks} | {f['seconds']:g} |")
    return "\n".join(lines)


def main(paths: list[str]) -> None:
    figures = [json.loads(Path(path).read_text()) for path in paths]
    demos = [demo_table(f) for f in figures if "accuracy" in f]
    boards = [f for f in figures if "bitstream" in f]
    tables = [*demos, *([synthesis_table(boards)] if boards else [])]
    before, _, rest = README.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    README.write_text("\n\n".join([before + BEGIN, *tables, END + after]))


if __name__ == "__main__":
    main(sys.argv[1:])
