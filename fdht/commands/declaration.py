"""How a command is declared, and groups of options that arrive as one value.

Nothing heavy is imported by the files of this room until a command runs: `fdht --help` answers at once, and simulation
and synthesis need no torch.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import get_args

from typer.models import ParameterInfo

from fdht.commands import completing
from fdht.commands.words import explained

TRAINING, ENGINE, WHOLE = "Data, training, accuracy", "From checkpoint to board", "The whole chain, and its figures"
"""Groups of commands in `fdht --help`."""


class OptionGroup:
    """Base of a group of options: a frozen dataclass whose fields are declared as the parameters of a command are.

    A command that has a parameter of the group has all its options, and is called with the group as one value.
    """


@dataclass(frozen=True)
class Command:
    """A command as typer is to have it.

    Attributes:
        name: what it is called after `fdht`.
        panel: its group in `fdht --help`.
        epilog: its examples, and the words of fdht's own that its help uses.
        run: what typer calls, option by option.
    """

    name: str
    panel: str
    epilog: str
    run: Callable[..., None]


def command(panel: str, *examples: str) -> Callable[[Callable[..., None]], Command]:
    """Declares the command that a function is, named after it (without an underscore at its end). Tab completes its
    values.
    """

    def declare(run: Callable[..., None]) -> Command:
        name, call = run.__name__.rstrip("_"), ungrouped(run)
        texts = [run.__doc__ or ""]
        for parameter, info in _declared(call):
            info.autocompletion = completing.of(name, parameter)
            texts.append(info.help or "")
        words = explained(" ".join(texts))
        return Command(name, panel, f"Examples: {' · '.join(examples)}\n\n{words}".rstrip(), call)

    return declare


def _declared(call: Callable[..., None]) -> Iterator[tuple[str, ParameterInfo]]:
    """The parameters of a command by name, as typer is to have them."""
    for parameter in signature(call).parameters.values():
        for info in get_args(parameter.annotation):
            if isinstance(info, ParameterInfo):
                yield parameter.name, info


def ungrouped(run: Callable[..., None]) -> Callable[..., None]:
    """The function as typer can read it: in place of a parameter that is a group it takes the fields of the group."""
    parameters, groups = list[Parameter](), dict[str, tuple[type[OptionGroup], list[str]]]()
    for parameter in signature(run, eval_str=True).parameters.values():
        kind = parameter.annotation
        if isinstance(kind, type) and issubclass(kind, OptionGroup):
            fields = signature(kind, eval_str=True).parameters
            groups[parameter.name] = kind, list(fields)
            parameters += fields.values()
        else:
            parameters.append(parameter)

    @wraps(run)
    def call(**given: object) -> None:
        for name, (kind, fields) in groups.items():
            given[name] = kind(**{field: given.pop(field) for field in fields})
        run(**given)

    by_name = [parameter.replace(kind=Parameter.KEYWORD_ONLY) for parameter in parameters]
    setattr(call, "__signature__", Signature(by_name))  # noqa: B010 (typer reads it; no type checker knows it)
    return call
