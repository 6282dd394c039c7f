"""Plans for people: the stage list of a bundle, why it is as it is, and how an image fills its target."""

from dataclasses import asdict
from math import prod

from fdht.compiler.explain import Explanation, fill, order_text
from fdht.compiler.image import Image
from fdht.compiler.pace import cycles_per_step, step_ends, whole
from fdht.compiler.schedule import Contraction
from fdht.console import Output, percent
from fdht.spec.bundle import Bundle
from fdht.spec.instructions import Segment
from fdht.spec.target import Target


def stage_rows(bundle: Bundle) -> list[dict]:
    """One record per stage, chain by chain: what is merged, its sizes, MACs and formats."""
    every = [
        (chain.layer, chain.network, number, stage, formats)
        for chain, of_chain, of_formats in zip(bundle.chains, bundle.stages, bundle.formats.chains, strict=True)
        for number, (stage, formats) in enumerate(zip(of_chain, of_formats, strict=True))
    ]
    return [
        {
            "layer": layer,
            "stage": number,
            "factors": list(stage.factors),
            "rows": prod(network.shape(stage.rows)),
            "k": prod(network.shape(stage.reduction)),
            "columns": prod(network.shape(stage.columns)),
            "batch": prod(network.shape(stage.batch)),
            "macs": stage.macs(network),
            "weights": prod(network.shape(stage.weight)),
            "weight_format": str(formats.weight),
            "result_format": str(formats.result),
        }
        for layer, network, number, stage, formats in every
    ]


def stage_table(output: Output, bundle: Bundle) -> None:
    """The stage list as a table."""
    columns = (
        "layer",
        "stage",
        "absorbs",
        "rows",
        "K",
        "columns",
        "batch",
        "MACs",
        "weights",
        "weight format",
        "result format",
    )
    rows = stage_rows(bundle)
    output.table(
        f"Stage list: {bundle.macs:,} multiplications per step, zeros of the data tensor included",
        columns,
        [(row["layer"], row["stage"], " ∘ ".join(row["factors"]), *list(row.values())[3:]) for row in rows],
    )


def figures(explanation: Explanation) -> dict:
    """The explanation for `--json`."""
    return asdict(explanation)


def report(output: Output, explanation: Explanation, target: Target) -> None:
    """The explanation as tables."""
    x = explanation
    columns = ("layer", "stage", "absorbs", "batch", "rows", "K", "columns", "lanes", "tiles", "MACs", "cycles", "used")
    rows = [
        (
            stage.layer,
            stage.stage,
            " ∘ ".join(stage.factors),
            stage.batch,
            stage.rows,
            stage.k,
            stage.columns,
            _lanes(*stage.lanes),
            stage.tiles,
            stage.macs,
            stage.cycles,
            percent(stage.utilisation),
        )
        for stage in x.stages
    ]
    output.table(f"Plan for {target.name}: rows × K × columns on {target.rows} × {target.columns}", columns, rows)
    facts: dict[str, object] = {
        "tiles": x.tiling,
        "cycles per step, in steady state": f"{x.cycles:,g}, of which the array is fed {x.array_cycles:,}",
        "utilisation": f"{percent(x.utilisation)} of {target.multipliers} multipliers by {x.macs:,} useful MACs",
        "efficiency": f"{percent(x.efficiency)}, by the {x.fewest:,} MACs of the leanest order",
    }
    if x.excess:
        facts["more MACs than the fewest"] = x.excess
    output.facts("A step", facts)
    others = [
        (
            "; ".join(order_text(stage_list) for stage_list in other.stage_lists),
            other.tiling,
            None if other.cycles is None else f"{other.cycles:,g}",
            other.reason,
        )
        for other in x.runners_up
    ]
    if others:
        title = f"What came next, of {x.considered} stage lists looked at"
        output.table(title, ("order", "tiles", "cycles", "why not"), others)
    blocks = [
        (block.memory, _banks(block.banks), block.first, block.first + block.words - 1, block.words, block.content)
        for block in x.memory
    ]
    output.table("What lies where", ("memory", "banks", "first", "last", "words", "content"), blocks)
    report_fill(output, x.fill)


def report_fill(output: Output, filled: dict[str, tuple[int, int]]) -> None:
    """How full each memory is."""
    rows = [(name, used, of, percent(used / of)) for name, (used, of) in filled.items()]
    output.table("Memories", ("memory", "words used", "of", "share"), rows)


def _lanes(source: str | None, result: str | None) -> str:
    names = [lane or "-" for lane in (source, result)]
    return names[0] if source == result else " → ".join(names)


def _banks(banks: tuple[int, int] | None) -> str:
    return "" if banks is None else str(banks[0]) if banks[0] == banks[1] else f"{banks[0]}–{banks[1]}"


def image_figures(image: Image) -> dict:
    """What an image's programs say: cycles per step (of several streams those of a round, shared by all), contractions
    and how full the memories are.
    """
    programs, target = image.machine.programs, image.target
    cycles = whole(cycles_per_step(step_ends(programs, target)) / max(image.streams, 1))
    contractions = []
    for number, instruction in enumerate(programs[Segment.ARRAY_PROGRAM]):
        work, rows = Contraction(instruction, target), instruction["rows"] + 1
        columns = len(work.data_addresses) // -(-rows // target.rows)
        contractions.append(
            {"instruction": number, "rows": rows, "k": work.depth, "words": columns, "cycles": work.busy}
        )
    return {
        "cycles_per_step": cycles,
        "utilisation": image.macs / (image.target.multipliers * cycles),
        "contractions": contractions,
        "fill": fill(programs, target),
    }


def report_image(output: Output, figures: dict) -> None:
    """The tables of an image's programs."""
    columns = ("contraction", "rows", "K", "words of data", "cycles")
    output.table("Contractions of a step, and the head", columns, [list(c.values()) for c in figures["contractions"]])
    report_fill(output, figures["fill"])
