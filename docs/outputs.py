"""Schemas of what the commands print with `--json`, in docs/results/outputs.json.

FDHT_OUTPUTS=build/outputs .venv/bin/pytest tests/fdht      every JSON that a test reads is also kept there
.venv/bin/python -m docs.outputs build/outputs              draws the schemas from them
"""

import json
import sys
from pathlib import Path

from genson import SchemaBuilder

OUTPUTS = Path(__file__).parent / "results" / "outputs.json"

MOST_NAMES = 24
"""Properties of an object that are fields; one with more is a table, whose names are data."""


def schema_of(outputs: list) -> dict:
    """A JSON schema that all of some outputs follow."""
    builder = SchemaBuilder(schema_uri=None)
    for output in outputs:
        builder.add_object(output)
    return builder.to_schema()


def main(folder: Path) -> None:
    outputs: dict[str, list] = {}
    for file in sorted(folder.iterdir()):
        for line in file.read_text().splitlines():
            kept = json.loads(line)
            outputs.setdefault(kept["command"], []).append(kept["output"])
    schemas = {name: schema_of(outputs[name]) for name in sorted(outputs)}
    OUTPUTS.write_text(json.dumps(schemas, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
