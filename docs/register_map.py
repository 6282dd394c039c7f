"""Writes the register map in docs/ip-block.md, from fdht.spec.registers.

.venv/bin/python -m docs.register_map
"""

from pathlib import Path

from docs.marked import page_with
from fdht.export.integration import registers_page

PAGE = Path(__file__).with_name("ip-block.md")
MARKS = "<!-- registers: python -m docs.register_map -->", "<!-- end of registers -->"


def page() -> str:
    """The page with the map as it is."""
    return page_with(PAGE, MARKS, registers_page(level=2))


if __name__ == "__main__":
    PAGE.write_text(page())
