"""`fdht fit`: engines for one model, that run it, and that stay within what was routed."""

import json
from dataclasses import asdict, replace

import pytest

from fdht.boards import baseline, closed, find_board, fullness
from fdht.boards.catalogue import BOARDS
from fdht.compiler import explain
from fdht.compiler.image import compile_bundle
from fdht.compiler.planner import candidates
from fdht.explore.space import engine_for
from fdht.spec import costs
from fdht.spec.errors import CapacityError, Resource
from fdht.spec.target import GENERIC, find_target
from fdht.workflow import sizing
from tests.fdht.tiny import TINY


@pytest.fixture(autouse=True)
def few_arrays(monkeypatch):
    monkeypatch.setattr(sizing, "ROWS", (1, 2))
    monkeypatch.setattr(sizing, "COLUMNS", (1,))


def test_the_fullest_build_that_met_its_clock_is_the_limit():
    builds = [baseline.load(board) for board in BOARDS.values() if board.family.name == "gowin"]
    assert fullness.routed("gowin")["luts"] == max(builds[0]["luts"] / 8640, builds[1]["luts"] / 20736)
    assert fullness.routed("ice40")["block_rams"] == 1 and 0.6 < fullness.routed("ecp5")["ffs"] < 0.7
    assert fullness.routed("nobody's") == {} and fullness.on_board(find_board("icebreaker")).limits["luts"] == 3714


def test_an_engine_that_was_routed_is_within_the_limits(monkeypatch):
    """Also where predictions are off: its own is the limit then."""
    board = find_board("tangnano9k")
    own = fullness.on_board(board).logic(board.engine)
    monkeypatch.setattr(fullness, "routed", lambda family: {"luts": 0.1, "ffs": 1.0})
    limits = fullness.on_board(board).limits
    assert limits["luts"] == own["luts"] > 0.1 * 8640 and limits["ffs"] == 6480 > own["ffs"]
    other = replace(board, engine=replace(board.engine, name="other", rows=8))
    assert fullness.on_board(other).limits["luts"] == 864


def test_a_build_that_missed_its_clock_is_no_limit(monkeypatch):
    monkeypatch.setattr(baseline, "load", lambda board: {"fmax_mhz_seeds": {"1": None, "2": 23.9}, "clock_mhz": 24})
    assert fullness.routed.__wrapped__("ice40") == {}


def test_smallest_and_fastest_run_the_model(fdht, tmp_path):
    found = fdht("fit", TINY.name, "--board", "icebreaker", "--json", "--take", "mine.json").figures
    own, smallest, fastest = found["engines"]
    assert [each["engine"] for each in found["engines"]] == ["the board's own", sizing.SMALLEST, sizing.FASTEST]
    assert fastest["cycles_per_step"] <= own["cycles_per_step"] <= smallest["cycles_per_step"]
    for kind in ("luts", "ffs", "multipliers", "block_rams"):
        assert smallest[kind] < own[kind], kind
    assert sum(smallest["shares"].values()) <= sum(fastest["shares"].values())
    target = find_target("mine.json")
    assert target.name == "mine" and found["taken_engine"] == sizing.SMALLEST
    assert candidates(TINY.spec, target)[0].cycles == smallest["cycles_per_step"]
    assert smallest["steps_per_s"] == pytest.approx(24e6 / smallest["cycles_per_step"])


def test_a_bundle_keeps_its_order_and_its_widths(fdht, bundle_file, small_bundle):
    found = fdht("fit", bundle_file, "-b", "tangnano9k", "--json", "--take", "fast.json", "--fastest").figures
    target, fastest = find_target("fast.json"), found["engines"][2]
    image = compile_bundle(small_bundle, target)
    assert found["taken_engine"] == sizing.FASTEST and target.factor_width == 16
    assert image.cycles(9) - image.cycles(8) == fastest["cycles_per_step"]
    assert 0 < fastest["luts"] <= found["limits"]["luts"] and 0 < fastest["ffs"] <= found["limits"]["ffs"]


def test_what_fits_a_part_with_closed_tools(fdht):
    """Cycles, multipliers and block RAMs, within what is prudent; nothing of what is not known."""
    found = fdht("fit", TINY.name, "--part", "xc7a35t", "--json", "--take", "mine.json").figures
    own, smallest, fastest = found["engines"]
    assert (found["board"], found["part"], found["clock_mhz"], found["routed"]) == (None, "XC7A35T", None, {})
    assert found["limits"]["block_rams"] == 75 and own["target"] == "xc7a35t" and own["engine"] == "the part's own"
    for each in found["engines"]:
        assert each["luts"] is None and each["ffs"] is None and each["steps_per_s"] is None
        assert 0 < each["multipliers"] <= 67 and 0 < each["block_rams"] <= 75
    assert smallest["block_rams"] < own["block_rams"] and fastest["cycles_per_step"] <= smallest["cycles_per_step"]
    target = find_target("mine.json")
    assert target.build == GENERIC and candidates(TINY.spec, target)[0].cycles == smallest["cycles_per_step"]
    assert asdict(costs.engine(target, costs.Inferred.XC7))["block_rams"] == smallest["block_rams"]
    shown = fdht("fit", TINY.name, "--part", "XC7A35T").out
    assert "tiny on the XC7A35T; multipliers and block RAMs are predicted" in shown


