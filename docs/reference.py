"""The pages of the site that are generated from the code, and lie nowhere in the repository: commands, JSON, Python.

Each function gives a page as text in MyST Markdown. `docs/website.py` writes them into the site's sources.
"""

import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from itertools import takewhile
from pathlib import Path
from textwrap import dedent
from typing import Any

import griffe
import typer

from docs.outputs import OUTPUTS
from fdht import _HOME
from fdht import __all__ as PUBLIC
from fdht.cli import COMMANDS, app

ROOT = Path(__file__).parent.parent
ROOMS = ("fdht", "spec", "model", "compiler", "hw", "host", "sim", "boards")


def pages() -> dict[str, str]:
    """Every generated page by its path in the site's sources."""
    rooms = {f"reference/modules/{room}.md": modules(room) for room in ROOMS}
    return {
        "reference/command-line.md": command_line(),
        "reference/json.md": json_outputs(),
        "reference/python.md": python(),
    } | rooms


def command_line() -> str:
    """All commands with their options, from the very declarations that the command line is made of."""
    group: Any = typer.main.get_command(app)
    lines = [
        "# The command line",
        "",
        group.help.replace("\n\n", "\x00").replace("\n", " ").replace("\x00", "\n\n"),
        "",
    ]
    lines += ["Exit codes: 0; 1 for an error; 2 for wrong usage; 130 when interrupted.", ""]
    for panel in dict.fromkeys(each.panel for each in COMMANDS):
        lines += [f"## {panel}", ""]
        for each in (each for each in COMMANDS if each.panel == panel):
            lines += [*_command(each.name, group.commands[each.name]), ""]
    return "\n".join(lines)


def _command(name: str, command: Any) -> Iterator[str]:
    arguments = [each for each in command.params if not each.opts[0].startswith("-")]
    options = [each for each in command.params if each.opts[0].startswith("-") and not each.hidden]
    usage = " ".join(_metavar(each) if each.required else f"[{_metavar(each)}]" for each in arguments)
    yield f"### fdht {name}"
    yield ""
    yield command.help.replace("\n\n", "\x00").replace("\n", " ").replace("\x00", "\n\n")
    yield ""
    yield f"    fdht {name} [OPTIONS] {usage}".rstrip()
    yield ""
    if arguments:
        yield from _listed("Arguments", [(f"`{each.name}`", each) for each in arguments])
    for panel in dict.fromkeys(each.rich_help_panel for each in options):
        named = [each for each in options if each.rich_help_panel == panel]
        rows = [(", ".join(f"`{text}`" for text in (*each.opts, *each.secondary_opts)), each) for each in named]
        yield from _listed(panel or "Options", rows)
    if command.epilog:
        yield "```console"
        yield from (f"$ {example}" for example in command.epilog.removeprefix("Examples: ").split(" · "))
        yield "```"


def _metavar(parameter: Any) -> str:
    return parameter.metavar or parameter.name.upper()


def _listed(head: str, rows: list[tuple[str, Any]]) -> Iterator[str]:
    """A heading in bold, and a line for each argument or option: names, value, default, what it does."""
    yield from [f"**{head}**", ""]
    for name, each in rows:
        flag = getattr(each, "is_flag", False)
        kind = "" if flag else f" `{each.metavar}`" if each.metavar else f" *{_kind(each.type_descriptor.annotation)}*"
        shown = each.show_default and not flag and each.default not in (None, "", ()) and not callable(each.default)
        default = f" (default `{each.default}`)" if shown else ""
        yield f"- {name}{kind}{default}: {_cell(each.help or '')}"
    yield ""


def _kind(annotation: Any) -> str:
    return getattr(annotation, "__name__", str(annotation)).replace("|", "or")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("[", "\\[").replace("\n", " ").replace("*", "\\*").replace("<", "\\<")


def json_outputs() -> str:
    """What each command prints with `--json`, as schemas."""
    schemas = json.loads(OUTPUTS.read_text())
    lines = [
        "# What `--json` prints",
        "",
        "With `--json` a command prints one JSON object or one list on stdout, and all else on stderr. These are the",
        "schemas (JSON Schema) of what they print, drawn from real output. A field that is not `required` depends on",
        "the options or on what there is to say; a field may be null, or of a type, that no such output has shown.",
        "",
    ]
    for name, schema in schemas.items():
        lines += [f"## fdht {name} --json", "", "```json", json.dumps(schema, indent=2), "```", ""]
    return "\n".join(lines)


def python() -> str:
    """The public names of `fdht`, each from the module where it is at home, and the list of modules."""
    lines = [
        "# Python",
        "",
        "What `from fdht import ...` gives; each name is loaded when it is first used:",
        "",
        "| name | what it is |",
        "|---|---|",
    ]
    for name in PUBLIC:
        module = _HOME[name].split(".")
        room = module[1] if module[1] in ROOMS else "fdht"
        within = module[2:] if room != "fdht" else module[1:]
        summary = _first_line(_package(room)[".".join((*within, name))])
        lines.append(f"| {{py:obj}}`{name} <{_HOME[name]}.{name}>` | {_cell(summary)} |")
    lines += ["", "The modules, room by room:", ""]
    lines += [f"- [fdht{'' if room == 'fdht' else '.' + room}](modules/{room}.md)" for room in ROOMS]
    return "\n".join([*lines, "", "```{toctree}", ":hidden:", "", *(f"modules/{room}" for room in ROOMS), "```", ""])


def modules(room: str) -> str:
    """The modules of a room, with what their docstrings promise. Nothing is imported."""
    name = "fdht" if room == "fdht" else f"fdht.{room}"
    lines = [
        f"# {name}",
        "",
        f"From the docstrings. What the parts are for says [the README](../../{room}/README.md).",
        "",
    ]
    return "\n".join([*lines, *_module(name, _package(room))])


