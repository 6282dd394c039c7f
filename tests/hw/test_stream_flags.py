"""What is known of streams against a small model, over random admissions, steps and groups."""

import random
from dataclasses import dataclass

import pytest
from amaranth.sim import Simulator

from fdht.hw.engine.stream_flags import StreamFlags, flags
from fdht.spec.target import Target

TARGETS = {
    "streams": Target("test", 2, 2, streams=5),
    "gates": Target("test", 2, 4, streams=8, gates=4),
    "a group that is not full": Target("test", 2, 2, streams=3, gates=2),
}


@dataclass
class Known:
    """Of a stream: frames as (present, begins, ends)."""

    pending: tuple[int, int, int] = (0, 0, 0)
    now: tuple[int, int, int] = (0, 0, 0)
    stepped: int = 0
    ended: int = 0


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_what_is_known_of_each_stream(target):
    draw, dut, gates = random.Random(3), StreamFlags(target), target.gates
    known = [Known() for _ in range(flags(target))]

    async def bench(ctx):
        nonlocal known
        for _ in range(600):
            loaded, stepped = (draw.randrange(target.streams) for _ in range(2))
            admits, opens, together, steps = (draw.random() < 0.4 for _ in range(4))
            clear, frame = draw.random() < 0.02, tuple(draw.randrange(2) for _ in range(3))
            opens, together = opens and not admits, together and gates > 1
            for name, value in (("loaded", loaded), ("stepped", stepped), ("admits", admits), ("opens", opens)):
                ctx.set(getattr(dut, name), value)
            for name, value in (("together", together), ("steps", steps), ("clear", clear)):
                ctx.set(getattr(dut, name), value)
            ctx.set(dut.frame, dict(zip(("present", "begins", "ends"), frame, strict=True)))

            of_loaded, of_stepped = (range(of - of % gates, of - of % gates + gates) for of in (loaded, stepped))
            assert ctx.get(dut.fresh) == sum(known[of].pending[1] << k for k, of in enumerate(of_loaded))
            for k, of in enumerate(of_stepped):
                said = tuple(ctx.get(dut.frames[k][name]) for name in ("present", "begins", "ends"))
                assert said == known[of].now
            for k, each in enumerate(known):
                assert ctx.get(dut.present) >> k & 1 == each.now[0]
                assert ctx.get(dut.were_stepped) >> k & 1 == each.stepped
                assert ctx.get(dut.ended) >> k & 1 == each.ended
            await ctx.tick()

            for of in of_stepped if steps else ():
                present, _, ends = known[of].now
                known[of].stepped, known[of].ended = present, present & ends
            for of in (of_loaded if together else [loaded]) if opens else ():
                known[of].now = known[of].pending
            if admits:
                known[loaded].pending = frame
            if clear:
                known = [Known() for _ in known]

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
