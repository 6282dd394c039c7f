"""The Python examples of the READMEs run, and print what stands behind them."""

import re
import sys

import pytest

from fdht.compiler.image import compile_bundle
from tests.test_pages import PAGES, ROOT


def examples(needs_files: bool) -> list:
    """Those that run in an empty folder, or those that want what `fdht train digits` and `fdht compile` leave.

    Without those that need a simulator of their own, or a board.
    """
    found = []
    for page in (page for page in PAGES if page.name == "README.md"):
        for number, code in enumerate(re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)):
            if ("build/" in code) is needs_files and not re.search("/dev/|simulate|Simulated", code):
                found.append(pytest.param(code, id=f"{page.relative_to(ROOT)}:{number}"))
    return found


def check(code: str) -> None:
    """Runs an example; what stands behind a print must begin with what it prints."""
    printed = {}
    names = {"__name__": "example", "print": lambda *values: printed.update({line(): " ".join(map(str, values))})}

    def line() -> int:
        return sys._getframe(2).f_lineno

    exec(compile(code, "example", "exec"), names)
    said = {
        n: text for n, each in enumerate(code.splitlines(), 1) for text in re.findall(r"^print\(.*\)  # (.+)$", each)
    }
    assert said and said.keys() <= printed.keys()
    assert not {n: printed[n] for n, text in said.items() if not text.startswith(printed[n])}


@pytest.mark.parametrize("code", examples(needs_files=False))
@pytest.mark.filterwarnings("ignore:.*created but never used")  # a page that makes a part does not elaborate it
def test_an_example_prints_what_the_page_says(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check(code)


@pytest.mark.parametrize("code", examples(needs_files=True))
def test_an_example_on_digits_prints_what_the_page_says(code, digits, board, tmp_path, monkeypatch):
    """On random weights, which change neither plan nor cycles."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "build").mkdir()
    digits.save("build/digits.bundle")
    compile_bundle(digits, board.engine).save("build/digits.icebreaker.image")
    check(code)


def test_there_are_such_examples():
    assert len(examples(needs_files=False)) >= 4 and len(examples(needs_files=True)) >= 2


def commands() -> dict[str, dict[str, set[str]]]:
    """The commands that pages show: by name, then by page, with the options that stand on the same line."""
    found: dict[str, dict[str, set[str]]] = {}
    for page in PAGES:
        for text in re.findall(r"(?:^ {4}|`|-m )fdht ([^`\n]+)", page.read_text(), re.MULTILINE):
            words = re.split(r" #| {2,}|[|;]", text)[0].split()
            if words and re.fullmatch("[a-z]+", words[0]):
                options = {word.partition("=")[0].rstrip(",.") for word in words if re.match("--?[a-z]", word)}
                found.setdefault(words[0], {}).setdefault(str(page.relative_to(ROOT)), set()).update(options)
    return found


def test_every_command_and_option_of_a_page_exists(fdht, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    unknown = []
    for name, pages in commands().items():
        outcome = fdht(name, "--help")
        known = set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", outcome.out)) if outcome.code == 0 else set()
        unknown += [
            f"{page}: fdht {name} {option}"
            for page, options in pages.items()
            for option in sorted(options or {"--help"})
            if option not in known
        ]
    assert not unknown and len(commands()) > 12
