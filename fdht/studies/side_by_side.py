"""`fdht compare --results`: float model, golden model and RTL on the same clips, as rows of results."""

from dataclasses import replace

import numpy as np

from fdht.spec.bundle import Bundle
from fdht.spec.errors import SpecError
from fdht.spec.target import Target
from fdht.studies.accuracy import Row, hits, sizes
from fdht.workflow.comparison import ClipRun
from fdht.workflow.golden_vectors import golden_classes

STUDY = "presets"
"""The study that these rows belong to."""


def rows(bundle: Bundle, target: Target, runs: list[ClipRun]) -> list[Row]:
    """What float model, golden model and RTL make of the bundle's clips, for the file of results.

    Raises:
        SpecError: a bundle that does not note what it was trained on.
    """
    about, classes = bundle.about, np.array(bundle.about.get("float_classes", []))
    if len(classes) != len(bundle.clips) or not {"data", "clips", "seed", "preset"} <= about.keys():
        raise SpecError(
            "the bundle does not note its training and the float model's classes; compile the checkpoint anew"
        )
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


def bits(bundle: Bundle) -> str:
    """Widths of factors and activations, as rows of results have them."""
    return f"{max(stage.weight.width for stage in bundle.formats.stages)}/{bundle.formats.gate.hidden.width}"
