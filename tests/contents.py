"""What is in a file, whether it is right or not, for tests that change it."""

import json
from pathlib import Path

import numpy as np
from safetensors import safe_open


def contents(path: Path) -> tuple[str, dict, dict[str, np.ndarray]]:
    """Kind, description and arrays of a file as `fdht.spec.container.write` wrote them."""
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    return metadata["kind"], json.loads(metadata["description"]), arrays
