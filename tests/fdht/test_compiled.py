"""A module of one's own to an accelerator: what it computes is what the module computes, and the gateware equals it."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence

import fdht
from fdht import FDHTLSTM, fdht_lstm
from fdht.boards import find_board
from fdht.compiled import ClippingWarning, MismatchError
from fdht.compiler.image import Image
from fdht.host.drift import Inputs
from fdht.report.collected import Collected
from fdht.sim.simulated_board import Pins, SimulatedBoard, build_system
from fdht.spec import container
from fdht.spec.bundle import Bundle
from fdht.spec.clips import spread_over
from fdht.spec.errors import CapacityError, SpecError
from fdht.spec.protocol import target_id
from fdht.spec.target import Levels, Target
from fdht.spec.task import Task
from fdht.workflow.information import of_bundle

SMALL = Target(
    "small", 2, 2, input_lanes=2, banks=3, bank_words=256, factor_words=512, result_words=128, bias_words=128,
    hidden=32, levels=Levels.each(4),
)  # fmt: skip
SPEC = fdht_lstm(5, 6, 0, (4, 3), (4, 6), 3)


class Model(nn.Module):
    """A layer or two, the last step or all of them, and a head."""

    def __init__(self, lstm: nn.Module, outputs: int = 3, each: bool = False):
        super().__init__()
        self.lstm, self.each = lstm, each
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(6, outputs)

    def forward(self, x):
        h = self.lstm(x)[0]
        return self.head(self.dropout(h if self.each else h[:, -1]))


def model(seed: int = 1, **options) -> Model:
    torch.manual_seed(seed)
    return Model(FDHTLSTM(SPEC, batch_first=True), **options)


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    """Samples off zero, and of a range of their own."""
    rng = np.random.default_rng(4)
    return (rng.normal(size=(30, 7, 5)) * 0.7 + np.arange(5) / 3).astype(np.float32)


def outputs(of: nn.Module, x: np.ndarray) -> np.ndarray:
    of.eval()
    with torch.no_grad():
        return of(torch.from_numpy(x)).numpy()


LAYERS = {
    "FDHT-LSTM": lambda: FDHTLSTM(SPEC, batch_first=True),
    "nn.LSTM": lambda: nn.LSTM(5, 6, batch_first=True),
    "two nn.LSTMs without bias": lambda: nn.LSTM(5, 6, 2, bias=False, batch_first=True),
    "W_x apart": lambda: FDHTLSTM(fdht.lstm_on(SPEC.network, 5, 6, 0, fdht.dense_network(6, (4, 6))), batch_first=True),
}


@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize("kind", LAYERS)
def test_it_computes_what_the_module_computes(x, kind, each):
    torch.manual_seed(2)
    own = Model(LAYERS[kind](), each=each)
    own.train()
    made = fdht.compile(own, x, SMALL, bits=8)
    assert own.training, "the module is left as it was"
    wanted, found = outputs(own, x), made.predict(x)
    assert found.shape == wanted.shape and np.abs(found - wanted).max() < 0.03
    assert made.bundle.spec.task is (Task.LABEL_STEPS if each else Task.CLASSIFY)
    assert (made.classify(x) == wanted.argmax(-1)).mean() > 0.9
    assert made.agreement["same class as the float model"] > 0.9


def test_the_gateware_equals_it_in_every_word_and_cycle(x):
    made = fdht.compile(model(), x, SMALL)
    result = made.simulate(x[:2])
    assert result.words_compared > 0 and result.cycles_simulated == result.cycles_predicted
    assert result.classes.tolist() == made.classify(x[:2]).tolist()


def test_a_difference_is_no_secret(x, monkeypatch):
    made = fdht.compile(model(), x, SMALL)
    monkeypatch.setattr(type(made), "_integers", lambda self, words: np.zeros((len(words), 3), dtype=np.int64))
    with pytest.raises(MismatchError, match=r"1 differences .* the outputs are not the golden model's"):
        made.simulate(x[:1])


def test_a_regression_gives_real_numbers(x):
    own = model(outputs=2, each=True)
    targets = np.random.default_rng(1).normal(size=(30, 7, 2))
    made = fdht.compile(own, x, SMALL, regression=True, labels=targets)
    assert made.bundle.spec.task is Task.REGRESS_STEPS and made.bundle.labels.shape == (30, 7, 2)
    assert np.abs(made.predict(x) - outputs(own, x)).max() < 0.03
    with pytest.raises(SpecError, match="real numbers; call predict"):
        made.classify(x)


def test_what_is_saved_is_a_bundle_and_its_image(x, tmp_path):
    labels = np.arange(30) % 3
    made = fdht.compile(
        model(), x, SMALL, labels=labels, class_names=["a", "b", "c"], value_names=[*"vwxyz"], name="mine"
    )
    made.save(tmp_path / "mine.bundle")
    bundle, image = Bundle.load(tmp_path / "mine.bundle"), Image.load(tmp_path / "mine.small.image")
    assert bundle.labels.tolist() == labels.tolist() and bundle.about["classes"] == ["a", "b", "c"]
    assert bundle.about["values"] == [*"vwxyz"]
    assert image.bundle_hash == container.hash_of(tmp_path / "mine.bundle")
    assert "mine" in str(made.report()) and made.report().figures["cycles per step"] > 0
    asked = made.report(rate=50).figures
    assert asked["clock for 50 steps/s"] == f"{50e-6 * asked['cycles per step']:.4g} MHz"


@pytest.mark.parametrize("kind", ["numbers", "words", "ragged words", "real"])
def test_of_what_stands_behind_a_sample_nothing_is_known(x, kind):
    """Whatever the user padded labels of steps with, or if there are none."""
    lengths, rng = np.arange(30) % 3 + 5, np.random.default_rng(5)
    inside = np.arange(7) < lengths[:, None]
    numbers = rng.integers(0, 3, (30, 7))
    labels = {
        "numbers": np.where(inside, numbers, 99),
        "words": np.where(inside, np.array(["a", "b", "c"])[numbers], ""),
        "ragged words": [np.array(["a", "b", "c"])[of[:n]] for of, n in zip(numbers, lengths, strict=True)],
        "real": np.where(inside, numbers, 1e9)[..., None].repeat(3, 2),
    }[kind]
    own = model(outputs=3, each=True)
    made = fdht.compile(own, x, SMALL, labels=labels, regression=kind == "real", lengths=lengths)
    if kind == "real":
        assert np.isnan(made.bundle.labels[~inside]).all()
        assert made.bundle.labels[inside].tolist() == labels[inside].tolist()
    else:
        assert made.bundle.labels.tolist() == np.where(inside, numbers, -1).tolist()


@pytest.mark.parametrize("kind", ["classes", "classes of steps", "numbers", "numbers of steps"])
@pytest.mark.parametrize("padded", [False, True])
def test_the_bundle_says_how_good_float_and_integers_are(x, kind, padded):
    """On the samples, steps or numbers that are known and their own; of classes also what the module says of each."""
    each, real = "steps" in kind, "numbers" in kind
    own, rng = model(outputs=3, each=each), np.random.default_rng(5)
    lengths = np.arange(30) % 3 + 5 if padded else np.full(30, 7)
    shape = (30, *([7] if each else []), *([3] if real else []))
    labels = rng.normal(size=shape) if real else rng.integers(0, 3, shape)
    labels[::4] = np.nan if real else -1
    made = fdht.compile(own, x, SMALL, labels=labels, regression=real, lengths=lengths if padded else None)
    about = made.bundle.about
    alone = [outputs(own, x[k : k + 1, :n])[0] for k, n in enumerate(lengths)]
    if each:
        rows = [(float_, golden[:n], label[:n]) for float_, golden, label, n in
                zip(alone, made.predict(x), labels, lengths, strict=True)]  # fmt: skip
        found, integers, true = (np.concatenate(part) for part in zip(*rows, strict=True))
    else:
        found, integers, true = np.stack(alone), made.predict(x), labels
        integers = np.stack([made.predict(x[k : k + 1, :n])[0] for k, n in enumerate(lengths)])
    told = np.isfinite(true).all(-1) if real else true >= 0
    for name, values in (("float", found), ("golden", integers)):
        if real:
            squares = np.square(values - true)[told]
            assert about["rmse"][name] == pytest.approx(np.sqrt(squares.mean()), rel=1e-5) and "accuracy" not in about
        else:
            assert about["accuracy"][name] == (values.argmax(-1) == true)[told].mean() and "rmse" not in about
    if kind == "classes":
        assert about["float_classes"] == found.argmax(-1).tolist()
    else:
        assert "float_classes" not in about
    assert made.report().figures["samples in the bundle"] == "30 of 30, 22 with a label"


def test_what_is_kept_of_many_samples_is_said(x):
    made = fdht.compile(model(), x, SMALL, vectors=np.tile(x, (4, 1, 1)))
    assert made.report().figures["samples in the bundle"] == "100 of 120" and "accuracy" not in made.bundle.about


def test_much_that_is_clipped_is_no_secret(x, recwarn):
    """Inputs of some tens: z leaves its format on most of them."""
    fdht.compile(model(), x, SMALL)
    assert not [warning for warning in recwarn if warning.category is ClippingWarning]
    with pytest.warns(ClippingWarning, match=r"^\d\d\.\d\d % of 9,960 values \(z \d\d\.\d %.* inputs of mean 0"):
        made = fdht.compile(model(), 60 * x, SMALL)
    for options, end in (
        ({}, "; if x is padded, pass lengths$"),
        ({"vectors": x}, "; if x is padded, pass calibration_lengths$"),
        ({"lengths": [7] * 29 + [6]}, "deviation 1$"),
    ):
        with pytest.warns(ClippingWarning, match=end):
            fdht.compile(model(), 60 * x, SMALL, **options)
    clipped, values = (sum(of.values()) for of in (made.saturation.clipped, made.saturation.values))
    assert made.report().figures["clipped in calibration"].startswith(f"{100 * clipped / values:.2f} % of {values:,} ")


def test_parts_on_the_host_run_there(x):
    class Behind(Model):
        def __init__(self):
            super().__init__(FDHTLSTM(SPEC, batch_first=True))
            self.front = nn.Sequential(nn.Linear(5, 5), nn.Tanh())

        def forward(self, x):
            return super().forward(self.front(x))

    torch.manual_seed(5)
    own = Behind()
    with pytest.raises(SpecError, match=r"keep it on the host: host=\['front\.0'\]"):
        fdht.compile(own, x, SMALL)
    made = fdht.compile(own, x, SMALL, host=["front"])
    assert np.abs(made.predict(x) - outputs(own, x)).max() < 0.03
    assert "host" not in fdht.compile(model(), x, SMALL).bundle.about
    figures, show = of_bundle(made.bundle, "mine")
    seen = Collected()
    show(seen)
    assert figures["host"] == ["front"] and ["parts on the host", "front"] in seen.tables[0].rows


class Fronted(Model):
    """With something in front, which is called `front`."""

    def __init__(self, front: nn.Module):
        super().__init__(FDHTLSTM(SPEC, batch_first=True))
        self.front = front

    def forward(self, x):
        return super().forward(self.front(x))


class By(nn.Module):
    """Some function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


