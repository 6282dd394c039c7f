"""What is between two marks of a page, which a program writes: the rest of the page is by hand."""

from pathlib import Path


def page_with(page: Path, marks: tuple[str, str], *parts: str) -> str:
    """The page with these parts between its two marks, apart by blank lines, in the place of what is there.

    Raises:
        ValueError: the page lacks a mark.
    """
    before, begin, rest = page.read_text().partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not begin or not end:
        raise ValueError(f"{page} lacks {marks[0]} or, behind it, {marks[1]}")
    return "\n\n".join((before + begin, *(part.strip("\n") for part in parts), end + after))
