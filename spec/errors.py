"""The errors a user can cause, each one sentence: the value, the limit, the way out."""

LONGEST = 1000
"""Characters of a message that are shown; what is longer is cut in its middle."""


def escaped(text: str, kept: str = "") -> str:
    """Text that may come from outside, as it can be shown: what prints nothing as an escape.

    Args:
        kept: characters that stay, though they print nothing.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in kept else c.encode("unicode_escape").decode() for c in text)


def printable(text: str) -> str:
    """A sentence that may hold words from outside: on one line, and cut in its middle if it is long."""
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}"
    return escaped(text)


class FdhtError(Exception):
    """Base of every error caused by what a user passed in; its message is shown as it is."""


class SpecError(FdhtError, ValueError):
    """A value that no specification allows."""

    def __init__(self, message: str):
        super().__init__(printable(message))


class CapacityError(FdhtError):
    """Something valid that does not fit a target; names the resource, the need and the limit."""

    def __init__(self, resource: str, need: int, limit: int, way_out: str):
        super().__init__(printable(f"{resource}: {need} needed, {limit} available; {way_out}"))
        self.resource, self.need, self.limit = resource, need, limit


class FileError(FdhtError):
    """A file that is missing, damaged, of another kind or of another version."""

    def __init__(self, message: str):
        super().__init__(printable(message))
