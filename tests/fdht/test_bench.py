"""`fdht bench`: rows that say what they must, resumable, with the clock of the recorded build; pictures."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from docs.results import bench_table, cpu_table, epoch_table, streams_table
from fdht.compiler.arithmetic import fewest_macs, useful_macs
from fdht.compiler.image import compile_bundle
from fdht.compiler.pace import STEPS, WARM_UP, step_ends
from fdht.compiler.planner import candidates, plan
from fdht.console import Output
from fdht.model.layers import FDHTLSTM
from fdht.spec.errors import FdhtError
from fdht.spec.lstm import fdht_lstm
from fdht.spec.target import Target, find_target
from fdht.studies import bench, pictures, stopwatch
from fdht.studies.bench import Builds, Mismatch
from fdht.studies.contenders import Contender, contenders, pixels, scaling
from tests.fdht.tiny import TINY

ROOT = Path(__file__).parent.parent.parent

PROMISED = ("preset", "format", "target", "parameters", "macs_per_step", "cycles_per_step", "utilisation")
PROMISED += ("efficiency", "clock_mhz", "fmax_mhz", "step_us", "frames_per_s", "mismatches")

TARGET = Target("bench", 4, 4, banks=2, bank_words=128, factor_words=128, result_words=64, program_words=256, hidden=16)

REPORT = {
    "board": "ulx3s-85f",
    "target": TARGET.name,
    "clock_mhz": 60.0,
    "fmax_mhz_seeds": {"1": 59.0, "2": 70.0, "3": 64.0},
    "fmax_mhz_median": 64.0,
    "seeds_met": 2,
    "seeds_routed": 3,
    "luts": 1,
    "ffs": 2,
    "multipliers": 3,
    "block_rams": 4,
    "sprams": 0,
    "tools": {"yosys": "0"},
}


@pytest.fixture
def contender() -> Contender:
    """The tiny model on an engine that is compiled in seconds, once for all tests that use it."""
    return Contender(TINY.name, "ht", TINY.spec, TARGET, "digits")


def test_a_row_is_measured_in_rtl_and_kept(contender, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    output, builds = Output(True), Builds(tmp_path / "builds.json")
    builds.record(REPORT, "0123")
    row = bench.row(output, contender, builds)
    assert set(PROMISED) <= row.keys() and row["simulated"] and row["mismatches"] == 0
    assert row["cycles_per_step"] == row["cycles_simulated"] == row["cycles_planned"]
    spec, cycles = TINY.spec, row["cycles_per_step"]
    assert row["macs_per_step"] == sum(map(sum, useful_macs(spec, plan(spec, TARGET))))
    assert row["utilisation"] == row["macs_per_step"] / (TARGET.multipliers * cycles)
    assert row["efficiency"] == fewest_macs(spec)[0] / (TARGET.multipliers * cycles) <= row["utilisation"]
    assert row["fmax_mhz"] == 64.0 and row["fmax_of_this_gateware"] is False
    assert row["clock_mhz"] == 60.0 and row["step_us"] == cycles / 60.0, "what the bitstream runs at"
    assert row["frames_per_s"] == pytest.approx(60e6 / cycles)
    assert row["gops"] == pytest.approx(2 * row["macs_per_step"] * row["frames_per_s"] / 1e9)
    assert row["gops_dense_equivalent"] == pytest.approx(2 * 4 * 4 * (8 + 4) * row["frames_per_s"] / 1e9)
    assert row["latency_us"] == row["latency_cycles"] / 60.0
    bench.check([row])

    monkeypatch.setattr(bench, "simulate_jobs", lambda *_, **__: pytest.fail("it was simulated already"))
    assert bench.row(output, contender, builds) == row
    assert bench.row(output, contender, builds, simulate=False)["cycles_per_step"] == cycles


def test_every_difference_is_a_mismatch(contender, tmp_path, monkeypatch):
    """To the predicted cycles per step, to the predicted latency, to the golden model, and words that are missing."""
    monkeypatch.chdir(tmp_path)
    caught, real = [], bench.measured
    monkeypatch.setattr(bench, "measured", lambda *arguments: caught.append(arguments) or real(*arguments))
    bench.row(Output(True), contender, Builds(tmp_path / "builds.json"))
    ((bundle, image, steady, alone),) = caught
    assert real(bundle, image, steady, alone)["mismatches"] == 0
    ends = [[end + 4 * (k > WARM_UP) for k, end in enumerate(steady.step_ends[0])]]
    changes = (
        {"steady": replace(steady, step_ends=ends)},
        {"alone": replace(alone, last_output=[alone.last_output[0] + 1])},
        {"steady": replace(steady, logits=steady.logits + np.eye(1, 10, 3, dtype=int))},
        {"steady": replace(steady, hidden=steady.hidden + np.eye(1, 4, dtype=int))},
        {"steady": replace(steady, step_ends=[steady.step_ends[0][:-1]])},
        {"steady": replace(steady, words_compared=steady.words_compared - 1)},
        {"alone": replace(alone, mismatches=["cycle 7"])},
    )
    for change in changes:
        figures = real(**{"bundle": bundle, "image": image, "steady": steady, "alone": alone} | change)
        assert figures["mismatches"] == 1, change
        with pytest.raises(Mismatch, match=r"tiny \(ht\) on here: 1 words or cycles differ"):
            bench.check([figures | {"preset": "tiny", "format": "ht", "target": "here"}])


def test_the_table_without_tools_or_simulation(fdht):
    """Every format there is; what does not fit is refused in its row, with planned cycles; rows go to a file."""
    outcome = fdht("bench", "--no-rtl", "--part", "table", "--json")
    assert outcome.code == 0, outcome.err
    rows = json.loads(outcome.out)
    assert all(set(PROMISED) <= row.keys() for row in rows)
    assert {row["format"] for row in rows} == {"ht", "tt", "tr", "bt", "dense"}
    dense = next(row for row in rows if (row["preset"], row["format"]) == ("ucf11", "dense"))
    assert not dense["fits"] and "57856 needed" in dense["refusal"] and dense["planned_on"] == "the array alone"
    assert dense["cycles_per_step"] == 57856 * 1024 // 16 and dense["mismatches"] is None
    assert json.loads(Path("build/results/bench.json").read_text()) == rows
    again = fdht("bench", "--no-rtl", "--part", "table", "--preset", TINY.name, "-t", "icebreaker")
    assert again.code == 0 and "A step in steady state" in again.out
    assert json.loads(Path("build/results/bench.json").read_text()) == rows, "in place of those that were there"
    table, streams = bench_table(rows), streams_table(rows)
    assert table.count("\n") + streams.count("\n") == len(rows) + 2 and "does not fit" in table
    assert "| digits, ulx3s-85f-streams | 16 |" in streams and "-streams" not in table
    refused = fdht("bench", "--no-rtl", "--part", "table", "--preset", TINY.name, "-b", "icebreaker", "--streams", 2)
    assert refused.code == 1 and "target icebreaker serves one sequence" in refused.sentence
    Builds(Path("build/results/builds.json")).record(
        REPORT | dict.fromkeys(("board", "target"), "icebreaker"), "of other gateware"
    )
    stale = fdht("bench", "--no-rtl", "--part", "table", "--preset", TINY.name, "-t", "icebreaker")
    assert "the recorded build of icebreaker is of other gateware than this; fdht bench --synth builds" in stale.err


@pytest.mark.parametrize(
    ("option", "complaint"),
    [
        (("--preset", "nothing"), "no preset 'nothing'"),
        (("--target", "nothing"), "no target 'nothing'"),
        (("--format", "cp"), "no format 'cp'"),
        (("--part", "all"), "no part 'all'"),
    ],
)
def test_what_is_not_there_is_named(fdht, option, complaint):
    outcome = fdht("bench", "--no-rtl", *option)
    assert outcome.code == 1 and complaint in outcome.sentence and "known: " in outcome.sentence


def test_damaged_results_are_not_overwritten(fdht, tmp_path):
    path = tmp_path / "build" / "results" / "bench.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    outcome = fdht("bench", "--no-rtl", "--part", "table", "--preset", TINY.name)
    assert outcome.code == 1 and "bench.json is no list of results" in outcome.sentence and path.read_text() == "{"


def test_builds_of_other_designs_stay(tmp_path):
    builds = Builds(tmp_path / "builds.json")
    builds.record(REPORT, "1", design="another")
    builds.record(REPORT, "1")
    builds.record(REPORT | {"fmax_mhz_seeds": {"1": 50.0}, "fmax_mhz_median": 50.0}, "2")
    assert [(r["design"], r["fmax_mhz"], r["gateware"]) for r in builds.load()] == [
        ("another", 64.0, "1"),
        ("fdht", 50.0, "2"),
    ]
    assert builds.of(TARGET)["fmax_mhz"] == 50.0


def test_the_boards_of_the_targets_are_built_and_recorded(contender, tmp_path, monkeypatch):
    """With every seed, and only those that rows ask for; the record says what it was made of."""
    asked = []

    def make(board, folder, seeds, progress):
        progress("placing")
        asked.append((board.name, tuple(seeds)))
        return REPORT | {"board": board.name, "target": board.target}

    monkeypatch.setattr("fdht.boards.synthesis.synthesise", make)
    builds, on = Builds(tmp_path / "builds.json"), find_target("icebreaker")
    bench.synthesise(Output(True), [contender, replace(contender, target=on)], builds)
    assert asked == [("icebreaker", bench.SEEDS)] and len(bench.SEEDS) >= 3
    row = bench.row(Output(True), replace(contender, target=on), builds, simulate=False)
    assert row["fmax_mhz"] == 64.0 and row["fmax_of_this_gateware"] is True


def test_the_baselines_do_the_video_job():
    """All of N and H in one network; the ranks and blocks they are named for."""
    specs = {c.format: c.spec for c in contenders() if c.name == "ucf11" and c.format != "ht"}
    assert {(spec.inputs, spec.hidden, spec.classes) for spec in specs.values()} == {(57600, 256, 11)}
    assert all(spec.recurrent is None for spec in specs.values())
    assert specs["bt"].network.size["b"] == 2 and {specs["tr"].network.size[f"r{k}"] for k in range(1, 5)} == {5}


def test_cost_against_n_goes_from_1_k_to_1_m():
    sizes = [c.spec.inputs for c in scaling()]
    assert (sizes[0], sizes[-1]) == (1 << 10, 1 << 20) and sizes == sorted(sizes)


def test_pictures_are_real_where_a_data_set_has_them():
    contender = next(c for c in contenders() if c.name == "digits" and c.format == "ht")
    clip = pixels(contender, 8)
    assert clip.shape == (8, 8) and clip.dtype == np.uint8 and clip.any()
    assert pixels(replace(contender, spec=next(scaling()).spec), 3).shape == (3, 1024)


def test_a_picture_shows_what_the_machine_does():
    """Writes to every bank and to the results, cycle by cycle."""
    spec, on = fdht_lstm(60, 10, 3, (4, 5, 4), (2, 2, 10), 3), Target("drawn", 4, 4)
    contender = Contender("drawn", "ht", spec, on, "digits")
    best = candidates(spec, on)[0]
    ends = step_ends(best.ways[0].programs, on)
    first, last = ends[WARM_UP] + 1, ends[WARM_UP + 1] + 1
    seen = pictures.activity(contender, best.ways[0], first, last)
    image = compile_bundle(bench.random_bundle(contender, best.stage_lists), on)
    run = image.machine.run(pixels(contender, STEPS))

    def written(events) -> dict[str, set[int]]:
        inside = (events.cycle >= first) & (events.cycle < last)
        banks = events.where[inside, 0] // on.bank_words
        return {f"bank {b}": set((events.cycle[inside][banks == b] - first).tolist()) for b in range(on.banks)}

    drawn = {name: set(np.flatnonzero(cycles).tolist()) for name, cycles in seen.writes.items()}
    assert drawn["results"] == written(run.results)["bank 0"] != set()
    by_array = written(run.array)
    assert any(by_array.values()) and all(cycles <= drawn[bank] for bank, cycles in by_array.items())
    assert sum(cycles for _, cycles, _, _ in seen.spans["array"]) >= best.array_cycles


@pytest.mark.slow
def test_pictures_are_drawn(fdht, tmp_path):
    options = ("--preset", "digits", "--target", "ulx3s-85f")
    assert fdht("bench", *options, "--part", "pictures").code == 0
    files = sorted(path.name for path in (tmp_path / "build" / "results").glob("*.png"))
    assert files == ["floor-plan-ulx3s-85f.png", "step-digits-ulx3s-85f.png"]
    assert fdht("bench", "--no-rtl", "--part", "scaling", "--part", "pictures").code == 0
    for path in (tmp_path / "build" / "results").glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size < 300_000
    assert (tmp_path / "build" / "results" / "cost-against-n.png").is_file()


def test_layers_are_timed_on_one_thread(monkeypatch):
    import torch

    monkeypatch.setattr(stopwatch, "REPEATS", 1)
    monkeypatch.setattr(stopwatch, "find_spec", lambda name: None)
    seen = []
    forward = FDHTLSTM.forward
    monkeypatch.setattr(FDHTLSTM, "forward", lambda *a, **k: seen.append(torch.get_num_threads()) or forward(*a, **k))
    threads = torch.get_num_threads()
    rows = stopwatch.measure(Output(True), TINY)
    assert set(seen) == {1} and torch.get_num_threads() == threads
    assert [(r["layer"], r["batch"]) for r in rows] == [
        (layer, batch) for batch in (1, TINY.batch) for layer in ("FDHTLSTM", "nn.LSTM")
    ]
    assert all(set(PROMISED) <= row.keys() and row["step_us"] > 0 for row in rows)
    assert stopwatch.speedup(rows, 1) is None
    theirs = [
        {**rows[0], "layer": f"tednet {name}", "step_us": 5 * rows[0]["step_us"]} for name in ("TTLSTM", "TRLSTM")
    ]
    assert stopwatch.speedup([*rows, *theirs], 1) == pytest.approx(5)
    assert "FDHTLSTM" in cpu_table(rows)


def test_an_epoch_trains_every_layer(monkeypatch):
    """As many steps as the preset has, after one that is not timed, and each of them moves the weights."""
    import torch

    monkeypatch.setattr(stopwatch, "find_spec", lambda name: None)
    steps, step = [], torch.optim.AdamW.step

    def watched(optimiser):
        weight = optimiser.param_groups[0]["params"][0]
        before = weight.detach().clone()
        step(optimiser)
        steps.append(not torch.equal(before, weight))

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    rows = stopwatch.measure_epoch(Output(True), TINY)
    batches = TINY.clips_per_epoch // TINY.batch
    assert [r["layer"] for r in rows] == ["FDHTLSTM", "nn.LSTM"] and steps == [True] * 2 * (1 + batches)
    for r in rows:
        assert set(PROMISED) <= r.keys() and r["clips"] == TINY.clips_per_epoch
        assert r["step_us"] == pytest.approx(1e6 * r["epoch_s"] / (batches * stopwatch.STEPS))
    assert "FDHTLSTM" in epoch_table(rows)


def test_a_missing_tednet_is_said(monkeypatch, capfd):
    monkeypatch.setattr(stopwatch, "REPEATS", 1)
    monkeypatch.setattr(stopwatch, "find_spec", lambda name: None)
    stopwatch.measure(Output(True), TINY)
    assert "tednet is not installed" in capfd.readouterr().err


def test_a_mismatch_is_an_error():
    with pytest.raises(FdhtError, match="words are missing"):
        bench.check([{"mismatches": 2, "first_mismatches": [], "preset": "a", "format": "ht", "target": "b"}])
