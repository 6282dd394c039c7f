"""A folder to work in, the command as a function, small files of every kind, and a board in simulation."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from bundles import random_bundle

from docs.outputs import keep
from fdht.boards import find_board
from fdht.boards.board import Board
from fdht.cli import main
from fdht.compiler.planner import plan
from fdht.model import data
from fdht.model.golden import GoldenLSTM
from fdht.model.layers import Classifier
from fdht.model.presets import PRESETS
from fdht.model.quantise import quantise
from fdht.sim.simulated_board import SimulatedBoard
from fdht.spec.bundle import Bundle
from fdht.spec.lstm import fdht_lstm
from fdht.workflow import running
from tests.fdht.tiny import TINY


@dataclass(frozen=True)
class Outcome:
    """What a command did: exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    @property
    def figures(self) -> dict:
        """The JSON object on stdout; fails if there is anything else."""
        return json.loads(self.out)

    @property
    def sentence(self) -> str:
        """The error, which must be one line and the last."""
        lines = [line for line in self.err.splitlines() if line.startswith("fdht: error: ")]
        assert len(lines) == 1 and self.err.rstrip().endswith(lines[0]), self.err
        assert "Traceback" not in self.err
        return lines[0]


Command = Callable[..., Outcome]


@pytest.fixture
def fdht(tmp_path, monkeypatch, capfd) -> Command:
    """`fdht(argument, ...)` in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Outcome:
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        outcome = Outcome(code, *capfd.readouterr())
        assert "Warning" not in outcome.err  # of a library: the user can do nothing about it
        if "--json" in arguments and code == 0:
            keep(str(arguments[0]), outcome.figures)
        return outcome

    return run


@pytest.fixture(scope="session")
def small_bundle() -> Bundle:
    """16 inputs, 4 hidden units, 2 classes, d = 4; 5 clips of 3 steps, with vectors of the golden model."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = Classifier(fdht_lstm(16, 4, 2, (3, 2, 2, 2), (2, 2, 2, 2), 2)).eval()
    clips = np.random.default_rng(1).integers(0, 256, (5, 3, 16), dtype=np.uint8)
    bundle, _ = quantise(model, ((("U1",), ("U2", "B12"), ("U3", "B34", "B1234"), ("U4",)),), clips, np.arange(5) % 2)
    return bundle


@pytest.fixture
def bundle_file(small_bundle, tmp_path) -> Path:
    path = tmp_path / "small.bundle"
    small_bundle.save(path)
    return path


@pytest.fixture(scope="session")
def checkpoint_file(tmp_path_factory) -> Path:
    """The tiny model, trained."""
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.checkpoint"
    assert main(["train", TINY.name, "--out", str(path)]) == 0
    return path


@pytest.fixture(scope="session")
def board() -> Board:
    """The one that tests simulate: it has both ports."""
    return find_board("icebreaker")


@pytest.fixture(scope="session")
def digits(board) -> Bundle:
    """The digits preset with random weights, on real digits; vectors of the golden model."""
    spec, clips = PRESETS["digits"].spec, data.load("digits").test
    bundle = random_bundle(np.random.default_rng(1), spec, plan(spec, board.engine))
    bundle = replace(
        bundle,
        clips=clips.clips[:6],
        labels=clips.labels[:6],
        logits=np.zeros((6, spec.classes), dtype=np.int64),
        hidden=np.zeros((6, spec.hidden), dtype=np.int64),
    )
    golden = GoldenLSTM(bundle).run(bundle.clips)
    return replace(bundle, logits=golden.logits.numpy(), hidden=golden.h[:, -1].numpy())


@pytest.fixture(scope="session")
def simulated(board) -> Iterator[SimulatedBoard]:
    """A board that is switched on once."""
    with SimulatedBoard(*running.simulator(board)) as simulated:
        yield simulated
