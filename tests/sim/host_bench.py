"""What runs inside the simulator to test the page's C: a program outside asks for every access to the bus.

FDHT_HOST names a folder with `task.json`, the program's command, and `sent.npy`, clips in the image's order. A line
`what at value` (hexadecimal) from the program is answered by a line with a number: `r` a read, `w` a write, and of the
page's host `f` a clip's frames are sent, `c` those not yet sent are not, `a` all clips' are and their results awaited.
"""

import json
import os
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import (
    AxiLiteBus,
    AxiLiteMaster,
    AxiResp,
    AxiStreamBus,
    AxiStreamFrame,
    AxiStreamSink,
    AxiStreamSource,
)

WORK = Path(os.environ["FDHT_HOST"])
PERIOD = 10
LIMIT = 1000
"""Cycles after which an access is not answered any more."""

ACCESSES = 100_000
"""Most that a program asks for."""

Act = Callable[[int, int], Awaitable[int]]


async def serve(command: list[str], acts: dict[str, Act]) -> None:
    """Runs a program and does what it asks for; time stands still while it computes."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdin and program.stdout
        count = 0
        while line := program.stdout.readline():
            what, at, value = line.split()
            count += 1
            assert count < ACCESSES, f"{command[0]} asks for ever, now for {line}"
            print(f"{await acts[what](int(at, 16), int(value, 16)):x}", file=program.stdin, flush=True)
        assert program.wait() == 0, f"{command[0]} ended with {program.returncode}"


@cocotb.test()
async def host(dut) -> None:
    """On the template with the block, masters and slaves by another hand."""
    task = json.loads((WORK / "task.json").read_text())
    clips = np.load(WORK / "sent.npy")
    dut.aresetn.value = 0
    dut.s_axis_state_tvalid.value = 0
    cocotb.start_soon(Clock(dut.aclk, PERIOD, unit="ns").start())
    reset = {"reset": dut.aresetn, "reset_active_level": False}
    bus = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), dut.aclk, **reset)
    x = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis_x"), dut.aclk, **reset)
    results = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis_result"), dut.aclk, **reset)
    await ClockCycles(dut.aclk, 4)
    dut.aresetn.value = 1
    packets: list[list[int]] = []

    async def packet() -> list[int]:
        return np.frombuffer(bytes((await results.recv()).tdata), "<i4").tolist()

    async def read(at: int, value: int) -> int:
        response = await bus.read(at, 4)
        assert response.resp == AxiResp.OKAY, f"a read of {at:#x} is answered by {response.resp}"
        return int.from_bytes(response.data, "little")

    async def write(at: int, value: int) -> int:
        response = await bus.write(at, value.to_bytes(4, "little"))
        assert response.resp == AxiResp.OKAY, f"a write to {at:#x} is answered by {response.resp}"
        return 0

    async def feed(clip: int, value: int) -> int:
        for frame in clips[clip]:
            await x.send(AxiStreamFrame(frame.tobytes()))
        return 0

    async def clear(at: int, value: int) -> int:
        x.clear()
        await x.wait()
        await ClockCycles(dut.aclk, 10)
        return 0

    async def all_clips(at: int, value: int) -> int:
        while not results.empty():
            await results.recv()
        for clip in range(len(clips)):
            await feed(clip, 0)
        for _ in clips:
            packets.append(await packet())
        assert int(dut.interrupt.value)
        return 0

    await serve(task["command"], {"r": read, "w": write, "f": feed, "c": clear, "a": all_clips})
    (WORK / "packets.json").write_text(json.dumps(packets))


@cocotb.test()
async def litex(dut) -> None:
    """On a SoC, in the place of its CPU: a manager of its Wishbone bus."""
    task = json.loads((WORK / "task.json").read_text())
    for name in ("cyc", "stb", "we", "cti", "bte"):
        getattr(dut, f"host_{name}").value = 0
    dut.host_sel.value = 0xF
    dut.sys_rst.value = 1
    cocotb.start_soon(Clock(dut.sys_clk, PERIOD, unit="ns").start())
    await ClockCycles(dut.sys_clk, 8)
    dut.sys_rst.value = 0
    await ClockCycles(dut.sys_clk, 8)

    async def access(at: int, value: int, write: bool) -> int:
        dut.host_adr.value, dut.host_dat_w.value, dut.host_we.value = at >> 2, value, int(write)
        dut.host_cyc.value = dut.host_stb.value = 1
        for _ in range(LIMIT):
            await RisingEdge(dut.sys_clk)
            if int(dut.host_ack.value) or int(dut.host_err.value):
                break
        else:
            raise AssertionError(f"nothing answers at {at:#x}")
        assert not int(dut.host_err.value), f"an access to {at:#x} is answered by an error"
        answer = int(dut.host_dat_r.value)
        dut.host_cyc.value = dut.host_stb.value = 0
        await RisingEdge(dut.sys_clk)
        return answer

    async def read(at: int, value: int) -> int:
        return await access(at, 0, False)

    async def write(at: int, value: int) -> int:
        return await access(at, value, True)

    await serve(task["command"], {"r": read, "w": write})
