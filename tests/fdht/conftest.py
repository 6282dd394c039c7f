"""A folder to work in, the command as a function, and small files of every kind."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from fdht.cli import main
from model.layers import Classifier
from model.quantise import quantise
from spec.bundle import Bundle
from spec.lstm import fdht_lstm
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
        return Outcome(code, *capfd.readouterr())

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
