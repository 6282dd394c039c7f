"""The errors a user can cause, each one sentence: the value, the limit, the way out."""


class FdhtError(Exception):
    """Base of every error caused by what a user passed in; its message is shown as it is."""


class SpecError(FdhtError, ValueError):
    """A value that no specification allows."""


class CapacityError(FdhtError):
    """Something valid that does not fit a target; names the resource, the need and the limit."""

    def __init__(self, resource: str, need: int, limit: int, way_out: str):
        super().__init__(f"{resource}: {need} needed, {limit} available; {way_out}")
        self.resource, self.need, self.limit = resource, need, limit


class FileError(FdhtError):
    """A file that is missing, damaged, of another kind or of another version."""
