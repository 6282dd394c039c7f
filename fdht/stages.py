"""The stage list of a bundle, as figures and as a table."""

from math import prod

from fdht.console import Output
from spec.bundle import Bundle


def stage_rows(bundle: Bundle) -> list[dict]:
    """One record per stage: what is merged, its sizes, MACs and formats."""
    network = bundle.spec.network
    return [
        {
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
        for number, (stage, formats) in enumerate(zip(bundle.stages, bundle.formats.stages, strict=True))
    ]


def stage_table(output: Output, bundle: Bundle) -> None:
    columns = ("stage", "absorbs", "rows", "K", "columns", "batch", "MACs", "weights", "weight format", "result format")
    rows = stage_rows(bundle)
    output.table(
        f"Stage list: {bundle.macs:,} multiplications per step",
        columns,
        [(row["stage"], " ∘ ".join(row["factors"]), *list(row.values())[2:]) for row in rows],
    )
