"""What objects show of themselves in a notebook: HTML and SVG without script, style sheet or network.

Colours are those of the page around, so a card is readable on light and on dark; text is escaped.
"""

import html
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from fdht.spec.errors import escaped
from fdht.spec.network import TensorNetwork, TreeNode, ht_tree

if TYPE_CHECKING:
    from fdht.spec.lstm import LSTMSpec

LEAF, ROW, BOX = 100, 62, (86, 36)
"""Pixels: from leaf to leaf of a tree, from row to row, and the size of a factor's box."""

SVG = 'xmlns="http://www.w3.org/2000/svg" role="img" style="max-width:100%;height:auto;font:11px sans-serif"'


def text(value: object) -> str:
    """A value as text of a page: numbers with commas, all else escaped."""
    shown = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    return html.escape(escaped(shown))


def card(title: str, facts: Mapping[str, object], *parts: str) -> str:
    """A title, names with values, and parts that are HTML already, below each other."""
    rows = "".join(
        f'<tr><th style="text-align:left;font-weight:normal;opacity:.75;padding:1px 14px 1px 0">{text(name)}</th>'
        f'<td style="text-align:left;padding:1px 0">{text(value)}</td></tr>'
        for name, value in facts.items()
    )
    return f'<div class="fdht-card"><strong>{text(title)}</strong><table>{rows}</table>{"".join(parts)}</div>'


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; numbers, and the head above them, stand on the right."""
    rows = [list(row) for row in rows]

    def cells(tag: str, values: Sequence[object]) -> str:
        styled = [(value, "right" if right[k] else "left") for k, value in enumerate(values)]
        style = "padding:1px 14px 1px 0;text-align"
        inner = [f'<{tag} style="{style}:{side}">{text(value)}</{tag}>' for value, side in styled]
        return f"<tr>{''.join(inner)}</tr>"

    right = [bool(rows) and all(isinstance(row[k], int | float) for row in rows) for k in range(len(heads))]
    head, body = cells("th", heads), "".join(cells("td", row) for row in rows)
    return f'<div style="overflow-x:auto"><table><thead>{head}</thead><tbody>{body}</tbody></table></div>'


def fill_bars(fill: Mapping[str, tuple[int, int]]) -> str:
    """How full each memory is: words used and available by its name, as bars."""
    step, wide, left = 20, 200, 120
    parts = []
    for row, (name, (used, there)) in enumerate(fill.items()):
        y, part = row * step, min(used / there, 1) if there else 0
        parts.append(
            f'<text x="{left - 8}" y="{y + 13}" text-anchor="end" fill="currentColor">{text(name)}</text>'
            f'<rect x="{left}" y="{y + 3}" width="{wide}" height="13" fill="currentColor" opacity=".12"/>'
            f'<rect x="{left}" y="{y + 3}" width="{wide * part:.1f}" height="13" fill="#4477aa"/>'
            f'<text x="{left + wide + 8}" y="{y + 13}" fill="currentColor">{used:,} of {there:,}</text>'
        )
    size = f'width="470" height="{len(parts) * step}" viewBox="0 0 470 {len(parts) * step}"'
    return f'<div><svg {SVG} {size} aria-label="how full the memories are">{"".join(parts)}</svg></div>'


def network_picture(network: TensorNetwork) -> str:
    """The factors of a network as boxes with their names and modes (output × input), the bonds between with their
    ranks: a hierarchical-Tucker network as its dimension tree, any other in a row.
    """
    if network.kind == "ht":
        tree = ht_tree(network)
        places = _tree_places(tree)
        depth = max(row for _, row in places.values())
        width = len(network.inputs) * LEAF
    else:
        in_line = network.kind in ("tt", "dense")  # no bond passes above the others
        places = {factor.name: (k + 0.5, 0 if in_line else 1) for k, factor in enumerate(network.factors)}
        depth, width = (0 if in_line else 1), len(network.factors) * LEAF
    height = depth * ROW + BOX[1] + 4
    at = {name: (column * LEAF, row * ROW + BOX[1] / 2 + 2) for name, (column, row) in places.items()}
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    parts = [*_bonds(network, at), *_boxes(network, at)]
    return f'<div><svg {SVG} {size} aria-label="{text(network.kind)} network">{"".join(parts)}</svg></div>'


def _tree_places(tree: TreeNode) -> dict[str, tuple[float, int]]:
    """Of each node's factor, column (of leaves) and row; a node is above the middle of its children."""
    places: dict[str, tuple[float, int]] = {}

    def place(node: TreeNode, row: int) -> float:
        if node.children is None:
            column, name = node.first - 0.5, f"U{node.name}"
        else:
            column, name = sum(place(child, row + 1) for child in node.children) / 2, f"B{node.name}"
        places[name] = column, row
        return column

    place(tree, 0)
    return places


