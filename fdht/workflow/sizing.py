"""`fdht fit`: the smallest and the fastest engine for a board or a part that run one model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fdht.boards.fullness import KINDS, Ground
from fdht.compiler.arithmetic import fewest_macs
from fdht.compiler.explain import fill
from fdht.compiler.planner import Way, candidates, fitting_ways
from fdht.compiler.resolved import resolve
from fdht.console import Output, percent
from fdht.spec import container, costs
from fdht.spec.bundle import Bundle
from fdht.spec.container import write_whole
from fdht.spec.costs import Resources
from fdht.spec.errors import CapacityError, FileError, Resource, SpecError
from fdht.spec.lstm import LSTMSpec
from fdht.spec.stages import StageLists
from fdht.spec.target import LARGEST_MEMORY, LARGEST_SCRATCHPAD, Target

ROWS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32)
COLUMNS = (1, 2, 4, 8, 16)
"""Arrays that are looked at, beside the board's own."""

MOST_PROGRAM = 1 << 12
"""Words of a program memory that is larger than any model needs."""

SHALLOWEST = 256
"""Words that any block RAM holds; the depth of every one is a multiple."""

SHARES = (1.0, 0.5, 0.25)
"""Of the factor words that the fastest plan takes: with fewer there are slower ones, whose weights are merged less."""

FEWEST_BANKS = 2
"""Of a scratchpad; those of the board's own engine are tried, too."""

SMALLEST, FASTEST = "smallest", "fastest"


@dataclass(frozen=True, eq=False)
class Model:
    """A model, as an engine sees it.

    Attributes:
        name: for people, and for the names of engines.
        layers: what is to be run.
        stage_lists: the order of contraction that its integers were made for; None where the planner may choose.
        data_width, factor_width, input_width: bits that it was made for; None: those of the board's own engine.
    """

    name: str
    layers: tuple[LSTMSpec, ...]
    stage_lists: StageLists | None = None
    data_width: int | None = None
    factor_width: int | None = None
    input_width: int | None = None

    def way(self, target: Target) -> Way:
        """How an engine runs it.

        Raises:
            CapacityError: it does not; says what lacks.
        """
        if self.stage_lists is None:
            return candidates(self.layers, target)[0].ways[0]
        return fitting_ways(resolve(self.layers, self.stage_lists, target))[0]

    def lacks(self, target: Target) -> str | None:
        """What an engine's widths lack, in words."""
        for name, bits, there in (
            ("data", self.data_width, target.data_width),
            ("factors", self.factor_width, target.factor_width),
            ("inputs", self.input_width, target.input_width),
        ):
            if bits is not None and (bits > there or (name == "data" and bits != there)):
                return f"{name} of {bits} bits"
        return None


@dataclass(frozen=True)
class Sized:
    """An engine for a model.

    Attributes:
        target: the engine. cycles: of a step; None if it does not run the model.
        takes: what the whole design takes of each kind; LUTs and flip-flops are predicted, or not there.
        size: the shares of the part that it takes, all kinds together.
        lacks: why it does not run it.
    """

    target: Target
    cycles: float | None
    takes: dict[str, int]
    size: float
    lacks: str | None = None


Blocks = Callable[[Target], Resources]
"""What a design with an engine takes of a part."""


def made_to_measure(model: Model, room: Target, blocks: Blocks) -> Target:
    """An engine with the memories that a model needs; see `cut`.

    Args:
        room: the engine with memories in which the model has room.

    Raises:
        CapacityError: it has none there.
    """
    used = fill(model.way(room).programs, room)
    if not _spram(room):
        room = replace(room, bank_words=min(room.bank_words, _bank_words(room, room.banks, used["scratchpad"][0])))
    return cut(replace(room, hidden=min(room.hidden, units(model.layers, room.gates))), model, blocks)


def cut(target: Target, model: Model, blocks: Blocks) -> Target:
    """An engine with memories of as many words as a model fills, rounded up to a power of two of at least SHALLOWEST
    as far as that takes no more block RAMs: addresses have the same bits, or a few more. So models like it run there,
    too.

    Args:
        target: has room for the model in all but the scratchpad, whose banks become twice as deep until it has.

    Raises:
        CapacityError: it does not run the model.
    """
    way, target = _in_scratchpad(target, model)
    used = {name: words for name, (words, _) in fill(way.programs, target).items()}
    programs = max(words for name, words in used.items() if name.endswith("program"))
    target = replace(
        target,
        factor_words=max(2, used["factors"]),
        result_words=max(2, used["results"]),
        bias_words=max(2, used["biases"]),
        program_words=max(16, programs),
    )
    for name in ("factor_words", "result_words", "bias_words", "program_words", "hidden", "bank_words"):
        target = _filled_up(target, name, blocks)
    return target


