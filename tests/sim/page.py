"""The programs that pages show, of docs/ip-block.md if no other is named."""

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = DOCS / "ip-block.md"


def shown(name: str, page: Path = PAGE) -> str:
    """The program whose first line begins with its name, as the page has it."""
    (found,) = re.findall(rf"^```\w+\n((?:/\*|#) {re.escape(name)}: .*?\n)```$", page.read_text(), re.M | re.S)
    return found


def names() -> set[str]:
    """All of them."""
    return set(re.findall(r"^```\w+\n(?:/\*|#) (\S+): ", PAGE.read_text(), re.M))