MEAN, DEVIATION = torch.tensor([9.81, -3.0, 0.2, 1e3, 0.0]), torch.tensor([0.7, 20.0, 1e-3, 5.0, 1.0])


def batch_norm() -> nn.Module:
    """Of the values, which it wants in front of the steps."""
    norm = nn.BatchNorm1d(5)
    norm.running_mean, norm.running_var = MEAN.clone(), DEVIATION**2
    return By(nn.Sequential(By(lambda x: x.transpose(1, 2)), norm, By(lambda x: x.transpose(1, 2)))).function


FOLDED = {"a mean and a deviation": lambda: By(lambda x: (x - MEAN) / DEVIATION), "BatchNorm1d": batch_norm}


@pytest.mark.parametrize("kind", FOLDED)
def test_a_mean_and_a_deviation_in_front_go_into_the_scaling(x, kind):
    """Bundle, image and driver take the sensor's values; words are those of the values behind the part."""
    torch.manual_seed(5)
    own, sensor = Fronted(FOLDED[kind]()), (x * DEVIATION.numpy() + MEAN.numpy()).astype(np.float32)
    made = fdht.compile(own, sensor, SMALL, host=["front"], vectors=sensor[::-3])
    assert np.array_equal(made.bundle.clips, made.words(sensor[::-3]))
    assert made.folded and not made.bundle.host and not made.image.host
    assert np.abs(made.predict(sensor) - outputs(own, sensor)).max() < 0.03
    assert np.array_equal(Inputs(made.image).words(sensor[0]), made.words(sensor)[0])
    behind = made.placed.inputs(torch.from_numpy(sensor)).numpy()
    apart = fdht.compile(model(), behind, SMALL).scaling.to_words(behind).astype(int) - made.words(sensor)
    assert np.abs(apart).max() <= 1 and (apart != 0).mean() < 0.01
    figures, _ = of_bundle(made.bundle, "mine")
    assert figures["host"] == [] and figures["folded"] == ["front"]


