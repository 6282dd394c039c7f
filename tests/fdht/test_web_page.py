"""The exported page: its engine under wasmtime is the machine, word by word and cycle by cycle, and in Chromium too; a
model of another size; what is refused."""

import json
import lzma
import math
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bundles import MODELS, random_bundle, random_layers, random_stage_list, with_task
from wasm import WasmEngine

from fdht.compiler.image import compile_bundle
from fdht.compiler.planner import plan
from fdht.export import web_page
from fdht.model import data
from fdht.model.quantise import with_vectors
from fdht.sim import webassembly as wasm
from fdht.sim.build import ToolError
from fdht.spec.bundle import Bundle
from fdht.spec.instructions import UNITS
from fdht.spec.lstm import chains, fdht_lstm
from fdht.spec.scaling import Scaling
from fdht.spec.target import find_target
from fdht.spec.task import Task
from fdht.workflow.golden_vectors import own
from tests.browser import CHROMIUM, Browser
from tests.fdht.test_bundle_page import GATES, INPUTS, with_gates

TARGET = find_target(wasm.TARGET)
(SHIPPED,) = wasm.SHIPPED.iterdir()

NAMED = '</script><script>alert("5")</script>'
"""A class's name, as a file may have it."""

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (apt install chromium)")


VALUES = ["ax", NAMED, *(f"v{k}" for k in range(9))]


@pytest.fixture(scope="module")
def module() -> bytes:
    """The engine that comes with fdht."""
    return lzma.decompress(SHIPPED.read_bytes())


@pytest.fixture(scope="module")
def drawn(digits) -> Bundle:
    """The digits preset with random weights, and clips for every button of a page."""
    test = data.load("digits").test
    bundle = with_vectors(digits, test.clips[: web_page.CLIPS], test.labels[: web_page.CLIPS])
    return replace(bundle, about={"data": "digits"})


@pytest.fixture(scope="module")
def valued() -> Bundle:
    """Eleven real values in each of seven steps, five classes, one of them with a name to be careful with."""
    rng = np.random.default_rng(2)
    spec = fdht_lstm(11, 6, 5, (5, 4), (4, 6), 2)
    bundle = random_bundle(rng, spec, plan(spec, TARGET))
    scaling = Scaling(tuple(rng.normal(size=11).tolist()), tuple(rng.uniform(0.01, 0.1, 11).tolist()))
    bundle = replace(
        bundle, scaling=scaling, about={"classes": ["up", "down", "left", "right", NAMED], "values": VALUES}
    )
    return with_vectors(bundle, rng.integers(0, 256, (21, 7, 11), dtype=np.uint8), np.arange(21) % 5)


def test_what_is_shipped_belongs_to_the_gateware(module, monkeypatch):
    """Nobody who takes this engine builds it; after a change of the gateware, python -m fdht.sim.webassembly does."""
    key = wasm.key(wasm.gateware(TARGET), TARGET)
    assert SHIPPED.name == f"{key}.wasm.xz" and SHIPPED.stat().st_size < 1_500_000
    monkeypatch.setattr(wasm, "build", None)
    assert wasm.webassembly(TARGET) == (module, key)


@pytest.mark.parametrize("which", ["drawn", "valued"])
def test_the_engine_is_the_machine(module, which, request):
    """Logits, cycles, and the cycles in which every unit begins and ends each of its instructions."""
    bundle = request.getfixturevalue(which)
    image = compile_bundle(bundle, TARGET)
    engine = WasmEngine(module, image)
    for clip in range(5):
        frames = bundle.clip(clip)
        seen, planned = engine.run(frames, slice=1000 + 7777 * clip), image.machine.schedule(len(frames))
        assert seen.logits == bundle.logits[clip].tolist()
        assert seen.cycles == image.cycles(len(frames)) == image.machine.run(frames).cycles
        for unit in UNITS:
            assert seen.started[unit] == [start for each, _, _, start, _ in planned if each is unit]
            assert seen.ended[unit] == [done for each, _, _, _, done in planned if each is unit]


