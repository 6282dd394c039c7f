"""What a board is."""

from collections.abc import Callable
from dataclasses import dataclass

from amaranth.build import Platform

from boards.clocks import Clock
from spec.target import Target, find_target


@dataclass(frozen=True)
class Family:
    """Tools of a family of parts, and how they name things.

    Attributes:
        name: of the family.
        synthesis: Yosys command. It must not turn multiplications into DSP blocks on its own where these are
            instantiated.
        place_and_route: nextpnr's name. route: its options for the router.
        constraints, output: its options for constraint file and result, and the suffixes of these files.
        pack: name of the bitstream packer. pack_arguments: its options before the output's name.
        suffix: of a bitstream.
        multipliers, block_rams, sprams: cell types that are one.
    """

    name: str
    synthesis: str
    place_and_route: str
    route: tuple[str, ...]
    constraints: tuple[str, str]
    output: tuple[str, str]
    pack: str
    pack_arguments: tuple[str, ...]
    suffix: str
    multipliers: tuple[str, ...]
    block_rams: tuple[str, ...]
    sprams: tuple[str, ...]


ICE40 = Family(
    "ice40",
    synthesis="synth_ice40",  # without -dsp: the SB_MAC16 are instantiated, the gate unit multiplies in LUTs
    place_and_route="nextpnr-ice40",
    route=(),
    constraints=("--pcf", ".pcf"),
    output=("--asc", ".asc"),
    pack="icepack",
    pack_arguments=(),
    suffix=".bin",
    multipliers=("SB_MAC16",),
    block_rams=("SB_RAM40_4K", "SB_RAM40_4KNR", "SB_RAM40_4KNW", "SB_RAM40_4KNRNW"),
    sprams=("SB_SPRAM256KA",),
)

ECP5 = Family(
    "ecp5",
    synthesis="synth_ecp5",
    place_and_route="nextpnr-ecp5",
    # router1, nextpnr's default, takes hours where router2 takes minutes
    route=("--router", "router2", "--placer-heap-timingweight", "20"),
    constraints=("--lpf", ".lpf"),
    output=("--textcfg", ".config"),
    pack="ecppack",
    pack_arguments=("--compress",),
    suffix=".bit",
    multipliers=("MULT18X18D",),
    block_rams=("DP16KD", "PDPW16KD"),
    sprams=(),
)


@dataclass(frozen=True)
class Board:
    """A board, and the engine that is built for it.

    Attributes:
        name: how users call it.
        target: name of the engine's target.
        family: of its part.
        part: nextpnr's options that name the part.
        platform: makes the Amaranth platform: pins.
        clock: makes what drives the `sync` domain.
        clock_mhz: of `sync`; timing must be met at this frequency.
        baud: of the serial port (resource `uart` 0).
        loader: openFPGALoader's name of the board; "" if that is its name here.
        spi_mhz: fastest clock of the SPI port (resource `spi` 0), no faster than `sync`; None without one.
    """

    name: str
    target: str
    family: Family
    part: tuple[str, ...]
    platform: Callable[[], Platform]
    clock: Callable[[], Clock]
    clock_mhz: float
    baud: int
    loader: str = ""
    spi_mhz: float | None = None

    @property
    def engine(self) -> Target:
        return find_target(self.target)

    @property
    def clock_hz(self) -> int:
        return round(self.clock_mhz * 1e6)