def test_nothing_fits_a_part(fdht, monkeypatch):
    monkeypatch.setattr(closed, "PRUDENT", {"block_rams": 0.05})
    sentence = fdht("fit", TINY.name, "--part", "xc7a35t").sentence
    assert "block RAMs of the XC7A35T, of which 5 % are given away at most: " in sentence
    assert "no engine on xc7a35t runs tiny" in sentence


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((), "say where: either --board or --part"),
        (("-b", "icebreaker", "--part", "xc7a35t"), "say where: either --board or --part"),
        (("--part", "arty"), "there is no part 'arty'; known: xc7a35t, xc7a100t, xc7z020, 5ceba4; of parts with open"),
    ],
)
def test_where_must_be_said(fdht, options, sentence):
    assert sentence in " ".join(fdht("fit", TINY.name, *options).err.split())


def test_none_fits(fdht, monkeypatch):
    monkeypatch.setattr(fullness, "routed", lambda family: {"block_rams": 0.2})
    sentence = fdht("fit", TINY.name, "-b", "icebreaker").sentence
    assert "block RAMs of the iCE40UP5K on icebreaker, of which 20 % were routed: " in sentence
    assert "6 available; no engine on icebreaker runs tiny, and this is what the nearest lacks: choose a" in sentence


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--fastest",), "--fastest says which engine --take writes"),
        (("--take", "mine.toml"), "mine.toml does not end in .json"),
        (("--factor-width", "18"), "a multiplier of ice40 takes 16 × 16 bits"),
        (("--take", "icebreaker.json"), "by the same name; give it a name of its own"),
    ],
)
def test_what_cannot_be_asked(fdht, options, sentence):
    assert sentence in fdht("fit", TINY.name, "-b", "icebreaker", *options).sentence


def test_a_bundle_of_other_widths(fdht, bundle_file):
    assert (
        "has factors of 16 bits already" in fdht("fit", bundle_file, "-b", "icebreaker", "--factor-width", 8).sentence
    )
    found = json.loads(fdht("fit", bundle_file, "-b", "icebreaker", "--json").out)
    assert found["engines"][0]["lacks"] == "factors of 16 bits" and found["engines"][0]["cycles_per_step"] is None


def test_explore_proposes_nothing_that_was_not_routed():
    board = find_board("icebreaker")
    assert engine_for(board, 4, 1, 16, 16).rows == 4
    with pytest.raises(CapacityError, match="LUTs of the iCE40UP5K on icebreaker, of which 70 % were routed") as raised:
        engine_for(board, 4, 2, 16, 12)
    assert raised.value.resource is Resource.CELLS
    assert engine_for(board, 8, 1, 16, 12) is board.engine  # which is built, whatever is predicted


MEMORIES = ("factor_words", "result_words", "bias_words", "program_words", "hidden", "bank_words")


@pytest.mark.parametrize(
    ("name", "array", "widths"),
    [("ulx3s-85f", (2, 1), (18, 4)), ("ulx3s-85f", (9, 2), (14, 8)), ("icebreaker", (4, 1), (16, 16))],
)
def test_memories_are_made_to_measure(name, array, widths):
    """A power of two of what the model fills, if that takes no more blocks; smaller ones do not run it."""
    board = find_board(name)
    model, room = sizing.find_model("digits", None), engine_for(board, *array, *widths)
    made = sizing.made_to_measure(model, room, costs.engine)
    used = {name: words for name, (words, _) in explain.fill(model.way(made).programs, made).items()}
    assert costs.engine(made).block_rams < costs.engine(room).block_rams
    assert model.way(made).cycles <= model.way(room).cycles
    for memory, words in (("factor_words", "factors"), ("result_words", "results"), ("bias_words", "biases")):
        there, most = getattr(made, memory), max(sizing.SHALLOWEST, 1 << (used[words] - 1).bit_length())
        assert used[words] <= there <= most, memory
        if there < most:
            assert costs.engine(replace(made, **{memory: most})).block_rams > costs.engine(made).block_rams
    for memory in MEMORIES:
        if not (memory == "bank_words" and board.engine.single_port):  # SPRAMs have one depth
            assert getattr(made, memory) & 1 == 0 and getattr(made, memory) <= getattr(room, memory), memory
    exactly = replace(made, factor_words=used["factors"], result_words=used["results"], bias_words=used["biases"])
    assert costs.engine(exactly).block_rams == costs.engine(made).block_rams, "room that costs blocks"


def test_no_memory_is_block_rams_on_top_of_each_other():
    """Where the block RAM has a register of its own in the path: there a deeper memory has multiplexers."""
    board = find_board("ulx3s-85f")
    room = engine_for(board, 2, 1, 18, 4)
    assert room.factor_words == costs.deepest(room.build.technology) == 16384
    for depth, alone in ((16384, True), (16385, False)):
        assert bool(costs.dp16k_width(room.build.technology, depth)) == alone
    search = sizing.Search(sizing.find_model("ucf11", 4), fullness.on_board(board))
    for each in search._look(2, 1):
        assert max(getattr(each.target, memory) for memory in MEMORIES) <= 16384


def test_engines_are_compared_by_what_is_known_of_all(monkeypatch):
    """Three columns on iCE40 take LUTs of which nothing is known: that must not make them small."""
    monkeypatch.setattr(sizing, "COLUMNS", (1, 3))
    model = sizing.find_model(TINY.name, None)
    ice40, gowin = (fullness.on_board(find_board(name)) for name in ("icebreaker", "tangnano9k"))
    assert {columns for _, columns in sizing.Search(model, ice40).arrays()} == {1}
    assert {columns for _, columns in sizing.Search(model, gowin).arrays()} == {1, 3}


def test_a_board_of_an_unknown_part():
    """Nothing is refused where nothing is known."""
    board = replace(find_board("icebreaker"), part=("--up9k",))
    assert fullness.on_board(board).limits == {} and engine_for(board, 4, 1, 16, 16).rows == 4