def units(layers: Sequence[LSTMSpec], gates: int) -> int:
    """Hidden units that the gate unit of an engine for some layers counts, those of all its lanes."""
    return -(-max(sum(spec.hidden for spec in layers), layers[-1].classes) // gates) * gates


def _filled_up(target: Target, name: str, blocks: Blocks) -> Target:
    """An engine with the most words of a memory, up to the next power of two, that take no more blocks."""
    words: int = getattr(target, name)
    most = max(SHALLOWEST, 1 << (words - 1).bit_length())
    larger = (replace(target, **{name: size}) for size in range(min(most, LARGEST_MEMORY), words, -SHALLOWEST))
    return next((each for each in larger if blocks(each) == blocks(target)), target)


def _in_scratchpad(target: Target, model: Model) -> tuple[Way, Target]:
    """A way to run a model, in banks twice as deep until there is one."""
    while True:
        try:
            return model.way(target), target
        except CapacityError as error:
            deeper = 2 * target.bank_words
            lacks_room = error.resource is Resource.SCRATCHPAD_WORDS and not _spram(target)
            if not lacks_room or deeper > _deepest_bank(target, target.banks):
                raise
            target = replace(target, bank_words=deeper)


def _spram(target: Target) -> bool:
    """Whether the scratchpad is made of SPRAMs, which have one depth."""
    return costs.scratchpad(target).sprams > 0


def _bank_words(target: Target, banks: int, scratchpad: int) -> int:
    """Words of the smallest banks that hold a scratchpad together."""
    return min(max(2, 1 << (-(-scratchpad // banks) - 1).bit_length()), _deepest_bank(target, banks))


def _deepest_bank(target: Target, banks: int) -> int:
    most = min(LARGEST_SCRATCHPAD // banks, costs.deepest(target.build.technology))
    return 1 << most.bit_length() - 1


def find_model(name: str, factor_width: int | None) -> Model:
    """What the user has named: a bundle, a checkpoint, a preset or a project.

    Args:
        factor_width: bits of a factor, where the model does not say.

    Raises:
        SpecError, FileError: none of these; or a bundle, or a model that was trained on integers, with another width.
    """
    path = Path(name)
    if path.suffix not in (".toml", ".json") and (path.is_file() or path.suffix in (".bundle", ".checkpoint")):
        kind = container.kind_of(path)
        if kind == "bundle":
            return _widths_kept(_of_bundle(path), factor_width)
        if kind == "checkpoint":
            return _of_checkpoint(path, factor_width)
        raise FileError(f"{path} is an {kind}, made for one engine; name the bundle or the checkpoint it came from")
    from fdht.model.presets import find_preset

    preset = find_preset(name)
    return Model(preset.name, (preset.spec,), factor_width=factor_width)


def _of_bundle(path: Path) -> Model:
    bundle = Bundle.load(path)
    formats = bundle.formats
    weights = [stage.weight.width for stage in (*formats.stages, *([formats.head] if formats.head else []))]
    return Model(
        path.stem,
        bundle.layers,
        bundle.stage_lists,
        formats.gate.hidden.width,
        max(weights),
        formats.input.raw.width,
    )


def _of_checkpoint(path: Path, factor_width: int | None) -> Model:
    from fdht.model.checkpoint import load_checkpoint, stem  # torch takes seconds to load

    trained = load_checkpoint(path)
    name, inputs = stem(path), trained.model.input_format.raw.width
    if trained.quantisation is None:
        return Model(name, (trained.spec,), factor_width=factor_width, input_width=inputs)
    made = trained.quantisation.arithmetic
    model = Model(name, (trained.spec,), made.stage_lists, made.data_width, made.factor_width, inputs)
    return _widths_kept(model, factor_width)


def _widths_kept(model: Model, factor_width: int | None) -> Model:
    if factor_width not in (None, model.factor_width):
        raise SpecError(
            f"{model.name} has factors of {model.factor_width} bits already; leave out the width of {factor_width}"
        )
    return model


class Search:
    """Looks for engines for a ground that run a model and fill it no more than they may.

    Args:
        model: what is to be run. ground: gives the part, and all of an engine that is not searched: pipeline, loops,
            features.
        progress: told which array is looked at.

    Raises:
        SpecError: widths that no multiplier of the part takes.
    """

    def __init__(self, model: Model, ground: Ground, progress: Callable[[str], None] = lambda _: None):
        self.model, self.ground = model, ground
        self._progress, self._limits = progress, ground.limits
        own = ground.engine
        data_width, factor_width = model.data_width or own.data_width, model.factor_width or own.factor_width
        self._base = replace(
            own,
            name=f"{ground.name}-{model.name}"[:60],
            data_width=data_width,
            factor_width=factor_width,
            accumulator_width=max(own.accumulator_width, data_width + factor_width),
            input_width=max(own.input_width, model.input_width or 0),
            hidden=units(model.layers, own.gates),
        )
        self._most_words = costs.deepest(own.build.technology)
        self._kinds = tuple(ground.takes(own))  # of which all engines are known that are compared
        self._found: dict[tuple[int, int], list[Sized]] = {}
        self._nearest: CapacityError | None = None

    def arrays(self) -> list[tuple[int, int]]:
        """Rows and columns that are looked at, the fewest multipliers first.

        Where LUTs and flip-flops of the ground's own engine are predicted, those of which they are not are left out:
        nobody could say that they stay within the limits.
        """
        own = self.ground.engine
        beside = self.ground.blocks(own).multipliers - own.multipliers
        most = self._limits.get("multipliers", own.multipliers + beside) - beside
        every = {(rows, columns) for rows in (*ROWS, own.rows) for columns in (*COLUMNS, own.columns)}
        known = [
            each
            for each in every
            if each[0] * each[1] <= most and set(self._kinds) <= set(self.ground.takes(self._least(*each)))
        ]
        return sorted(known, key=lambda each: (each[0] * each[1], each))

    def smallest(self) -> Sized:
        """The engine that takes the least of the part.

        Raises:
            CapacityError: none runs the model.
        """
        best: Sized | None = None
        for array in self.arrays():
            if best is None or self._size(self._least(*array)) < best.size:
                best = min([*self._look(*array), *([best] if best else [])], key=lambda each: each.size, default=None)
        return self._or_refusal(best)

    def fastest(self) -> Sized:
        """The engine with the fewest cycles of a step; of equals the smallest.

        Raises:
            CapacityError: none runs the model.
        """
        fewest, _ = fewest_macs(self.model.layers)
        best: Sized | None = None
        for rows, columns in reversed(self.arrays()):
            if best is None or fewest <= rows * columns * (best.cycles or 0):
                every = [*self._look(rows, columns), *([best] if best else [])]
                best = min(every, key=lambda each: (each.cycles or 0, each.size), default=None)
        return self._or_refusal(best)

    def own(self) -> Sized:
        """The ground's own engine, whether it runs the model or not."""
        target = self.ground.engine
        lacks, cycles = self.model.lacks(target), None
        if lacks is None:
            try:
                cycles = self.model.way(target).cycles
            except CapacityError as error:
                lacks = error.named
        return Sized(target, cycles, self.ground.takes(target), self._size(target), lacks)

    def _or_refusal(self, best: Sized | None) -> Sized:
        if best is not None:
            return best
        way_out = (
            f"no engine on {self.ground.name} runs {self.model.name}, and this is what the nearest lacks: choose a "
            "larger part, lower ranks or fewer hidden units"
        )
        nearest = self._nearest or CapacityError(Resource.MULTIPLIERS, 1, 0, way_out)
        raise nearest.advising(way_out)

    def _look(self, rows: int, columns: int) -> list[Sized]:
        """Engines with an array, and with memories as large as the model needs: one for each of `SHARES` and each
        number of banks with which there is one that the part holds.
        """
        array = rows, columns
        if array not in self._found:
            self._progress(f"{rows} × {columns}")
            found = self._found[array] = list[Sized]()
            try:
                roomy = self._with(rows, columns, self._base.banks, self._most_words, LARGEST_SCRATCHPAD)
                used = fill(self.model.way(roomy).programs, roomy)
            except CapacityError as error:
                self._refused(error)
                return found
            for banks in dict.fromkeys((self._base.banks, FEWEST_BANKS)):
                for share in SHARES:
                    words = max(2, int(share * used["factors"][0]))
                    try:
                        found.append(self._cut(self._with(rows, columns, banks, words, used["scratchpad"][0])))
                    except CapacityError as error:
                        if error.resource is Resource.FACTOR_WORDS:  # of the share, not of the part
                            break
                        self._refused(error)
        return self._found[array]

    def _refused(self, error: CapacityError) -> None:
        def far(each: CapacityError) -> float:
            return each.needed / max(each.available, 1)

        if self._nearest is None or far(error) < far(self._nearest):
            self._nearest = error

    def _cut(self, target: Target) -> Sized:
        """The engine with the memories that the model needs.

        Raises:
            CapacityError: it does not run the model, or the part does not hold it.
        """
        target = cut(target, self.model, self.ground.blocks)
        takes = self.ground.takes(target)
        self.ground.check(takes, "choose a smaller model or a larger part")
        # Widths of addresses follow from these sizes, so it is planned once more for what it will be.
        return Sized(target, self.model.way(target).cycles, takes, self._size(target))

    def _with(self, rows: int, columns: int, banks: int, factor_words: int, scratchpad: int) -> Target:
        """An engine with an array and so many words, the smallest banks that hold them, and room in all else."""
        own, spram = self.ground.engine, _spram(self._base)
        if spram:
            banks = max(FEWEST_BANKS, min(banks, self._limits.get("sprams", banks * columns) // columns))
        bank_words = self._base.bank_words if spram else _bank_words(own, banks, scratchpad)
        return replace(
            self._base,
            rows=rows,
            columns=columns,
            banks=banks,
            bank_words=bank_words,
            factor_words=factor_words,
            result_words=self._most_words,
            bias_words=self._most_words,
            program_words=MOST_PROGRAM,
            input_lanes=1 if own.input_lanes == 1 else columns,
            build=replace(own.build, pinned=own.build.pinned and (rows, columns) == (own.rows, own.columns)),
        )

    def _least(self, rows: int, columns: int) -> Target:
        """The least that an engine with an array can be, for a bound."""
        small = self._with(rows, columns, FEWEST_BANKS, 2, 2)
        return replace(small, result_words=2, bias_words=2, program_words=16, hidden=1)

    def _size(self, target: Target) -> float:
        there = self.ground.available
        if not there:
            return float(target.multipliers)
        takes = self.ground.takes(target)
        return sum(takes[kind] / there[kind] for kind in self._kinds if there[kind])


def run(output: Output, model: Model, ground: Ground) -> tuple[dict, dict[str, Target]]:
    """Searches, and returns the figures for `--json` and the engines.

    Raises:
        CapacityError: no engine there runs the model.
    """
    with output.progress(f"engines on {ground.name} that run {model.name}") as advance:
        search = Search(model, ground, lambda array: advance(note=array))
        found = {ground.own: search.own(), SMALLEST: search.smallest(), FASTEST: search.fastest()}
    figures = {
        "model": model.name,
        "board": None if ground.clock_mhz is None else ground.name,
        "part": None if ground.part is None else ground.part.name,
        "clock_mhz": ground.clock_mhz,
        "available": ground.available,
        "limits": ground.limits,
        "routed": {} if ground.clock_mhz is None else ground.shares,
        "engines": [_figures(kind, each, search) for kind, each in found.items()],
    }
    return figures, {kind: each.target for kind, each in found.items()}


def _figures(kind: str, sized: Sized, search: Search) -> dict:
    ground, target = search.ground, sized.target
    there = ground.available
    shares = {name: taken / there[name] for name, taken in sized.takes.items() if there.get(name)}
    return {
        "engine": kind,
        "target": target.name,
        "rows": target.rows,
        "columns": target.columns,
        "data_width": target.data_width,
        "factor_width": target.factor_width,
        "cycles_per_step": sized.cycles,
        "steps_per_s": None
        if sized.cycles is None or ground.clock_mhz is None
        else 1e6 * ground.clock_mhz / sized.cycles,
        **dict.fromkeys(KINDS),
        **sized.takes,
        "shares": shares,
        "lacks": sized.lacks,
    }


def take(target: Target, file: Path) -> str:
    """Writes an engine for `--target`, named after the file.

    Raises:
        SpecError: a file whose name is no engine's.
    """
    if file.suffix != ".json":
        raise SpecError(f"{file} does not end in .json, and --target would take it for a name; call it NAME.json")
    write_whole(file, replace(target, name=file.stem).to_file())
    Target.read(file)  # what is taken must be what is read
    return str(file)


def report(output: Output, figures: dict) -> None:
    """The table of engines, and how full they make the part."""
    engines: Sequence[dict] = figures["engines"]
    columns = ("engine", "array", "bits", "cycles", "steps/s", *(name for _, name in KINDS.values()), "fullest")
    title = (
        f"{figures['model']} on {figures['board']}, at {figures['clock_mhz']:g} MHz; LUTs and flip-flops are predicted"
        if figures["board"]
        else f"{figures['model']} on the {figures['part']}; multipliers and block RAMs are predicted"
    )
    output.table(
        title,
        columns,
        [
            (
                each["engine"],
                f"{each['rows']} × {each['columns']}",
                f"{each['factor_width']}/{each['data_width']}",
                f"lacks {each['lacks']}" if each["lacks"] else f"{each['cycles_per_step']:,g}",
                None if each["steps_per_s"] is None else round(each["steps_per_s"]),
                *(each[kind] for kind in KINDS),
                _fullest(each["shares"]),
            )
            for each in engines
        ],
    )
    if "taken" in figures:
        output.say(f"{figures['taken']} has the {figures['taken_engine']}: fdht compile --target {figures['taken']}")


def _fullest(shares: dict[str, float]) -> str | None:
    if not shares:
        return None
    kind = max(shares, key=lambda name: shares[name])
    return f"{KINDS[kind][1]}, {percent(shares[kind])}"
