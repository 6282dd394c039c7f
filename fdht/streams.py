"""Standard output as it may be: a terminal of another encoding, a pipe whose reader has gone, or none at all."""

import io
import os
import sys


def print_what_can_be() -> None:
    """Characters that an encoding lacks are printed as a question mark, and end no command; what is printed to a
    closed descriptor goes nowhere.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            # The descriptor is taken, so that no file gets it, and left open, as the interpreter leaves its own.
            setattr(sys, name, open(os.open(os.devnull, os.O_WRONLY), "w", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def close_pipes() -> None:
    """What is still to be printed goes nowhere, so that the interpreter ends without a word."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
