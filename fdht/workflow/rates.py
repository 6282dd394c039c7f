"""What a rate of steps asks of an engine: multiplications, memory accesses, clock and duty."""

from dataclasses import asdict

from fdht.boards.board import Board
from fdht.boards.catalogue import boards_with
from fdht.compiler.effort import MEMORIES, Effort, effort
from fdht.compiler.image import Image
from fdht.console import Output, percent
from fdht.spec.protocol import word_bytes

BITS = 10
"""On a serial port, of a byte."""


def figures(image: Image, rate: float) -> dict:
    """The figures for `--json`.

    Args:
        rate: steps per second, those of all streams together.

    Raises:
        SpecError: a rate that is not above 0.
    """
    found = effort(image)
    clock = found.clock_mhz(rate)
    return {
        "rate": rate,
        "macs": found.useful,
        "step": _counts(found, "step"),
        "once": _counts(found, "once"),
        "cycles_per_step": found.cycles,
        "clock_mhz": clock,
        "latency_cycles": found.latency,
        "latency_s": found.latency / (1e6 * clock),
        "input_bytes_per_s": rate * image.sent_words * word_bytes(image.target.input_width),
        "boards": [_on(board, image, found, rate) for board in boards_with(image.target)],
    }


def _counts(found: Effort, which: str) -> dict:
    return asdict(getattr(found, which))


def _on(board: Board, image: Image, found: Effort, rate: float) -> dict:
    """What a rate asks of a board at its own clock."""
    return {
        "board": board.name,
        "clock_mhz": board.clock_mhz,
        "duty": found.duty(rate, board.clock_mhz),
        "latency_s": found.latency / board.clock_hz,
        "steps_per_s": board.clock_hz / found.cycles,
        "serial_bytes_per_s": board.baud / BITS,
    }


def report(output: Output, found: dict) -> None:
    """The tables of `figures`."""
    step, once, rate = found["step"], found["once"], found["rate"]
    rows: list[tuple] = [
        ("multiplications, useful", found["macs"], found["macs"] * rate, None),
        ("multiplications of the array", step["performed"], step["performed"] * rate, once["performed"]),
        ("multiplications of the gate unit", step["gate"], step["gate"] * rate, once["gate"]),
    ]
    for name in MEMORIES:
        for kind in ("reads", "writes"):
            if step[kind][name] or once[kind][name]:
                rows.append((f"{name}: {kind}", step[kind][name], step[kind][name] * rate, once[kind][name]))
    rows.append(("cycles", found["cycles_per_step"], found["cycles_per_step"] * rate, None))
    rows.append(("of these the array is fed", step["fed"], step["fed"] * rate, once["fed"]))
    title = "What bounds the energy (memories in words; no watts, as no board has been measured)"
    output.table(title, ("what", "a step", "a second", "once a run or sequence"), rows)
    facts: dict[str, object] = {
        "clock that the rate needs": f"{found['clock_mhz']:.4g} MHz",
        "latency of a frame at that clock": f"{1e3 * found['latency_s']:,.3g} ms",
        "inputs": f"{found['input_bytes_per_s']:,g} bytes/s",
    }
    for board in found["boards"]:
        duty = board["duty"]
        share = percent(duty) if duty <= 1 else f"too slow: {board['steps_per_s']:,.4g} steps/s at most"
        facts[f"duty on {board['board']} at {board['clock_mhz']:g} MHz"] = share
        if board["serial_bytes_per_s"] < found["input_bytes_per_s"]:
            port = f"{board['serial_bytes_per_s']:,g} bytes/s at most: too few for that rate"
            facts[f"serial port of {board['board']}"] = port
    output.facts(f"At {rate:g} steps per second", facts)
