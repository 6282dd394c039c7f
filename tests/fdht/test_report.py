"""fdht report: one file without network, with the figures everything else gives, and nothing a bundle can break."""

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lxml import html
from torch import nn

import fdht as front
from fdht.boards import baseline, find_board
from fdht.compiler.explain import explain
from fdht.compiler.image import compile_bundle
from fdht.compiler.pace import STEPS, WARM_UP, step_ends
from fdht.compiler.planner import plan
from fdht.report import model_card, report_page
from fdht.spec.errors import SpecError
from fdht.spec.instructions import Segment
from fdht.spec.lstm import fdht_lstm
from fdht.spec.score import interval
from fdht.spec.target import find_target
from fdht.spec.task import Task
from fdht.workflow.golden_vectors import SHOWN_NUMBERS, values_of
from fdht.workflow.timeline import UNITS
from tests.bundles import random_bundle
from tests.fdht.tiny import TINY

SECTIONS = ["model", "accuracy", "clips", "tree", "stages", "schedule", "memory", "plan", "build"]


@pytest.fixture(scope="module")
def judged(digits):
    """Digits with what a training would say of them: two clips that float sees differently, one of them wrongly."""
    golden = digits.logits.argmax(1)
    labels, floats = golden.copy(), golden.copy()
    labels[0], floats[1] = (golden[0] + 1) % 10, (golden[1] + 1) % 10
    floats[0] = labels[0]
    about = {
        "preset": "digits",
        "float_classes": floats.tolist(),
        "accuracy": {"float": float((floats == labels).mean()), "golden": float((golden == labels).mean())},
        "splits": {"train": 700, "test": 6},
        "recipe": {"batch": 16, "schedule": "one-cycle", "patience": None},
        "picture": [8, 8],
        "classes": [f"digit {k}" for k in range(10)],
    }
    return replace(digits, labels=labels, about=about)


@pytest.fixture(scope="module")
def written(judged, board):
    image = compile_bundle(judged, board.engine)
    figures, text = report_page.page(judged, image, "digits.bundle")
    return judged, image, figures, html.document_fromstring(text), text


def section(page, name: str) -> str:
    return " ".join(page.get_element_by_id(name).text_content().split())


def rows(page, name: str) -> Iterator[list[str]]:
    for row in page.get_element_by_id(name).iter("tr"):
        yield [cell.text_content().strip() for cell in row]


def test_every_section_is_there_and_nothing_is_fetched(written):
    *_, page, text = written
    assert [each.get("id") for each in page.iter("section")] == SECTIONS
    assert all(page.get_element_by_id(link.get("href")[1:]) is not None for link in page.iter("a"))
    sources = [value for element in page.iter() for name, value in element.items() if name in ("src", "href")]
    assert sources and all(value.startswith(("data:", "#")) for value in sources)
    assert "default-src 'none'" in text and not re.search(r"url\(|@import|fetch\(|import\(", text)


def test_the_card_says_data_recipe_and_accuracy(written):
    bundle, _, figures, page, _ = written
    assert ["train", "700"] in list(rows(page, "model")) and ["batch", "16"] in list(rows(page, "model"))
    assert "patience" not in section(page, "model")
    told = {row[0]: row[1:] for row in rows(page, "accuracy")}
    low, high = interval(5, 6)
    of_golden = told["integers (golden = RTL)"]
    assert of_golden == ["83.3 %", f"{100 * low:.1f} % to {100 * high:.1f} %", "5", "6"]
    assert told["float"][0] == "83.3 %"
    assert figures["accuracy"] == bundle.about["accuracy"]


def test_an_interval_is_wilsons():
    """5 of 10: by the textbook 0.2366 to 0.7634; the ends stay inside."""
    assert interval(5, 10) == pytest.approx((0.2366, 0.7634), abs=5e-5)
    assert interval(0, 7)[0] == 0 and interval(7, 7)[1] == 1 and interval(0, 7)[1] < 0.36


