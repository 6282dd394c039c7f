"""Writes the register map in docs/ip-block.md, from fdht.spec.registers.

.venv/bin/python -m docs.register_map
"""

from pathlib import Path

from fdht.export.integration import registers_page

PAGE = Path(__file__).with_name("ip-block.md")
BEGIN, END = "<!-- registers: python -m docs.register_map -->", "<!-- end of registers -->"


def page() -> str:
    """The page with the map as it is."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{registers_page(level=2)}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page())
