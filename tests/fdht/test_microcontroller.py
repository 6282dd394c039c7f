"""The exported driver in C, compiled and run against a board in simulation: the golden model's logits, through its
pins, over a noisy line, and on whatever goes wrong."""

import json
import re
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from bundles import random_bundle

from fdht import Device
from fdht.cli import main
from fdht.compiler.image import Image, compile_bundle
from fdht.compiler.planner import plan
from fdht.console import Output
from fdht.export import microcontroller
from fdht.host.device import STANDSTILL, _sent, _words
from fdht.model.golden import GoldenLSTM
from fdht.model.quantise import with_vectors
from fdht.sim.simulated_board import Pins, SimulatedBoard, build_system
from fdht.spec import protocol
from fdht.spec.bundle import Bundle
from fdht.spec.errors import SpecError
from fdht.spec.fixed import Fixed
from fdht.spec.formats import PIXELS, InputFormat
from fdht.spec.lstm import fdht_lstm
from fdht.spec.protocol import Reason, Request, Status, encode, image_check, result_bytes, target_id
from fdht.spec.scaling import Scaling
from fdht.spec.task import OutputScaling, Task
from tests.fdht.line import Line
from tests.fdht.test_device import TIMEOUT, Noise
from tests.fdht.test_fuzz import SMALL

HERE = Path(__file__).parent
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion", "-Wno-sign-conversion")
PORT = "port_posix.c"


