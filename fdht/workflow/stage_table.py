"""The stage list of a bundle, as figures and as a table."""

from math import prod

from fdht.console import Output
from fdht.spec.bundle import Bundle


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
