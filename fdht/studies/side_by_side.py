"""`fdht compare --results`: float model, golden model and RTL on the same clips, as rows of results."""

from dataclasses import replace

import numpy as np

from fdht.spec.bundle import Bundle
from fdht.spec.errors import SpecError
from fdht.spec.target import Target
from fdht.spec.task import only_classes
from fdht.studies.accuracy import Row, hits, sizes
from fdht.workflow.comparison import ClipRun
from fdht.workflow.golden_vectors import golden_classes

STUDY = "presets"
"""The study that these rows belong to."""


def rows(bundle: Bundle, target: Target, runs: list[ClipRun]) -> list[Row]:
    """What float model, golden model and RTL make of the bundle's clips, for the file of results.

    Raises:
        SpecError: see `check`.
    """
    check(bundle)
    about, classes = bundle.about, np.array(bundle.about["float_classes"])
    floating = Row(
        study=STUDY,
        data=about["data"],
        clips=about["clips"],
        seed=about["seed"],
        qat="trained_on" in about,
        recipe=about["preset"],
        **sizes(*bundle.layers),
        **hits(classes == bundle.labels),
    )
    integers = replace(floating, bits=bits(bundle), target=target.name)
    golden, simulated = golden_classes(bundle) == bundle.labels, np.array([run.rtl == run.label for run in runs])
    return [
        floating,
        replace(integers, model="golden", **hits(golden)),
        replace(integers, model="rtl", **hits(simulated)),
    ]


def check(bundle: Bundle) -> None:
    """Refuses a bundle of which there is no row.

    Raises:
        SpecError: it is for another task than classes of clips, or notes no training or no classes of the float model.
    """
    about = bundle.about
    only_classes("fdht compare --results", str(about.get("data", "this bundle")), bundle.spec.task)
    if not {"data", "clips", "seed", "preset"} <= about.keys():
        raise SpecError("rows of results tell trainings apart; the bundle of a module of your own notes none")
    if len(about.get("float_classes", [])) != len(bundle.clips):
        raise SpecError("the bundle does not note the float model's classes; compile the checkpoint anew")


def bits(bundle: Bundle) -> str:
    """Widths of factors and activations, as rows of results have them."""
    return f"{max(stage.weight.width for stage in bundle.formats.stages)}/{bundle.formats.gate.hidden.width}"
