"""`fdht bench`: a step and an epoch in PyTorch on one CPU thread, ours beside the dense LSTM and tednet's cells."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import torch
from torch.nn import functional

from fdht.compiler.arithmetic import step_macs
from fdht.console import Advance, Output, rounded
from fdht.model.layers import FDHTLSTM
from fdht.model.parallel import one_thread
from fdht.model.presets import Preset

STEPS = 6
"""Steps of the clips that are timed; the time of a step is that of a clip ÷ STEPS."""

REPEATS = 9
"""Clips that are timed, in CPU time; the fastest counts, since whatever else the machine does only adds."""

MODES, UNIT_MODES = (8, 20, 20, 18), (4, 4, 4, 4)
"""Modes of tednet's cells, as in the papers, whose ranks they have: TT 4, BT 4 in 2 blocks (Ye et al. 2018), and TR 5
(Pan et al. 2019)."""

MISSING = "tednet is not installed, so its TT, TR and BT cells are not timed; pip install 'fdht[bench]' brings it"


def measure(output: Output, preset: Preset) -> list[dict]:
    """A row per layer and batch size: the preset's layer, nn.LSTM, and tednet's cells where it is installed."""
    rows = []
    with _one_thread(output, "timing PyTorch layers on one thread") as advance, torch.inference_mode():
        for batch in (1, preset.batch):
            x = torch.rand(STEPS, batch, preset.spec.inputs)
            for layer in _layers(preset, batch):
                advance(note=f"{layer.name}, batch {batch}")
                seconds = _fastest(lambda layer=layer, x=x: layer.run(x))
                rows.append(_row("cpu", preset, layer, batch, f"batch {batch}", seconds / STEPS))
    return rows


def measure_epoch(output: Output, preset: Preset) -> list[dict]:
    """A row per layer: an epoch of the preset's training with the layer and a head, of random clips of STEPS steps.

    All do the same: forward, cross-entropy, backward, gradient clipping, AdamW; no augmentation, no dropout.
    """
    batches, rows = max(1, preset.clips_per_epoch // preset.batch), []
    with _one_thread(output, "training PyTorch layers for an epoch on one thread") as advance:
        x = torch.rand(STEPS, preset.batch, preset.spec.inputs)
        labels = torch.arange(preset.batch) % preset.spec.classes
        for layer in _layers(preset, preset.batch):
            head = torch.nn.Linear(preset.spec.hidden, preset.spec.classes)
            parameters = [*layer.module.parameters(), *head.parameters()]
            optimiser = torch.optim.AdamW(parameters)

            def step(layer=layer, head=head, parameters=parameters, optimiser=optimiser) -> None:
                loss = functional.cross_entropy(head(layer.run(x)[0][-1]), labels)
                optimiser.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(parameters, 1.0)
                optimiser.step()

            step()  # not timed: it allocates
            begin = time.process_time()
            for number in range(batches):
                advance(note=f"{layer.name}, step {number + 1} of {batches}")
                step()
            seconds = time.process_time() - begin
            row = _row("epoch", preset, layer, preset.batch, f"an epoch of {batches}", seconds / (batches * STEPS))
            rows.append({**row, "clips": batches * preset.batch, "epoch_s": seconds})
    return rows


@contextlib.contextmanager
def _one_thread(output: Output, what: str) -> Iterator[Advance]:
    if not find_spec("tednet"):
        output.say(MISSING)
    with one_thread(), output.progress(what) as advance:
        yield advance


@dataclass(frozen=True, eq=False)
class _Layer:
    """What is timed.

    Attributes:
        format, name: what it is.
        weights: parameters of the input-to-hidden weight (of ours and dense: of all).
        macs: multiplications of a step, None where nobody counts them.
        module: what has the parameters.
        run: runs clips (T × B × N); the output of all steps comes first in what it returns.
    """

    format: str
    name: str
    weights: int
    macs: int | None
    module: torch.nn.Module
    run: Callable[[torch.Tensor], tuple[torch.Tensor, object]]


def _layers(preset: Preset, batch: int) -> Iterator[_Layer]:
    spec = preset.spec
    ours = FDHTLSTM(spec).eval()
    macs = step_macs(spec, (ours.lstm_layers[0].weight.stage_list,))
    yield _Layer(spec.network.kind, "FDHTLSTM", spec.network.parameters, macs, ours, ours)
    dense = torch.nn.LSTM(spec.inputs, spec.hidden)
    entries = 4 * spec.hidden * (spec.inputs + spec.hidden)
    yield _Layer("dense", "nn.LSTM", entries, entries, dense, dense)
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
        weights = sum(p.numel() for p in cell.cell.weight_ih.parameters())
        name = f"tednet {type(cell).__name__}"
        yield _Layer(format, name, weights, None, cell, lambda x, cell=cell: cell(x, state))


def _fastest(run: Callable[[], object]) -> float:
    """Seconds of the fastest run."""
    times = []
    for _ in range(REPEATS):
        begin = time.process_time()
        run()
        times.append(time.process_time() - begin)
    return min(times)


def _row(kind: str, preset: Preset, layer: _Layer, batch: int, what: str, seconds: float) -> dict:
    """A row of a step of a batch that takes so many seconds."""
    return {
        "kind": kind,
        "preset": preset.name,
        "format": layer.format,
        "target": f"{layer.name}, 1 CPU thread, {what}",
        "layer": layer.name,
        "batch": batch,
        "parameters": layer.weights,
        "macs_per_step": layer.macs,
        "cycles_per_step": None,
        "utilisation": None,
        "efficiency": None,
        "clock_mhz": None,
        "fmax_mhz": None,
        "step_us": 1e6 * seconds,
        "frames_per_s": batch / seconds,
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


def report_epoch(output: Output, rows: Sequence[dict]) -> None:
    """The table of an epoch, and how much faster ours is than the fastest of tednet's."""
    output.table(
        "An epoch of training in PyTorch on one CPU thread",
        ("layer", "format", "clips", "batch", "weights", "seconds"),
        [(r["layer"], r["format"], r["clips"], r["batch"], r["parameters"], rounded(r["epoch_s"], 2)) for r in rows],
    )
    ratio = speedup(rows, rows[0]["batch"])
    if ratio:
        output.say(f"an epoch: {ratio:.1f} times as fast as the fastest of tednet's")


def speedup(rows: Sequence[dict], batch: int) -> float | None:
    """How much faster our layer is than the fastest of tednet's; None without tednet."""
    times = {r["layer"]: r["step_us"] for r in rows if r["batch"] == batch}
    theirs = [time for layer, time in times.items() if layer.startswith("tednet")]
    return min(theirs) / times["FDHTLSTM"] if theirs else None