def compiled(folder: Path, sources: Sequence[str | Path], *options: str) -> Path:
    """A program of an exported folder, by a compiler that overlooks nothing."""
    binary = folder / "program"
    done = subprocess.run(
        ["gcc", *STRICT, f"-DTIMEOUT_MS={1000 * TIMEOUT}", *options, "-I.", *map(str, sources), "-o", binary],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return binary


EXAMPLE = ("example.c", "example_clips.c", "fdht.c", "fdht_image.c")


def show(binary: Path, url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([binary, url.removeprefix("socket://")], capture_output=True, text=True, timeout=2 * TIMEOUT)


def classes(done: subprocess.CompletedProcess[str]) -> list[int]:
    """Of the clips, when no logit differed."""
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.findall(r"^(?:\d+ )*clip \d+: class (\d+) \(.*\), 0 logits differ", done.stdout, re.MULTILINE)
    return [int(number) for number in found]


@pytest.fixture(scope="module")
def exported(digits, board, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("c")
    digits.save(folder / "digits.bundle")
    arguments = ("--c", folder / "digits.bundle", "--board", board.name, "--out", folder / "driver")
    assert main(["export", *map(str, arguments)]) == 0
    return folder / "driver"


def test_a_folder_with_everything(exported, digits, board):
    """Written whole; the numbers are the protocol's, the model is the image."""
    description = json.loads((exported / "fdht_driver.json").read_text())
    assert sorted(path.name for path in exported.iterdir()) == description["files"]
    words = compile_bundle(digits, board.engine).stream()
    listed = re.search(r"words\[\] = \{(.*?)\}", (exported / "fdht_image.c").read_text(), re.DOTALL)
    assert listed and [int(word) for word in listed[1].split(",") if word.strip()] == words.tolist()
    numbers = dict(re.findall(r"^#define FDHT_(\w+) (\d+)$", (exported / "fdht_protocol.h").read_text(), re.MULTILINE))
    for kinds, name in ((Request, "REQUEST"), (Reason, "REASON")):
        assert all(int(numbers[f"{name}_{kind.name}"]) == kind.value for kind in kinds)
    payload = bytes(range(Status.SIZE))
    for name in ("cycles", "stalls", "saturations", "target", "build", "image"):
        at = int(numbers[f"STATUS_{name.upper()}"])
        assert getattr(Status.parse(payload), name) == int.from_bytes(payload[at : at + 4], "little")
    assert int(numbers["PROTOCOL"]) == protocol.VERSION and int(numbers["STANDSTILLS"]) == STANDSTILL


def test_the_driver_needs_no_library(exported):
    """No heap, no printf, no mathematics: memset and memcpy, which compilers ask for themselves, and nothing else."""
    subprocess.run(["gcc", *STRICT, "-Os", "-c", "fdht.c", "-o", exported / "alone.o"], cwd=exported, check=True)
    wanted = subprocess.run(["nm", "-u", exported / "alone.o"], capture_output=True, text=True, check=True).stdout
    (exported / "alone.o").unlink()
    assert {line.split()[-1] for line in wanted.splitlines()} <= {"memset", "memcpy", "_GLOBAL_OFFSET_TABLE_"}


@pytest.mark.parametrize("port", ["url", "spi_url"])
def test_clips_through_the_pins_are_those_of_the_golden_model(exported, digits, simulated, port):
    """The example, over the serial port and over SPI, where the driver exchanges byte by byte."""
    ports = {"url": PORT, "spi_url": HERE / "port_spi.c"}
    binary = compiled(exported, [*EXAMPLE, ports[port]])
    with Device(simulated.url, timeout=TIMEOUT) as device:
        device._connection.do(Request.IMAGE, [b"\0\0" * 3])  # so that it has to be loaded anew
    shown = json.loads((exported / "fdht_driver.json").read_text())["clips"]
    assert classes(show(binary, getattr(simulated, port))) == digits.logits[shown].argmax(-1).tolist()


@pytest.mark.slow
def test_damaged_bytes_are_sent_again(exported, digits, simulated):
    """Both ways, every few frames."""
    there, back = Noise(3, 400), Noise(4, 400)
    with Device(simulated.url, timeout=TIMEOUT) as device:
        device._connection.do(Request.IMAGE, [b"\0\0" * 3])
        before = device.status().errors
    binary = compiled(exported, [*EXAMPLE, PORT], "-UTIMEOUT_MS", "-DTIMEOUT_MS=1000")
    shown = json.loads((exported / "fdht_driver.json").read_text())["clips"]
    with Line(simulated.url, there, back) as line:
        assert classes(show(binary, line.url)) == digits.logits[shown].argmax(-1).tolist()
    with Device(simulated.url, timeout=TIMEOUT) as device:
        assert (device.status().errors - before) % 256 >= 5
    assert there.count >= 10 and back.count >= 2, f"the line was quiet: {there.count} and {back.count}"


def test_an_image_for_another_engine_is_refused(exported, simulated, tmp_path):
    """And what is loaded stays."""
    spec = fdht_lstm(16, 4, 3, (3, 2, 2, 2), (2, 2, 2, 2), 2)
    bundle = random_bundle(np.random.default_rng(1), spec, plan(spec, SMALL))
    (tmp_path / "fdht_image.h").write_text((exported / "fdht_image.h").read_text())
    (tmp_path / "fdht_image.c").write_text(microcontroller.image_source(compile_bundle(bundle, SMALL)))
    other = [tmp_path / "fdht_image.c" if name == "fdht_image.c" else name for name in EXAMPLE]
    done = show(compiled(exported, [*other, PORT]), simulated.url)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error -4: the image is for another engine; export it for the board's own")


def said_by(binary: Path, answer) -> str:
    """What the example says of a board that is none."""
    with Line(None, answer) as line:
        done = show(binary, line.url)
    assert done.returncode == 1 and done.stdout == ""
    return done.stderr


def test_what_answers_is_no_engine(exported):
    binary = compiled(exported, [*EXAMPLE, PORT], "-UTIMEOUT_MS", "-DTIMEOUT_MS=50")
    status = bytes([0, 0, 0, protocol.VERSION + 1]) + bytes(Status.SIZE - 4)
    for answer in (b"", bytes(range(256)) * 40):
        assert said_by(binary, lambda _, answer=answer: answer).startswith("error -2: nothing answers as an fdht")
    assert said_by(binary, lambda _: encode(Request.IDENTIFY, 0, status)).startswith("error -3: the bitstream speaks")
    assert said_by(binary, lambda _: None).startswith("error -1: the port says that the line is broken")


def small_bundle(task: Task, words: InputFormat, **options) -> Bundle:
    """A small model, whose frames are sent in no order that is theirs, if only because there are no whole beats."""
    rng, target = np.random.default_rng(7), SMALL
    spec = replace(fdht_lstm(16, 4, 3, (3, 2, 2, 2), (2, 2, 2, 2), 2), task=task)
    bundle = random_bundle(rng, spec, plan(spec, target), clips=2, steps=3, input_format=words)
    return with_vectors(replace(bundle, **options), bundle.clips, bundle.labels)


WALK = """
#include <stdio.h>
#include "example_clips.h"
#include "fdht_image.h"
#include "port.h"

/* Clips in one sequence, step by step; then a clip that is left in the middle, and one after it. */
int main(int count, char **arguments)
{
    static fdht_device device = {.send = port_send, .receive = port_receive, .timeout_ms = TIMEOUT_MS};
    static int32_t logits[FDHT_MODEL_STEPS * FDHT_MODEL_CLASSES];
    device.context = port_open(arguments[count - 1]);
    int error = fdht_open(&device);
    printf("%d ", fdht_begin(&device, 1, 0, logits));
    if (!error)
        error = fdht_load(&device, &fdht_model);
    for (int k = 0; error >= 0 && k < EXAMPLE_CLIPS * FDHT_MODEL_STEPS; k++) {
        const uint8_t *clip = example_clips[k / FDHT_MODEL_STEPS].words;
        error = fdht_step(&device, clip + k % FDHT_MODEL_STEPS * FDHT_MODEL_FRAME_BYTES, k == 0, logits);
        for (int at = 0; at < FDHT_MODEL_CLASSES; at++)
            printf("%ld ", (long)logits[at]);
    }
    if (error >= 0)
        error = fdht_begin(&device, 2, 0, logits);
    if (!error)
        error = fdht_frame(&device, example_clips[1].words);
    printf("%d ", fdht_begin(&device, 2, 1, logits));
    if (!error)
        error = fdht_run(&device, example_clips[0].words, FDHT_MODEL_STEPS, 0, logits);
    for (int at = 0; at < FDHT_MODEL_CLASSES; at++)
        printf("%ld ", (long)logits[at]);
    printf("%d ", fdht_frame(&device, example_clips[0].words));
    return error < 0;
}
"""


@pytest.mark.parametrize("task", [Task.CLASSIFY, Task.LABEL_STEPS])
def test_a_class_after_every_step(task, tmp_path):
    """States stay in the engine from call to call, in runs of a step or in one that does not end."""
    bundle, pins = small_bundle(task, PIXELS), Pins(divisor=None)
    bundle.save(tmp_path / "small.bundle")
    microcontroller.run(Output(True), tmp_path / "small.bundle", SMALL, tmp_path / "c")
    (tmp_path / "c" / "walk.c").write_text(WALK)
    binary = compiled(tmp_path / "c", ["walk.c", "example_clips.c", "fdht.c", "fdht_image.c", PORT])
    with SimulatedBoard(build_system(SMALL, pins), pins) as board:
        done = show(binary, board.url)
        example = show(compiled(tmp_path / "c", [*EXAMPLE, PORT]), board.url)
    assert done.returncode == 0, done.stdout
    assert len(classes(example)) == 2
    whole = bundle.clips.reshape(1, -1, bundle.layers[0].inputs)
    ends = range(1, whole.shape[1] + 1)
    runs = [GoldenLSTM(bundle).run(whole[:, :end]).logits.reshape(-1, bundle.spec.classes)[-1] for end in ends]
    golden = [logit for logits in runs for logit in logits.tolist()]
    first = bundle.logits[0].ravel()[: bundle.spec.classes].tolist()
    assert [int(word) for word in done.stdout.split()] == [-6, *golden, -11, *first, -11]


class Recorder:
    """A board that takes everything, keeps the words of the frames, and sends the logits it is given."""

    def __init__(self, image: Image, logits: list[list[int]]):
        self._image, self._bytes, self._left, self.words = image, b"", [self._run(image, run) for run in logits], b""
        self._results = b""

    @staticmethod
    def _run(image: Image, logits: list[int]) -> bytes:
        """The results of a run."""
        size = result_bytes(image.target.data_width) - 1
        kinds = [0, 1] * (image.hidden * image.layers)
        results = [*((kind, -1) for kind in kinds), *((2, logit) for logit in logits)]
        return b"".join(bytes([kind]) + value.to_bytes(size, "little", signed=True) for kind, value in results)

    def __call__(self, data: bytes) -> bytes:
        *frames, self._bytes = (self._bytes + data).split(bytes([protocol.FLAG]))
        return b"".join(self._reply(*found) for frame in frames if (found := protocol.decode(frame)))

    def _reply(self, kind: int, number: int, payload: bytes) -> bytes:
        check = image_check(self._image.stream().astype("<u2").tobytes())
        counts = (0, 0, 0, target_id(self._image.target), 0, check)
        status = bytes([0, 0, 0, protocol.VERSION]) + b"".join(count.to_bytes(4, "little") for count in counts)
        if kind == Request.X:
            self.words += payload
        if kind == Request.START:
            self._results = self._left.pop(0)
        answers = {Request.STATUS: status, Request.IDENTIFY: status, Request.READ: self._results[:101]}
        if kind == Request.READ:
            self._results = self._results[101:]
        return encode(kind, number, answers.get(Request(kind), bytes([number << 4])))


@pytest.mark.parametrize("order", ["own", "loops", "table"])
@pytest.mark.parametrize(("lanes", "bits", "width"), [(1, 8, 16), (8, 16, 18)])
def test_frames_are_sent_as_the_driver_in_python_sends_them(order, lanes, bits, width, tmp_path):
    """In the image's order, filling whole beats, words of one byte and of two; results of any width come back."""
    rng, inputs = np.random.default_rng(3), 300
    bundle = small_bundle(Task.CLASSIFY, PIXELS)
    target = replace(SMALL, columns=lanes, input_lanes=lanes, input_width=bits, data_width=width)
    places = {"own": None, "loops": np.arange(inputs).reshape(4, 5, 15).transpose(1, 0, 2).ravel()}
    places["table"] = rng.permutation(inputs)
    words = InputFormat(Fixed(bits, bits - 2)) if bits > 8 else PIXELS
    image = replace(compile_bundle(bundle, SMALL), target=target, order=places[order], inputs=inputs, input=words)
    clips = rng.integers(words.raw.min, words.raw.max + 1, (2, 3, inputs))
    logits = rng.integers(-(1 << width - 1), 1 << width - 1, (2, 3))
    shown = cast(Bundle, SimpleNamespace(clip=clips.__getitem__, logits=logits, spec=bundle.spec))
    microcontroller.run(Output(True), _saved(bundle, tmp_path), SMALL, tmp_path / "c")
    source = microcontroller.image_source(image)
    assert ("loops[] = {{15, 1}, {4, 75}, {5, 15}" in source) == (order == "loops")
    assert ("order[] = {" in source) == (order == "table")
    (tmp_path / "c" / "fdht_image.c").write_text(source)
    (tmp_path / "c" / "example_clips.c").write_text(microcontroller.clips_source(shown, image, [1, 0]))
    binary = compiled(tmp_path / "c", [*EXAMPLE, PORT])
    board = Recorder(image, logits[::-1].tolist())
    with Line(None, board) as line:
        assert classes(show(binary, line.url)) == logits[::-1].argmax(-1).tolist()
    expected = b"".join(_words(_sent(clip, image), bits) for clip in clips[::-1])
    assert board.words == expected


UNASKED = """
#include <stdio.h>
#include "example_clips.h"
#include "fdht_image.h"
#include "port.h"

/* What finishing without a run, a step (or a run) of a strange board, and finishing after a reset say. */
int main(int count, char **arguments)
{
    static fdht_device device = {.send = port_send, .receive = port_receive, .timeout_ms = TIMEOUT_MS};
    static struct {
        int32_t before[8], logits[FDHT_MODEL_CLASSES], behind[64];
    } memory;
    device.context = port_open(arguments[count - 1]);
    int error = fdht_open(&device);
    if (!error)
        error = fdht_load(&device, &fdht_model);
    printf("%d %d ", error, fdht_finish(&device));
    printf("%d ", fdht_step(&device, example_clips[0].words, 1, memory.logits));
    printf("%d ", fdht_reset(&device));
    printf("%d ", fdht_finish(&device));
    for (int at = 0; at < 64; at++)
        if (memory.behind[at])
            return 1;
    return 0;
}
"""


STATE, LOGIT = 0, 2


@pytest.mark.parametrize(
    ("task", "kinds"),
    [
        (Task.LABEL_STEPS, [LOGIT] * 11),
        (Task.LABEL_STEPS, [STATE] * 11),
        (Task.CLASSIFY, [STATE] * 11),
        (Task.CLASSIFY, [STATE] * 8 + [LOGIT] * 3 + [STATE]),
    ],
)
def test_results_that_nobody_asked_for_are_written_nowhere(task, kinds, tmp_path):
    """More logits than of a step, states in the place of logits, or one too many; and a class of a run that there is
    not.
    """
    bundle = small_bundle(task, PIXELS)
    microcontroller.run(Output(True), _saved(bundle, tmp_path), SMALL, tmp_path / "c")
    (tmp_path / "c" / "unasked.c").write_text(UNASKED)
    binary = compiled(tmp_path / "c", ["unasked.c", "example_clips.c", "fdht.c", "fdht_image.c", PORT])
    board = Recorder(compile_bundle(bundle, SMALL), [])
    assert 2 * bundle.spec.hidden + bundle.spec.classes == 11
    board._left = [b"".join(bytes([kind, 1, 0]) for kind in kinds)]
    with Line(None, board) as line:
        done = show(binary, line.url)
    assert (done.returncode, done.stdout.split()) == (0, ["0", "-11", "-10", "0", "-11"]), done.stderr


OUT_OF_ORDER = """
#include <stdio.h>
#include "example_clips.h"
#include "fdht_image.h"
#include "port.h"

/* A step and a class before a model is there; a run without steps; a class before all frames, and of a run that
   fdht_open has left; then a run, and its class once more. */
int main(int count, char **arguments)
{
    static fdht_device device = {.send = port_send, .receive = port_receive, .timeout_ms = TIMEOUT_MS};
    static int32_t logits[FDHT_MODEL_CLASSES];
    const void *clip = example_clips[0].words;
    device.context = port_open(arguments[count - 1]);
    printf("%d ", fdht_finish(&device));
    printf("%d ", fdht_open(&device));
    printf("%d %d ", fdht_step(&device, clip, 1, logits), fdht_finish(&device));
    printf("%d ", fdht_load(&device, &fdht_model));
    printf("%d ", fdht_begin(&device, 0, 0, logits));
    printf("%d ", fdht_begin(&device, 2, 0, logits));
    printf("%d ", fdht_frame(&device, clip));
    printf("%d ", fdht_finish(&device));
    printf("%d ", fdht_frame(&device, clip));
    printf("%d ", fdht_open(&device));
    printf("%d ", fdht_finish(&device));
    printf("%d ", fdht_load(&device, &fdht_model));
    printf("%d ", fdht_run(&device, clip, 3, 0, logits));
    printf("%d ", fdht_finish(&device));
    return 0;
}
"""


def test_calls_out_of_order_are_errors(tmp_path):
    bundle = small_bundle(Task.CLASSIFY, PIXELS)
    microcontroller.run(Output(True), _saved(bundle, tmp_path), SMALL, tmp_path / "c")
    (tmp_path / "c" / "order.c").write_text(OUT_OF_ORDER)
    sources = ["order.c", "example_clips.c", "fdht.c", "fdht_image.c", PORT]
    binary = compiled(tmp_path / "c", sources, "-UTIMEOUT_MS", "-DTIMEOUT_MS=50")
    with Line(None, Recorder(compile_bundle(bundle, SMALL), [[3, 1, 2], [-1, 5, 5]])) as line:
        done = show(binary, line.url)
    misuse, said = -11, [int(word) for word in done.stdout.split()]
    assert said == [misuse, 0, -6, misuse, 0, misuse, 0, 0, misuse, 0, 0, misuse, 0, 1, misuse]


def _saved(bundle: Bundle, folder: Path) -> Path:
    bundle.save(folder / "small.bundle")
    return folder / "small.bundle"


NAMES = """
#include <stdio.h>
#include "fdht_image.h"

int main(void)
{
    for (int k = 0; k < FDHT_MODEL_CLASSES; k++)
        printf("%s\\n", fdht_model_classes[k]);
    return 0;
}
"""


@pytest.mark.parametrize("names", [["a tap", 'caf\xe9 "x"', "why??/ %d\\"], []])
def test_classes_by_name_and_what_the_model_lacks(names, tmp_path):
    """Whatever they are called; numbers where nobody says. What stays on the host is in a comment that nothing ends."""
    about = {"classes": names} | ({"host": ["net.norm", "*/ #error"]} if names else {})
    bundle = replace(small_bundle(Task.CLASSIFY, PIXELS), about=about)
    figures = microcontroller.run(Output(True), _saved(bundle, tmp_path), SMALL, tmp_path / "c")
    header = (tmp_path / "c" / "fdht_image.h").read_text()
    assert figures["host"] == about.get("host", []) and ('"net.norm"' in header) == bool(names)
    (tmp_path / "c" / "names.c").write_text(NAMES)
    binary = compiled(tmp_path / "c", ["names.c", "fdht_image.c"])
    said = subprocess.run([binary], capture_output=True, check=True).stdout.decode()
    assert said.splitlines() == (names or ["0", "1", "2"])


VALUES = """
#include <stdio.h>
#include "fdht_image.h"

int main(void)
{
    double value;
    for (uint32_t k = 0; scanf("%lf", &value) == 1; k++)
        printf("%ld %.17g\\n", (long)fdht_word(&fdht_model, k % 3, value), fdht_value(&fdht_model, k % 3, (int32_t)k));
    return 0;
}
"""


def test_without_a_scaling_a_value_is_a_word(tmp_path):
    """Rounded as elsewhere, and within what words are."""
    microcontroller.run(Output(True), _saved(small_bundle(Task.CLASSIFY, PIXELS), tmp_path), SMALL, tmp_path / "c")
    (tmp_path / "c" / "values.c").write_text(VALUES)
    binary = compiled(tmp_path / "c", ["values.c", "fdht.c", "fdht_image.c"])
    done = subprocess.run([binary], input="0 7 7.49 7.5 254.6 1e9 -3 -1e300 nan", capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()[::2]) == (0, ["0", "7", "7", "8", "255", "255", "0", "0", "0"])


@pytest.mark.parametrize(("bits", "signed", "channels", "fraction"), [(8, False, 3, -4), (16, True, 1, 40)])
def test_real_values_are_the_words_and_numbers_of_python(bits, signed, channels, fraction, tmp_path):
    """To the last bit, at halves and beyond the range, and of outputs that are large or small, too."""
    rng = np.random.default_rng(5)
    scaling = Scaling(tuple(rng.normal(size=channels)), tuple(rng.uniform(0.001, 0.1, channels)), bits, signed)
    outputs = OutputScaling((1.5, -2.0, 0.1), (0.3, 7.0, 1e-3))
    bundle = small_bundle(Task.CLASSIFY, PIXELS)
    image = replace(
        compile_bundle(bundle, SMALL), scaling=scaling, input=scaling.input_format, inputs=3, outputs=outputs
    )
    image = replace(image, logits=Fixed(16, fraction))
    halves = scaling.to_values(rng.integers(-40, 40, (50, 3))) + np.asarray(scaling.step) / 2
    values = np.concatenate([rng.normal(size=(300, 3)) * 10.0 ** rng.integers(-3, 9, (300, 1)), halves])
    microcontroller.run(Output(True), _saved(bundle, tmp_path), SMALL, tmp_path / "c")
    (tmp_path / "c" / "fdht_image.c").write_text(microcontroller.image_source(image))
    (tmp_path / "c" / "values.c").write_text(VALUES)
    binary = compiled(tmp_path / "c", ["values.c", "fdht.c", "fdht_image.c"])
    asked = " ".join(repr(value) for value in values.ravel().tolist())
    found = subprocess.run([binary], input=asked, capture_output=True, text=True, check=True).stdout.split()
    assert [int(word) for word in found[::2]] == scaling.to_words(values).ravel().tolist()
    assert image.logits is not None
    numbers = outputs.values_of(np.arange(values.size).reshape(-1, 3), image.logits).ravel().tolist()
    assert [float(number) for number in found[1::2]] == numbers


def test_a_model_without_a_head_has_no_driver(tmp_path):
    spec = fdht_lstm(16, 4, 0, (3, 2, 2, 2), (2, 2, 2, 2), 2)
    bundle = random_bundle(np.random.default_rng(1), spec, plan(spec, SMALL))
    with pytest.raises(SpecError, match="has no head, so there is nothing that a driver could read; train one"):
        microcontroller.run(Output(True), _saved(bundle, tmp_path), SMALL, tmp_path / "c")


def test_options_that_belong_to_the_driver(fdht, bundle_file, tmp_path):
    for arguments, sentence in (
        (("--axi", "--c", bundle_file), "one of --axi, --dense CHECKPOINT, --c BUNDLE and --web"),
        (("--axi", "--board", "icebreaker"), "is for --c BUNDLE and --web BUNDLE alone"),
        (("--axi", "--clips", "2"), "is for --c BUNDLE and --web BUNDLE alone"),
    ):
        done = fdht("export", *arguments, "-o", tmp_path / "out")
        assert done.code == 2 and sentence in " ".join(done.err.replace("│", " ").split())
    assert fdht("export", "--c", bundle_file, "-b", "icebreaker", "--clips", 99, "-o", tmp_path / "out").code
