"""The system clock from a part's PLL, divided or not, and the reset that waits for it."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

from amaranth.hdl import ClockDomain, ClockSignal, Const, Elaboratable, Instance, Module, Mux, ResetSignal, Signal
from amaranth.lib import io
from amaranth.lib.cdc import FFSynchronizer

from fdht.hw.component import ask
from fdht.spec.errors import SpecError

RESET_CYCLES = 1 << 10
"""Cycles of reset after the PLL locks: more than the 3 µs in which an iCE40's block RAM reads as zeros after
configuration (icestorm issue 76), up to 100 MHz and with a margin."""


def _domain(m: Module, clock: Signal, locked: Signal | Const) -> None:
    """Drives `sync` with a clock: in reset until the PLL has been locked for RESET_CYCLES."""
    m.domains += ClockDomain("start", reset_less=True, local=True)
    m.d.comb += [ClockSignal("sync").eq(clock), ClockSignal("start").eq(clock)]
    stable = Signal()
    m.submodules.lock = FFSynchronizer(locked, stable, o_domain="start")
    count = Signal(range(RESET_CYCLES))
    reset = Signal(init=1)
    with m.If(~stable):
        m.d.start += [count.eq(0), reset.eq(1)]
    with m.Elif(count == RESET_CYCLES - 1):
        m.d.start += reset.eq(0)
    with m.Else():
        m.d.start += count.eq(count + 1)
    m.d.comb += ResetSignal("sync").eq(reset)


@dataclass(frozen=True)
class Divided:
    """A counter behind a clock.

    Attributes:
        by: what it divides by, at least 2. mhz: of the divided clock; no tool derives a constraint behind a counter.
    """

    by: int
    mhz: float


class Clock(Elaboratable):
    """Drives clock and reset of the domain `sync`, which the top of the design defines.

    Args:
        resource: name of the board's clock.
        divided: whether `sync` has the clock that the board or the PLL gives, or a slower one.
    """

    def __init__(self, resource: str, divided: Divided | None = None):
        self.resource, self._divided = resource, divided

    @abstractmethod
    def elaborate(self, platform) -> Module: ...

    @abstractmethod
    def rates(self, input_mhz: Fraction) -> "Iterator[Rate]":
        """What a clock like this can be before it is divided, within the maker's limits.

        Args:
            input_mhz: of the board's clock.
        """
        ...

    def _drive(self, m: Module, platform, clock: Signal, locked: Signal | Const) -> None:
        """Drives `sync` with a clock, divided or not."""
        if self._divided is not None:
            by = self._divided.by
            m.domains += ClockDomain("undivided", reset_less=True, local=True)
            count, slow = Signal(range(by)), Signal(name="divided_clock", attrs={"keep": 1})
            m.d.comb += ClockSignal("undivided").eq(clock)
            m.d.undivided += [count.eq(Mux(count == by - 1, 0, count + 1)), slow.eq(count < by // 2)]
            platform.add_clock_constraint(slow, self._divided.mhz * 1e6)
            clock = slow
        _domain(m, clock, locked)


Rate = tuple[Fraction, Callable[..., Clock]]
"""A frequency in MHz, and what makes a clock of it, given `divided`."""


def _within(*checks: tuple[Fraction, tuple[float, float]]) -> bool:
    return all(low <= value <= high for value, (low, high) in checks)


def _fed_back(
    make: Callable[..., Clock],
    input_mhz: Fraction,
    most: tuple[int, int],
    outputs: Callable[[Fraction], Iterable[int]],
    pfd_mhz: tuple[float, float],
    vco_mhz: tuple[float, float],
    made_mhz: tuple[float, float] = (0, float("inf")),
) -> Iterator[Rate]:
    """What PLLs that feed their output back can make: input × feedback / divider.

    Args:
        make: a clock of `input_mhz`, `output_mhz`, `input_divider`, `feedback` and `output`.
        most: largest divider of the reference, and of the feedback.
        outputs: dividers of the VCO to be tried for a frequency; the first that keeps the VCO in its range is taken.
        pfd_mhz, vco_mhz, made_mhz: ranges of the phase detector, the VCO and the output.
    """
    for divider in range(1, most[0] + 1):
        for feedback in range(1, most[1] + 1):
            pfd = input_mhz / divider
            made = pfd * feedback
            for output in outputs(made):
                if _within((pfd, pfd_mhz), (made * output, vco_mhz), (made, made_mhz)):
                    dividers = {"input_divider": divider, "feedback": feedback, "output": output}
                    yield made, partial(make, input_mhz=float(input_mhz), output_mhz=float(made), **dividers)
                    break


def _check(
    clock: Elaboratable, input_mhz: float, output_mhz: float, ratio: float, vco_mhz: float, low: float, high: float
) -> None:
    """Whether a PLL's dividers make what they should, with its VCO in its range."""
    if abs(input_mhz * ratio - output_mhz) > 1e-6:
        lack = f"makes {input_mhz * ratio:g} MHz of {input_mhz:g}, not {output_mhz:g}"
    elif not low <= vco_mhz <= high:
        lack = f"has a VCO that runs at {vco_mhz:g} MHz, outside {low:g}..{high:g}"
    else:
        return
    ask(clock)  # nobody gets it, so nobody need be warned that it is not used
    raise SpecError(f"the PLL {lack}; take its dividers from yowasp-ecppll or gowin_pll")