def export(fdht, bundle: Bundle, *options: object):
    """A page of a bundle, in the current folder."""
    bundle.save("mine.bundle")
    return fdht("export", "--web", "mine.bundle", "-o", "page", *options)


def embedded(page: Path) -> dict:
    """What a page knows of its model."""
    found = re.findall(r'<script type="application/json" id="model">(.*?)</script>', page.read_text(), re.DOTALL)
    assert len(found) == 1
    return json.loads(found[0])


def test_a_page_is_one_file_that_asks_for_nothing(fdht, drawn, tmp_path):
    figures = export(fdht, drawn, "--json").figures
    page = tmp_path / "page" / "index.html"
    assert sorted(path.name for path in page.parent.iterdir()) == sorted(figures["files"])
    assert figures["page_bytes"] == page.stat().st_size < web_page.MOST_BYTES
    assert figures["input"] == "drawing" and len(figures["clips"]) == len(drawn.clips) >= 20
    text = page.read_text()
    assert not re.findall(r"https?:|(?:src|href)=|/\*[A-Z]+\*/", text)
    model = embedded(page)
    assert model["plan"]["cycles"][7] == figures["cycles"] == compile_bundle(drawn, TARGET).cycles(8)


def test_names_from_a_file_are_no_markup(fdht, valued, tmp_path):
    export(fdht, valued)
    page = tmp_path / "page" / "index.html"
    assert page.read_text().count("</script>") == 2 and embedded(page)["classes"][-1] == NAMED
    assert embedded(page)["values"] == VALUES
    assert "stays on the host" not in embedded(page)["about"]


def test_a_page_says_what_stays_on_the_host(valued):
    """What values are called is said of what goes into that."""
    bundle = replace(valued, about={"host": ["norm"], "values": VALUES})
    page = web_page.describe(bundle, compile_bundle(bundle, TARGET), b"", [])
    assert page["values"] == [] and page["about"].endswith(
        " Values here are what comes out of norm, which stays on the host."
    )


def test_what_has_no_page_is_refused(fdht, drawn, tmp_path, monkeypatch):
    """In one sentence, and nothing is written."""
    spec = fdht_lstm(8, 4, 0, (4, 3), (4, 4), 2)
    headless = random_bundle(np.random.default_rng(1), spec, plan(spec, TARGET))
    assert "no head" in export(fdht, with_vectors(headless, headless.clips, headless.labels)).sentence
    assert "there is no preset 'digit'" in fdht("export", "--web", "digit", "-o", "page").sentence
    assert "missing.bundle" in fdht("export", "--web", "missing.bundle", "-o", "page").sentence
    monkeypatch.setattr(web_page, "MOST_BYTES", 1000)
    assert "take fewer of its clips" in export(fdht, drawn).sentence
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert not (tmp_path / "page").exists()
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "letter.txt").touch()
    assert "letter.txt" in export(fdht, drawn).sentence


def test_who_lacks_the_compiler_is_told(monkeypatch):
    """Of an engine that does not come with fdht."""
    monkeypatch.setattr(wasm, "find_spec", lambda name: None if name == "ziglang" else __import__(name).__spec__)
    with pytest.raises(ToolError, match=r"pip install 'fdht\[web\]'"):
        wasm.build("", TARGET)


@pytest.fixture(scope="module")
def pictures() -> Bundle:
    """Two grey frames, two classes."""
    pixels = int(np.prod(web_page.FRAMES[1]))
    spec = fdht_lstm(pixels, 4, 2, (17, 12, 10, 10), (2, 2, 2, 2), 2)
    return random_bundle(np.random.default_rng(1), spec, plan(spec, TARGET), steps=2)


def test_frames_are_not_shown_unasked(drawn, pictures):
    """Pictures may show people: their clips are in a page only if they are asked for."""
    assert web_page.kind(pictures) == "frames" and web_page._chosen(pictures, None) == []
    assert len(web_page._chosen(pictures, 1)) == 1 and len(web_page._chosen(drawn, None)) == web_page.CLIPS


