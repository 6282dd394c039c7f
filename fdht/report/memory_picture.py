"""Where everything lies in an engine's memories, drawn."""

from collections.abc import Iterator, Sequence

from fdht.compiler.explain import Block
from fdht.drawing import COLOURS
from fdht.spec.cards import text
from fdht.spec.target import Target

WIDE, ROW, LEFT = 640, 26, 84
"""Pixels: a memory's width, from one to the next, and of the names."""


def memory_picture(blocks: Sequence[Block], target: Target) -> str:
    """SVG: a bar for each bank, the factors and the results, with the blocks that lie there.

    Blocks that lie in the same place at different times lie over each other.
    """
    bars = [(f"bank {bank}", target.bank_words) for bank in range(target.banks)]
    bars += [("factors", target.factor_words), ("results", target.result_words)]
    rows = {name: (k * ROW, words) for k, (name, words) in enumerate(bars)}
    parts = [
        f'<text x="{LEFT - 8}" y="{y + 15}" text-anchor="end" fill="currentColor">{name}</text>'
        f'<rect x="{LEFT}" y="{y + 2}" width="{WIDE}" height="{ROW - 6}" fill="currentColor" opacity=".1"/>'
        f'<text x="{LEFT + WIDE + 6}" y="{y + 15}" fill="currentColor">{words:,}</text>'
        for name, (y, words) in rows.items()
    ]
    for number, block in enumerate(blocks):
        title = f"{block.content}: {block.words:,} words of {block.memory} from {block.first:,}"
        colour = COLOURS[number % len(COLOURS)]
        for name, first, words in _on_bars(block, target):
            y, whole = rows[name]
            x, wide = LEFT + WIDE * first / whole, max(WIDE * words / whole, 0.7)
            parts.append(
                f'<g><title>{text(title)}</title><rect x="{x:.1f}" y="{y + 2}" width="{wide:.1f}" height="{ROW - 6}" '
                f'fill="{colour}" opacity=".75"/>'
                + (
                    f'<text x="{x + wide / 2:.1f}" y="{y + 15}" text-anchor="middle" fill="#fff">{number + 1}</text>'
                    if wide > 18
                    else ""
                )
                + "</g>"
            )
    size = LEFT + WIDE + 60, ROW * len(rows)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{size[0]}" height="{size[1]}"'
    return f'{head} aria-label="what lies where in the memories" style="font:11px sans-serif">{"".join(parts)}</svg>'


def _on_bars(block: Block, target: Target) -> Iterator[tuple[str, int, int]]:
    """The pieces of a block: the bar's name, first word there, words."""
    if block.banks is None:
        yield block.memory, block.first, block.words
        return
    for bank in range(block.banks[0], block.banks[1] + 1):
        first = max(block.first, bank * target.bank_words)
        last = min(block.first + block.words, (bank + 1) * target.bank_words)
        yield f"bank {bank}", first - bank * target.bank_words, last - first