KEPT = {"a mixture": lambda: nn.Linear(5, 5), "a bound": lambda: nn.Hardtanh(-4, 4)}


@pytest.mark.parametrize("kind", KEPT)
def test_other_parts_stay_on_the_host_and_a_driver_says_so(x, kind):
    torch.manual_seed(5)
    made = fdht.compile(Fronted(KEPT[kind]()), x, SMALL, host=["front"])
    assert not made.folded and made.image.host == made.bundle.host == ("front",)
    with pytest.raises(
        SpecError, match=r"front, in front of the model's LSTM, stays on the host: pass accelerator.wor"
    ):
        Inputs(made.image).words(x[0])
    words = made.words(x)[0]
    assert Inputs(made.image).words(words) is words


def test_a_table_is_asked_for_nothing_that_it_does_not_have():
    """Tokens are no values that a part could scale."""
    own, tokens, asked = Fronted(nn.Embedding(9, 1)), np.random.default_rng(0).integers(0, 9, (20, 7)), []
    own.lstm = nn.LSTM(1, 6, batch_first=True)
    own.front.register_forward_pre_hook(lambda _, given: asked.append(given[0].abs().max().item()))
    assert not fdht.compile(own, tokens, SMALL, host=["front"]).folded and max(asked) == 8


def test_what_is_padded_has_no_part_in_the_formats(x, tmp_path, monkeypatch):
    """With lengths, as a list, and packed: the same integers, and of every sample what it has alone."""
    own, lengths = model(), np.arange(30) % 4 + 4
    pieces = [torch.from_numpy(one[:steps]) for one, steps in zip(x, lengths, strict=True)]
    wide = x.copy()
    wide[np.arange(7) >= lengths[:, None]] = np.nan
    ways = [(wide, lengths), (pieces, None), (pack_sequence(pieces, enforce_sorted=False), None)]
    first, *others = (fdht.compile(own, given, SMALL, lengths=steps) for given, steps in ways)
    assert np.allclose(first.scaling.centre, np.concatenate(pieces).mean(0), atol=1e-6)
    saved = first.bundle.save(tmp_path / "first.bundle")
    assert all(other.bundle.save(tmp_path / "other.bundle") == saved for other in others)
    assert first.bundle.lengths is not None and first.bundle.lengths.tolist() == lengths.tolist()
    last = np.minimum(np.arange(7), lengths[:, None] - 1)  # stands behind a sample's own
    assert np.array_equal(first.bundle.clips, first.bundle.clips[np.arange(30)[:, None], last])
    beside = fdht.compile(own, wide, SMALL, calibration_lengths=lengths, vectors=x)
    assert beside.scaling == first.scaling and beside.bundle.formats == first.bundle.formats
    alone = np.concatenate([first.predict(piece[None]) for piece in pieces[:5]])
    monkeypatch.setattr("fdht.compiled.AT_ONCE", 2)
    assert first.classify(wide, lengths).tolist() == first.predict(wide, lengths).argmax(-1).tolist()
    few = [(wide[:5], lengths[:5]), (pieces[:5], None), (pack_sequence(pieces[:5], enforce_sorted=False), None)]
    for given, steps in few:
        assert np.array_equal(first.predict(given, steps), alone)
        assert first.classify(given, steps).tolist() == alone.argmax(-1).tolist()
        assert [words.shape for words in first.words(given, steps)] == [(own, 5) for own in lengths[:5]]
    for wrong in ([7] * 29, [8] * 30, [0] * 30):
        with pytest.raises(SpecError, match="there are 30 samples, of 1 to 7 steps each"):
            first.predict(x, wrong)
    with pytest.raises(SpecError, match="lengths of their own; leave out lengths"):
        first.predict(pieces, lengths)
    with pytest.raises(SpecError, match="without vectors pass lengths alone"):
        fdht.compile(own, wide, SMALL, lengths=lengths, calibration_lengths=lengths)
    halved = Fronted(By(lambda x: x[:, ::2]))
    with pytest.raises(SpecError, match=r"lengths are of the 7 steps of samples of \(30, 7, 5\), and lstm is given 4;"):
        fdht.compile(halved, x, SMALL, lengths=lengths, host=["front"])


