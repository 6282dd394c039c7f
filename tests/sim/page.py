"""The programs that docs/ip-block.md shows."""

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "ip-block.md"


def shown(name: str) -> str:
    """The program whose first line begins with its name, as the page has it."""
    (found,) = re.findall(rf"^```\w+\n((?:/\*|#) {re.escape(name)}: .*?\n)```$", PAGE.read_text(), re.M | re.S)
    return found


def names() -> set[str]:
    """All of them."""
    return set(re.findall(r"^```\w+\n(?:/\*|#) (\S+): ", PAGE.read_text(), re.M))