def _bonds(network: TensorNetwork, at: Mapping[str, tuple[float, float]]) -> Iterable[str]:
    for index, rank in network.sizes:
        ends = [at[factor.name] for factor in network.factors if index in factor.indices]
        for (x1, y1), (x2, y2) in pairwise(ends):
            over = y1 == y2 and abs(x2 - x1) > LEAF * 1.01  # boxes lie between: an arc above them
            x, y = (x1 + x2) / 2, (y1 - ROW if over else (y1 + y2) / 2)
            anchor, side = "middle", 0
            if y1 != y2:
                anchor, side = ("end", -6) if (x2 - x1) * (y2 - y1) < 0 else ("start", 6)
            label = y1 - ROW * 0.62 if over else y
            yield (
                f'<path d="M{x1:.1f} {y1:.1f} Q{x:.1f} {y:.1f} {x2:.1f} {y2:.1f}" fill="none" stroke="currentColor" '
                f'opacity=".6"/><text x="{x + side:.1f}" y="{label - 3:.1f}" text-anchor="{anchor}" '
                f'fill="currentColor">{rank}</text>'
            )


def _boxes(network: TensorNetwork, at: Mapping[str, tuple[float, float]]) -> Iterable[str]:
    modes = {*network.inputs, *network.outputs}
    for factor in network.factors:
        x, y = at[factor.name]
        of = " × ".join(f"{index}={network.size[index]}" for index in factor.indices if index in modes)
        colour = "#4477aa" if of else "#228833"
        box = f'x="{x - BOX[0] / 2:.1f}" y="{y - BOX[1] / 2:.1f}" width="{BOX[0]}" height="{BOX[1]}" rx="5"'
        name = f'<tspan font-weight="bold">{text(factor.name)}</tspan>'
        lines = f'<text x="{x:.1f}" y="{y + (-3 if of else 4):.1f}" text-anchor="middle" fill="#fff">{name}</text>'
        if of:
            lines += f'<text x="{x:.1f}" y="{y + 12:.1f}" text-anchor="middle" fill="#fff" font-size="10">{of}</text>'
        title = f"<title>{text(factor.name)}: {text(' × '.join(factor.indices))}</title>"
        yield f'<g>{title}<rect {box} fill="{colour}"/>{lines}</g>'


def lstm_parts(spec: "LSTMSpec") -> list[str]:
    """The networks of a layer, drawn: one for x and h, or one for each."""
    pictures = [network_picture(spec.network)]
    if spec.recurrent is not None:
        pictures += ["<div>W_h</div>", network_picture(spec.recurrent)]
    return pictures


def lstm_facts(layers: "Sequence[LSTMSpec]") -> dict[str, object]:
    """Sizes of a stack of layers, and what its weights are compressed from."""
    networks = [each for layer in layers for each in (layer.network, layer.recurrent) if each is not None]
    stored = sum(network.parameters for network in networks)
    dense = sum(4 * layer.hidden * (layer.inputs + layer.hidden) for layer in layers)
    return {
        "inputs, hidden": ", ".join(f"{size:,}" for size in (layers[0].inputs, *(layer.hidden for layer in layers))),
        "weights": f"{stored:,} in place of {dense:,} ({dense / stored:,.0f} : 1)",
        "format": ", ".join(dict.fromkeys(network.kind for network in networks)),
    }