def test_what_is_true_of_a_clip():
    """Is said in its words: a class, the class of each step, or numbers, of which some are unknown."""
    rng = np.random.default_rng(4)
    truths = {}
    for task in Task:
        layers = with_task(rng, random_layers(rng, MODELS[0]), task)
        lists = tuple(random_stage_list(rng, chain.network) for chain in chains(layers))
        bundle = random_bundle(rng, layers, lists, steps=3, clips=1)
        outputs = bundle.spec.classes
        labels = np.zeros((1, *(3,) * task.every_step, *(outputs,) * task.real))
        labels.flat[-1] = np.nan if task.real else -1
        bundle = replace(bundle, labels=labels if task.real else labels.astype(np.int64))
        names = web_page._names(bundle)
        truths[task.value] = web_page._truth(bundle, 0, names)
        assert names[-1] == (f"output {outputs}" if task.real else str(outputs - 1))
        if task.real:
            assert truths[task.value] == [0.0] * (outputs - 1) + [None]
    assert truths["classify"] == ["unknown"] and truths["label-steps"] == ["0", "0", "unknown"]


@pytest.fixture
def opened(fdht, tmp_path):
    """A bundle's page in Chromium."""
    pages = []

    def show(bundle: Bundle, **options) -> Browser:
        export(fdht, bundle)
        pages.append(Browser((tmp_path / "page" / "index.html").as_uri(), **options))
        return pages[-1]

    yield show
    for page in pages:
        page.close()


@needs_chromium
@pytest.mark.parametrize("which", ["drawn", "valued"])
def test_clips_in_a_browser(which, request, opened):
    """Twenty and more: class, logits, cycles, begin and end of every instruction; two a second, and no network."""
    bundle = request.getfixturevalue(which)
    page, image = opened(bundle), compile_bundle(bundle, TARGET)
    page.evaluate("runClip(0)")
    began = time.monotonic()
    results = [page.evaluate(f"runClip({k})") for k in range(len(bundle.clips))]
    assert len(results) >= 20 and len(results) / (time.monotonic() - began) >= 2
    for clip, result in enumerate(results):
        assert result["logits"] == result["golden"] == [bundle.logits[clip].tolist()]
        assert result["class"] == bundle.logits[clip].argmax()
        assert result["cycles"] == result["predicted"] == image.cycles(bundle.clips.shape[1])
        assert result["planned"]["same"] == result["planned"]["all"] > 0
    assert page.evaluate("find('verdict').textContent").startswith("Class ")
    assert page.errors == [] and all(url.startswith(("file:", "blob:")) for url in page.requests)


@needs_chromium
def test_a_digit_drawn_with_the_pointer(drawn, opened):
    """It is classified when the pen is lifted: what the pad gives fills the grid, and the engine agrees with the golden
    model about it."""
    page = opened(drawn)
    box = page.evaluate("(({x, y, width}) => [x, y, width])(find('pad').getBoundingClientRect())")
    at = [(box[0] + x * box[2], box[1] + y * box[2]) for x, y in ((0.3, 0.2), (0.7, 0.2), (0.5, 0.5), (0.4, 0.8))]
    page.mouse("mousePressed", *at[0])
    for place in at[1:]:
        page.mouse("mouseMoved", *place)
    page.mouse("mouseReleased", *at[-1])
    result = page.evaluate("turn")
    assert result["logits"] == result["golden"] and result["cycles"] == result["predicted"]
    words = np.array(page.evaluate("latest.words")).reshape(8, 8)
    # A seven that is higher than wide: from top to bottom, its bar above, its foot left of the bar's end.
    assert (
        (words[0] > 0).sum() > 3
        and words[-1].any()
        and np.flatnonzero(words[-1]).max() < np.flatnonzero(words[0]).max()
    )
    assert words.max() == 255 and page.errors == []


