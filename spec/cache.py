"""Where what can be made again is kept: compiled simulators, finished builds, decoded clips.

It is the user's cache directory as the system has it (on Linux `$XDG_CACHE_HOME/fdht`, else `~/.cache/fdht`), or what
FDHT_CACHE names. Everything in it is known by the content it was made from, so all folders and all versions share it,
and it may be removed at any time. Results of a run that one may want to see are no cache: they stay below ./build.
"""

import os
from pathlib import Path

from platformdirs import user_cache_path

VARIABLE = "FDHT_CACHE"
"""Environment variable that names another folder."""


def cache_folder() -> Path:
    """The folder, which need not be there yet."""
    chosen = os.environ.get(VARIABLE)
    return Path(chosen).absolute() if chosen else user_cache_path("fdht", appauthor=False)


def cache_bytes() -> int:
    """What lies in it."""
    sizes = 0
    for folder, _, files in os.walk(cache_folder()):
        for file in files:
            try:
                sizes += os.lstat(os.path.join(folder, file)).st_size
            except FileNotFoundError:  # somebody is at work
                continue
    return sizes
