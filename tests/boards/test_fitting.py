"""Any engine on any board: what its part holds is built, what it lacks is said with the nearest that fits."""

from dataclasses import replace

import pytest

from fdht.boards import BOARDS, find_board
from fdht.boards.fitting import check_room, engine_on, nearest
from fdht.boards.parts import find_part
from fdht.boards.synthesis import measure
from fdht.boards.top import BoardTop, build_id
from fdht.hw.component import ask
from fdht.spec.costs import Resources
from fdht.spec.errors import CapacityError, SpecError
from fdht.spec.protocol import target_id
from fdht.spec.target import STREAM_TARGETS, TARGETS, Target, Technology

SMALL = replace(TARGETS["icebreaker"], name="small", rows=3, factor_words=256)

LITTLE = {"factor_words": 256, "result_words": 256, "bias_words": 160}


def test_an_engine_of_ones_own_is_another_design_of_the_same_board():
    board = find_board("icebreaker")
    other = engine_on(board, SMALL, "small.json")
    assert other.engine == SMALL and other.target == "small" and other.design == "icebreaker-small"
    assert other.options == "--board icebreaker --target small.json"
    assert ask(BoardTop(other)).resources.multipliers == 3 and build_id(other) != build_id(board)
    assert engine_on(board, board.engine) is board and board.design == "icebreaker"


def test_an_engine_is_made_of_the_parts_primitives_and_keeps_its_images():
    """Whatever it was made of; what it was built without stays left out."""
    small = replace(TARGETS["tangnano9k"], name="small", rows=4)
    without = replace(small, build=replace(small.build, features=replace(small.build.features, counters=False)))
    other = engine_on(find_board("orangecrab-25f"), without)
    assert other.engine.build.technology is Technology.ECP5 and not other.engine.build.features.counters
    assert target_id(other.engine) == target_id(small)
    with pytest.raises(SpecError, match="multiplier of ice40 takes 16 × 16 bits"):
        engine_on(find_board("icebreaker"), small)


def test_places_are_kept_where_the_part_has_a_plan_for_them():
    board, own = find_board("orangecrab-85f"), TARGETS["ulx3s-85f"]
    assert engine_on(board, replace(own, name="other", banks=4)).engine.build.pinned
    with pytest.raises(SpecError, match=r"16 × 9 multipliers, not for 12 × 10; say .* build.pinned is false"):
        engine_on(board, replace(own, name="other", rows=12, columns=10, input_lanes=10))
    assert not engine_on(
        find_board("tangnano20k"), replace(TARGETS["tangnano9k"], name="s", build=own.build)
    ).engine.build.pinned


@pytest.mark.parametrize(
    ("board", "changes", "sentence"),
    [
        (
            "icebreaker",
            {"rows": 9},
            "multipliers of the iCE40UP5K on icebreaker: 9 needed, 8 available; mine fits",
        ),
        (
            "icebreaker",
            {"factor_words": 1024},
            r"block RAMs of .*: \d+ needed, 30 available; mine fits with .*words =",
        ),
        (
            "icebreaker",
            {"rows": 4, "columns": 2, **LITTLE},
            "SPRAMs of .*: 8 needed, 4 available; mine fits with banks = 2",
        ),
        ("tangnano9k", {"columns": 2, "rows": 10}, "21 needed, 20 available; mine fits with rows = 9"),
        (
            "icebreaker",
            {"columns": 8, **LITTLE},
            "64 needed, 8 available; mine fits with rows = 4, columns = 2, banks = 2",
        ),
        (
            "tangnano9k",
            {"hidden": 1 << 15},
            "block RAMs of the GW1N-9 .*; nothing like mine fits; choose a larger",
        ),
    ],
)
def test_what_the_part_lacks_is_said_with_the_nearest_that_fits(board, changes, sentence):
    board = find_board(board)
    with pytest.raises(CapacityError, match=sentence):
        engine_on(board, replace(board.engine, name="mine", **changes))


def test_the_nearest_fits():
    """Every engine of fdht's on every part that it does not fit."""
    found = 0
    for board in BOARDS.values():
        for target in (TARGETS | STREAM_TARGETS).values():
            try:
                engine_on(board, target)
            except CapacityError:
                assert board.room is not None
                made = target.made_of(board.technology)
                takes = ask(BoardTop(replace(board, engine=made))).resources
                near = nearest(made, board.room, takes)
                if near is None:
                    assert (board.name, target.name) == ("tangnano9k", "ulx3s-85f-streams"), "its cell states alone"
                    continue
                assert engine_on(board, near).engine.rows <= target.rows
                found += 1
            except SpecError:  # of primitives that it cannot be made of
                assert board.name == "icebreaker"
    assert found > 5


def test_of_an_unknown_part_nothing_is_said_before_it_is_built():
    board = replace(find_board("tangnano20k"), part=("--device", "GW5A-LV25MG121NES"))
    assert board.room is None
    check_room(replace(board, engine=TARGETS["ulx3s-85f"].made_of(Technology.GOWIN)))


@pytest.mark.parametrize(
    ("options", "name", "blocks"),
    [
        (("--um5g-45k", "--package", "CABGA381"), "LFE5U-45F", Resources(72, 108, 0)),
        (("--device", "GW1NR-UV4CQN88C6/I5"), "GW1N-4", Resources(16, 10, 0)),
        (("--up3k", "--package", "uwg30"), "iCE40UP3K", Resources(4, 20, 4)),
    ],
)
def test_parts_by_their_options(options, name, blocks):
    part = find_part(options)
    assert part is not None and (part.name, part.blocks) == (name, blocks)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "engine"),
    [
        ("icebreaker", SMALL),
        ("orangecrab-25f", replace(TARGETS["tangnano9k"], name="narrow", rows=5, factor_width=9, data_width=10)),
        ("tangnano20k", replace(TARGETS["orangecrab-25f"], name="square", rows=3, columns=2, input_lanes=2, banks=3)),
    ],
)
def test_the_netlist_takes_what_is_predicted(name: str, engine: Target):
    """`measure` compares all blocks."""
    board = engine_on(find_board(name), engine)
    made = measure(board)
    assert made.blocks == ask(BoardTop(board)).resources and made.luts > 0 and made.ffs > 0
