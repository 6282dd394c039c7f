"""What a step takes, counted from programs: held against an independent count of what the machine touches."""

from collections import Counter
from dataclasses import replace
from math import inf, nan

import numpy as np
import pytest
from bundles import random_bundle, random_image, random_layers, with_task

from fdht.compiler import machine as machines
from fdht.compiler.effort import effort
from fdht.compiler.image import Image, compile_bundle
from fdht.compiler.machine import Machine
from fdht.compiler.planner import plan
from fdht.spec.errors import SpecError
from fdht.spec.lstm import dense_lstm
from fdht.spec.target import Levels, Target
from fdht.spec.task import Task

TARGET = Target("effort", 4, 2, bank_words=1024, levels=Levels.each(8))
COUNTED = ("scratchpad", "factors", "bias", "results", "cell", "hidden")
SEED = 20261129


class Touched(np.ndarray):
    """A memory that counts the words that are read and written; a slice of it is still the memory."""

    name: str
    count: Counter

    def __array_finalize__(self, other):
        self.name, self.count = getattr(other, "name", ""), getattr(other, "count", Counter())

    def __array_function__(self, func, types, args, kwargs):
        result = super().__array_function__(func, types, args, kwargs)
        return _touched(np.asarray(result), self.name, self.count) if func is np.pad else result

    def __getitem__(self, where):
        first = where[0] if isinstance(where, tuple) else where
        if isinstance(first, slice) or first is None:
            return super().__getitem__(where)
        self.count["reads", self.name] += np.size(first)
        return np.asarray(self)[where]

    def __setitem__(self, where, value):
        first = where[0] if isinstance(where, tuple) else where
        self.count["writes", self.name] += np.size(first)
        np.asarray(self)[where] = value


def _touched(array: np.ndarray, name: str, count: Counter) -> Touched:
    result = array.view(Touched)
    result.name, result.count = name, count
    return result


@pytest.fixture
def counted(monkeypatch):
    """A function that counts what runs of an image touch: of as many steps as are said."""
    count = Counter()
    memory = machines.Memory

    def watched(*arrays):
        names = ("scratchpad", "results", "hidden", "cell")
        return memory(*(_touched(a, name, count) for a, name in zip(arrays, names, strict=True)))

    monkeypatch.setattr(machines, "Memory", watched)

    def run(image: Image, steps: int) -> Counter:
        count.clear()
        watch = Machine(image.target, image.segments, image.sigmoid, image.tanh, image.order)
        watch.factors, watch.bias = _touched(watch.factors, "factors", count), _touched(watch.bias, "bias", count)
        fed = watch.run(np.zeros((steps, image.inputs), np.int64)).array_busy
        return Counter(count) + Counter({("", "fed"): fed})

    return run


@pytest.mark.parametrize("task", [Task.CLASSIFY, Task.LABEL_STEPS], ids=str)
@pytest.mark.parametrize("kind", ["balanced", "tt + dense"])
def test_counts_are_what_the_machine_touches(counted, kind, task):
    """Of one more step; and of a run of one step, less that."""
    rng = np.random.default_rng([SEED, len(kind), task is Task.CLASSIFY])
    layers = random_layers(rng, kind, (1, 5))
    layers = with_task(rng, layers, task) if task is not Task.CLASSIFY else layers
    image = random_image(rng, random_bundle(rng, layers, plan(layers, TARGET)), TARGET)
    found, one, two = effort(image), counted(image, 1), counted(image, 2)
    for what in ("reads", "writes"):
        for name in COUNTED:
            more = two[what, name] - one[what, name]
            assert getattr(found.step, what)[name] == more, (what, name)
            assert getattr(found.once, what)[name] == one[what, name] - more, (what, name)
    assert found.step.fed == two["", "fed"] - one["", "fed"]
    assert found.useful <= found.step.performed == TARGET.multipliers * found.step.reads["scratchpad"]
    assert found.step.reads["tables"] == 5 / 8 * found.step.gate == 5 * image.hidden * image.layers


def test_streams_share_a_round():
    """Every stream's step does as much as that of one alone, apart from what lies side by side in a word."""
    rng = np.random.default_rng(SEED)
    layers = random_layers(rng, "balanced", (1, 2))
    on = replace(TARGET, streams=4, hidden=256)
    bundle = random_bundle(rng, layers, plan(layers, on))
    alone, several = (effort(compile_bundle(bundle, on, streams=streams)) for streams in (0, 3))
    assert several.useful == alone.useful
    for name in ("cell", "tables"):
        assert several.step.reads[name] == alone.step.reads[name]
    assert several.step.writes["hidden"] == alone.step.writes["hidden"]
    assert several.step.performed <= alone.step.performed
    assert several.cycles < alone.cycles


def test_a_rate_needs_a_clock():
    """Of twice the rate twice as much; a clock of just as much is busy all the time."""
    layers = (dense_lstm(12, 4, 0),)
    rng = np.random.default_rng(SEED)
    found = effort(compile_bundle(random_bundle(rng, layers, plan(layers, TARGET)), TARGET))
    assert found.clock_mhz(1000) == pytest.approx(found.cycles / 1000) == pytest.approx(found.clock_mhz(500) * 2)
    assert found.duty(1000, found.clock_mhz(1000)) == pytest.approx(1)
    assert found.duty(1000, 2 * found.clock_mhz(1000)) == pytest.approx(0.5)
    assert found.latency > 0


@pytest.mark.parametrize("rate", [0, -1, nan, inf])
def test_a_rate_that_is_none_is_refused(rate):
    rng = np.random.default_rng(SEED)
    layers = (dense_lstm(12, 4, 0),)
    found = effort(compile_bundle(random_bundle(rng, layers, plan(layers, TARGET)), TARGET))
    with pytest.raises(SpecError, match="steps per second; choose one above 0"):
        found.clock_mhz(rate)
