"""The site: every page has its place, what is generated says what the code says, nothing is loaded from elsewhere."""

import json
import re
import subprocess
import sys

import pytest

from docs import outputs, reference, website
from fdht.cli import COMMANDS, main

ROOT = website.ROOT


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    website.stage(folder)
    return folder


def test_every_page_of_the_repository_is_in_the_site(sources):
    """Sphinx refuses a page without a place in a table of contents; here none is left out of its sources."""
    pages = {str(page.relative_to(ROOT)) for page in website_pages()}
    staged = {str(page.relative_to(sources)) for page in sources.rglob("*.md")}
    assert pages - staged == {"README.md"} and "index.md" in staged
    home = (sources / "index.md").read_text()
    for caption in website.contents(website.CONTENTS):
        assert f":caption: {caption}\n" in home


def website_pages():
    from tests.test_pages import PAGES

    return PAGES


def test_staging_again_touches_nothing_and_removes_what_is_gone(sources):
    before = {path: path.stat().st_mtime_ns for path in sources.rglob("*.md")}
    (sources / "old.md").write_text("# Old")
    website.stage(sources)
    assert {path: path.stat().st_mtime_ns for path in sources.rglob("*.md")} == before


def test_links_to_the_main_readme_lead_to_the_first_page(tmp_path):
    page = ROOT / "docs" / "none.md"
    text = (
        "[a](../README.md) [b](../README.md#results) [c](README.md) [d](../hw/README.md) [e](https://x.org/README.md)"
    )
    read = type("Page", (), {"read_text": lambda self: text, "parent": page.parent})()
    assert website.sited(read) == (
        "[a](../index.md) [b](../index.md#results) [c](README.md) [d](../hw/README.md) [e](https://x.org/README.md)"
    )


@pytest.mark.parametrize(
    ("page", "wrong"),
    [
        ('<script src="https://cdn.example.org/x.js"></script>', "loads https://cdn.example.org/x.js"),
        ('<link rel="stylesheet" href="//fonts.example.org/a.css">', "loads //fonts.example.org/a.css"),
        ('<img src="http://example.org/a.png">', "loads http://example.org/a.png"),
        ("@import url(https://example.org/a.css);", "loads https://example.org/a.css"),
        ('<a href="https://exa mple/">', "links https://exa mple/"),
        ('<a href="https:///nowhere">', "links https:///nowhere"),
    ],
)
def test_a_page_that_needs_the_network_or_links_nothing_is_noticed(page, wrong):
    assert website.wrong_addresses(page) == [wrong]


def test_a_page_that_links_elsewhere_is_right():
    page = (
        '<a href="https://www.example.org/a?b=c#d">x</a><img src="_images/a.png"><script src="_static/a.js"></script>'
    )
    assert website.wrong_addresses(page) == []


def test_the_page_of_the_command_line_has_every_option():
    page = reference.command_line()
    for command in COMMANDS:
        section = page.split(f"### fdht {command.name}\n")[1].partition("\n### ")[0]
        helped = (
            subprocess.run(
                [sys.executable, "-c", f"from fdht.cli import main; main([{command.name!r}, '--help'])"],
                capture_output=True,
                text=True,
                cwd=ROOT,
            ).stdout
            if command.name in ("synth", "simulate")
            else ""
        )
        assert set(re.findall(r"(?<![\w-])--[a-z][\w-]*(?= |,|$)", helped)) - {"--help"} <= set(
            re.findall(r"--[a-z][\w-]*", section)
        ), command.name
        assert "`--json`" in section or "--json" not in helped


def test_the_reference_has_the_public_names_and_imports_nothing():
    program = "import sys\nfrom docs.reference import pages\npages()\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "False\n"
    page = reference.python()
    assert all(f"`{name} <" in page for name in reference.PUBLIC)
    assert "{py:function} balanced_tree(order: int, rank: int | Mapping[str, int])" in reference.modules("spec")


def test_a_docstring_becomes_markdown():
    text = "One *line* with `code_of`.\n\nArgs:\n    a, b: two.\n        more.\n\nExample:\n    f(a)\n"
    assert reference.markdown(text) == (
        "One \\*line\\* with `code_of`.\n\n**Args**\n\n- `a, b`: two.\n  more.\n  \n\n\n```python\nf(a)\n```"
    )


def test_output_of_another_shape_is_noticed(monkeypatch):
    monkeypatch.setattr(outputs, "schemas", lambda: {"some": outputs.schema_of([{"a": 1, "b": None}, {"a": 2.5}])})
    assert outputs.unlike("some", {"a": 3}) == []
    for wrong in ({"b": None}, {"a": "3"}, [1]):
        assert len(outputs.unlike("some", wrong)) == 1


def test_schemas_are_drawn_from_what_was_kept(monkeypatch, tmp_path):
    monkeypatch.setenv(outputs.VARIABLE, str(tmp_path / "kept"))
    outputs.keep("some", {"a": 1})
    outputs.keep("some", {"a": 1, "b": "x"})
    monkeypatch.setattr(outputs, "OUTPUTS", tmp_path / "outputs.json")
    monkeypatch.setattr(outputs, "schemas", lambda: {"older": {}})
    outputs.main(tmp_path / "kept")
    drawn = json.loads((tmp_path / "outputs.json").read_text())
    assert drawn["some"]["required"] == ["a"] and set(drawn["some"]["properties"]) == {"a", "b"}
    assert "older" in drawn


@pytest.mark.parametrize("line", ["synth --list", "doctor", "data digits"])
def test_what_commands_print_follows_their_schemas(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = line.split()
    main([*words, "--json"])
    assert outputs.unlike(words[0], json.loads(capsys.readouterr().out)) == []


def test_schemas_are_of_commands():
    assert outputs.schemas().keys() <= {command.name for command in COMMANDS} and len(outputs.schemas()) > 10