def test_confusions_are_counted(written):
    bundle, _, figures, page, _ = written
    counts = np.array(figures["confusion"])
    assert counts.sum() == 6 and counts.trace() == 5
    assert counts[bundle.labels[0], bundle.logits[0].argmax()] == 1
    (grid,) = page.get_element_by_id("accuracy").find_class("confusion")
    cells = [[cell.text_content() for cell in row.iter("td")] for row in grid.find("tbody").iter("tr")]
    assert [[int(text or 0) for text in row] for row in cells] == counts.tolist()


def test_clips_that_go_apart_are_shown_as_pictures(written):
    bundle, _, figures, page, _ = written
    assert figures["differing_clips"] == 2 and figures["wrong_clips"] == 1
    shown = section(page, "clips")
    truth, said = int(bundle.labels[1]), int(bundle.logits[1].argmax())
    assert f"clip 1; true: digit {truth}; float: digit {(said + 1) % 10}, integers: digit {said}" in shown
    pictures = [image.get("src") for image in page.get_element_by_id("clips").iter("img")]
    assert len(pictures) == 3 and all(each.startswith("data:image/png;base64,iVBOR") for each in pictures)


def test_the_tree_and_the_stages_are_the_networks(written):
    bundle, image, figures, page, _ = written
    (network,) = [chain.network for chain in bundle.chains]
    drawn = section(page, "tree")
    assert all(factor.name in drawn for factor in network.factors)
    why = explain(bundle.layers, image.target, bundle.stage_lists)
    listed = [row for row in rows(page, "stages") if row[-1].endswith("%")]
    assert [int(row[-2].replace(",", "")) for row in listed] == [stage.cycles for stage in why.stages]
    assert figures["explanation"]["cycles"] == why.cycles == figures["cycles_of_the_step"]
    assert all(other.reason in section(page, "plan") for other in why.runners_up) and why.runners_up


def test_the_schedule_is_the_machines(written):
    """Every piece with its cycles, its banks and tokens; the memories' shares are the accesses of the window."""
    _, image, _, page, _ = written
    data = json.loads(page.get_element_by_id("data").text)
    ends = step_ends(image.machine.programs, image.target)
    first, last = ends[WARM_UP] + 1, ends[WARM_UP + 1] + 1
    expected = [
        (list(UNITS).index(unit), start - first, done - first)
        for unit, _, _, start, done in image.machine.schedule(STEPS)
        if done >= first and start < last
    ]
    assert [(each["unit"], each["start"], each["done"]) for each in data["pieces"]] == expected
    assert data["cycles"] == last - first and data["units"] == list(UNITS.values())
    run = image.machine.run(np.zeros((STEPS, image.inputs), dtype=np.uint8))
    inside = (run.array.cycle >= first) & (run.array.cycle < last)
    banks = run.array.where[inside, 0] // image.target.bank_words
    by_loader = {
        name for each in data["pieces"] if not each["unit"] for name in each["facts"]["writes banks"].split(", ")
    }
    for memory in data["memories"][:-1]:
        seen = np.frombuffer(base64.b64decode(memory["writes"]), dtype=np.uint8)
        bank = memory["name"].removeprefix("bank ")
        drawn, real = np.flatnonzero(seen), run.array.cycle[inside][banks == int(bank)] - first
        assert set(real) <= set(drawn) and (bank in by_loader or set(real) == set(drawn))
    for number, piece in enumerate(data["pieces"]):
        for token, giver in piece["takes"]:
            if giver is not None:
                assert [token, number] in [[name, taker] for name, _, taker in data["pieces"][giver]["gives"]]
    table = [row for row in rows(page, "schedule") if row[0] in UNITS.values()]
    starts = [int(row[2].replace(",", "")) for row in table]
    assert starts == [each["start"] for each in data["pieces"]]
    stages = [each for each in data["pieces"] if each["facts"].get("weight")]
    assert stages and all(each["facts"]["K"] and "stage" in each["facts"]["weight"] for each in stages)


