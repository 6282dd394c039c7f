"""An engine at a port: a board, or a board in simulation."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from fdht.compiler.image import Image, check_states
from fdht.host.arrivals import Arrival, in_rounds, side_by_side
from fdht.host.connection import Connection, DeviceError
from fdht.host.drift import Drift, Inputs
from fdht.spec.bundle import MOST_STEPS
from fdht.spec.clips import in_sending_order
from fdht.spec.errors import SpecError
from fdht.spec.flash import SlotState
from fdht.spec.protocol import (
    MAX_PAYLOAD,
    OutputKind,
    Request,
    Status,
    image_check,
    result_bytes,
    start_payload,
    target_id,
    word_bytes,
)
from fdht.spec.rounds import NOBODY, Frame, closed, framed
from fdht.spec.target import named

BAUD = 3_000_000
TIMEOUT = 1.0
LOADING_TURNS = 100
"""How often a device that loads itself is asked in `timeout` seconds whether it is done."""

STANDSTILL = 10
"""Timeouts after which an engine that takes and gives nothing is given up."""


@dataclass(frozen=True, eq=False)
class Outputs:
    """What the head has sent.

    Attributes:
        logits: the integers: one per class, or output of a regression, for each step (steps × classes) if the task is
            after every step and a whole clip was run.
        image: what they mean.
    """

    logits: np.ndarray
    image: Image

    @property
    def predicted(self) -> int:
        """The class that the logits of the last step give: the first of the largest, -1 without a head and of a
        regression.
        """
        return int(self.classes.reshape(-1)[-1])

    @property
    def classes(self) -> np.ndarray:
        """The class of each vector of logits."""
        return self.image.task.classes_of(self.logits)

    @property
    def values(self) -> np.ndarray:
        """The logits as real numbers; of a regression, the numbers that were asked for."""
        format = self.image.logits
        if format is None:
            return self.logits.astype(np.float64)
        scaling = self.image.outputs
        return format.dequantise(self.logits) if scaling is None else scaling.values_of(self.logits, format)


@dataclass(frozen=True, eq=False)
class Result(Outputs):
    """What became of a clip.

    Attributes:
        hidden, cells: integers of h and c after the last step, of all layers' units, layer by layer: layers·H.
        every_h: steps × H of the last layer, if asked for.
        status: of the device at the end, with the run's counts.
    """

    hidden: np.ndarray
    cells: np.ndarray
    every_h: np.ndarray | None
    status: Status


@dataclass(frozen=True, eq=False)
class StreamOutputs(Outputs):
    """What a frame of a stream was answered with.

    Attributes:
        arrival: the frame.
        hidden, cells: without a head, h and c of the last layer after the last step of a sequence; else empty.
    """

    arrival: Arrival
    hidden: np.ndarray
    cells: np.ndarray


class Device:
    """An engine behind a port. A context manager.

    Args:
        port: as pyserial's `serial_for_url` takes it: `/dev/ttyUSB1`, `COM4`, `socket://host:port`.
        baud: of a serial port.
        timeout: seconds to wait for an answer; a DeviceError after four such silences, or ten in which a run stands
            still.
        build: the bitstream that must be there (fdht.boards.top.build_id); None for any that speaks the protocol.

    Raises:
        DeviceError: no port, no device, or not the one that must be there.
    """

    def __init__(self, port: str, *, baud: int = BAUD, timeout: float = TIMEOUT, build: int | None = None):
        self._timeout = timeout
        self._image: Image | None = None
        self._check = 0
        self._drift: Drift | None = None  # of an engine with tallies
        self._connection = Connection(port, baud, timeout)
        try:
            status = self._connection.identify()
            if build is not None and status.build != build:
                raise DeviceError(
                    f"the bitstream on {port} is {status.build:08x}, not {build:08x}, which this fdht makes; "
                    "load it with: fdht program --board NAME"
                )
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> "Device":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def status(self) -> Status:
        """What the device is, holds and has counted: see fdht.spec.protocol."""
        return self._connection.status()

    def saturations(self) -> dict[str, int]:
        """Words of which a lane was clipped since the image was loaded, by place: a stage, z, or the logits, by the
        names of fdht.model.golden.Trace. After a run in which a place clips far more than on the bundle's clips,
        there is a fdht.host.drift.DriftWarning.

        Raises:
            SpecError: no image is loaded, or the engine was built without tallies.
        """
        return dict(self._tallies().clipped)

    def steps(self) -> dict[int, int]:
        """Steps that were finished since the image was loaded, by stream.

        Raises:
            SpecError: see `saturations`.
        """
        return dict(self._tallies().steps)

    def _tallies(self) -> Drift:
        self._loaded()
        if self._drift is None:
            raise SpecError(
                f"the engine on {self._connection.url}, or the target that its image was compiled for, has no tallies; "
                "take a target with build.features.tallies, or look at the saturations of all stages in status()"
            )
        return self._drift

    def _tally(self) -> None:
        """Adds what a run has counted."""
        if self._drift is not None:
            self._drift.add(self._connection)

    def reset(self) -> None:
        """Ends a run and forgets its results; what is loaded stays."""
        self._connection.do(Request.RESET)

    def select(self, slot: int) -> Status:
        """Has an engine that stands alone load a slot of its board's flash, and waits until it has.

        Which image that is, `load` finds out: it loads nothing if the device has the image.

        Returns:
            The status afterwards.

        Raises:
            SpecError: no such slot, or an engine that only a host loads.
            DeviceError: the slot is empty or damaged, or the device no longer answers.
        """
        url, slots = self._connection.url, self.status().slots
        if not slots:
            raise SpecError(
                f"the engine on {url} does not load itself from a flash; call load, or build it with build.standalone"
            )
        if not 0 <= slot < slots:
            raise SpecError(f"there is no slot {slot} on {url}; its engine has slots 0 to {slots - 1}")
        self._image = None
        self._connection.do(Request.RESET, [bytes([slot])])
        status = self._connection.identify(turns=LOADING_TURNS)
        if status.slot_state != SlotState.LOADED:
            raise DeviceError(
                f"slot {slot} on {url} is {SlotState(status.slot_state).name.lower()}; write it with: "
                f"fdht program --flash --slot {slot}"
            )
        return status

    def load(self, image: Image, progress: Callable[[int, int], None] | None = None) -> bool:
        """Loads an image, unless it is what the device has, and makes sure that it has arrived.

        Args:
            progress: called with (bytes done, bytes).

        Returns:
            Whether it had to be loaded.

        Raises:
            DeviceError: the image is for another target, or was not taken as it is.
        """
        status = self.status()
        target = status.target
        if target_id(image.target) != target:
            built = next((name for name, engine in named().items() if target_id(engine) == target), f"{target:08x}")
            raise DeviceError(
                f"the board on {self._connection.url} is built for target {built}, the image for {image.target.name}; "
                "compile it for the board's target, or load the image's bitstream"
            )
        words = image.stream().astype("<u2").tobytes()
        check = image_check(words)
        self._image = None
        self.reset()
        fresh = self.status().image != check
        if fresh:
            self._connection.do(Request.IMAGE, _parts(words, progress))
            loaded = self.status().image
            if loaded != check:
                raise DeviceError(
                    f"the board on {self._connection.url} holds an image with check {loaded:08x}, {check:08x} was "
                    "sent; load it again"
                )
        self._image, self._check = image, check
        tallied = image.target.build.features.tallies and self._connection.tallies(0)
        self._drift, self._inputs = Drift(image) if tallied else None, Inputs(image)
        return fresh

    def run(
        self,
        clips: np.ndarray | Sequence[np.ndarray],
        *,
        initial: np.ndarray | None = None,
        every_h: bool = False,
        keep: bool = False,
    ) -> Iterator[Result]:
        """Streams clips through the engine, frame by frame.

        Args:
            clips: raw input words, clips × steps × N, or a clip each, steps × N, where they differ in length. Where the
                image says how real values are scaled, floating-point clips are such values, and become words here. Of a
                module with parts that stay on the host (`image.host`) pass `Accelerator.words(x)`.
            initial: h and c at the start of every clip, integers in the formats of the target's `gate_formats`: a row
                (h, c) for each unit, layers·H × 2, layer by layer; zero when left out.
            every_h: have h sent after every step.
            keep: each clip but the first goes on with the states the clip before ended with.

        Yields:
            Each clip's result as it is done.

        Raises:
            SpecError: no image is loaded, or one of several streams, clips or initial states do not fit it, or the
                engine takes no initial states.
            DeviceError: the device no longer answers, or is no longer loaded with the image.
        """
        image = self._of_one_sequence()
        if isinstance(clips, np.ndarray) and (clips.ndim != 3 or clips.shape[2] != image.inputs):
            raise SpecError(f"clips of shape {clips.shape} are not clips x steps x {image.inputs}")
        for clip in clips:
            if clip.ndim != 2 or clip.shape[1] != image.inputs or not 1 <= len(clip) <= MOST_STEPS:
                raise SpecError(f"a clip of shape {clip.shape} is not steps (1 to {MOST_STEPS:,}) x {image.inputs}")
        words = [self._inputs.words(clip) for clip in clips]
        self._make_ready(initial)
        for number, clip in enumerate(words):
            yield self._run(image, clip, initial, every_h, keep and number > 0)

    def stream(self, frames: Iterable[np.ndarray], *, initial: np.ndarray | None = None) -> Iterator[Outputs]:
        """Streams the frames of a sequence whose length need not be known: what the head makes of a frame is given
        before the next is asked for.

        The engine keeps its states from frame to frame. A run counts up to `MOST_STEPS`; then another goes on. Where
        the head is after the last step alone, or there is none, each frame is a run of one step that goes on with the
        states of the one before, and what it gives is a `Result`.

        Args:
            frames: raw input words, or real values as for `run`, N each.
            initial: h and c at the start, as for `run`.

        Yields:
            What the head sends after each frame.

        Raises:
            SpecError: no image is loaded, or one of several streams, a frame or initial states do not fit it, or the
                engine takes no initial states.
            DeviceError: see `run`.
        """
        image = self._of_one_sequence()
        self._make_ready(initial)
        steps, kept = 0, False  # of the run under way, which goes on with the states of another
        try:
            for frame in frames:
                if frame.shape != (image.inputs,):
                    raise SpecError(f"a frame of shape {frame.shape} does not have {image.inputs} words")
                if not _each_answered(image):
                    yield self._run(image, self._inputs.words(frame[None]), initial, False, kept)
                    kept = True
                    continue
                results = _Results(self._connection, self._timeout)
                if steps == 0:
                    self._start(image, MOST_STEPS, initial, False, kept, results)
                steps += 1
                self._send(image, self._inputs.words(frame[None]), results)
                states = 2 * image.layers * image.hidden if steps == MOST_STEPS else 0
                of_step = self._parted(results.first(states + image.classes, image), image)[OutputKind.LOGIT]
                if len(of_step) != image.classes:
                    raise self._strange()
                if steps == MOST_STEPS:
                    self.status()  # by when the engine is at rest
                    self._tally()
                    steps, kept = 0, True
                yield Outputs(of_step, image)
        finally:
            if steps:
                try:
                    self._tally()
                finally:
                    self.reset()

    def run_streams(
        self, clips: np.ndarray | Sequence[np.ndarray], *, streams: int | None = None
    ) -> Iterator[tuple[int, Outputs]]:
        """Runs clips side by side, each on a stream of the engine; where one ends, the next begins.

        Args:
            clips: as for `run`.
            streams: how many at once; as many as the image serves when left out.

        Yields:
            The number of a clip, and what the head made of it, in the order in which they are done.

        Raises:
            SpecError, DeviceError: see `run` and `serve`.
        """
        image = self._of_streams("run")
        at_once = image.streams if streams is None else streams
        if not 1 <= at_once <= image.streams:
            raise SpecError(
                f"{at_once} streams, where the image serves 1 to {image.streams}; see fdht compile --streams"
            )
        for clip in clips:
            if clip.ndim != 2 or clip.shape[1] != image.inputs or not len(clip):
                raise SpecError(f"a clip of shape {clip.shape} is not steps x {image.inputs}")
        asked = deque[int]()  # of which clips the frames are that will be answered
        parts = dict[int, list[np.ndarray]]()

        def arrivals() -> Iterator[Arrival]:
            for number, arrival in side_by_side(clips, at_once):
                if arrival.ends or _each_answered(image):
                    asked.append(number)
                yield arrival

        for answer in self.serve(arrivals()):
            number = asked.popleft()
            parts.setdefault(number, []).append(answer.logits)
            if answer.arrival.ends:
                logits = np.concatenate(parts.pop(number)).reshape(image.task.shape(len(clips[number]), image.classes))
                yield number, Outputs(logits, image)

    def serve(self, arrivals: Iterable[Arrival]) -> Iterator[StreamOutputs]:
        """Serves streams whose frames come in any order, for as long as they come.

        A frame is sent when the next one is known, which says whether it is computed with it, or at once if it
        `closes`; an answer comes when a frame later in the order has been sent or the arrivals end. So that answers
        come without more frames, an empty round follows each frame that closes.

        Args:
            arrivals: frames in the order in which they are taken.

        Yields:
            In their order, what was sent after those frames after which something is: after every frame if the task is
            one after every step, else after the last of a sequence.

        Raises:
            SpecError: no image of several streams is loaded, or a frame does not fit it.
            DeviceError: see `run`.
        """
        image = self._of_streams("run or stream")
        self._make_ready(None)
        began, kept = 0, False  # rounds of the run under way; it goes on with the states of another
        owed = deque[Arrival]()
        results = _Results(self._connection, self._timeout)
        try:
            for taken in in_rounds(arrivals):
                for arrival in taken:
                    if arrival.x.shape != (image.inputs,):
                        raise SpecError(f"a frame of shape {arrival.x.shape} does not have {image.inputs} words")
                frames = closed((arrival.frame for arrival in taken), image.streams)
                owed += [each for each in taken if each.ends or _each_answered(image)]
                x = np.stack([self._inputs.words(arrival.x[None])[0] for arrival in taken])
                after = [NOBODY] if taken[-1].closes else []
                for each, words in ((frames, x), (after, x[:0])):
                    if not each:
                        continue
                    if began == 0:
                        self._start(image, MOST_STEPS, None, False, kept, results)
                    began += 1
                    self._send(image, words, results, image.known(each))
                    if began == MOST_STEPS:
                        yield from self._answers(image, owed, results, len(owed))
                        while self.status().busy:  # a round may go on after its last answer
                            results.collect()
                        self._tally()
                        began, kept = 0, True
                results.collect()
                yield from self._answers(image, owed, results, len(owed) if after else 0)
            if began and owed:
                self._send(image, np.zeros((0, image.inputs), dtype=np.int64), results, [NOBODY])
            yield from self._answers(image, owed, results, len(owed))
        finally:
            if began:
                try:
                    self._tally()
                finally:
                    self.reset()

    def _answers(self, image: Image, owed: deque[Arrival], results: "_Results", least: int) -> Iterator[StreamOutputs]:
        """What has come of what frames are owed, at least `least` of them."""
        units = 0 if image.classes else image.hidden
        size = (image.classes or 2 * units) * result_bytes(image.target.data_width)
        while owed and (least > 0 or results.has(size)):
            hidden, cells, logits = self._parted(results.take(size), image)
            if [len(hidden), len(cells), len(logits)] != [units, units, image.classes]:
                raise self._strange()
            least -= 1
            yield StreamOutputs(logits, image, owed.popleft(), hidden, cells)

    def _loaded(self) -> Image:
        if self._image is None:
            raise SpecError("no image is loaded; call load before run")
        return self._image

    def _of_one_sequence(self) -> Image:
        image = self._loaded()
        if image.streams:
            raise SpecError(
                f"the image serves {image.streams} streams, whose frames say whose they are; call run_streams or "
                "serve, or compile it without streams"
            )
        return image

    def _of_streams(self, instead: str) -> Image:
        image = self._loaded()
        if not image.streams:
            raise SpecError(f"the image serves one sequence; compile it with --streams, or call {instead}")
        return image

    def _make_ready(self, initial: np.ndarray | None) -> None:
        """Ends what was under way, and makes sure that the engine has the image and takes `initial`."""
        self.reset()
        status = self.status()
        if initial is not None and not status.features.initial_state:
            raise SpecError(
                f"the engine on {self._connection.url} was built without initial_state; leave `initial` out, or load "
                "a bitstream with it"
            )
        if initial is not None:
            check_states(self._loaded(), initial)
        if status.image != self._check:
            raise DeviceError(f"another program has loaded the board on {self._connection.url}; load the image again")

    def _run(self, image: Image, clip: np.ndarray, initial: np.ndarray | None, every_h: bool, keep: bool) -> Result:
        steps, units = len(clip), image.layers * image.hidden
        shape = image.task.shape(steps, image.classes)
        counts = [every_h * (steps - 1) * image.hidden + units, units, prod(shape)]
        results = _Results(self._connection, self._timeout)
        self._start(image, steps, initial, every_h, keep, results)
        self._send(image, clip, results)
        hidden, cells, logits = parts = self._parted(results.first(sum(counts), image), image)
        if [len(part) for part in parts] != counts:
            raise self._strange()
        each = None
        if every_h:
            last = hidden[len(hidden) - image.hidden :]
            each = np.concatenate([hidden[: (steps - 1) * image.hidden], last]).reshape(steps, image.hidden)
        status = self.status()
        self._tally()
        return Result(logits.reshape(shape), image, hidden[len(hidden) - units :], cells, each, status)

    def _start(
        self, image: Image, steps: int, initial: np.ndarray | None, every_h: bool, keep: bool, results: "_Results"
    ) -> None:
        """Begins a run."""
        self._connection.do(Request.START, [start_payload(steps, initial is not None, every_h, keep)])
        if initial is not None and not keep:
            words = _words(initial, image.target.data_width)
            self._connection.do(Request.STATE, _parts(words, results.alive), results.collect)

    def _send(self, image: Image, x: np.ndarray, results: "_Results", frames: Sequence[Frame] | None = None) -> None:
        """Sends frames (steps × N), and collects results when the engine takes no more for now.

        Args:
            frames: whose they are, with several streams.
        """
        sent = _sent(x, image)
        if frames is not None:
            sent = np.concatenate(framed(sent, frames, image.target.input_lanes))
        words = _words(sent, image.target.input_width)
        self._connection.do(Request.X, _parts(words, results.alive), results.collect)

    @staticmethod
    def _parted(results: bytes, image: Image) -> list[np.ndarray]:
        """The values of results by their kinds."""
        size = result_bytes(image.target.data_width)
        words = np.frombuffer(results, dtype=np.uint8).reshape(-1, size)
        wide = np.zeros((len(words), 4), dtype=np.uint8)
        wide[:, 5 - size :] = words[:, 1:]
        values = wide.view("<i4")[:, 0].astype(np.int64) >> 8 * (5 - size)
        return [values[words[:, 0] & 3 == kind.value] for kind in OutputKind]

    def _strange(self) -> DeviceError:
        return DeviceError(f"the board on {self._connection.url} sent other results than it was asked for; start again")


class _Results:
    """Takes the results of a run as they come, and gives up an engine in which nothing moves any more."""

    def __init__(self, connection: Connection, timeout: float):
        self._connection, self._timeout = connection, timeout
        self._bytes, self._moved = bytearray(), time.monotonic()

    def collect(self) -> None:
        """Takes what there is."""
        got = self._connection.read()
        self._bytes.extend(got)
        if got:
            self.alive()
        elif time.monotonic() - self._moved > STANDSTILL * self._timeout:
            raise DeviceError(
                f"the engine on {self._connection.url} stands still; start again, and if that does not help, "
                "load the bitstream anew"
            )

    def alive(self, *_) -> None:
        """Something moves."""
        self._moved = time.monotonic()

    def has(self, size: int) -> bool:
        """Whether so many bytes are there."""
        return len(self._bytes) >= size

    def take(self, size: int) -> bytes:
        """So many bytes, as soon as they are there; they are forgotten here."""
        while not self.has(size):
            self.collect()
        taken = bytes(self._bytes[:size])
        del self._bytes[:size]
        return taken

    def first(self, count: int, image: Image) -> bytes:
        """So many results, as soon as they are there."""
        size = count * result_bytes(image.target.data_width)
        while len(self._bytes) < size:
            self.collect()
        return bytes(self._bytes)


def _each_answered(image: Image) -> bool:
    """Whether something is sent after every frame of a stream, not only after the last of a sequence."""
    return image.task.every_step and image.classes > 0


def _parts(data: bytes, progress: Callable[[int, int], None] | None = None) -> Iterator[bytes]:
    """Cuts bytes into payloads; `progress` is called with (bytes sent, bytes)."""
    for at in range(0, len(data), MAX_PAYLOAD):
        yield data[at : at + MAX_PAYLOAD]
        if progress is not None:
            progress(min(at + MAX_PAYLOAD, len(data)), len(data))


def _words(values: np.ndarray, width: int) -> bytes:
    """Words as they are sent, the low byte first."""
    return values.astype({1: "i1", 2: "<i2", 4: "<i4"}[word_bytes(width)]).tobytes()


def _sent(clip: np.ndarray, image: Image) -> np.ndarray:
    """A clip's raw words in the order the engine wants, each frame filling whole beats."""
    ordered = in_sending_order(clip, image.order).astype(np.int64)
    return np.pad(ordered, ((0, 0), (0, -ordered.shape[1] % image.target.input_lanes)))
