"""Standard output as it may be: a terminal of another encoding, or a pipe whose reader has gone."""

import io
import os
import sys


def print_what_can_be() -> None:
    """Characters that an encoding lacks are printed as a question mark, and end no command."""
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