def test_steps_behind_a_samples_own_mean_nothing(x):
    """Of a head after every step; the gateware in simulation does not run them."""
    made, lengths = fdht.compile(model(each=True), x, SMALL), [3, 7]
    whole, found, classes = made.predict(x[:2]), made.predict(x[:2], lengths), made.classify(x[:2], lengths)
    assert np.array_equal(found[0, :3], whole[0, :3]) and np.array_equal(found[1], whole[1]) and not found[0, 3:].any()
    assert classes[0].tolist() == [*whole[0, :3].argmax(-1), -1, -1, -1, -1]
    result = made.simulate(x[:2], lengths)
    assert result.classes.tolist() == classes.tolist() and result.logits.shape == (2, 7, 3)
    assert np.array_equal(result.logits != 0, found != 0), "what was computed, and 0 behind it"
    assert result.cycles_simulated == result.cycles_predicted == [made.image.cycles(steps) for steps in lengths]


@pytest.mark.parametrize("kind", ["list", "float64", "torch", "int", "big-endian", "backwards", "longdouble"])
def test_samples_come_as_people_have_them(x, kind):
    whole = np.round(x * 2)
    given = {
        "list": whole.tolist(),
        "float64": whole.astype(np.float64),
        "torch": torch.from_numpy(whole).requires_grad_(),
        "int": whole.astype(np.int16),
        "big-endian": whole.astype(">f4"),
        "backwards": whole[::-1].copy()[::-1],
        "longdouble": whole.astype(np.longdouble),
    }[kind]
    own = model()
    assert np.abs(fdht.compile(own, whole, SMALL).predict(given) - outputs(own, whole.astype(np.float32))).max() < 0.05


