"""`fdht bench`: the time of a step in PyTorch on one CPU thread, ours beside the dense LSTM and tednet's cells."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec

import torch

from compiler.arithmetic import useful_macs
from fdht.bench import rounded
from fdht.console import Output
from model.layers import FDHTLSTM
from model.presets import Preset

STEPS = 6
"""Of a clip; the time of a step is that of a clip over STEPS."""

REPEATS = 9
"""Clips that are timed, in CPU time; the fastest counts, since whatever else the machine does only adds."""

MODES, UNIT_MODES = (8, 20, 20, 18), (4, 4, 4, 4)
"""Of tednet's cells, after the papers: TT and BT rank 4 and 2 blocks (Ye et al. 2018), TR rank 5 (Pan et al. 2019)."""

MISSING = "tednet is not installed, so its TT, TR and BT cells are not timed; pip install 'fdht[bench]' brings it"


def measure(output: Output, preset: Preset) -> list[dict]:
    """A row per layer and batch size: the preset's layer, nn.LSTM, and tednet's cells where it is installed."""
    if not find_spec("tednet"):
        output.say(MISSING)
    threads, rows = torch.get_num_threads(), []
    torch.set_num_threads(1)
    try:
        with output.progress("timing PyTorch layers on one thread") as advance, torch.inference_mode():
            for batch in (1, preset.batch):
                x = torch.rand(STEPS, batch, preset.spec.inputs)
                for format, name, weight, macs, run in _layers(preset, batch):
                    advance(note=f"{name}, batch {batch}")
                    rows.append(_row(preset, format, name, weight, macs, batch, _fastest(lambda run=run, x=x: run(x))))
    finally:
        torch.set_num_threads(threads)
    return rows


_Layer = tuple[str, str, int, int | None, Callable[[torch.Tensor], object]]
"""Format, name, parameters of the input-to-hidden weight (of ours and dense: of all), MACs, what runs a clip."""


def _layers(preset: Preset, batch: int) -> Iterator[_Layer]:
    spec = preset.spec
    ours = FDHTLSTM(spec).eval()
    macs = sum(map(sum, useful_macs(spec, (ours.weight.stage_list,))))
    yield spec.network.kind, "FDHTLSTM", spec.network.parameters, macs, ours
    dense = torch.nn.LSTM(spec.inputs, spec.hidden)
    entries = 4 * spec.hidden * (spec.inputs + spec.hidden)
    yield "dense", "nn.LSTM", entries, entries, dense
    if not find_spec("tednet"):
        return
    from tednet.tnn.bt_tucker import BTTLSTM  # pyright: ignore[reportMissingImports]
    from tednet.tnn.tensor_ring import TRLSTM  # pyright: ignore[reportMissingImports]
    from tednet.tnn.tensor_train import TTLSTM  # pyright: ignore[reportMissingImports]
    from tednet.tnn.tn_rnn import LSTMState  # pyright: ignore[reportMissingImports]

    with contextlib.redirect_stdout(sys.stderr):  # tednet prints what it makes
        cells = {
            "tt": TTLSTM([*MODES], [*UNIT_MODES], [4] * 3),
            "tr": TRLSTM([*MODES], [*UNIT_MODES], [5] * 8),
            "bt": BTTLSTM([*MODES], [*UNIT_MODES], [4] * 4, 2),
        }
    state = LSTMState(torch.zeros(batch, spec.hidden), torch.zeros(batch, spec.hidden))
    for format, cell in cells.items():
        cell.eval()
        parameters = sum(p.numel() for p in cell.cell.weight_ih.parameters())
        yield format, f"tednet {type(cell).__name__}", parameters, None, lambda x, cell=cell: cell(x, state)


def _fastest(run: Callable[[], object]) -> float:
    """Seconds of the fastest run."""
    times = []
    for _ in range(REPEATS):
        begin = time.process_time()
        run()
        times.append(time.process_time() - begin)
    return min(times)


def _row(preset: Preset, format: str, name: str, parameters: int, macs: int | None, batch: int, seconds: float) -> dict:
    step_us = 1e6 * seconds / STEPS
    return {
        "kind": "cpu",
        "preset": preset.name,
        "format": format,
        "target": f"{name}, 1 CPU thread, batch {batch}",
        "layer": name,
        "batch": batch,
        "parameters": parameters,
        "macs_per_step": macs,
        "cycles_per_step": None,
        "utilisation": None,
        "efficiency": None,
        "fmax_mhz": None,
        "step_us": step_us,
        "frames_per_s": 1e6 * batch / step_us,
        "mismatches": None,
    }


def report(output: Output, rows: Sequence[dict]) -> None:
    """The table, and how much faster ours is than the fastest of tednet's."""
    columns = ("layer", "format", "batch", "weights", "µs per step", "frames/s")
    output.table(
        "A step in PyTorch on one CPU thread",
        columns,
        [
            (
                r["layer"],
                r["format"],
                r["batch"],
                r["parameters"],
                rounded(r["step_us"], 0),
                rounded(r["frames_per_s"], 0),
            )
            for r in rows
        ],
    )
    for batch in dict.fromkeys(r["batch"] for r in rows):
        ratio = speedup(rows, batch)
        if ratio:
            output.say(f"batch {batch}: {ratio:.1f} times as fast as the fastest of tednet's")


def speedup(rows: Sequence[dict], batch: int) -> float | None:
    """How much faster our layer is than the fastest of tednet's; None without tednet."""
    times = {r["layer"]: r["step_us"] for r in rows if r["batch"] == batch}
    theirs = [time for layer, time in times.items() if layer.startswith("tednet")]
    return min(theirs) / times["FDHTLSTM"] if theirs else None