@cache
def _package(room: str) -> griffe.Module:
    package = griffe.load(room, search_paths=[ROOT], allow_inspection=False)
    assert isinstance(package, griffe.Module)
    return package


def _module(name: str, module: griffe.Module) -> Iterator[str]:
    if module.docstring:
        if "." in name.removeprefix("fdht."):
            yield from [f"## {name}", ""]
        yield from [f"```{{py:module}} {name}", "```", "", markdown(module.docstring.value), ""]
        for each in _members(module):
            if not each.is_module:
                yield from _object(each, 5)
    for _, each in sorted(module.members.items()):
        known = each.is_alias or each.name in (*ROOMS, "commands", "__main__")  # links to the rooms, the command line
        if isinstance(each, griffe.Module) and not known:
            yield from _module(f"{name}.{each.name}", each)


def _members(parent: griffe.Module | griffe.Class) -> list[griffe.Object]:
    """What is public, said in a docstring and at home here, in the order of the source."""
    own = [each for each in parent.members.values() if isinstance(each, griffe.Object)]
    own = [each for each in own if not each.name.startswith("_") and each.docstring]
    return sorted(own, key=lambda each: each.lineno or 0)


def _object(each: griffe.Object, ticks: int) -> Iterator[str]:
    """A directive of Sphinx's Python domain, in which its members lie."""
    fence, options, more = "`" * ticks, list[str](), list[str]()
    within = isinstance(each.parent, griffe.Class)
    match each:
        case griffe.Class():
            kind, signature = "class", _signature(each.parameters)
            more = [line for member in _members(each) for line in _object(member, ticks - 1)]
        case griffe.Function():
            kind, signature = "method" if within else "function", _signature(each.parameters, each.returns)
            options = [f":{label}:" for label in ("classmethod", "staticmethod") if label in each.labels]
        case griffe.Attribute() if "property" in each.labels:
            kind, signature = "property", ""
            options = [f":type: {_typed(each.annotation)}"] if each.annotation else []
        case _:
            kind, signature = "attribute" if within else "data", ""
            options = (
                [f":type: {_typed(each.annotation)}"] if isinstance(each, griffe.Attribute) and each.annotation else []
            )
    yield f"{fence}{{py:{kind}}} {each.name}{signature}"
    yield from options
    yield ""
    assert each.docstring
    yield markdown(each.docstring.value)
    yield ""
    yield from more
    yield fence
    yield ""


def _signature(parameters: griffe.Parameters, returns: Any = None) -> str:
    given, star = list[str](), False
    for each in parameters:
        kind = each.kind
        if each.name in ("self", "cls") and not given:
            continue
        if kind is griffe.ParameterKind.keyword_only and not star:
            given.append("*")
        star = star or kind in (griffe.ParameterKind.keyword_only, griffe.ParameterKind.var_positional)
        stars = {griffe.ParameterKind.var_positional: "*", griffe.ParameterKind.var_keyword: "**"}.get(kind, "")
        typed = f": {_typed(each.annotation)}" if each.annotation else ""
        default = f" = {each.default}" if each.default is not None and not stars else ""
        given.append(f"{stars}{each.name}{typed}{default}")
    return f"({', '.join(given)})" + (f" -> {_typed(returns)}" if returns else "")


def _typed(annotation: Any) -> str:
    """An annotation with the whole names of what is fdht's, so that it leads there; Sphinx shows the last part."""
    if not isinstance(annotation, griffe.Expr):
        return str(annotation)
    parts = list[str]()
    for part in annotation.iterate(flat=True):
        path = part.canonical_path if isinstance(part, griffe.ExprName) else ""
        if path.partition(".")[0] in ROOMS and path != "fdht":
            parts.append(path if path.startswith("fdht.") else f"fdht.{path}")
        else:
            parts.append(str(part))
    return "".join(parts)


def markdown(text: str) -> str:
    """A docstring as Markdown: what stands indented below a line that ends in a colon becomes a list, examples code."""
    lines, found = text.splitlines(), list[str]()
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        if not (line.rstrip().endswith(":") and at < len(lines) and _indent(lines[at]) > _indent(line)):
            found.append(_escaped(line.strip()))
            continue
        block = list(takewhile(_deeper_than(_indent(line)), lines[at:]))
        at += len(block)
        head = line.strip().removesuffix(":")
        depth = min(_indent(each) for each in block if each.strip())
        if head in ("Example", "Examples"):
            found += ["", "```python", dedent("\n".join(block)).strip(), "```", ""]
            continue
        found += [f"**{head}**" if re.fullmatch("[A-Z][a-z]+", head) else _escaped(f"{head}:"), ""]
        for each in block:
            text_of = _escaped(each.strip())
            name = re.match(r"((?:\*{0,2}\w+, )*\*{0,2}[\w.]+): ", each.strip())
            named = f"`{name[1]}`: {_escaped(each.strip()[name.end() :])}" if name else text_of
            found.append(f"- {named}" if each.strip() and _indent(each) == depth else f"  {text_of}")
        found.append("")
    return "\n".join(found).strip()


def _deeper_than(indent: int) -> Callable[[str], bool]:
    return lambda line: not line.strip() or _indent(line) > indent


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _escaped(line: str) -> str:
    """A line of a docstring, in which only backticks mark anything."""
    parts = line.split("`")
    return "`".join(
        part if number % 2 else re.sub(r"([\\*_<\[\]{}#|~])", r"\\\1", part) for number, part in enumerate(parts)
    )


def _first_line(each: Any) -> str:
    return each.docstring.value.splitlines()[0] if each.docstring else ""
