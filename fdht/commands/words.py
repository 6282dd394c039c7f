"""Words of fdht's own, explained in the help of every command that uses them. docs/glossary.md has all of them."""

import re

WORDS = {
    "preset": "a model, its data and how it is trained, by name or in a file",
    "project": "a preset in a small file to edit, which fdht new writes",
    "checkpoint": "a model in or after training, in floating point, with its recipe (fdht train)",
    "bundle": "a model in integers, with clips and what the integers make of them; it knows no target (fdht compile)",
    "image": "a bundle compiled for one target: program, factors and tables, which a board loads (fdht compile)",
    "target": "an engine: an array of multipliers and its memories; a board's bitstream holds one and runs every image "
    "made for it",
    "engine": "the gateware that runs images; which one, a target says",
    "clip": "one sequence of steps, with its class or numbers: a film, a recording",
    "step": "a moment of a sequence: N inputs in, hidden state h out",
    "stage": "one contraction in a step: a small weight meets the data; their order is chosen for the target",
    "mode": "a dimension of the weight written as a tensor: input modes n hold the inputs and h, output modes m the "
    "four gates",
    "rank": "size of what joins two factors of the weight: more is more accurate, larger and slower",
    "factor": "a small tensor that is stored; all together make the weight",
    "dimension tree": "how the modes are grouped, pair by pair, in a hierarchical-Tucker weight",
    "golden model": "the integers that the hardware has to equal, bit for bit",
    "streams": "independent sequences that one engine serves side by side",
    "baseline": "a recorded build of a board, which new ones are held against",
}
"""In the order in which they are explained."""

MOST = 6
"""Words that the help of one command explains: those of the first lines of `WORDS` that it uses."""


def explained(text: str) -> str:
    """Paragraphs of Markdown, a list, with the words that a command's help uses; empty if it uses none."""
    used = [word for word in WORDS if re.search(rf"(?<![-\w/.]){word}s?\b(?!\.)", text, re.IGNORECASE)]
    return "\n\n".join(["Words:", *(f"- *{word}*: {WORDS[word]}" for word in used[:MOST])]) if used else ""