def test_memory_and_build_are_told(written):
    bundle, image, _, page, _ = written
    why = explain(bundle.layers, image.target, bundle.stage_lists)
    lies = [row for row in rows(page, "memory")][1:]
    assert [int(row[5].replace(",", "")) for row in lies] == [block.words for block in why.memory]
    titles = [title.text for title in page.get_element_by_id("memory").iter("title")]
    assert all(any(title.startswith(f"{block.content}:") for title in titles) for block in why.memory)
    assert f"{why.fill['scratchpad'][0]:,} of {why.fill['scratchpad'][1]:,}" in section(page, "memory")
    built = baseline.load(find_board("icebreaker"))
    assert f"{built['luts']:,}" in section(page, "build") and f"{built['block_rams']}" in section(page, "build")
    clock = find_board("icebreaker").clock_hz
    assert f"{round(clock / why.cycles):,}" in section(page, "build")


def test_a_build_of_ones_own_and_a_floor_plan(fdht, bundle_file, tmp_path):
    board = find_board("ulx3s-85f")
    own = tmp_path / "build" / board.design / f"{board.name}.json"
    own.parent.mkdir(parents=True)
    own.write_text(json.dumps({"luts": 12345, "ffs": 7, "fmax_mhz_seeds": {"1": None, "2": 101.5}, "tools": {}}))
    outcome = fdht("report", bundle_file, "--board", board.name, "-o", "page.html", "--json")
    assert outcome.code == 0 and outcome.figures["boards"] == [board.name]
    page = html.fromstring((tmp_path / "page.html").read_text())
    told = section(page, "build")
    assert "12,345" in told and "a build of your own" in told and "not routed" in told and "101.50 MHz" in told
    (plan,) = page.get_element_by_id("build").iter("img")
    assert b"<svg" in base64.b64decode(plan.get("src").partition(",")[2])
    own.write_text("no JSON")
    assert report_page.found_build(board) == (
        {},
        f"{own.relative_to(tmp_path)} cannot be read; fdht synth {board.options} makes it anew",
    )
    own.write_text('{"luts": "many"}')
    assert report_page.found_build(board)[0] == {}


def test_a_checkpoints_bundle_says_splits_and_pictures(fdht, checkpoint_file, tmp_path):
    assert fdht("compile", checkpoint_file, "--target", "icebreaker", "-o", tmp_path).code == 0
    outcome = fdht("report", tmp_path / "tiny.bundle", "-t", "icebreaker")
    assert outcome.code == 0
    page = html.fromstring((tmp_path / "build" / "tiny.html").read_text())
    splits = dict(row for row in rows(page, "model") if len(row) == 2)
    assert int(splits["test"]) == 360 and int(splits["train"].replace(",", "")) > 500
    assert splits["batch"] == f"{TINY.batch}"
    assert page.get_element_by_id("clips").find(".//img").get("src").startswith("data:image/png")


def test_words_of_a_bundle_stay_words(judged, board):
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    about = {**judged.about, "preset": evil, "classes": [evil] * 10, "recipe": {evil: {evil: evil}}, "note": evil}
    bundle = replace(judged, about=about)
    _, text = report_page.page(bundle, compile_bundle(bundle, board.engine), evil)
    page = html.document_fromstring(text)
    assert len(list(page.iter("script"))) == 2 and not page.xpath("//img[@onerror]")
    assert "alert(1)" not in "".join(script.text for script in page.iter("script"))
    assert evil in page.findtext(".//h1")


def test_what_a_bundle_does_not_say_is_not_made_up(small_bundle):
    figures, text = report_page.page(small_bundle, compile_bundle(small_bundle, find_target("ulx3s-85f")), "small", [])
    assert figures["differing_clips"] is None
    page = html.document_fromstring(text)
    assert "not in this bundle" in section(page, "model") and "does not say" in section(page, "accuracy")
    assert "No board comes with this engine" in section(page, "build")
    assert [each.get("id") for each in page.iter("section")] == SECTIONS


@pytest.mark.parametrize("picture", [[3, 3], [48, 1], [1 << 20, 1 << 20], []])
def test_a_picture_that_is_none_is_drawn_as_values(small_bundle, picture):
    wrong = replace(
        small_bundle, labels=1 - small_bundle.logits.argmax(1), about={"picture": picture} if picture else {}
    )
    count, shown = model_card.wrong(wrong)
    assert count == 5 and all(len(each.pictures) == 1 for each in shown)


