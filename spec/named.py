"""What a user names on the command line as `module:name`, and code of the user's that is called."""

import importlib
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fdht.spec.errors import FdhtError, SpecError


def named(name: str, wanted: str) -> object:
    """Imports it; modules are found in the current folder, too.

    To be called with what the user has said, never with what a file says: a module's code runs when it is imported.

    Args:
        wanted: what it should be, for errors.

    Raises:
        SpecError: it cannot be imported, or its module raises something.
    """
    module, _, attribute = name.partition(":")
    here = str(Path.cwd())
    sys.path.insert(0, here)  # the installed command does not look where it is called
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, NameError, SyntaxError, TypeError, ValueError) as error:
        raise SpecError(f"{name} cannot be imported ({error}); name {wanted} of yours") from None
    except FdhtError:
        raise
    except (Exception, SystemExit) as error:
        raise _raised(name, error) from None
    finally:
        sys.path.remove(here)


def called(function: Callable[..., Any], what: str, *arguments: Any) -> Any:
    """What code of the user's returns.

    Raises:
        SpecError: it raised something; says what, and where.
    """
    try:
        return function(*arguments)
    except FdhtError:
        raise
    except (Exception, SystemExit) as error:
        raise _raised(what, error) from None


def _raised(what: str, error: BaseException) -> SpecError:
    place = traceback.extract_tb(error.__traceback__)[-1]
    why = (str(error).strip().splitlines() or [""])[0]
    return SpecError(
        f"{what} raised {type(error).__name__}{': ' if why else ''}{why} ({Path(place.filename).name}, line "
        f"{place.lineno}); mend that"
    )
