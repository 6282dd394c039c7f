"""Measures the recipe that needs no tuning against torch's nn.LSTM, and writes the tables of docs/training.md.

    pip download --no-deps aeon==1.6.0 && unzip -q aeon-*.whl 'aeon/datasets/data/*'
    apt-get download dataset-fashion-mnist && dpkg-deb -x dataset-fashion-mnist_*.deb fashion
    python -m docs.recipe_study --series aeon/datasets/data --fashion fashion     measures; goes on where it was
    python -m docs.recipe_study --page                                            writes the tables from what is kept

FDHT is trained as `fdht train --data FILE` does it when nothing else is said, and at three times and a third of that
rate. nn.LSTM has as many hidden units and the same data, epochs, batches, schedule and clipping; its rate is the
best of `RATES` on the validation split, over all seeds.
"""

import argparse
import csv
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from math import log
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from docs.marked import page_with
from docs.study_sets import fashion_mnist
from fdht.boards import find_board
from fdht.model import objective
from fdht.model.data import DataSet, Source, Split, load
from fdht.model.data.files import read_arrays
from fdht.model.presets import Preset
from fdht.model.recipe import SCHEDULES
from fdht.model.train import TrainingDiverged, TrainingOptions, train
from fdht.spec.defaults import DEFAULT_TARGET
from fdht.spec.score import score
from fdht.workflow.proposal import propose, trained

PAGE = Path(__file__).with_name("training.md")
RESULTS = Path(__file__).parent / "results" / "recipe.json"
MARKS = "<!-- recipe: python -m docs.recipe_study -->", "<!-- end of recipe -->"

SEEDS = (0, 1, 2)

RATES = (0.03, 0.01, 0.003)
"""Of nn.LSTM."""

SCALES = {"fdht": 1.0, "fdht × 3": 3.0, "fdht ÷ 3": 1 / 3}
"""Rates of FDHT, relative to the default."""

DENSE = "nn.LSTM"

DRAWS = 10_000
"""Of sets, and of seeds in them, for the intervals."""

NOTHING, LOST = 0.95, 0.5
"""A training diverged that ends above this part of guessing's loss, or at less than this part of its best epoch's
accuracy.
"""

Arrays = dict[str, Any]


def archive(name: str, values: int = 1, ending: str = "") -> Callable[[Path], Arrays]:
    """A set of the time series archive; of a series of one value, `values` in a row make a step."""

    def read(series: Path) -> Arrays:
        found = read_arrays(series / name / f"{name}{ending}_TRAIN.ts")
        for what in (what for what in found if what.startswith("x") and values > 1):
            steps = len(found[what][0]) // values
            found[what] = np.stack([each[: steps * values].reshape(steps, -1) for each in found[what]])
        return found

    return read


