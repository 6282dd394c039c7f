"""Data that other packages ship: found by path, so that their code is never imported and need not be able to run."""

from importlib.util import find_spec
from pathlib import Path

from fdht.spec.errors import FileError


def shipped(package: str, what: str, path: str, install: str) -> Path:
    """A file or folder inside an installed package.

    Args:
        package: the package's import name.
        what: the data, as an error calls it.
        path: below the package's own folder.
        install: what to tell pip.

    Raises:
        FileError: the package is not installed, or no longer has it.
    """
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise FileError(f"{what} come with {install.split()[-1]}, which is not installed; pip install {install}")
    place = Path(found.submodule_search_locations[0]) / path
    if not place.exists():
        raise FileError(f"{what} are not where they belong, {place}; pip install --force-reinstall {install}")
    return place
