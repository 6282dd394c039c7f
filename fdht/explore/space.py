"""What `fdht explore` searches: modes, dimension tree and ranks of a network, widths and array of its engine.

Every choice is made by a `Chooser`, an Optuna trial: its bounds follow from the choices before it, so that nearly every
candidate is a network that can be, and what it lacks on the engine is left to the planner to say.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, cached_property
from math import ceil, prod
from typing import Any, Protocol

from optuna.trial import FixedTrial

from fdht.boards import fullness
from fdht.boards.board import Board
from fdht.spec import costs
from fdht.spec.errors import CapacityError, FdhtError, Resource
from fdht.spec.lstm import LSTMSpec, Region, lstm_on
from fdht.spec.network import Split, ht_network, ht_tree, tree_from
from fdht.spec.target import LARGEST_MEMORY, LARGEST_SCRATCHPAD, MULTIPLIERS, Target, Technology
from fdht.workflow.sizing import Model, made_to_measure

ORDERS = (2, 3, 4)
"""How many modes a weight has."""

RANKS = (2, 16)
"""Smallest and largest rank of a node of the dimension tree."""

MOST_OUTPUTS = 5
"""Bits of an output mode but the last one, which takes what is left: at most 32."""

FACTOR_WIDTHS = (4, 6, 8, 10, 12, 14, 16, 18)
DATA_WIDTHS = (10, 12, 14, 16, 18)
"""Bits; 8-bit pixels need 10 beside h."""

MOST_SIDE = 64
"""Rows or columns of an array."""

SHARES = (1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25)
"""Sizes that are tried for another engine's memories, as parts of the board's own; the first that fits is taken."""


class Chooser(Protocol):
    """The methods of an Optuna trial that a search uses."""

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int: ...

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any: ...


@dataclass(frozen=True)
class Candidate:
    """A model, and the engine and width it is deployed with.

    Attributes:
        spec: the model.
        target: the engine.
        factor_width: bits of a factor, at most those of the engine.
    """

    spec: LSTMSpec
    target: Target
    factor_width: int

    def description(self) -> dict:
        """What was chosen, as figures."""
        network = self.spec.network
        return {
            "input_modes": list(network.input_shape),
            "output_modes": list(network.output_shape),
            "tree": tree_text(self.spec),
            "ranks": network.ranks,
            "factor_width": self.factor_width,
            "data_width": self.target.data_width,
            "rows": self.target.rows,
            "columns": self.target.columns,
            "target": self.target.name,
        }


@dataclass(frozen=True)
class Space:
    """All candidates for a data set and a board.

    Attributes:
        inputs, hidden, classes: of the model.
        picture: rows, columns, and values of a pixel, if a step is a picture; None if it is a vector.
        board: where the engine is to run.
        own_engine: only with the engine that the board has; factors may be narrower than its memory.
    """

    inputs: int
    hidden: int
    classes: int
    picture: tuple[int, int, int] | None
    board: Board
    own_engine: bool

    def choose(self, trial: Chooser) -> Candidate:
        """A candidate, whose engine has all the memory that it may have.

        Raises:
            CapacityError: an engine that does not fit the part.
            SpecError: an engine that cannot be.
        """
        order = trial.suggest_categorical("modes", ORDERS)
        if self.picture is None:
            inputs, place = self._vector(trial, order), None
        else:
            inputs, place = self._fields(trial, order, self.picture)
        outputs = self._outputs(trial, order)
        split = dict(_splits(order))[trial.suggest_categorical(f"tree{order}", [text for text, _ in _splits(order)])]
        nodes = [node.name for node in tree_from(split, 1).walk()][:-1]  # the root is the last
        tree = tree_from(split, {name: trial.suggest_int(f"r{name}", *RANKS, log=True) for name in nodes})
        network = ht_network(inputs, outputs, tree)
        spec = lstm_on(network, self.inputs, self.hidden, self.classes)
        if place is not None:
            spec = replace(spec, x=place[0], h=place[1])
        return Candidate(spec, *self._engine(trial))

    def to_measure(self, candidate: Candidate, name: str) -> Candidate:
        """A candidate with the memories that its network needs, unless it has the board's own engine.

        Args:
            name: of the engine.

        Raises:
            CapacityError: there is not enough memory.
        """
        room = candidate.target
        if room == self.board.engine:
            return candidate
        model = Model(name, (candidate.spec,))
        return replace(candidate, target=replace(made_to_measure(model, room, costs.engine), name=name))

    def takes(self, engine: Target) -> dict[str, int]:
        """What the board's whole design with an engine takes of each of fdht.boards.fullness.KINDS; LUTs and
        flip-flops are predicted, or not there.
        """
        return self._ground.takes(engine)

    @cached_property
    def _ground(self) -> fullness.Ground:
        return fullness.on_board(self.board)

    def choices(self, spec: LSTMSpec) -> dict[str, Any] | None:
        """What must be chosen for a model with these modes, tree and ranks on the board's own engine.

        None if no choice leads to it.
        """
        if spec.network.kind != "ht" or len(spec.network.inputs) not in ORDERS:
            return None
        own, network, order = self.board.engine, spec.network, len(spec.network.inputs)
        chosen = {"modes": order, f"tree{order}": tree_text(spec), "factor_width": own.factor_width}
        chosen |= {f"r{node}": rank for node, rank in network.ranks.items()}
        chosen |= {f"m{k}": size.bit_length() - 1 for k, size in enumerate(network.output_shape[:-1], 1)}
        if self.picture is None:
            chosen |= {f"n{k}": size for k, size in enumerate(network.input_shape[1:], 2)}
        elif len(spec.x.parts) == 4:
            (late, down), (inside, _), (_, across), _ = spec.x.parts
            chosen |= {"field_rows": down, "field_columns": across}
            chosen |= {"place": "rows first" if inside == 0 else "columns first"}
            chosen |= {"fields": "columns first" if late == order - 1 else "rows first"}
        if not self.own_engine:
            chosen |= {"rows": own.rows, "columns": own.columns, "data_width": own.data_width}
        # The latter two are Optuna's: a choice that is not offered, or out of its range.
        with suppress(FdhtError, ValueError, UserWarning), warnings.catch_warnings(action="error"):
            found = self.choose(FixedTrial(chosen)).spec
            if (found.network, found.x) == (network, spec.x):
                return chosen
        return None

    def _vector(self, trial: Chooser, order: int) -> tuple[int, ...]:
        """Input modes of any sizes; the first is as large as x and h need."""
        room = max(self.inputs, self.hidden)
        modes = list[int]()
        for k in range(2, order + 1):
            modes.append(trial.suggest_int(f"n{k}", 2, max(2, room // prod(modes)), log=True))
        rest = prod(modes)
        return ceil(self.inputs / rest) + ceil(self.hidden / rest), *modes

    def _fields(
        self, trial: Chooser, order: int, picture: tuple[int, int, int]
    ) -> tuple[tuple[int, ...], tuple[Region, Region]]:
        """Input modes of a picture that is read as fields, and the places of x and h.

        The place in a field is in the first modes, which are contracted first, the fields are in the last ones; a rank
        above both then counts features of a field, not of the picture. h is in further indices of the first mode, and
        of these in the last rows of fields, which the array comes to last.
        """
        rows, columns, depth = picture
        down = trial.suggest_categorical("field_rows", _divisors(rows))
        across = trial.suggest_categorical("field_columns", _divisors(columns))
        # Slowest first: row of fields, row in the field, column of fields, column in the field.
        sizes = (down, rows // down, across, columns // across * depth)
        row_first = order < 4 or trial.suggest_categorical("place", ("rows first", "columns first")) == "rows first"
        rows_late = order < 3 or trial.suggest_categorical("fields", ("rows first", "columns first")) == "columns first"
        inside = (0, 0) if order < 4 else (0, 1) if row_first else (1, 0)
        last = order - 1
        outside = (last, last) if order < 3 else (last, last - 1) if rows_late else (last - 1, last)
        modes = (outside[0], inside[0], outside[1], inside[1])
        box = [prod(size for mode, size in zip(modes, sizes, strict=True) if mode == k) for k in range(order)]
        x = Region((0,) * order, tuple(box), modes, self.inputs, sizes if order < 4 else ())
        rest = prod(box[1:])
        further = ceil(self.hidden / rest)
        slowest = modes[0]
        deep = ceil(self.hidden * box[slowest] / (further * rest))
        start, shape = [0] * order, list(box)
        start[0], shape[0] = box[0], further
        start[slowest], shape[slowest] = box[slowest] - deep, deep
        h = Region(tuple(start), tuple(shape), tuple(dict.fromkeys(modes)), self.hidden)
        return (box[0] + further, *box[1:]), (x, h)

    def _outputs(self, trial: Chooser, order: int) -> tuple[int, ...]:
        """Output modes: powers of two; the last is as large as four gates need."""
        left = (4 * self.hidden).bit_length() - 1
        modes = list[int]()
        for k in range(1, order):
            bits = trial.suggest_int(f"m{k}", 0, min(left, MOST_OUTPUTS))
            left -= bits
            modes.append(1 << bits)
        return *modes, ceil(4 * self.hidden / prod(modes))

    def _engine(self, trial: Chooser) -> tuple[Target, int]:
        engine = self.board.engine
        widest = engine.factor_width if self.own_engine else MULTIPLIERS[engine.build.technology][0]
        factor_width = trial.suggest_categorical("factor_width", [w for w in FACTOR_WIDTHS if w <= widest])
        if self.own_engine:
            return engine, factor_width
        data_width = trial.suggest_categorical("data_width", [w for w in DATA_WIDTHS if w <= widest])
        rows = trial.suggest_int("rows", 1, min(MOST_SIDE, engine.multipliers), log=True)
        columns = trial.suggest_int("columns", 1, min(MOST_SIDE, engine.multipliers // rows), log=True)
        return engine_for(self.board, rows, columns, data_width, factor_width), factor_width


def engine_for(board: Board, rows: int, columns: int, data_width: int, factor_width: int) -> Target:
    """A board's engine with another array and other widths, and with the memories that the part then has room for.

    They are those of `resized`. It takes no more LUTs and flip-flops, as far as they can be predicted, than were routed
    in its family (fdht.boards.fullness).

    Raises:
        CapacityError: no share of the memories fits, or the logic does not.
        SpecError: a value that no target has.
    """
    engine = resized(board, rows, columns, data_width, factor_width)
    if engine != board.engine:
        ground = fullness.on_board(board)
        ground.check(ground.logic(engine), "choose a smaller array or narrower words")
    return engine


def resized(board: Board, rows: int, columns: int, data_width: int, factor_width: int) -> Target:
    """A board's engine with another array, other widths and memories of as many bits as those of the board's own.

    Or of a share of them, where words of other widths leave more of a block RAM unused: it takes no more blocks of the
    part than the board's own, which is known to fit.

    Raises:
        CapacityError: no share of the memories fits.
        SpecError: a value that no target has.
    """
    own = board.engine
    if (rows, columns, data_width, factor_width) == (own.rows, own.columns, own.data_width, own.factor_width):
        return own
    refusal = None
    for share in SHARES:
        engine = _share(own, rows, columns, data_width, factor_width, share)
        lacks = [
            (resource, needed) for resource, needed in resources(engine).items() if needed > resources(own)[resource]
        ]
        if not lacks:
            return engine
        resource, needed = lacks[0]
        way_out = f"choose a smaller array or narrower words, the engine of {board.name} takes no more"
        refusal = CapacityError(resource, needed, resources(own)[resource], way_out)
    assert refusal is not None
    raise refusal


def _share(own: Target, rows: int, columns: int, data_width: int, factor_width: int, share: float) -> Target:
    deepest = costs.deepest(own.build.technology)

    def words(before: int, bits_before: int, bits: int, most: int = LARGEST_MEMORY) -> int:
        return max(2, min(most, deepest, int(share * before * bits_before / bits)))

    lanes = own.columns * own.data_width, columns * data_width
    banks, bank_words = own.banks, own.bank_words
    if own.build.technology is Technology.ICE40 and own.single_port:  # SPRAMs have one depth, and one width
        banks = max(2, banks * own.columns // columns)
    else:
        bank_words = 1 << words(bank_words, *lanes, LARGEST_SCRATCHPAD // banks).bit_length() - 1
    return replace(
        own,
        name=f"{own.name}-{rows}x{columns}-{factor_width}-{data_width}",
        rows=rows,
        columns=columns,
        data_width=data_width,
        factor_width=factor_width,
        banks=banks,
        bank_words=bank_words,
        factor_words=words(own.factor_words, own.rows * own.factor_width, rows * factor_width),
        result_words=words(own.result_words, *lanes),
        bias_words=words(own.bias_words, *lanes),
        input_lanes=1 if own.input_lanes == 1 else columns,
        build=replace(own.build, pinned=own.build.pinned and (rows, columns) == (own.rows, own.columns)),
    )


@cache
def resources(target: Target) -> dict[Resource, int]:
    """Multipliers and memories that an engine takes of its part."""
    engine = costs.engine(target)
    return {
        Resource.MULTIPLIERS: engine.multipliers,
        Resource.BLOCK_RAMS: engine.block_rams,
        Resource.SPRAMS: engine.sprams,
    }


def tree_text(spec: LSTMSpec) -> str:
    """The dimension tree of a model, as in ((1 2) (3 4))."""
    return _shown(ht_tree(spec.network).split)


def _shown(split: Split) -> str:
    return str(split) if isinstance(split, int) else f"({_shown(split[0])} {_shown(split[1])})"


@cache
def _splits(order: int) -> list[tuple[str, Split]]:
    """Every dimension tree of some modes, by its text."""

    def over(first: int, last: int) -> Iterator[Split]:
        if first == last:
            yield first
        for middle in range(first, last):
            for left in over(first, middle):
                for right in over(middle + 1, last):
                    yield left, right

    return [(_shown(split), split) for split in over(1, order)]


def _divisors(number: int) -> list[int]:
    return [k for k in range(1, number + 1) if number % k == 0]
