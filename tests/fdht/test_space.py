"""What `fdht explore` may choose: networks that can be, pictures read as fields, engines that fit the part."""

import random
from collections import Counter
from dataclasses import replace
from math import prod

import numpy as np
import pytest
from occurrences import SEED, assert_occurred
from optuna.trial import FixedTrial

from fdht.boards import find_board
from fdht.boards.catalogue import BOARDS
from fdht.explore.space import DATA_WIDTHS, FACTOR_WIDTHS, ORDERS, Candidate, Space, engine_for, resources, tree_text
from fdht.model.presets import PRESETS
from fdht.spec.errors import CapacityError
from fdht.spec.lstm import LSTMSpec, fdht_lstm
from fdht.spec.network import ht_tree
from fdht.spec.target import MULTIPLIERS

PICTURES = {19200: (120, 160, 1), 57600: (120, 160, 3)}


class Drawn:
    """A trial that chooses anything that is offered."""

    def __init__(self, seed: int):
        self._random = random.Random(seed)

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        assert 0 <= low <= high, name
        return round(low * (high / low) ** self._random.random()) if log else self._random.randint(low, high)

    def suggest_categorical(self, name: str, choices):
        return self._random.choice(choices)


def space_of(spec: LSTMSpec, board: str = "icebreaker", own_engine: bool = True) -> Space:
    picture = PICTURES.get(spec.inputs)
    return Space(spec.inputs, spec.hidden, spec.classes, picture, find_board(board), own_engine)


@pytest.mark.parametrize("own_engine", [True, False])
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_can_be_chosen(name, own_engine):
    spec = PRESETS[name].spec
    if len(spec.network.inputs) == 2:  # the tests' own
        return
    board = find_board("icebreaker")
    choices = space_of(spec, own_engine=own_engine).choices(spec)
    assert choices is not None
    chosen = space_of(spec, own_engine=own_engine).choose(FixedTrial(choices))
    assert (chosen.spec.network, chosen.spec.x) == (spec.network, spec.x)
    assert chosen.target == board.engine and chosen.factor_width == board.engine.factor_width


def test_what_cannot_be_chosen_is_none():
    assert space_of(fdht_lstm(8, 4, 10, (4, 3), (4, 4), 2)).choices(fdht_lstm(8, 4, 10, (4, 3), (4, 4), 2)) is None
    dense = fdht_lstm(8, 4, 10, (12,), (16,), 1)
    assert space_of(dense).choices(dense) is None


@pytest.mark.parametrize("inputs, hidden", [(8, 64), (13, 50), (300, 7)])
def test_vectors(inputs, hidden):
    """Any sizes, also hidden units that are no power of two; a specification that can be made has no flaw."""
    space, seen = space_of(fdht_lstm(inputs, hidden, 3, (inputs, 1 + hidden), (4, hidden), 2)), Counter()
    for draw in range(60):
        spec = space.choose(Drawn(SEED + draw)).spec
        assert (spec.inputs, spec.hidden, spec.classes) == (inputs, hidden, 3)
        seen.update([f"d = {len(spec.network.inputs)}", tree_text(spec)])
    assert_occurred(seen, {f"d = {order}": 10 for order in ORDERS} | {"(1 (2 (3 4)))": 1, "((1 2) 3)": 1})


def test_a_picture_is_read_as_fields():
    """Pixels with one place in their fields share the modes of the place, those of one field the modes of the field."""
    for_video, seen = space_of(PRESETS["ucf11"].spec), Counter()
    rows, columns, depth = PICTURES[57600]
    for draw in range(12):
        drawn = Chosen(SEED + draw)
        spec = for_video.choose(drawn).spec
        order, (down, across) = len(spec.network.inputs), (drawn.made["field_rows"], drawn.made["field_columns"])
        where = spec.x.coordinates().reshape(rows, columns, depth, order)
        place = order - 2 if order > 2 else 1
        fields = where.reshape(down, rows // down, across, columns // across * depth, order)
        inside, outside = fields[..., :place], fields[..., place:]
        assert np.array_equal(inside, np.broadcast_to(inside[:1, :, :1], inside.shape))
        assert np.array_equal(outside, np.broadcast_to(outside[:, :1, :, :1], outside.shape))
        assert len(np.unique(outside.reshape(-1, order - place), axis=0)) == down * across
        # h is beyond x in the first mode, and in the last places of the mode that numbers rows of fields.
        h, slowest = spec.h.coordinates(), spec.x.order[0]
        assert h[:, 0].min() == where[..., 0].max() + 1
        assert h[:, slowest].max() == spec.network.input_shape[slowest] - 1
        seen.update([f"d = {order}", *(str(drawn.made.get(name)) for name in ("place", "fields"))])
    assert_occurred(seen, {f"d = {order}": 1 for order in ORDERS} | {"rows first": 1, "columns first": 1})


class Chosen(Drawn):
    """Remembers what was chosen."""

    def __init__(self, seed: int):
        super().__init__(seed)
        self.made: dict = {}

    def suggest_categorical(self, name: str, choices):
        self.made[name] = super().suggest_categorical(name, choices)
        return self.made[name]


@pytest.mark.parametrize("name", [board.name for board in BOARDS.values() if board.name == board.target])
def test_engines_take_no_more_of_the_part_than_the_boards_own(name):
    board, draws = find_board(name), random.Random(SEED)
    own, most = board.engine, MULTIPLIERS[board.engine.build.technology][0]
    assert engine_for(board, own.rows, own.columns, own.data_width, own.factor_width) is own
    found = 0
    for _ in range(6):
        rows = draws.randint(1, min(64, own.multipliers))
        columns = draws.randint(1, min(64, own.multipliers // rows))
        widths = [draws.choice([w for w in offered if w <= most]) for offered in (DATA_WIDTHS, FACTOR_WIDTHS)]
        try:
            engine = engine_for(board, rows, columns, *widths)
        except CapacityError as error:
            assert error.needed > error.available and ("of the part" in str(error) or "were routed" in str(error))
            continue
        found += 1
        assert (engine.rows, engine.columns, engine.data_width, engine.factor_width) == (rows, columns, *widths)
        for what, need in resources(engine).items():
            assert need <= resources(own)[what]
    assert found, "none fits: nothing was tested"


def test_a_wider_array_than_the_part_has_multipliers_is_refused():
    with pytest.raises(CapacityError, match="multipliers of the part: 16 needed, 8 available"):
        engine_for(find_board("icebreaker"), 8, 2, 10, 4)


def test_the_boards_own_engine_alone():
    """Only factors may be narrower then."""
    board = find_board("ulx3s-85f")
    candidates = [space_of(PRESETS["digits"].spec, board.name).choose(Drawn(SEED + k)) for k in range(20)]
    assert {candidate.target for candidate in candidates} == {board.engine}
    assert len({candidate.factor_width for candidate in candidates}) > 2
    assert max(candidate.factor_width for candidate in candidates) <= board.engine.factor_width


def test_a_candidate_says_what_it_is():
    spec = PRESETS["digits"].spec
    board = find_board("icebreaker")
    said = Candidate(spec, replace(board.engine, name="mine"), 8).description()
    assert prod(said["input_modes"]) == prod(spec.network.input_shape) and said["tree"] == "((1 2) 3)"
    assert said["ranks"] == {node.name: node.rank for node in ht_tree(spec.network).walk() if node.name != "123"}
    assert (said["factor_width"], said["target"]) == (8, "mine")