def _arc(x: float, y: float, across: float, down: float, first: int, last: int) -> list[tuple[float, float]]:
    """Points of a part of an ellipse, angles in degrees."""
    angles = np.radians(np.linspace(first, last, 25)).tolist()
    return [(x + across * math.cos(angle), y + down * math.sin(angle)) for angle in angles]


DRAWN = {
    0: [_arc(0.5, 0.5, 0.22, 0.35, -90, 270)],
    1: [[(0.4, 0.25), (0.52, 0.15), (0.52, 0.85)]],
    2: [[*_arc(0.5, 0.32, 0.2, 0.17, -170, 40), (0.3, 0.82), (0.72, 0.82)]],
    3: [[*_arc(0.48, 0.32, 0.2, 0.17, -150, 90), *_arc(0.48, 0.66, 0.22, 0.18, -90, 150)]],
    4: [[(0.55, 0.15), (0.3, 0.6), (0.75, 0.6)], [(0.6, 0.4), (0.6, 0.88)]],
    5: [[(0.7, 0.18), (0.38, 0.18), (0.35, 0.48), *_arc(0.5, 0.64, 0.2, 0.2, -120, 140)]],
    7: [[(0.3, 0.2), (0.72, 0.2), (0.45, 0.85)]],
    9: [[*_arc(0.5, 0.35, 0.17, 0.18, 0, -360), (0.66, 0.5), (0.6, 0.86)]],
}
"""Digits as strokes, in shares of the pad."""


@pytest.mark.slow
@needs_chromium
def test_from_a_preset_to_ones_own_drawing(fdht, tmp_path):
    """One command trains and writes the page, which knows digits that nobody of the data set has drawn."""
    assert fdht("export", "--web", "digits", "-o", "page").code == 0
    with Browser((tmp_path / "page" / "index.html").as_uri()) as page:
        left, top, side = page.evaluate("(({x, y, width}) => [x, y, width])(find('pad').getBoundingClientRect())")
        classes = {}
        for digit, strokes in DRAWN.items():
            page.evaluate("find('clear').click()")
            for stroke in strokes:
                at = [(left + x * side, top + y * side) for x, y in stroke]
                page.mouse("mousePressed", *at[0])
                for place in at[1:]:
                    page.mouse("mouseMoved", *place)
                page.mouse("mouseReleased", *at[-1])
            classes[digit] = page.evaluate("turn")["class"]
        assert sum(digit == seen for digit, seen in classes.items()) >= len(DRAWN) - 1, classes


@pytest.mark.slow
def test_an_engine_that_does_not_come_with_fdht(tmp_path, monkeypatch):
    """Built by Yosys and zig, kept, and the machine too: with two lanes of inputs and columns of words."""
    monkeypatch.setattr(wasm, "CACHE", tmp_path)
    target = replace(TARGET, name="other", rows=4, columns=2, input_lanes=2, bank_words=1024)
    spec = fdht_lstm(11, 6, 5, (5, 4), (4, 6), 2)
    bundle = random_bundle(np.random.default_rng(2), spec, plan(spec, target), clips=2)
    bundle = with_vectors(bundle, bundle.clips, bundle.labels)
    image, built = compile_bundle(bundle, target), wasm.webassembly(target)
    monkeypatch.setattr(wasm, "build", None)
    assert wasm.webassembly(target) == built
    seen = WasmEngine(built[0], image).run(bundle.clip(0))
    assert seen.logits == bundle.logits[0].tolist() and seen.cycles == image.cycles(len(bundle.clip(0)))


@needs_chromium
def test_the_grid_by_keys(drawn, opened):
    page = opened(drawn)
    page.evaluate("find('grid').focus()")
    for key in ("ArrowDown", "ArrowRight", " ", "ArrowRight", " ", "Enter"):
        page.key(key)
    result = page.evaluate("turn")
    expected = np.zeros((8, 8), dtype=int)
    expected[1, 1:3] = 255
    assert page.evaluate("latest.words") == expected.ravel().tolist() and result["logits"] == result["golden"]