def refused(x, **options):
    return fdht.compile(options.pop("of", model()), x, **{"target": SMALL} | options)


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (lambda x: x[:0], {}, "there are no samples; pass one at least"),
        (lambda x: np.where(x == x[3, 2, 1], np.nan, x), {}, "sample 3 holds infinities or NaN"),
        (lambda x: x.astype(str), {}, "samples that are no array"),
        (lambda x: x[0, 0], {}, r"samples of shape \(5,\)"),
        (
            lambda x: x,
            {"labels": [1, 2]},
            r"labels of shape \(2,\); for 30 samples they are classes .*, \(30,\)",
        ),
        (lambda x: x, {"labels": np.full(30, 0.7)}, "labels hold 0.7, which is none"),
        (lambda x: x, {"labels": np.ones((30, 3))}, "pass regression=True"),
        (lambda x: x, {"lengths": [9] * 30}, "lengths are int64 .30,.; there are 30 samples, of 1 to"),
        (lambda x: np.ma.masked_greater(x, 1), {}, "samples with masked values"),
        (lambda x: torch.from_numpy(x).to_sparse(), {}, "pass them dense"),
        (lambda x: x, {"class_names": ["a"]}, "1 names for 3 classes"),
        (lambda x: x, {"value_names": ["a"]}, "1 names for 5 values of a step; give one each"),
        (lambda x: x, {"target": "mine"}, "there is no target 'mine'; known: icebreaker"),
        (lambda x: x, {"bits": 12}, "words of 12 bits; real values are scaled to 8 or 16"),
        (lambda x: x, {"of": Model(nn.GRU(5, 6, batch_first=True))}, "lstm is a GRU"),
    ],
)
def test_what_cannot_be_compiled_is_said_in_a_sentence(x, change, options, words):
    with pytest.raises(SpecError, match=words):
        refused(change(x), **options)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_parameters_that_are_no_numbers_are_refused(x, value):
    """Whichever: factors, biases, head, and what a part on the host keeps beside its parameters."""
    for name in model().state_dict():
        own = model()
        with torch.no_grad():
            own.state_dict()[name].view(-1)[-1] = value
        with pytest.raises(SpecError, match=f"{re.escape(name)} holds infinities, NaN or nothing"):
            refused(x, of=own)
    own = model()
    own.register_buffer("mean", torch.full((1,), value))
    with pytest.raises(SpecError, match="mean holds infinities, NaN or nothing"):
        refused(x, of=own)


