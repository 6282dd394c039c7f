"""Which slow tests a change runs, and docs/long-tests.md: when each `synth` test ran last, and how long it took."""

import re
import subprocess
import zlib
from datetime import date
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "long-tests.md"
_TABLE = re.compile(r"(?<=<!-- synth tests -->\n\n).*?(?=\n<!-- end of synth tests -->)", re.DOTALL)
_HEADER = "| test | outcome | seconds | day | commit |\n|---|---|---|---|---|\n"


SHARE = "FDHT_SHARE"
"""Variable: `2/3` stands for the second of three parts of the slow tests; all when it is not set."""


def in_share(test: str, share: str) -> bool:
    """Whether a test, by its node, is in a part of all; each is in exactly one."""
    part, parts = map(int, share.split("/"))
    if not 1 <= part <= parts:
        raise ValueError(f"{SHARE}={share}; it is like 2/3, the second part of three")
    return zlib.crc32(test.encode()) % parts == part - 1


def rows(page: Path = PAGE) -> dict[str, list[str]]:
    """Outcome, seconds, day and commit of every test on the page, by its node."""
    table = _TABLE.search(page.read_text())
    assert table is not None
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[0].splitlines()[2:]]
    return {test.strip("`"): rest for test, *rest in cells}


def record(test: str, outcome: str, seconds: float, page: Path = PAGE) -> None:
    """Writes the row of a test that has just run."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude", "*"], cwd=ROOT, capture_output=True, text=True
    )
    new = rows(page) | {test: [outcome, f"{seconds:.0f}", date.today().isoformat(), commit.stdout.strip() or "unknown"]}
    lines = "".join(f"| {' | '.join([f'`{name}`', *cells])} |\n" for name, cells in new.items())
    page.write_text(_TABLE.sub(lambda _: _HEADER + lines, page.read_text()))