class PinClock(Clock):
    """The board's clock as it is, without a PLL."""

    def rates(self, input_mhz):
        yield input_mhz, partial(PinClock, self.resource)

    def elaborate(self, platform):
        m = Module()
        m.submodules.pin = pin = io.Buffer("i", platform.request(self.resource, dir="-"))
        self._drive(m, platform, pin.i, Const(1))
        return m


class ICE40Clock(Clock):
    """SB_PLL40_PAD in simple feedback: input × (divf + 1) / (2^divq × (divr + 1)).

    Args:
        resource: name of the board's clock; it must be on the PLL's pin.
        divr, divf, divq, filter_range: as icepll prints them.
        divided: see Clock.
    """

    PFD_MHZ, VCO_MHZ, OUTPUT_MHZ = (10, 133), (533, 1066), (16, 275)
    """Of the phase detector, the VCO and the output, after the data sheet (FPGA-DS-02008)."""

    FILTER_MHZ = (17, 26, 44, 66, 101)
    """Up to which frequency of the phase detector each FILTER_RANGE from 1 on is for, as icepll has it."""

    def __init__(
        self, resource: str, *, divr: int, divf: int, divq: int, filter_range: int, divided: Divided | None = None
    ):
        super().__init__(resource, divided)
        self._parameters = {
            "p_DIVR": Const(divr, 4),
            "p_DIVF": Const(divf, 7),
            "p_DIVQ": Const(divq, 3),
            "p_FILTER_RANGE": Const(filter_range, 3),
        }

    def rates(self, input_mhz):
        for divr in range(1 << 4):
            pfd = input_mhz / (divr + 1)
            filter_range = 1 + sum(pfd >= bound for bound in self.FILTER_MHZ)
            for divf in range(1 << 7):
                for divq in range(1, 7):
                    vco = pfd * (divf + 1)
                    if _within((pfd, self.PFD_MHZ), (vco, self.VCO_MHZ), (vco / 2**divq, self.OUTPUT_MHZ)):
                        settings = {"divr": divr, "divf": divf, "divq": divq, "filter_range": filter_range}
                        yield vco / 2**divq, partial(ICE40Clock, self.resource, **settings)

    def elaborate(self, platform):
        m = Module()
        clock, locked = Signal(), Signal()
        m.submodules.pll = Instance(
            "SB_PLL40_PAD",
            p_FEEDBACK_PATH="SIMPLE",
            **self._parameters,
            i_PACKAGEPIN=platform.request(self.resource, dir="-").io,
            i_RESETB=Const(1),
            i_BYPASS=Const(0),
            o_PLLOUTGLOBAL=clock,
            o_LOCK=locked,
        )
        self._drive(m, platform, clock, locked)
        return m