def test_bad_calls_are_refused(fdht, bundle_file, small_bundle, tmp_path):
    assert "is the bundle itself" in fdht("report", bundle_file, "-o", bundle_file).sentence
    assert fdht("report", "none.bundle").code == 1 and not (tmp_path / "build").exists()
    (tmp_path / "folder").mkdir()
    assert "folder" in fdht("report", bundle_file, "-o", "folder").sentence
    image = replace(compile_bundle(small_bundle, find_target("ulx3s-85f")), streams=2)
    with pytest.raises(SpecError, match="2 streams"):
        report_page.page(small_bundle, image, "small")


def test_an_accelerator_leaves_its_page(tmp_path):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.head = nn.LSTM(6, 4, batch_first=True), nn.Linear(4, 3)

        def forward(self, x):
            return self.head(self.lstm(x)[0][:, -1])

    torch.manual_seed(1)
    made = front.compile(Net().eval(), torch.randn(20, 5, 6), labels=[0] * 20, class_names=["a", "b", "c"], name="net")
    made.report(page=tmp_path / "net.html")
    page = html.fromstring(Path(tmp_path / "net.html").read_text())
    assert page.findtext(".//h1") == "net on icebreaker" and "a" in section(page, "accuracy")
    assert Segment.ARRAY_PROGRAM in UNITS


@pytest.mark.parametrize("task", [Task.REGRESS, Task.REGRESS_STEPS])
def test_numbers_are_points_against_what_is_true(task):
    """Of the clips' own steps, as far as something is known of them; some of very many."""
    spec = replace(fdht_lstm(3, 4, 5, (4, 2), (4, 4), 2), task=task)
    bundle = random_bundle(np.random.default_rng(3), spec, plan(spec, find_target("icebreaker")), clips=6)
    lengths = np.array([3, 1, 2, 3, 3, 3]) if task.every_step else None
    rng, shape = np.random.default_rng(4), bundle.logits.shape
    bundle = replace(bundle, labels=rng.normal(size=shape), logits=rng.integers(-99, 99, shape), lengths=lengths)
    bundle.labels[2, ..., 1] = np.nan
    figure = model_card.scatter(bundle)
    assert figure is not None and len(figure.axes) == SHOWN_NUMBERS < spec.classes
    said = values_of(bundle, bundle.logits)
    for k, axes in enumerate(figure.axes):
        of = [clip for clip in range(6) if (clip, k) != (2, 1)]
        steps = [slice(None)] * 6 if lengths is None else [slice(length) for length in lengths]
        wanted, given = (
            [value for clip in of for value in np.atleast_2d(every[clip])[steps[clip], k]]
            for every in (bundle.labels, said)
        )
        points = axes.lines[1]
        assert np.array_equal(points.get_xdata(), wanted) and np.array_equal(points.get_ydata(), given)


def test_a_report_of_a_regression_shows_its_points(board, monkeypatch):
    spec = replace(fdht_lstm(3, 4, 1, (4, 2), (4, 4), 2), task=Task.REGRESS)
    bundle = random_bundle(np.random.default_rng(3), spec, plan(spec, board.engine), clips=6)
    bundle = replace(bundle, labels=np.linspace(-1, 1, 6)[:, None])
    _, text = report_page.page(bundle, compile_bundle(bundle, board.engine), "a.bundle")
    (picture,) = html.document_fromstring(text).find_class("scatter")
    assert picture.get("src").startswith("data:image/svg+xml;base64,")
    monkeypatch.setattr(model_card, "POINTS", 4)
    figure = model_card.scatter(bundle)
    assert figure is not None
    assert np.array_equal(figure.axes[0].lines[1].get_xdata(), bundle.labels[[0, 1, 3, 5], 0])
    assert model_card.scatter(replace(bundle, labels=np.full((6, 1), np.nan))) is None
