"""The comparison of formats: draws of its sets, its plan, the rates it chooses, and its tables."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import optuna
import pytest

from docs import formats_page as page
from docs import formats_plan as plan
from docs import formats_study as study
from docs import study_sets
from docs.study_sets import SETS, Places, dealt
from docs.tree_study import CHANGES
from fdht.model.data import DataSet
from fdht.model.presets import PRESETS
from fdht.model.train import TrainingDiverged
from fdht.spec.choose import chosen_lstm
from fdht.studies import accuracy
from fdht.studies.accuracy import Row
from fdht.studies.pooling import pooled

NOWHERE = Places()
SET = "digits"
FILMS = {name for name, kind in plan.KINDS.items() if kind == plan.FILMS}
AT_ONE_RATE = {(kind, model): 0.01 for kind in (plan.FEW, plan.FACES, plan.FILMS) for model in plan.FORMATS}


def row(training: plan.Training, right: float, seed: int = 0) -> Row:
    hits = np.random.default_rng([seed, training.draw]).random(40) < right
    return Row(
        study=training.study,
        data=training.data,
        format=training.format,
        recurrent=training.recurrent,
        recipe=training.variant,
        factors=100,
        recurrent_parameters=150,
        parameters=200,
        clips=1000,
        seed=training.draw,
        split=f"draw {training.draw}",
        rate=training.rate,
        seconds=3.0,
        **accuracy.hits(hits),
    )


def exactly(training: plan.Training, right: slice, clips: int = 100) -> Row:
    """A row that has just these clips right."""
    hits = np.zeros(clips, bool)
    hits[right] = True
    return replace(row(training, 1.0), **accuracy.hits(hits))


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """FDHT is best, at its middle rate; all others are the same."""
    rates = {plan.FORMATS[0]: 0.01}
    tuned = [row(t, 0.5 + 0.3 * (rates.get(t.model, 0.003) == t.rate), 1) for t in plan.tuning([SET])]
    final = plan.final([SET], plan.chosen(tuned))
    return tuned + [row(t, 0.95 if t.model[0] == "fdht" else 0.6, plan.FORMATS.index(t.model)) for t in final]


@pytest.fixture(scope="module")
def units() -> dict:
    return {SET: {str(draw): list(range(40)) for draw in range(plan.DRAWS)}}


def test_samples_are_dealt_class_by_class_and_anew():
    labels = np.repeat([3, 5, 9], (50, 20, 10))
    parts = [dealt(labels, draw) for draw in (0, 0, 1)]
    for train, validation, test in parts:
        assert sorted([*train, *validation, *test]) == list(range(80))
        assert [np.bincount(labels[part], minlength=10)[[3, 5, 9]].tolist() for part in (train, test)] == [
            [30, 12, 6],
            [10, 4, 2],
        ]
    assert parts[0][2].tolist() == parts[1][2].tolist() != parts[2][2].tolist()


def frames_of(data: DataSet) -> dict[str, set[bytes]]:
    """What each part shows: all its frames, as bytes."""
    parts = {part: getattr(data, part) for part in ("train", "validation", "test")}
    return {
        name: {frame.tobytes() for frame in part.frames[part.order].reshape(-1, data.inputs)}
        for name, part in parts.items()
    }


def test_of_many_samples_a_draw_has_some_and_units_are_those_of_what_is_measured(monkeypatch):
    monkeypatch.setattr(study_sets, "SAMPLED", (6, 4, 3))
    x = [np.full((2, 1), k) for k in range(20)]
    own = np.random.default_rng(0).permutation(20)[:13]
    units = np.arange(20) // 2 + 100
    drawn = study_sets.sampled("mine", x, np.arange(20) % 2, own, units)
    for part, chosen in (("train", own[:6]), ("validation", own[6:10]), ("test", own[10:])):
        split = getattr(drawn.data, part)
        assert split.labels.tolist() == (chosen % 2).tolist()
        scaling = drawn.data.scaling
        assert scaling is not None and scaling.to_words(chosen[:, None]).tolist() == split.clips[:, 0].tolist()
        assert part == "train" or drawn.units[part].tolist() == (chosen // 2 + 100).tolist()


def test_a_sample_is_a_unit_of_its_own_and_the_same_in_every_draw():
    labels = np.arange(40) % 4
    for draw in range(2):
        parts = dealt(labels, draw)
        drawn = study_sets.divided("mine", [np.full((2, 1), k) for k in range(40)], labels, parts)
        assert [drawn.units[part].tolist() for part in study_sets.MEASURED] == [each.tolist() for each in parts[1:]]


def test_draws_of_pictures_share_none(monkeypatch):
    monkeypatch.setattr(study_sets, "SAMPLED", (6, 4, 3))
    count = 13 * plan.DRAWS + 5
    pictures = np.zeros((count, 28, 28), np.uint8), np.zeros(count, int)
    monkeypatch.setattr(study_sets, "fashion_mnist", lambda _: pictures)
    draws = []
    monkeypatch.setattr(study_sets, "divided", lambda name, x, y, parts, units=None: draws.append(parts))
    for draw in range(plan.DRAWS):
        SETS["Fashion-MNIST"].draw(Places(fashion=Path()), draw)
    assert [[len(part) for part in parts] for parts in draws] == plan.DRAWS * [[6, 4, 3]]
    assert len(np.unique(np.concatenate([part for parts in draws for part in parts]))) == 13 * plan.DRAWS


@pytest.mark.parametrize("name", ["spoken-digits", "faces-hard"])
def test_no_draw_tests_what_it_has_trained_on(name):
    shown = []
    for number in (0, 3):
        drawn = SETS[name].draw(NOWHERE, number)
        parts = frames_of(drawn.data)
        assert not parts["test"] & (parts["train"] | parts["validation"]) and not parts["train"] & parts["validation"]
        assert {part: len(of) for part, of in drawn.units.items()} == {
            part: len(getattr(drawn.data, part)) for part in ("validation", "test")
        }
        units = {part: of.tolist() for part, of in drawn.units.items()}
        assert name != "spoken-digits" or not {*units["test"]} & {*units["validation"]}, "each sample is its own"
        shown.append(parts["test"])
    assert shown[0] != shown[1]


def test_the_plan_is_every_model_on_every_draw_and_none_twice():
    every = [*plan.tuning(SETS), *plan.final(SETS, AT_ONE_RATE)]
    assert len({*every}) == len(every)
    final = [training for training in every if training.study == plan.STUDY]
    assert {(t.data, t.draw) for t in final} == {(name, draw) for name in SETS for draw in range(plan.DRAWS)}
    of = {model: sum(t.model == model for t in final) for model in plan.FORMATS}
    assert of.pop(plan.DENSE) == len(SETS) * plan.DRAWS - 3 * (plan.DRAWS - plan.DENSE_DRAWS)
    assert of.pop(plan.OURS_OF_FOUR) == 8 * plan.DRAWS and {*of.values()} == {len(SETS) * plan.DRAWS}
    tuned = [training for training in every if training.study == plan.TUNING]
    assert {t.data for t in tuned} == {*SETS} and {t.draw for t in tuned} <= {t.draw for t in final}
    assert {t.draw for t in tuned if t.data in FILMS and t.model == plan.DENSE} == {0}


def test_each_format_has_as_many_rates_to_choose_from():
    """On each kind of sets; the dense LSTM has lower ones on films."""
    for kind, count in ((plan.FEW, 4), (plan.FACES, 5), (plan.FILMS, 4)):
        rates = {model: plan.rates_tried(kind, model) for model in plan.FORMATS}
        assert {len(of) for of in rates.values()} == {count} and len({*rates.values()}) == 1 + (kind == plan.FILMS)
    assert max(rates[plan.DENSE]) == rates[plan.OURS][1]


def test_every_model_of_the_plan_can_be_trained():
    """At equal factors on as many modes, of which no tree is a train."""
    few = chosen_lstm(13, 64, 10, rank=12)
    for name, spec in ((SET, few), ("faces-hard", PRESETS["faces-hard"].spec)):
        offered = {(m.format, m.recurrent, m.variant): m.spec for m in study.offered(spec, plan.KINDS[name])}
        assert offered.keys() == {*plan.on(name)} and offered[plan.OURS] == spec
        for model in plan.AT_EQUAL_FACTORS:
            ours, theirs = (offered[of].network for of in (plan.ours_beside(model, name), model))
            assert len(ours.inputs) == 4 and ours.input_shape == theirs.input_shape
            assert 0.95 < theirs.parameters / ours.parameters < 1.06


def test_each_format_has_the_rates_that_validation_likes(rows):
    """Of the sets and draws that they are chosen on, each kind for itself, and with no look at tests."""
    others = [
        exactly(plan.Training(name, *model, draw, 0.1, study), slice(0, 100))
        for name, study in (
            ("clip-segments", plan.TUNING),
            (SET, plan.STUDY),
            (SET, plan.TUNING),
            ("faces-hard", plan.TUNING),
        )
        for model in plan.FORMATS
        for draw in range(2, 9)
    ]
    rates = plan.chosen([*rows, *others])
    assert rates[plan.FEW, plan.OURS] == 0.01
    assert {rate for (kind, model), rate in rates.items() if kind == plan.FEW and model != plan.OURS} == {0.003}
    best = {"faces-hard": 0.03, "clip-segments": 0.01, "playing-direction": 0.01}
    pictures = [exactly(t, slice(0, 50 + 10 * (t.rate == best[t.data]))) for t in plan.tuning(best)]
    found = plan.chosen([*rows, *pictures])
    for name, rate in best.items():
        assert {found[plan.KINDS[name], model] for model in plan.on(name)} == {rate}
    assert found[plan.FEW, plan.OURS] == 0.01


def test_the_plan_says_what_is_left(rows):
    first, final = [*plan.tuning([SET])], [*plan.final([SET], plan.chosen(rows))]
    assert plan.left(rows, [first, final])[1:] == [
        f"formats, tuning: 0 of {len(first)} to do, 0.00 CPU hours",
        f"formats: 0 of {len(final)} to do, 0.00 CPU hours",
    ]
    some = [r for r in rows if r.study == plan.TUNING]
    assert f"formats: {len(final)} of {len(final)} to do, {len(final) * 3 / 3600:.2f} CPU hours" in plan.left(
        some, [first, final]
    )


def test_every_model_is_held_against_fdht(rows, units):
    compared = page.comparisons(rows, plan.chosen(rows), units)
    assert [each.against for each in compared[1:]] == [page.against(model) for model in plan.FORMATS[1:]]
    for each in compared:
        assert each.gaps.keys() == {SET} and each.pooled.mean == each.gaps[SET].mean
        assert each.of(plan.FEW) == each.pooled and each.of(plan.FILMS) is None
        if each.against != page.called(plan.OURS_OF_FOUR):
            assert each.pooled.verdict == "better" and 0.2 < each.pooled.mean < 0.5
    hits = {draw: row.correct_clips for draw, row in page.by_draw(rows, SET, plan.OURS_OF_FOUR).items()}
    for model in plan.AT_EQUAL_FACTORS:
        (found,) = (each for each in compared if each.against == page.against(model))
        theirs = page.by_draw(rows, SET, model)
        assert found.pooled.mean == pytest.approx(np.mean([hits[d].mean() - r.accuracy for d, r in theirs.items()]))
    (best,) = (each for each in compared if each.against.startswith("the best of"))
    rivals = {page.called(model) for model in plan.RIVALS}
    assert best.gaps[SET].mean in {each.gaps[SET].mean for each in compared if each.against in rivals}


@pytest.fixture(scope="module")
def whole(rows) -> list[Row]:
    """All rows of a study of one set."""
    some = [replace(r, correct_zero_h=r.correct - 4) if r.study == plan.STUDY else r for r in rows]
    rates = plan.chosen(some)
    return [*some, *(row(t, 0.5) for part in (plan.tree, plan.curve) for t in part([SET], rates))]


def test_the_tables_have_every_model_and_what_h_is_worth(whole, units, monkeypatch, tmp_path):
    (tmp_path / "sets.json").write_text('{"digits": {"classes": 10, "values": "8"}}')
    monkeypatch.setattr(page, "SETS_FILE", tmp_path / "sets.json")
    kept = {"test": units, "validation": units}
    text = "\n".join(page.sections(whole, kept, [SET], page.decided(whole, kept, [SET])))
    for model in plan.FORMATS:
        tables = ["accuracy", "h", "rates"] + ["gaps"] * (model not in (plan.OURS, *plan.AT_EQUAL_FACTORS))
        tables += ["otherwise"] * (model == plan.DENSE)
        tables += ["rates of faces", "and of films"] * (model != plan.OURS_OF_FOUR)
        tables += [*plan.CURVES] * (model in (plan.OURS_OF_FOUR, *plan.AT_EQUAL_FACTORS))
        assert text.count(f"| {page.called(model)} |") == len(tables)
        if model in plan.AT_EQUAL_FACTORS:
            assert text.count(f"| {page.against(model)} |") == len(("gaps", "otherwise"))
    mean = np.mean([r.accuracy for r in whole if r.study == plan.STUDY and plan.Training.of(r).model == plan.DENSE])
    assert f"| dense | {100 * mean:.1f} → {100 * mean - 10:.1f} |" in text and "(100; 150; 200)" in text
    assert "| digits | 10 | 8 | 40 |" in text
    assert f"The best rival: digits {page.called(plan.RIVALS[0])}." in text
    assert f"Of {11 * plan.DRAWS} trainings 0 diverged" in text


def test_the_short_table_has_what_decides(rows, units):
    """A pooled difference and its interval each, and how many times the parameters the other has, over the sets."""

    def sized(row: Row, data: str) -> Row:
        times = {"dense": 1234, "tr": 9 if row.recurrent == "dense" else 1}.get(row.format, 1)
        return replace(row, data=data, recurrent_parameters=150 * times * (1 + (times > 1 and data != SET)))

    two = [sized(r, data) for r in rows for data in (SET, "names")]
    found = page.comparisons(two, plan.chosen(two), {**units, "names": units[SET]})
    lines = page.in_short(found).splitlines()[2:]
    assert [line.split(" | ")[0] for line in lines] == [
        f"| {name}" for name in (page.BEST_RIVAL, *map(page.against, plan.AT_EQUAL_FACTORS), "dense")
    ]
    (dense,) = (each.pooled for each in found if each.against == "dense")
    low, high = (100 * end for end in dense.interval)
    assert lines[-1] == (
        f"| dense | {100 * dense.mean:+.1f} | {low:+.1f} to {high:+.1f} | **better** | 1,234 to 2,468 |"
    )
    assert lines[2].endswith("| 1.0 |") and "| 9.0 to 18 |" in "".join(
        page.in_short([replace(e, against="dense") for e in found if e.against == "TR beside a matrix"])
    )


def test_the_short_table_is_written_to_page_and_readme_once_all_is_there(whole, units, monkeypatch, tmp_path):
    for name in ("README", "PAGE", "RESULTS", "UNITS", "GAPS", "CURVES_PICTURE"):
        monkeypatch.setattr(page, name, tmp_path / getattr(page, name).name)
    for each in (page.README, page.PAGE):
        each.write_text("\n".join(("before", *page.SHORT, *page.MARKS, "after")))
    monkeypatch.setattr(page, "CURVES", (SET,))
    page.UNITS.write_text(json.dumps({"test": units, "validation": units}))
    final = [r for r in whole if r.study == plan.STUDY]
    for some, there in (([r for r in whole if r != final[-1]], False), (whole, True)):
        accuracy.merge(some, page.RESULTS)
        page.write([SET])
        for each in (page.README, page.PAGE):
            short = each.read_text().partition(page.SHORT[0])[2].partition(page.SHORT[1])[0]
            assert ("| dense | +" in short) == there and each.read_text().endswith("after")
        assert page.GAPS.is_file() == there
    assert page.GAPS.read_bytes().startswith(b"\x89PNG") and page.CURVES_PICTURE.is_file()


def test_rows_at_rates_that_are_not_chosen_are_no_result(whole, units):
    tested = [r for r in whole if r.study in (plan.STUDY, plan.CURVE)]
    other = [replace(r, rate=0.1, **accuracy.hits(np.zeros(40, bool))) for r in tested]
    rates = plan.chosen(whole)
    assert page.comparisons([*whole, *other], rates, units) == page.comparisons(whole, rates, units)
    assert page.curve_table([*whole, *other], rates, SET) == page.curve_table(whole, rates, SET)
    figures = [page.picture_of_curves(of, rates) for of in (whole, whole + other)]
    lines = [[np.asarray(line.get_ydata()).tolist() for line in figure.axes[0].lines] for figure in figures]
    assert lines[0] == lines[1]


def test_what_tests_say_is_shown_once_all_are_there(whole, units):
    """Nobody is to stop or go on for it."""
    final = [r for r in whole if r.study == plan.STUDY]
    some = [r for r in whole if r != final[-1]]
    kept = {"test": units, "validation": units}
    assert page.decided(whole, kept, [SET]) and page.decided(some, kept, [SET]) == []
    text = "\n".join(page.sections(some, kept, [SET], []))
    assert "There is to do:" in text and "FDHT minus" not in text and "What h is worth" not in text


def test_what_other_choices_would_have_said():
    """On other sets, with the other FDHT-LSTM, and at the rates that films had first."""
    sets = ("digits", "names", "playing-direction")
    right = {plan.OURS: 90, plan.OURS_OF_FOUR: 80}
    rates = AT_ONE_RATE | {(plan.FILMS, model): 0.03 for model in plan.FORMATS}
    final = [*plan.final(sets, rates)]
    rows = [
        exactly(t, slice(right.get(t.model, 85) - 30 * (t.data in page.LEADING) * (t.model in right))) for t in final
    ]
    rows += [exactly(replace(t, rate=0.01), slice(25)) for t in final if t.data in plan.KINDS and t.rate == 0.03]
    units = {name: {str(draw): list(range(100)) for draw in range(plan.DRAWS)} for name in sets}
    _, _, *lines = page.otherwise_table(rows, rates, units).splitlines()
    cells = [[cell.split(" [")[0] for cell in line.strip("| ").split(" | ")] for line in lines]
    assert cells[0] == [page.BEST_RIVAL, "+5.0", "the same", "the same", "-6.7"]
    assert cells[1][1:] == ["-5.0", "-15.0", "-10.0", "-13.3"]


def test_rates_are_those_of_a_kind_only_once_all_of_it_is_tuned(rows):
    every = [row(t, 0.5) for t in plan.tuning(plan.SETS) if plan.KINDS[t.data] == plan.FEW]
    assert plan.with_rates([SET, "faces-hard"], rows) == [] and plan.with_rates([SET, "faces-hard"], every) == [SET]
    assert plan.with_rates([SET], every[:-1]) == []
    assert plan.planned([*every, row(plan.Training("ACSF1", *plan.OURS, 0, 0.1, plan.TUNING), 1.0)]) == every


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--set nothing", "invalid choice: 'nothing'"),
        ("--store nothing", "--store nothing is no storage that Optuna opens"),
        ("--set names --set GunPoint", "GunPoint needs --series FOLDER (it is None), or choose others with --set"),
        ("--set Fashion-MNIST --fashion nowhere", "Fashion-MNIST needs --fashion FOLDER (it is nowhere)"),
    ],
)
def test_what_the_study_cannot_do_is_said_before_anything_is_trained(monkeypatch, tmp_path, capsys, options, sentence):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["formats_study", *options.split()])
    with pytest.raises(SystemExit, match="2"):
        study.main()
    assert sentence in capsys.readouterr().err


def test_a_set_alone_is_tuned_and_its_test_stays_shut(monkeypatch, tmp_path, store, capsys):
    _, trained = store
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["formats_study", "--set", SET])
    monkeypatch.setattr(study.Store, "describe", lambda *_: None)
    monkeypatch.setattr(study.Store, "keep", lambda *_: None)
    study.main()
    assert {t.study for t in trained} == {plan.TUNING} and {t.data for t in trained} == {SET}
    assert "rates for digits are chosen from all sets of the kind" in capsys.readouterr().out


def test_nothing_is_compared_before_there_are_two_draws(rows, units):
    assert page.comparisons([r for r in rows if r.seed == 0], plan.chosen(rows), units) == []


def test_what_can_be_decided_follows_from_clips_that_one_has_right_alone_and_from_draws():
    """Two models of which each is right alone on a tenth of 100 clips; on half of the sets the draws differ, too."""
    rows = []
    for training in (t for t in plan.tuning([SET]) if t.rate == plan.RATES[0]):
        hits = np.ones(100, bool)
        hits[:10] = training.model != plan.OURS
        hits[10:20] = training.model == plan.OURS
        rows.append(replace(row(training, 1.0), **accuracy.hits(hits)))
    assert plan.chosen(rows)[plan.FEW, plan.OURS] == plan.RATES[0]
    share, found = page.expected(rows, plan.chosen(rows))[SET]
    assert share == pytest.approx(0.2) and found.mean == 0 and found.freedom == plan.DRAWS - 1
    assert found.variance == pytest.approx(0.2 / 500)  # draws are as alike as can be
    apart = [r if r.seed else replace(r, **accuracy.hits(np.ones(100, bool))) for r in rows]
    share, found = page.expected(apart, plan.chosen(rows))[SET]
    assert share == pytest.approx(0.1) and found.variance == pytest.approx(0.1 / 500)  # as clips alone explain


def test_draws_that_differ_by_more_than_clips_explain_widen_what_is_expected():
    """On one set 20 clips are right for one alone, in one draw for FDHT and in the other for the others; on one of
    which more clips are tested, 10: the variance between draws, in parts of these shares, is that of both together.
    """
    apart = {SET: 20, "names": 10}
    rows = []
    for training in (t for t in plan.tuning([*apart]) if t.rate == plan.RATES[0]):
        better = (training.model == plan.OURS) == (training.draw == 0)
        rows.append(exactly(training, slice(0 if better else apart[training.data], 100)))
    rates = plan.chosen(rows)
    found = page.expected(rows, rates)
    between_draws = np.mean([0.08 - (0.2 - 0.04) / 100, 0.02 - (0.1 - 0.01) / 100]) / 0.15
    for name, share, tests in ((SET, 0.2, 500), ("names", 0.1, page.TESTED["names"])):
        assert found[name][0] == pytest.approx(share)
        assert found[name][1].variance == pytest.approx(share * (between_draws / plan.DRAWS + 1 / tests))
    every = [each for _, each in found.values()]
    whole = pooled([every[0]] * (len(SETS) - 1) + [every[1]])
    last = page.expected_table(rows, rates).splitlines()[-1]
    assert f"mean of {len(SETS)} sets, the films as the widest" in last and f"± {100 * whole.half_width:.2f}" in last


def test_the_best_rival_is_that_of_each_set(units):
    """By its own validation splits."""
    best = {SET: plan.RIVALS[0], "names": plan.RIVALS[1], "clip-segments": plan.RIVALS[2]}

    def right(training: plan.Training) -> slice:
        of = plan.RIVALS.index(training.model) if training.model in plan.RIVALS else 3
        if training.validates:
            right = {SET: [90, 80, 10, 0], "names": [10, 70, 10, 0], "clip-segments": [10, 20, 30, 0]}
            return slice(0, right[training.data][min(of, 3)])
        return slice(0, 10 + of)

    rows = [exactly(t, right(t)) for t in plan.tuning(best)]
    rows += [exactly(t, right(t)) for t in plan.final(best, plan.chosen(rows)) if t.draw < 2]
    whole = {name: {draw: list(range(100)) for draw in "01"} for name in best}
    first, *others = page.comparisons(rows, plan.chosen(rows), whole)
    of = {each.against: each for each in others}
    for name, model in best.items():
        assert first.gaps[name] == of[page.called(model)].gaps[name], name
    assert len({of[page.called(model)].gaps[SET].mean for model in plan.RIVALS[:2]}) == 2


def test_a_change_that_helps_is_better_than_the_tree_as_it_is(units):
    """And is told once all draws of it are there."""
    rates = AT_ONE_RATE
    rows = [row(t, 0.9 if t.variant == "natural gradient" else 0.5) for t in plan.tree([SET], rates)]
    found = {each.against: each.pooled for each in page.changes(rows, rates, units)}
    assert found.pop("natural gradient").verdict == "better" and len(found) == len(CHANGES) - 2
    assert {each.mean for each in found.values()} == {0}
    assert not any("What helps a tree" in text for text in page.sections(rows, {"validation": units}, list(SETS), []))


@pytest.fixture
def store(tmp_path, monkeypatch):
    """Makes stores of one database or of others, whose trainings take no time; they are counted in `trained`."""
    for module in (study, page):
        monkeypatch.setattr(module, "RESULTS", tmp_path / "accuracy.json")
        monkeypatch.setattr(module, "UNITS", tmp_path / "units.json")
    trained = []

    def at_once(training, places):
        trained.append(training)
        return row(training, 0.5)

    monkeypatch.setattr(study, "trained", at_once)
    return lambda name="a": study.Store(f"sqlite:///{tmp_path / name}.db", NOWHERE), trained


def begun(store):
    """The first of those that wait, as another process has it under way."""
    with pytest.warns(UserWarning, match="Heartbeat"):
        return store.study.ask()


def test_a_study_goes_on_where_it_was(store):
    new, trained = store
    trainings = [*plan.tuning([SET])][:5]
    assert not new().run(trainings, until=0)
    assert new().run(trainings[:2], until=float("inf")) and trained == trainings
    assert new().run(trainings, until=float("inf")) and len(trained) == 5
    assert {plan.Training.of(row) for row in accuracy.load(study.RESULTS)} == {*trainings}
    assert new("another").run(trainings, until=0) and len(trained) == 5, "what is kept is not done again"


def test_whoever_has_nothing_left_waits_for_the_others(store, monkeypatch):
    new, trained = store
    trainings = [*plan.tuning([SET])][:3]
    ours, other = new(), new()
    ours.run(trainings, until=0)
    under_way = begun(other)

    def ends(_):
        under_way.set_user_attr(study.FIGURES, study.asdict(row(trainings[0], 0.5)))
        other.study.tell(under_way, 0.5)

    monkeypatch.setattr(study.time, "sleep", ends)
    assert ours.run(trainings, until=float("inf"))
    assert trained == trainings[1:] and under_way.user_attrs[study.TRAINING]["rate"] == trainings[0].rate


def test_nobody_waits_for_what_belongs_to_another_part(store, monkeypatch):
    """One process is at the comparison, another one comes, for which all rates are chosen: it does not stop there."""
    new, trained = store
    rates, later = [*plan.tuning([SET])][:1], [*plan.final([SET], AT_ONE_RATE)][:2]
    ours = new()
    assert ours.run(rates, until=float("inf"))
    ours.run(later, until=0)
    begun(new())
    monkeypatch.setattr(study.time, "sleep", lambda _: pytest.fail("waits"))
    assert ours.run(rates, until=float("inf")) and trained == [*rates, later[1]]


def test_whoever_comes_too_late_for_the_last_one_trains_nothing(store):
    """Another process took it in between: what Optuna then begins is no training."""
    new, trained = store
    ours = new()
    ours.study.optimize(ours._evaluate, n_trials=1)
    begun(new())  # and there is one more such
    assert ours.trainings(*optuna.trial.TrialState) == trained == ours.rows == []


@pytest.mark.parametrize("others", [0, 1])
def test_a_training_whose_process_is_gone_is_done_again(store, monkeypatch, others):
    """Whether others still wait, or nothing is left beside it."""
    new, trained = store
    trainings = [*plan.tuning([SET])][: 1 + others]
    ours = new()
    ours.run(trainings, until=0)
    begun(new())  # and never told
    pauses = iter(range(3))
    monkeypatch.setattr(study.time, "sleep", lambda _: next(pauses))  # StopIteration where that would go on for ever
    storage = optuna.storages.RDBStorage
    monkeypatch.setattr(
        storage,
        "_get_stale_trial_ids",
        lambda self, _: [each._trial_id for each in ours.study.trials if each.state.name == "RUNNING"],
    )
    assert ours.run(trainings, until=float("inf")) and {t.rate for t in trained} == {t.rate for t in trainings}


def test_of_two_processes_one_takes_what_waits(store, monkeypatch):
    """While one has read that it waits, and has not yet written that it runs, the other one cannot take it."""
    monkeypatch.setattr(study, "GRACE", 0.1)
    new, _ = store
    first, second = new(), new()
    first.run([*plan.tuning([SET])][:1], until=0)
    (waits,) = first.study.get_trials()
    ours, other = (each.study._storage._backend for each in (first, second))

    def between(*_):
        with pytest.raises(optuna.exceptions.StorageInternalError):
            other.set_trial_state_values(waits._trial_id, optuna.trial.TrialState.RUNNING)

    monkeypatch.setattr(ours, "check_trial_is_updatable", between)
    took = [each.set_trial_state_values(waits._trial_id, optuna.trial.TrialState.RUNNING) for each in (ours, other)]
    assert took == [True, False]


def test_a_process_waits_while_another_one_writes(store):
    new, _ = store
    with new().study._storage._backend.engine.connect() as connection:  # pyright: ignore[reportAttributeAccessIssue]
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 1000 * study.GRACE


def test_what_two_processes_let_wait_at_the_same_moment_is_done_once(store, monkeypatch):
    new, trained = store
    ours, other = new(), new()
    (training,) = [*plan.tuning([SET])][:1]
    for each in (ours, other):
        each.study.enqueue_trial({}, user_attrs={study.TRAINING: study.asdict(training)})
    assert ours.run([training], until=float("inf")) and trained == [training]


def test_few_wait_at_once_and_all_are_done(store, monkeypatch):
    new, trained = store
    monkeypatch.setattr(study, "AT_ONCE", 2)
    trainings = [*plan.tuning([SET])][:5]
    ours = new()
    assert not ours.run(trainings, until=0) and ours.trainings(*optuna.trial.TrialState) == trainings[:2]
    assert ours.run(trainings, until=float("inf")) and trained == trainings


@pytest.mark.parametrize(("part", "clips"), [(plan.TUNING, 4), (plan.STUDY, 3)])
def test_a_row_is_of_the_split_that_is_asked_for(monkeypatch, part, clips):
    """The test split alone is measured with h = 0 as well."""
    splits = {
        name: SimpleNamespace(clips=np.zeros(count), labels=np.arange(count) % 2, lengths=None)
        for name, count in (("validation", 4), ("test", 3))
    }
    preset, asked = PRESETS[SET], []
    monkeypatch.setattr(study, "train", lambda preset, path, options: asked.append(options))
    monkeypatch.setattr(study, "load_checkpoint", lambda path: SimpleNamespace(model=None))
    monkeypatch.setattr(study, "here", lambda data: None)
    monkeypatch.setattr(study, "predict", lambda of, x, zero_h=False, lengths=None: np.full(len(x), int(zero_h)))
    training = next(iter(plan.tuning([SET]))) if part == plan.TUNING else next(plan.final([SET], AT_ONE_RATE))
    right, zero_h = study._trained(preset, study_sets.Drawn(cast(DataSet, SimpleNamespace(**splits)), {}), training)
    assert len(right) == clips and right.tolist() == (np.arange(clips) % 2 == 0).tolist()
    assert asked[0].choose == (part == plan.TUNING) and asked[0].seed == training.draw
    assert zero_h == (None if part == plan.TUNING else 1)


@pytest.mark.parametrize("part", [plan.TUNING, plan.TREE])
def test_a_model_that_diverges_is_never_right(monkeypatch, part):
    def diverges(*_):
        raise TrainingDiverged("at once")

    monkeypatch.setattr(study, "_trained", diverges)
    monkeypatch.setattr(study, "fitted_by", diverges)
    of = plan.tuning([SET]) if part == plan.TUNING else plan.tree([SET], AT_ONE_RATE)
    training = next(of)
    found = study.trained(training, NOWHERE)
    assert found.correct == 0 and found.total == len(study.drawn(SET, NOWHERE, training.draw).data.validation)
    assert plan.Training.of(found) == training