class ECP5Clock(Clock):
    """EHXPLLL that feeds its first output back: input × feedback / input_divider.

    Args:
        resource: name of the board's clock.
        input_mhz, output_mhz: told to the tools, which constrain the clock with them.
        input_divider, feedback, output: dividers of the reference, the feedback and the VCO, as ecppll prints them.
        divided: see Clock.
    """

    PFD_MHZ, VCO_MHZ, OUTPUT_MHZ = (10, 400), (400, 800), (10, 400)
    """Of the phase detector, the VCO and the output, after the data sheet (FPGA-DS-02012) and ecppll."""

    def __init__(
        self,
        resource: str,
        *,
        input_mhz: float,
        output_mhz: float,
        input_divider: int,
        feedback: int,
        output: int,
        divided: Divided | None = None,
    ):
        _check(self, input_mhz, output_mhz, feedback / input_divider, output_mhz * output, *self.VCO_MHZ)
        super().__init__(resource, divided)
        self._parameters = {
            "a_FREQUENCY_PIN_CLKI": str(input_mhz),
            "a_FREQUENCY_PIN_CLKOP": str(output_mhz),
            "p_CLKI_DIV": input_divider,
            "p_CLKFB_DIV": feedback,
            "p_CLKOP_DIV": output,
            "p_CLKOP_CPHASE": output // 2 - 1,
        }

    def rates(self, input_mhz):
        def outputs(made: Fraction) -> list[int]:
            output = round(sum(self.VCO_MHZ) / 2 / made)  # the VCO in the middle of its range
            return [output] if 2 <= output <= 128 else []

        make = partial(ECP5Clock, self.resource)
        yield from _fed_back(make, input_mhz, (128, 80), outputs, self.PFD_MHZ, self.VCO_MHZ, self.OUTPUT_MHZ)

    def elaborate(self, platform):
        m = Module()
        clock, locked = Signal(), Signal()
        m.submodules.pin = pin = io.Buffer("i", platform.request(self.resource, dir="-"))
        low = ("RST", "STDBY", "PHASESEL0", "PHASESEL1", "PLLWAKESYNC", "ENCLKOP")
        high = ("PHASEDIR", "PHASESTEP", "PHASELOADREG")
        m.submodules.pll = Instance(
            "EHXPLLL",
            a_ICP_CURRENT="12",
            a_LPF_RESISTOR="8",
            a_MFG_ENABLE_FILTEROPAMP="1",
            a_MFG_GMCREF_SEL="2",
            p_FEEDBK_PATH="CLKOP",
            p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_FPHASE=0,
            p_OUTDIVIDER_MUXA="DIVA",
            p_PLLRST_ENA="DISABLED",
            p_INTFB_WAKE="DISABLED",
            p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED",
            **self._parameters,
            i_CLKI=pin.i,
            i_CLKFB=clock,
            **{f"i_{pin}": Const(0) for pin in low},
            **{f"i_{pin}": Const(1) for pin in high},
            o_CLKOP=clock,
            o_LOCK=locked,
        )
        self._drive(m, platform, clock, locked)
        return m


class GowinClock(Clock):
    """rPLL with internal feedback: input × feedback / input_divider.

    Args:
        resource: name of the board's clock.
        input_mhz, output_mhz: told to the tools.
        input_divider, feedback, output: dividers of the reference, the feedback and the VCO: one more than IDIV_SEL and
            FBDIV_SEL, and ODIV_SEL, as gowin_pll prints them.
        vco_mhz: range of the part's VCO.
        divided: see Clock.
    """

    PFD_MHZ = 3, 320
    """Of the phase detector: what every part in Apicula's gowin_pll takes."""

    OUTPUTS = 2, 4, 8, 16, 32, 48, 64, 80, 96, 112, 128
    """Dividers of the VCO that there are."""

    def __init__(
        self,
        resource: str,
        *,
        input_mhz: float,
        output_mhz: float,
        input_divider: int,
        feedback: int,
        output: int,
        vco_mhz: tuple[float, float],
        divided: Divided | None = None,
    ):
        _check(self, input_mhz, output_mhz, feedback / input_divider, output_mhz * output, *vco_mhz)
        super().__init__(resource, divided)
        self._vco_mhz = vco_mhz
        self._parameters = {
            "p_FCLKIN": str(input_mhz),
            "p_IDIV_SEL": input_divider - 1,
            "p_FBDIV_SEL": feedback - 1,
            "p_ODIV_SEL": output,
        }

    def rates(self, input_mhz):
        make = partial(GowinClock, self.resource, vco_mhz=self._vco_mhz)
        yield from _fed_back(make, input_mhz, (64, 64), lambda made: self.OUTPUTS, self.PFD_MHZ, self._vco_mhz)

    def elaborate(self, platform):
        m = Module()
        clock, locked = Signal(), Signal()
        m.submodules.pin = pin = io.Buffer("i", platform.request(self.resource, dir="-"))
        dynamic = {"FBDSEL": 6, "IDSEL": 6, "ODSEL": 6, "PSDA": 4, "DUTYDA": 4, "FDLY": 4}
        m.submodules.pll = Instance(
            "rPLL",
            **self._parameters,
            i_CLKIN=pin.i,
            i_CLKFB=Const(0),
            i_RESET=Const(0),
            i_RESET_P=Const(0),
            **{f"i_{pin}": Const(0, width) for pin, width in dynamic.items()},
            o_CLKOUT=clock,
            o_LOCK=locked,
        )
        self._drive(m, platform, clock, locked)
        return m
