"""What commands and studies take where nobody says more; imports nothing, so that `fdht --help` answers at once."""

DEFAULT_TARGET = "ulx3s-85f"
"""The engine; the board of that name has it."""