@needs_chromium
def test_values_from_a_table(valued, opened):
    """Real values become the words that Python makes of them; what is none is said, with its line."""
    page, values = opened(valued), np.random.default_rng(3).normal(0, 2, (4, 11))
    table = "\n".join(" ; ".join(map(repr, row)) for row in values.tolist())
    page.evaluate(f"find('table').value = {json.dumps(table)}; find('run').click(); turn")
    assert valued.scaling is not None
    assert page.evaluate("latest.words") == valued.scaling.to_words(values).ravel().tolist()
    page.evaluate("find('table').value = '1, 2'; find('run').click()")
    assert page.evaluate("find('verdict').textContent").startswith("Line 1 has 2 values")


@needs_chromium
def test_sliders_by_keys(valued, opened):
    """The slider that runs the model keeps the focus, so that the next key is its own too."""
    page = opened(valued)
    page.evaluate("document.querySelector('.sliders input').focus()")
    before = page.evaluate("document.activeElement.valueAsNumber")
    for _ in range(2):
        page.key("ArrowRight")
        page.evaluate("turn")
    assert page.evaluate("document.activeElement.valueAsNumber") == page.evaluate("latest.words")[0] == before + 2
    named = page.evaluate("[...document.querySelectorAll('.sliders label')].map((each) => each.firstChild.textContent)")
    assert named == [f"{name}: " for name in VALUES]
    assert f"a line each, with {', '.join(VALUES)}, in the" in page.evaluate("document.body.textContent")


@needs_chromium
def test_frames_from_the_camera(pictures, opened):
    """All of them are shown and go through the engine, on a telephone's screen; what the camera lacks is said."""
    page = opened(pictures, width=390, camera=True)
    camera = """find('camera').click(), new Promise((go) => {
        const look = () => (find('camera').disabled ? setTimeout(look, 20) : go());
        look();
    })"""
    page.evaluate(camera)
    result = page.evaluate("turn")
    assert result["logits"] == result["golden"] and result["cycles"] == result["predicted"]
    assert page.evaluate("document.querySelectorAll('.frames canvas').length") == 2
    assert page.evaluate("document.documentElement.scrollWidth") <= 390 and page.errors == []
    page.evaluate("navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', 'NotFoundError'))")
    page.evaluate(camera)
    assert page.evaluate("find('verdict').textContent") == "There is no camera."


@needs_chromium
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_window(drawn, opened, width):
    page = opened(drawn, width=width)
    page.evaluate("runClip(0)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def of_every_kind() -> Iterator[Bundle]:
    """Random bundles of networks of every kind, with orders and formats that no compiler would choose."""
    rng, tasks = np.random.default_rng(0), list(Task)
    for number, kind in enumerate(MODELS):
        layers = with_task(rng, random_layers(rng, kind), tasks[number % len(tasks)])
        lists = tuple(random_stage_list(rng, chain.network) for chain in chains(layers))
        bundle = random_bundle(
            rng, layers, lists, factor_width=(8, 12, 5)[number % 3], steps=5, input_format=INPUTS[number % 3]
        )
        bundle = with_gates(bundle, GATES[number // 3 % 3])
        yield with_vectors(bundle, bundle.clips, bundle.labels)


@needs_chromium
def test_the_golden_model_of_the_page(drawn, opened):
    """On networks of every kind and for every task, and with BigInts as with Numbers."""
    page = opened(drawn)
    for bundle in of_every_kind():
        model = {
            "description": web_page.description_of(bundle),
            "tensors": {name: array.ravel().tolist() for name, array in bundle.numbers.items()},
        }
        page.evaluate(f"other = {json.dumps(model)}; void 0")
        words = bundle.clip(0)
        run = f"new Golden(other.description, other.tensors).run({words.ravel().tolist()}, {len(words)})"
        expected = np.atleast_2d(own(bundle, 0, bundle.logits)).tolist()
        assert page.evaluate(run) == expected
        assert page.evaluate(f"Golden.narrow = 0; {run}") == expected
        page.evaluate("Golden.narrow = 51; void 0")
