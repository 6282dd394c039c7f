"""What a user names on the command line as `module:name`."""

import importlib
import sys
from pathlib import Path

from fdht.spec.errors import SpecError


def named(name: str, wanted: str) -> object:
    """Imports it; modules are found in the current folder, too.

    To be called with what the user has said, never with what a file says: a module's code runs when it is imported.

    Args:
        wanted: what it should be, for errors.

    Raises:
        SpecError: it cannot be imported.
    """
    module, _, attribute = name.partition(":")
    here = str(Path.cwd())
    sys.path.insert(0, here)  # the installed command does not look where it is called
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, NameError, SyntaxError, TypeError, ValueError) as error:
        raise SpecError(f"{name} cannot be imported ({error}); name {wanted} of yours") from None
    finally:
        sys.path.remove(here)
