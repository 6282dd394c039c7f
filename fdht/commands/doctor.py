"""`fdht doctor`."""

from fdht.commands.declaration import WHOLE, command
from fdht.commands.options import Json


@command(WHOLE, "fdht doctor", "fdht doctor --json")
def doctor(json: Json = False) -> None:
    """Which tools are found, in which version, and how to get what is missing."""
    from fdht.console import Output
    from fdht.workflow import doctor as examination

    output = Output(json)
    with output.progress("looking for tools"):
        tools = examination.examine()
    examination.report(output, tools)
    output.result(examination.figures(tools))
    examination.check(tools)
