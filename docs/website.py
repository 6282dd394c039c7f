"""Builds the site from the pages of the repository: gathers them, generates the reference, and calls Sphinx.

.venv/bin/python -m docs.website            into build/site
.venv/bin/python -m docs.website FOLDER     somewhere else
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

from docs.reference import ROOMS, pages

ROOT = Path(__file__).parent.parent
CONTENTS = ROOT / "docs" / "README.md"
"""Its sections are those of the site: each is a table that links pages."""

REFERENCE = ("reference/command-line.md", "reference/json.md", "reference/python.md")
"""Generated pages that close the section Reference."""

LINK = re.compile(r"\]\(([^)#\s]*)(#[^)\s]*)?\)")
FENCE = re.compile(r"(^```.*?^```)", re.DOTALL | re.MULTILINE)


class SiteError(Exception):
    """What is wrong with the site, in one sentence."""


def contents(page: Path) -> dict[str, list[str]]:
    """The pages that a page's tables link in their first column, from the root, by the heading above."""
    found: dict[str, list[str]] = {}
    heading = ""
    for line in page.read_text().splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif match := re.match(r"\| \[[^]]*\]\(([^)#\s]+\.md)\) \|", line):
            found.setdefault(heading, []).append(from_root(page, match[1]))
    return found


def from_root(page: Path, target: str) -> str:
    return os.path.relpath(page.parent / target, ROOT)


def toctree(pages: list[str], caption: str = "") -> str:
    named = f":caption: {caption}\n" if caption else ""
    return "\n".join(["```{toctree}", f"{named}:hidden:", *(page.removesuffix(".md") for page in pages), "```", ""])


def gathered() -> Iterator[tuple[str, str]]:
    """Every page of the site that lies in the repository: its path in the site's sources, and its text."""
    sections = contents(CONTENTS)
    home = [toctree([from_root(CONTENTS, CONTENTS.name)])]
    for caption, named in sections.items():
        home.append(toctree(named + [name for name in REFERENCE if caption == "Reference"], caption))
    every = {"README.md": "".join(f"\n{each}" for each in home), from_root(CONTENTS, CONTENTS.name): ""}
    for page in (page for of in sections.values() for page in of):
        own = (
            [name for of in contents(ROOT / page).values() for name in of]
            if page.endswith("decisions/README.md")
            else []
        )
        every |= {page: f"\n{toctree([f'/{name}' for name in own])}" if own else ""} | dict.fromkeys(own, "")
    for page, more in every.items():
        yield "index.md" if page == "README.md" else page, sited(ROOT / page) + more


def sited(page: Path) -> str:
    """A page's text with the links that the site has otherwise: the main README is its first page."""

    def link(match: re.Match) -> str:
        target, anchor = match[1], match[2] or ""
        if target and not re.match("[a-z]+:", target) and from_root(page, target) == "README.md":
            target = os.path.relpath(ROOT / "index.md", page.parent)
        return f"]({target}{anchor})"

    parts = FENCE.split(page.read_text())
    return "".join(part if part.startswith("```") else LINK.sub(link, part) for part in parts)


def linked_files(text: str, page: str) -> Iterator[str]:
    """What else of the repository a page links: pictures, modules, tables."""
    for target, _ in LINK.findall(FENCE.sub("", text)):
        path = os.path.normpath(os.path.join(os.path.dirname(page), target))
        if target and not re.match("[a-z]+:", target) and not path.endswith(".md") and (ROOT / path).is_file():
            yield path


def stage(folder: Path) -> None:
    """Writes the site's sources; a file that is as it was keeps its time, so that Sphinx reads what has changed."""
    written = set[Path]()

    def write(path: str, content: bytes) -> None:
        file = folder / path
        written.add(file)
        if not file.is_file() or file.read_bytes() != content:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)

    for page, text in [*gathered(), *pages().items()]:
        write(page, text.encode())
        for file in linked_files(text, page):
            write(file, (ROOT / file).read_bytes())
    for file in [path for path in folder.rglob("*") if path.is_file() and path not in written]:
        file.unlink()


class _Addresses(HTMLParser):
    """The addresses elsewhere in a page: `loaded` with it, or `linked` for whoever clicks."""

    def __init__(self):
        super().__init__()
        self.loaded: list[str] = []
        self.linked: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value and name in ("src", "href", "data", "srcset", "poster") and re.match("(?:https?:)?//", value):
                (self.linked if tag == "a" else self.loaded).append(value)


def wrong_addresses(page: str) -> list[str]:
    """What is wrong with the addresses of a built page: it must need no network, and links must have their form."""
    found = _Addresses()
    found.feed(page)
    loaded = [f"loads {address}" for address in found.loaded]
    loaded += [f"loads {each}" for each in re.findall(r"""(?:@import|url\()\s*["']?((?:https?:)?//[^"')]+)""", page)]
    return loaded + [f"links {each}" for each in found.linked if not _formed(each)]


def _formed(address: str) -> bool:
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return bool(re.fullmatch(r"[\w-]+(\.[\w-]+)*", parts.hostname or "")) and not re.search(r"\s", address)


def gateware_key() -> str:
    """Of all of fdht's modules: what a notebook printed with others is not kept."""
    key = hashlib.sha256()
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            key.update(path.read_bytes())
    return key.hexdigest()[:16]


def kernel(work: Path) -> Path:
    """A folder in which Jupyter finds one kernel, this very Python, whatever else the machine has."""
    spec = work / "jupyter" / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True, exist_ok=True)
    # It warns that it speaks without encryption; both ends are on this machine.
    call = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=ERROR"]
    spec.write_text(json.dumps({"argv": call, "display_name": "Python 3", "language": "python"}))
    return work / "jupyter"


def build(site: Path) -> None:
    """Builds the site into a folder, which holds nothing else afterwards.

    Raises:
        SiteError: Sphinx warns or fails, a page needs the network, a link has no form.
    """
    work = site.with_name(f"{site.name}-work")
    stage(work / "sources")
    kept = work / "notebooks" / gateware_key()
    for old in (work / "notebooks").glob("*"):
        if old != kept:
            shutil.rmtree(old)
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-c", str(ROOT / "docs")]
    command += ["-D", f"nb_execution_cache_path={kept}", "-d", str(work / "doctrees"), str(work / "sources"), str(site)]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    # Notebooks' models are so small that a second thread would only wait.
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "JUPYTER_PATH": str(kernel(work))}
    if subprocess.run(command, env=environment).returncode:
        raise SiteError("Sphinx found what is listed above; mend the pages it names")
    wrong = [
        f"{file.relative_to(site)} {each}"
        for file in sorted([*site.rglob("*.html"), *site.rglob("*.css")])
        for each in wrong_addresses(file.read_text())
    ]
    if wrong:
        raise SiteError(f"{len(wrong)} addresses: {'; '.join(wrong[:9])}")


def main(arguments: list[str]) -> int:
    site = Path(arguments[0]).absolute() if arguments else ROOT / "build" / "site"
    try:
        build(site)
    except SiteError as error:
        print(f"site: error: {error}", file=sys.stderr)
        return 1
    print(site / "index.html")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
