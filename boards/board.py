"""What a board is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from amaranth.build import Platform

from fdht.boards import gowin_delays, ice40_delays
from fdht.boards.clocks import Clock
from fdht.boards.parts import Part, find_part
from fdht.boards.static_timing import Refine
from fdht.spec.errors import SpecError
from fdht.spec.flash import ADDRESS_BITS, STRIDE, FlashPlan, plan
from fdht.spec.target import MOST_SLOTS, Target, Technology


@dataclass(frozen=True)
class Family:
    """Tools of a family of parts, and how they name things.

    In options, {name} is the design, {clock_mhz} what it must reach, {seed} that of the placement; {routed} and
    {bitstream} are files.

    Attributes:
        name: of the family.
        toolchain: Amaranth's name of it.
        synthesis: options of Yosys's command. It must not turn multiplications into DSP blocks on its own where these
            are instantiated.
        netlist: name of the netlist that Amaranth's script writes.
        place_and_route: nextpnr's name. route: its options for router and clock.
        constraints: its options for the constraint file.
        output: its option for the result. routed: name of that file.
        pack: name of the bitstream packer. pack_arguments: its options.
        suffix: of a bitstream.
        multipliers, block_rams, sprams: cell types that are one.
        luts: LUTs that a cell of each type takes. ffs: how names of flip-flops begin.
        outside: cell types at the edge of every clock's domain, as nextpnr calls them.
        after_synthesis: Yosys's commands on the netlist. files: what these read, by name.
        refine: corrects nextpnr's delays, see fdht.boards.static_timing; None where they need none.
        design: name of the routed design as nextpnr's JSON, for `refine`.
        second_opinion: another analysis of the routed file, for those who have its tool: the clock in MHz, or None.
    """

    name: str
    toolchain: str
    synthesis: tuple[str, ...]
    netlist: str
    place_and_route: str
    route: tuple[str, ...]
    constraints: tuple[str, ...]
    output: str
    routed: str
    pack: str
    pack_arguments: tuple[str, ...]
    suffix: str
    multipliers: tuple[str, ...]
    block_rams: tuple[str, ...]
    sprams: tuple[str, ...]
    luts: Mapping[str, int]
    ffs: str
    outside: tuple[str, ...]
    after_synthesis: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    refine: Refine | None = field(default=None, repr=False)  # a function's repr is another in every process
    design: str = ""
    second_opinion: Callable[[tuple[str, ...], Path], float | None] | None = field(default=None, repr=False)

    @property
    def routed_suffix(self) -> str:
        """How the name of the routed design that is kept ends."""
        return self.routed.removeprefix("{seed}")


ICE40 = Family(
    "ice40",
    toolchain="icestorm",
    synthesis=(),  # without -dsp: the SB_MAC16 are instantiated, the gate unit multiplies in LUTs
    netlist="{name}.json",
    place_and_route="nextpnr-ice40",
    route=(),
    constraints=("--pcf", "{name}.pcf"),
    output="--asc",
    routed="{seed}.asc",
    pack="icepack",
    pack_arguments=("{routed}", "{bitstream}"),
    suffix=".bin",
    multipliers=("SB_MAC16",),
    block_rams=("SB_RAM40_4K", "SB_RAM40_4KNR", "SB_RAM40_4KNW", "SB_RAM40_4KNRNW"),
    sprams=("SB_SPRAM256KA",),
    luts={"SB_LUT4": 1},
    ffs="SB_DFF",
    outside=("SB_IO", "ICESTORM_PLL", "SB_GB"),
    refine=ice40_delays.refine,
    design="{seed}.pnr.json",
    second_opinion=ice40_delays.icetime,
)

ECP5 = Family(
    "ecp5",
    toolchain="trellis",
    synthesis=(),
    netlist="{name}.json",
    place_and_route="nextpnr-ecp5",
    # router1, nextpnr's default, takes hours where router2 takes minutes
    route=("--router", "router2", "--placer-heap-timingweight", "20"),
    constraints=("--lpf", "{name}.lpf"),
    output="--textcfg",
    routed="{seed}.config",
    pack="ecppack",
    pack_arguments=("--compress", "{routed}", "{bitstream}"),
    suffix=".bit",
    multipliers=("MULT18X18D",),
    block_rams=("DP16KD", "PDPW16KD"),
    sprams=(),
    luts={"LUT4": 1, "CCU2C": 2},
    ffs="TRELLIS_FF",
    outside=("TRELLIS_IO", "EHXPLLL"),
)

GOWIN = Family(
    "gowin",
    toolchain="apicula",
    synthesis=("-nodsp",),
    netlist="{name}.syn.json",
    place_and_route="nextpnr-himbaechel-gowin",
    # the clock of every domain: no constraint is derived from a PLL
    route=("--router", "router2", "--freq", "{clock_mhz:g}"),
    constraints=("--vopt", "cst={name}.cst"),
    output="--write",
    routed="{seed}.pnr.json",
    pack="gowin_pack",
    pack_arguments=("-o", "{bitstream}", "{routed}"),
    suffix=".fs",
    multipliers=("MULT18X18",),
    block_rams=("SP", "SPX9", "SDPB", "SDPX9B", "DPB", "DPX9B"),
    sprams=(),
    luts={"LUT1": 1, "LUT2": 1, "LUT3": 1, "LUT4": 1, "ALU": 1, "RAM16SDP4": 4},
    ffs="DFF",
    outside=("IBUF", "OBUF", "TBUF", "rPLL", "GSR"),
    # nextpnr knows the delays of a LUT4 and of no smaller one
    after_synthesis=("techmap -map lut4.techmap", "write_json {name}.syn.json"),
    files={"lut4.techmap": gowin_delays.LUT4_TECHMAP},
    refine=gowin_delays.refine,
    design="{seed}.pnr.json",
)


@dataclass(frozen=True)
class Flash:
    """A board's SPI flash, which holds its bitstream, and images behind it.

    Attributes:
        resource: Amaranth's name of its pins: `cs`, `copi`, `cipo`, `clk` where that is an ordinary pin, and `wp` and
            `hold` if they are connected.
        size: bytes that it has at least.
        slots_at: where slot 0 begins: where slots may begin and no bitstream ends.
        bitstream_at: where the bitstream begins.
        button: Amaranth's name and number of a button that, held at power-up, has slot 1 loaded instead of slot 0.
        write: openFPGALoader's options to write to it; none where it cannot. data: those that say that a file is to be
            written as it is.
    """

    resource: str
    size: int
    slots_at: int
    bitstream_at: int = 0
    button: tuple[str, int] | None = None
    write: tuple[str, ...] = ("--write-flash",)
    data: tuple[str, ...] = ("--file-type", "bin")

    def __post_init__(self):
        room, size = MOST_SLOTS * STRIDE, min(self.size, 1 << ADDRESS_BITS)
        if self.slots_at % room or not self.bitstream_at < self.slots_at <= size - room:
            raise SpecError(
                f"slots at {self.slots_at:#x} of a flash of {self.size:#x} bytes, its bitstream at "
                f"{self.bitstream_at:#x}; slots begin behind that, at multiples of {room:#x}, and end {room:#x} later, "
                f"at most at {1 << ADDRESS_BITS:#x}"
            )


@dataclass(frozen=True)
class Board:
    """A board, and the engine that is built for it.

    Attributes:
        name: how users call it.
        engine: what is built for it.
        family: of its part.
        part: nextpnr's options that name the part. pack: further options of the bitstream packer.
        platform: makes the Amaranth platform: pins.
        clock: makes what drives the `sync` domain.
        clock_mhz: of `sync`; timing must be met at this frequency.
        baud: of the serial port (resource `uart` 0).
        loader: openFPGALoader's name of the board; "" if that is its name here.
        flash: from which an engine with `build.standalone` loads itself; None where it cannot.
        spi_mhz: fastest clock of the SPI port (resource `spi` 0), no faster than `sync`; None without one.
        said: the options that name it and its engine on a command line; "" if `--board` and its name do.
        other_engine: whether it has another engine than the board comes with; see fdht.boards.fitting.
        other_clock: whether it has a slower clock than the board comes with; see fdht.boards.slower.
    """

    name: str
    engine: Target
    family: Family
    part: tuple[str, ...]
    platform: Callable[[], Platform]
    clock: Callable[[], Clock]
    clock_mhz: float
    baud: int
    pack: tuple[str, ...] = ()
    loader: str = ""
    spi_mhz: float | None = None
    flash: Flash | None = None
    said: str = ""
    other_engine: bool = False
    other_clock: bool = False

    @property
    def options(self) -> str:
        """How a command line names it and its engine."""
        return self.said or f"--board {self.name}"

    @property
    def design(self) -> str:
        """What a build of it is called: as the board, and as what it has that is not the board's own."""
        engine = f"-{self.engine.name}" if self.other_engine else ""
        return self.name + engine + (f"-{self.clock_mhz:g}MHz" if self.other_clock else "")

    @property
    def technology(self) -> Technology:
        """Primitives of its part."""
        return Technology(self.family.name)

    @property
    def room(self) -> Part | None:
        """What its part has; None if nothing is known of it."""
        return find_part(self.part)

    @property
    def plan(self) -> FlashPlan | None:
        """How the engine loads itself; None: a host loads it.

        Raises:
            SpecError: it is to, and there is no flash that it knows.
        """
        standalone = self.engine.build.standalone
        if standalone is None:
            return None
        if self.flash is None:
            raise SpecError(
                f"{self.name} has no flash that an engine could load itself from; leave build.standalone out of target "
                f"{self.engine.name}, or say `flash` in the board"
            )
        return plan(standalone, self.flash.slots_at, self.clock_hz)

    @property
    def target(self) -> str:
        """Name of the engine's target."""
        return self.engine.name

    @property
    def clock_hz(self) -> int:
        return round(self.clock_mhz * 1e6)