def forecast(name: str, inputs: Sequence[str], target: str, steps: int) -> Callable[[Path], Arrays]:
    """Windows of a series: after every step its next value is asked for. The last third of the series tests."""

    def read(series: Path) -> Arrays:
        with (series / name / f"{name}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        x, y = (np.array([[float(row[column]) for column in names] for row in rows]) for names in (inputs, (target,)))
        starts = range(len(rows) - steps)
        x, y = (np.stack([each[start : start + steps] for start in starts]) for each in (x[:-1], y[1:]))
        border = 2 * len(x) // 3
        train, test = slice(border - steps), slice(border, None)  # no window of the one has a step of the other
        return {"x": x[train], "y": y[train], "x_test": x[test], "y_test": y[test], "task": "regress-steps"}

    return read


def fashion(folder: Path) -> Arrays:
    """Fashion-MNIST, the rows of a picture as steps; the first 4,000 pictures train, and all 10,000 test."""
    x, y = fashion_mnist(folder)
    return {"x": x[:4000], "y": y[:4000], "x_test": x[60_000:], "y_test": y[60_000:]}


CLASSES: dict[str, Callable[[Path], Arrays] | None] = {
    "ItalyPowerDemand": archive("ItalyPowerDemand"),
    "GunPoint": archive("GunPoint", 5),
    "ArrowHead": archive("ArrowHead", 5),
    "BasicMotions": archive("BasicMotions"),
    "JapaneseVowels": archive("JapaneseVowels"),
    "OSULeaf": archive("OSULeaf", 7),
    "PickupGestureWiimoteZ": archive("PickupGestureWiimoteZ", 19, "_eq"),
    "ACSF1": archive("ACSF1", 20),
    "Covid3Month_disc": archive("Covid3Month_disc", 4),
    "digits": None,
    "spoken-digits": None,
    "Fashion-MNIST": fashion,
}
"""Sets with classes: how they are read, None for those of this package."""

NUMBERS: dict[str, Callable[[Path], Arrays]] = {
    "Covid3Month": archive("Covid3Month", 4),
    "solar": forecast("solar", ("solar_gen",), "solar_gen", 48),
    "Uschange": forecast(
        "Uschange", ("Consumption", "Income", "Production", "Savings", "Unemployment"), "Consumption", 24
    ),
}
"""Sets with real numbers."""


class Dense(nn.Module):
    """torch's LSTM with a linear head."""

    def __init__(self, data: DataSet, hidden: int):
        super().__init__()
        self.data, self.every_step = data, data.task.every_step
        self.lstm, self.head = nn.LSTM(data.inputs, hidden, batch_first=True), nn.Linear(hidden, data.classes)

    def forward(self, raw: Tensor, lengths: Tensor) -> Tensor:
        x = (raw.float() - self.data.input_format.offset) * self.data.input_format.raw.lsb
        h, _ = self.lstm(x)
        return self.head(h if self.every_step else h[torch.arange(len(h)), lengths - 1])


def dense(preset: Preset, data: DataSet, seed: int, rate: float, choose: bool) -> dict:
    """Trains nn.LSTM as `fdht train` trains a model."""
    torch.manual_seed(seed)
    part, asked = (data.train, data.validation) if choose else (data.final, data.test)
    model, outputs = Dense(data, preset.spec.hidden), objective.scaling_of(data.task, data.train.labels)
    optimiser = torch.optim.AdamW(model.parameters(), rate)

    def tensors(part: Split) -> tuple[Tensor, Tensor]:
        lengths = np.full(len(part), part.order.shape[1]) if part.lengths is None else part.lengths
        return torch.from_numpy(part.clips), torch.from_numpy(lengths)

    (x, lengths), truth, losses, hits = tensors(part), objective.learnt(data.task, part.labels, outputs), [], []
    for epoch in range(preset.epochs):
        batches = torch.randperm(len(part)).split(preset.batch)
        total = right = 0.0
        for k, batch in enumerate(batches):
            for group in optimiser.param_groups:
                group["lr"] = rate * SCHEDULES[preset.schedule]((epoch + k / len(batches)) / preset.epochs)
            found = model(x[batch], lengths[batch])
            loss = objective.loss(data.task, found, truth[batch])
            optimiser.zero_grad()
            (loss / len(batch)).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            total, right = total + loss.item(), right + objective.right(data.task, found, truth[batch])
        losses.append(total / len(part))
        hits.append(right / len(part))
    x, lengths = tensors(asked)
    with torch.no_grad():
        found = torch.cat([model(a, b) for a, b in zip(x.split(200), lengths.split(200), strict=True)]).numpy()
    measured = score(data.task, found, asked.labels, outputs)
    parameters = sum(parameter.numel() for parameter in model.lstm.parameters())
    return _result(data, measured.rmse if data.task.real else measured.accuracy, parameters, losses, hits)


def factored(preset: Preset, data: DataSet, source: Source, seed: int, rate: float) -> dict:
    """Trains FDHT as `fdht train` does."""
    of = preset.spec.parameters
    parameters = of["factors"] + of["bias"]
    with TemporaryDirectory() as folder:
        options = TrainingOptions(source, seed=seed)
        try:
            found = train(replace(preset, learning_rate=rate), Path(folder) / "a.checkpoint", options)
        except TrainingDiverged:
            return _result(data, None, parameters, [float("inf")], [0.0])
    losses, hits = ([record[what] for record in found.history] for what in ("loss", "accuracy"))
    return _result(data, found.rmse if data.task.real else found.accuracy, parameters, losses, hits)


def _result(data: DataSet, figure: float | None, parameters: int, losses: list[float], hits: list[Any]) -> dict:
    guessing = 1.0 if data.task.real else log(data.classes)
    lost = not data.task.real and hits[-1] < LOST * max(hits)
    return {
        "figure": figure,
        "parameters": parameters,
        "loss": losses[-1],
        "diverged": figure is None or losses[-1] > NOTHING * guessing or lost,
    }


def work(name: str, file: str | None, model: str, seed: int, rate: float | None, choose: bool) -> dict:
    """One training: the row that is kept of it."""
    torch.set_num_threads(1)
    source = Source(name) if file is None else Source(Path(file).name, str(Path(file).parent))
    data = load(source)
    spec = next(propose(data, find_board(DEFAULT_TARGET).engine)).spec
    preset = trained(data, spec, name.lower(), source.name)
    start = os.times()
    if model == DENSE:
        assert rate is not None
        found = dense(preset, data, seed, rate, choose)
    else:
        rate = preset.learning_rate * SCALES[model]
        found = factored(preset, data, source, seed, rate)
    spent = os.times()
    shape = {
        "steps": data.test.order.shape[1],
        "inputs": data.inputs,
        "outputs": data.classes,
        "clips": len(data.final),
    }
    row = {"set": name, "model": model, "rate": rate, "seed": seed, "split": "validation" if choose else "test"}
    row |= shape | {"tests": len(data.test), "hidden": spec.hidden, "epochs": preset.epochs, "batch": preset.batch}
    return row | found | {"seconds": round(spent.user - start.user, 1)}


def measure(folder: Path, series: Path | None, pictures: Path | None, jobs: int, names: Iterable[str]) -> None:
    """Trains what is not kept yet."""
    rows = json.loads(RESULTS.read_text()) if RESULTS.is_file() else []
    files = dict[str, str | None]()
    for name, read in {**CLASSES, **NUMBERS}.items():
        where = pictures if read is fashion else series
        if name not in names or (read is not None and where is None):
            continue
        files[name] = None
        if read is not None:
            assert where is not None
            np.savez(folder / f"{name}.npz", **_padded(read(where)))
            files[name] = str(folder / f"{name}.npz")
    with ProcessPoolExecutor(jobs) as pool:

        def run(wanted: list[tuple]) -> None:
            kept = {(row["set"], row["model"], row["seed"], row["rate"], row["split"]) for row in rows}
            waiting = [
                pool.submit(work, name, files[name], *rest)
                for name, *rest in wanted
                if not any(
                    key[:3] == (name, *rest[:2]) and rest[2] in (None, key[3]) and (key[4] == "validation") == rest[3]
                    for key in kept
                )
            ]
            for number, done in enumerate(as_completed(waiting), 1):
                rows.append(done.result())
                rows.sort(key=lambda row: tuple(str(row[what]) for what in ("set", "model", "split", "rate", "seed")))
                RESULTS.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n")
                print(f"{number} of {len(waiting)}: {done.result()}", flush=True)

        run([(name, DENSE, seed, rate, True) for name in files for seed in SEEDS for rate in RATES])
        run([(name, DENSE, seed, chosen(rows, name), False) for name in files for seed in SEEDS])
        run([(name, model, seed, None, False) for name in files for model in SCALES for seed in SEEDS])


def _padded(arrays: Arrays) -> Arrays:
    """Sequences of different lengths as one array, with `lengths` beside it."""
    result = dict(arrays)
    for what, values in arrays.items():
        if not what.startswith("x"):
            continue
        lengths = np.array([len(each) for each in values])
        if len({*lengths}) == 1:
            result[what] = np.stack(list(values))
            continue
        result[what] = np.stack([np.pad(each, ((0, lengths.max() - len(each)), (0, 0))) for each in values])
        result[f"lengths{what[1:]}"] = lengths
    return result


def chosen(rows: list[dict], name: str) -> float:
    """The rate of nn.LSTM that is best on the validation split, over all seeds."""
    found = defaultdict[float, list[float]](list)
    for row in rows:
        if row["set"] == name and row["split"] == "validation":
            found[row["rate"]].append(-row["figure"] if name in NUMBERS else row["figure"])
    return max(found, key=lambda rate: (np.mean(found[rate]), -rate))


def figures(rows: list[dict], model: str, name: str) -> np.ndarray:
    """Of a model on the test split of a set, in the order of the seeds; what diverged counts as 0, or as infinite."""
    found = [row for row in rows if _of(row, name, model)]
    worst = np.inf if name in NUMBERS else 0.0
    return np.array([worst if row["figure"] is None else row["figure"] for row in sorted(found, key=_seed)])


def _of(row: dict, name: str, model: str) -> bool:
    return (row["set"], row["model"], row["split"]) == (name, model, "test")


def _seed(row: dict) -> int:
    return row["seed"]


def interval(differences: list[np.ndarray]) -> tuple[float, float, float]:
    """The mean over sets of the mean over seeds, and the 95 % interval of a bootstrap over sets, and seeds in them."""
    generator = np.random.default_rng(0)
    values = np.stack(differences)
    sets = generator.integers(len(values), size=(DRAWS, len(values), 1))
    seeds = generator.integers(values.shape[1], size=(DRAWS, len(values), values.shape[1]))
    low, high = np.quantile(values[sets, seeds].mean((1, 2)), (0.025, 0.975))
    return float(values.mean()), float(low), float(high)


def tables(rows: list[dict]) -> str:
    """The tables of the page."""
    lines = []
    for sets, what in ((CLASSES, "accuracy"), (NUMBERS, "RMSE")):
        there = [name for name in sets if all(len(figures(rows, of, name)) == len(SEEDS) for of in (DENSE, *SCALES))]
        if not there:
            continue
        lines += ["", f"| {what} on the test split, mean of 3 seeds | samples · steps × values | outputs | "]
        lines[-1] += " | ".join((f"{DENSE} (its rate)", *SCALES, "parameters")) + " |"
        lines.append("|---" * (len(SCALES) + 5) + "|")
        for name in there:
            of = {model: figures(rows, model, name) for model in (DENSE, *SCALES)}
            first = next(row for row in rows if row["set"] == name)
            full, small = (
                next(row["parameters"] for row in rows if row["set"] == name and row["model"] == model)
                for model in (DENSE, "fdht")
            )
            lost = {model: sum(row["diverged"] for row in rows if _of(row, name, model)) for model in of}
            cells = [f"{of[m].mean():.3g}" if sets is NUMBERS else f"{100 * of[m].mean():.1f}" for m in of]
            cells = [cell + f" ({lost[m]} diverged)" * (lost[m] > 0) for m, cell in zip(of, cells, strict=True)]
            cells[0] += f" ({chosen(rows, name):g})"
            shape = f"{first['clips']:,} · {first['steps']} × {first['inputs']}"
            lines.append(f"| {name} | {shape} | {first['outputs']} | {' | '.join(cells)} | {small:,} of {full:,} |")
        if sets is CLASSES:
            mean = {m: 100 * np.mean([figures(rows, m, name).mean() for name in there]) for m in (DENSE, *SCALES)}
            lines.append(f"| **mean** | | | {' | '.join(f'**{m:.1f}**' for m in mean.values())} | |")
            lines.append("")
            for other in ("fdht", "fdht × 3", "fdht ÷ 3"):
                base = DENSE if other == "fdht" else "fdht"
                mean, low, high = interval([figures(rows, other, name) - figures(rows, base, name) for name in there])
                lines.append(f"- {other} − {base}: {100 * mean:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f})")
    return "\n".join(lines[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=Path, help="aeon's folder of data")
    parser.add_argument("--fashion", type=Path, help="where Debian's package of Fashion-MNIST was unpacked")
    parser.add_argument("--set", action="append", help="only this one; repeat for several")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument("--page", action="store_true", help="only write the page")
    given = parser.parse_args()
    if not given.page:
        with TemporaryDirectory() as folder:
            measure(Path(folder), given.series, given.fashion, given.jobs, given.set or {**CLASSES, **NUMBERS})
    PAGE.write_text(page_with(PAGE, MARKS, tables(json.loads(RESULTS.read_text()))))


if __name__ == "__main__":
    main()