def test_a_board_gets_the_engine_that_it_was_compiled_for(x, monkeypatch):
    """A board of fdht's by name, or one's own as it is; unless its part cannot hold it."""
    asked = []
    monkeypatch.setattr(
        "fdht.boards.synthesis.synthesise", lambda board, folder, seeds: asked.append((board, folder, seeds))
    )
    monkeypatch.setattr("fdht.boards.baseline.usual_seeds", lambda board: [7])
    made = fdht.compile(model(), x, SMALL)
    made.build("tangnano20k")
    made.build(replace(find_board("orangecrab-25f"), name="mine"), "here", seeds=[2, 3])
    assert [(board.name, board.target, folder, seeds) for board, folder, seeds in asked] == [
        ("tangnano20k", "small", Path("build/tangnano20k-small"), [7]),
        ("mine", "small", Path("here"), [2, 3]),
    ]
    assert [target_id(board.engine) for board, *_ in asked] == [target_id(SMALL)] * 2
    large = fdht.compile(model(), x, replace(SMALL, rows=8, columns=8, input_lanes=8, name="large"))
    with pytest.raises(CapacityError, match="multipliers of the LFE5U-25F on orangecrab-25f: 65 needed, 28 available"):
        large.build("orangecrab-25f")
    with pytest.raises(SpecError, match="a multiplier of ice40 takes 16 × 16 bits and sums up to 32"):
        made.build("icebreaker")


def test_the_driver_takes_real_values_and_gives_them(x):
    """On a board in simulation, with the image alone."""
    own = model(outputs=2)
    made = fdht.compile(own, x, SMALL, regression=True)
    pins = Pins(divisor=None)
    with SimulatedBoard(build_system(SMALL, pins), pins) as board, fdht.Device(board.url, timeout=10) as device:
        device.load(made.image)
        results = list(device.run(x[:2]))
    np.testing.assert_array_equal(np.stack([result.values for result in results]), made.predict(x[:2]))


class Plain(nn.Module):
    def __init__(self, inputs=4, hidden=16, outputs=3):
        super().__init__()
        self.lstm, self.head = nn.LSTM(inputs, hidden, batch_first=True), nn.Linear(hidden, outputs)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


def test_the_report_compares_with_the_users_own_module():
    """Ranks and the words of the inputs are part of what is compared, not only the formats behind them."""
    torch.manual_seed(0)
    model = Plain()
    with torch.no_grad():
        model.head.weight.mul_(10)
    x = torch.randn(60, 6, 4)
    for options in ({}, {"ranks": 1}):
        made = fdht.compile(model, x, **options)
        with torch.no_grad():
            expected = model(x)
        figures = made.report().figures
        same = (made.classify(x) == expected.argmax(1).numpy()).mean()
        assert figures["same class as the float model"] == pytest.approx(same, abs=1e-6)
        difference = np.abs(made.predict(x) - expected.numpy()).max()
        assert figures["largest difference to the float model"] == pytest.approx(difference, abs=1e-4)
    assert same < 0.9


def test_an_lstm_that_is_too_large_says_how_it_gets_smaller():
    x, larger = torch.randn(20, 6, 6), "; or choose a larger target"
    with pytest.raises(CapacityError) as refused:
        fdht.compile(Plain(6, 32), x, "icebreaker")
    assert str(refused.value) == (
        "factor words of 8 factors: 608 needed, 512 available; lstm is an nn.LSTM, which stays a dense matrix: pass "
        f"ranks=8 (--ranks 8) to split it, and train the split some epochs (fdht.lstm_from_dense){larger}"
    )
    with pytest.raises(CapacityError, match=f"; pass ranks below 9{larger}$"):
        fdht.compile(Plain(6, 32), x, replace(SMALL, factor_words=32), ranks=9)
    with pytest.raises(CapacityError, match=r"hidden units: .*; choose a larger target or a smaller model$"):
        fdht.compile(Plain(6, 33), x, SMALL, ranks=1)


