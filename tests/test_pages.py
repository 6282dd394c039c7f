"""Pages against the tree: links, paths, modules and names in them exist; READMEs name the files of their folders."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("spec", "model", "compiler", "hw", "host", "sim", "boards", "fdht")
FOLDERS = (*ROOMS, "tests", "docs")

NOT_OURS = {"mine.py", "model.py", "fdht_axi_litex.py"}
"""Files that a page's reader has written, or an export has."""


NAMING = {"docs": ("README.md", "pages.md")}
"""Pages that name the files of a folder, where its README leaves some to another."""


def of(folder: str, pattern: str = "*") -> list[Path]:
    """The files of a folder; fdht/ also holds links to the rooms, which are not followed."""
    files = [path for path in (ROOT / folder).rglob(pattern) if path.is_file() and "__pycache__" not in path.parts]
    return sorted(path for path in files if folder != "fdht" or path.relative_to(ROOT).parts[1] not in ROOMS)


PAGES = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in of(folder, "*.md"))])
EVERY = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@cache
def names() -> set[str]:
    """Names of all files."""
    return {path.name for folder in FOLDERS for path in of(folder)} | {path.name for path in ROOT.iterdir()}


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """What a link may name behind its #: the headings, as GitHub writes them."""
    heads = re.findall(r"^#+ (.+)$", without_code(page.read_text()), re.MULTILINE)
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", head).lower() for head in heads]
    return {re.sub(r"[^\w\- ]", "", head).strip().replace(" ", "-") for head in plain}


def targets(page: Path) -> Iterator[str]:
    """What the page's links and pictures point to, without addresses elsewhere."""
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text())):
        if not re.match(r"[a-z]+:", target):
            yield target


@EVERY
def test_every_link_leads_somewhere(page):
    broken = []
    for target in targets(page):
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert not broken


@EVERY
def test_every_path_exists(page):
    """Words such as `spec/fixed.py`, from the root or from the page's folder, and file names such as `fixed.py`."""
    text = re.sub(r"\]\([^)]*\)|https?://\S+", "", page.read_text())
    paths = [word.removeprefix("./").rstrip(".-") for word in re.findall(r"(?<![\w/.{*-])(?:[\w.-]+/)+[\w.-]*", text)]
    ours = [path for path in paths if any((base / path.split("/")[0]).is_dir() for base in (ROOT, page.parent))]
    ours = [path for path in ours if path.split("/")[0] != "build"]
    missing = [path for path in ours if not any((base / path).exists() for base in (ROOT, page.parent))]
    own_folder = page.name == "README.md" and page.parent.name in FOLDERS
    known = {path.name for path in of(page.parent.name)} if own_folder and page.parent.name != "docs" else names()
    missing += sorted(set(re.findall(r"`([\w-]+\.py)`", text)) - NOT_OURS - known)
    assert not missing


@cache
def definitions(file: Path) -> dict[str, set[str]]:
    """The names at the top of a module, each with those that a class of this name has."""
    found: dict[str, set[str]] = {}
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found[node.name] = {name for inner in node.body for name in _bound(inner)}
        else:
            found |= {name: set() for name in _bound(node)}
    return found


def _bound(node: ast.AST) -> list[str]:
    match node:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return [name]
        case ast.Assign(targets=targets):
            return [each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
        case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
            return [alias.asname or alias.name for alias in aliases]
        case _:
            return []


def resolves(dotted: str) -> bool:
    """Whether `fdht.room.module.name.member` is there, found in the sources and without importing them."""
    parts = dotted.split(".")[1:]
    place = ROOT if parts and parts[0] in ROOMS else ROOT / "fdht"
    while parts and (place / parts[0]).is_dir():
        place /= parts.pop(0)
    a_module = parts and (place / f"{parts[0]}.py").is_file()
    file = place / f"{parts.pop(0)}.py" if a_module else place / "__init__.py"
    if not parts:
        return file.is_file()
    if file == ROOT / "fdht" / "__init__.py" and len(parts) == 1:
        return f'"{parts[0]}"' in file.read_text()  # the public names, loaded when they are first used
    known = definitions(file)
    return parts[0] in known and (len(parts) == 1 or (len(parts) == 2 and parts[1] in known[parts[0]]))


@EVERY
def test_every_module_and_name_of_fdht_exists(page):
    text = page.read_text()
    dotted = {name for name in re.findall(r"(?<![\w./-])fdht(?:\.[A-Za-z_]\w*)+", text)}
    for module, imported in re.findall(r"^ *from (fdht[\w.]*) import (.+)$", text, re.MULTILINE):
        dotted |= {f"{module}.{name.split()[0]}" for name in imported.split(",") if name.strip() != "*"}
    files = (".md", ".json", ".checkpoint", ".bundle", "fdht.c", "fdht.h")
    assert not [name for name in sorted(dotted) if not name.endswith(files) and not resolves(name)]


@pytest.mark.parametrize("folder", [*ROOMS, "docs"])
def test_a_readme_names_every_file_of_its_folder(folder):
    """Or the folder within that holds them, as `data/`."""
    page = "".join((ROOT / folder / name).read_text() for name in NAMING.get(folder, ("README.md",)))
    files = of(folder, "*.py") if folder != "docs" else [*(ROOT / folder).glob("*.py"), *(ROOT / folder).glob("*.md")]
    assert not [
        str(file.relative_to(ROOT))
        for file in files
        if file.name not in ("__init__.py", "README.md")
        and not re.search(rf"[`(]{re.escape(file.name)}[`)]", page)
        and f"`{file.parent.name}/`" not in page
    ]


def test_decisions_stand_on_their_own_pages_newest_first():
    home = ROOT / "docs" / "decisions"
    assert {page.stem for page in home.glob("*.md")} == {*ROOMS, "tests", "packaging", "README"}
    for page in home.glob("*.md"):
        dates = re.findall(r"^## (\d{4}-\d\d-\d\d): ", without_code(page.read_text()), re.MULTILINE)
        assert dates == sorted(dates, reverse=True), page.name
        assert page.name == "README.md" or dates, page.name
    readmes = [ROOT / "README.md", *(ROOT / folder / "README.md" for folder in (*ROOMS, "tests"))]
    assert not [page for page in readmes if re.search("^#+ Decisions", page.read_text(), re.MULTILINE)]
