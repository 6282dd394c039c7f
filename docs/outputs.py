"""Schemas of what the commands print with `--json`, in docs/results/outputs.json.

FDHT_OUTPUTS=build/outputs .venv/bin/pytest tests/fdht      keeps what the tests make commands print
.venv/bin/python -m docs.outputs build/outputs              draws the schemas from it

More output makes a schema wider: a type that no test has made a command print is not in it.
"""

import json
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

from genson import SchemaBuilder
from jsonschema import Draft202012Validator

OUTPUTS = Path(__file__).parent / "results" / "outputs.json"

VARIABLE = "FDHT_OUTPUTS"
"""Environment variable that names a folder in which output is kept."""

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_of(outputs: list) -> dict:
    """A JSON schema that all of some outputs follow."""
    builder = SchemaBuilder(schema_uri=DIALECT)
    for output in outputs:
        builder.add_object(output)
    return builder.to_schema()


@cache
def schemas() -> dict[str, dict]:
    """Of each command's output, by its name."""
    return json.loads(OUTPUTS.read_text()) if OUTPUTS.exists() else {}


def unlike(command: str, output: Any) -> list[str]:
    """Where an output is none of the command's schema; nothing if there is no such place."""
    validator = Draft202012Validator(schemas()[command])
    return [f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(output)]


def keep(command: str, output: Any) -> None:
    """Keeps an output, if there is a folder for it."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        return
    Path(folder).mkdir(parents=True, exist_ok=True)
    with open(Path(folder) / f"{os.getpid()}.jsonl", "a") as file:
        file.write(json.dumps({"command": command, "output": output}) + "\n")


def main(folder: Path) -> None:
    """Draws the schemas anew; a command of which nothing was kept has the one it had."""
    outputs: dict[str, list] = {}
    for file in sorted(folder.iterdir()):
        for line in file.read_text().splitlines():
            kept = json.loads(line)
            outputs.setdefault(kept["command"], []).append(kept["output"])
    drawn = dict(sorted((schemas() | {name: schema_of(those) for name, those in outputs.items()}).items()))
    OUTPUTS.write_text(json.dumps(drawn, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