@pytest.mark.parametrize(
    ("outputs", "end", "regression", "words"),
    [
        (
            1,
            nn.Identity(),
            False,
            "has one output, of which the largest is always the same; for a number pass regression",
        ),
        (3, nn.Softmax(-1), True, "ends in a softmax"),
    ],
)
def test_outputs_that_mean_nothing_are_refused(outputs, end, regression, words):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.head, self.end = nn.LSTM(4, 8, batch_first=True), nn.Linear(8, outputs), end

        def forward(self, x):
            return self.end(self.head(self.lstm(x)[0][:, -1]))

    with pytest.raises(SpecError, match=words):
        fdht.compile(Net(), torch.randn(8, 5, 4), regression=regression)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_modules_of_another_precision(dtype):
    torch.manual_seed(0)
    model = Plain().to(dtype)
    x = torch.randn(20, 5, 4)
    made = fdht.compile(model, x.double().numpy())
    with torch.no_grad():
        expected = model(x.to(dtype)).float()
    np.testing.assert_allclose(made.predict(x), expected.numpy(), atol=0.05)


@pytest.mark.parametrize(
    ("model", "x", "words"),
    [
        ("plain", torch.randn(8, 5, 3), r"Plain cannot be called with samples of \(4, 5, 3\)"),
        ("plain", torch.randn(8, 0, 4), "Plain cannot be called with samples"),
        ("class", torch.randn(8, 5, 4), "is no torch.nn.Module"),
    ],
)
def test_what_a_module_cannot_be_called_with(model, x, words):
    with pytest.raises(SpecError, match=words):
        fdht.compile(Plain() if model == "plain" else Plain, x)


def changes_values(part, _given, gave):
    return (gave[0] * 2, gave[1]) if isinstance(gave, tuple) else gave * 2


@pytest.mark.parametrize("part", ["lstm", "head"])
def test_a_hook_that_changes_values_is_no_secret(x, part):
    own = model()
    getattr(own, part).register_forward_hook(changes_values)
    with pytest.raises(SpecError, match=r"changes values|changes what head gives"):
        refused(x, of=own)


def test_sequences_of_one_step_do_not_hide_when_the_head_is_asked(x):
    torch.manual_seed(0)
    each = model(each=True)
    made = fdht.compile(each, x[:, :1], SMALL)
    assert made.predict(x).shape == (*x.shape[:2], 3)
    last = model()
    assert fdht.compile(last, x[:, :1], SMALL).predict(x).shape == (len(x), 3)


@pytest.mark.parametrize("each", [False, True])
def test_what_lies_behind_a_sequence_changes_nothing(x, each, monkeypatch):
    own, lengths = model(each=each), np.arange(len(x)) % 3 + 3
    padded = np.where((np.arange(x.shape[1]) < lengths[:, None])[..., None], x, 50).astype(np.float32)
    monkeypatch.setattr("fdht.compiled.VECTORS", 10)
    made, kept = fdht.compile(own, x, SMALL, vectors=padded, lengths=lengths), spread_over(30, 10)
    assert made.bundle.lengths is not None and made.bundle.lengths.tolist() == lengths[kept].tolist()
    apart = []
    for k, logits in zip(kept, made.bundle.logits, strict=True):
        alone = x[k : k + 1, : lengths[k]]
        assert np.array_equal(logits[: lengths[k]] if each else logits, made._integers(made.words(alone))[0])
        apart.append(np.abs(made.predict(alone) - outputs(own, alone)).max())
    assert made.agreement["largest difference to the float model"] == pytest.approx(max(apart), abs=1e-6)


def test_names_of_any_kind(x, tmp_path):
    made = fdht.compile(model(), x, SMALL, class_names=np.array([5, 6, 7]))
    assert made.class_names == ("5", "6", "7") and made.save(tmp_path / "a.bundle").is_file()
