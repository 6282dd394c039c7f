"""Schemas of what the commands print with `--json`, in docs/results/outputs.json.

FDHT_OUTPUTS=build/outputs .venv/bin/pytest tests/fdht      keeps what the tests make commands print
.venv/bin/python -m docs.outputs build/outputs              draws the schemas from it

Without FDHT_OUTPUTS the same tests hold what is printed against the schemas.
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
    return json.loads(OUTPUTS.read_text())


def unlike(command: str, output: Any) -> list[str]:
    """Where an output is none of the command's schema; nothing if there is no such place."""
    validator = Draft202012Validator(schemas()[command])
    return [f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(output)]


def look_at(command: str, output: Any) -> None:
    """Keeps an output, if there is a folder for it; otherwise it must follow the schema."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        wrong = unlike(command, output) if command in schemas() else [f"fdht {command} --json has no schema"]
        assert not wrong, f"{wrong}; if that is meant: docs/outputs.py draws the schemas anew"
        return
    Path(folder).mkdir(parents=True, exist_ok=True)
    with open(Path(folder) / f"{os.getpid()}.jsonl", "a") as file:
        file.write(json.dumps({"command": command, "output": output}) + "\n")


def main(folder: Path) -> None:
    outputs: dict[str, list] = {}
    for file in sorted(folder.iterdir()):
        for line in file.read_text().splitlines():
            kept = json.loads(line)
            outputs.setdefault(kept["command"], []).append(kept["output"])
    drawn = {name: schema_of(outputs[name]) for name in sorted(outputs)}
    OUTPUTS.write_text(json.dumps(drawn, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
