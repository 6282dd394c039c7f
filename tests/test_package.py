"""The wheel, as somebody has it who installs fdht into an environment and works in a folder of their own."""

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fdht.compiler.planner import plan
from fdht.model.quantise import with_vectors
from fdht.spec.bundle import Bundle
from fdht.spec.lstm import fdht_lstm
from fdht.spec.target import find_target
from fdht.spec.version import VERSION
from tests.bundles import random_bundle

ROOT = Path(__file__).parent.parent
DECOYS = ("model", "spec", "sim", "hw", "boards", "compiler", "host")
"""Names of people's own files that must never be taken for fdht's."""

DATA = (
    "fdht/py.typed",
    "fdht/model/data/faces_test_clips.json",
    "fdht/boards/baselines/icebreaker/icebreaker.json",
    "fdht/export/driver/fdht.c",
    "fdht/export/page/page.html",
    "fdht/sim/webassembly.cc",
)


def build(kind: str, source: Path, folder: Path) -> Path:
    """What setuptools makes of the sources, in the folder."""
    make = f"import setuptools.build_meta as b; print(b.build_{kind}({str(folder)!r}))"
    made = subprocess.run([sys.executable, "-c", make], cwd=source, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return folder / made.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """A copy of what git keeps, without the links of make setup."""
    copy = tmp_path_factory.mktemp("copy")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_file():
            shutil.copy(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def built(clone, tmp_path_factory) -> tuple[Path, Path]:
    """The wheel and the source archive."""
    dist = tmp_path_factory.mktemp("dist")
    return build("wheel", clone, dist), build("sdist", clone, dist)


def in_wheel(wheel: Path) -> set[str]:
    return {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}


@pytest.mark.slow
def test_one_name_with_its_data(built, tmp_path):
    """And a wheel that is built from the source archive is the same."""
    names = in_wheel(built[0])
    assert {name.partition("/")[0] for name in names} == {"fdht"} and set(DATA) <= names
    with tarfile.open(built[1]) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    assert in_wheel(build("wheel", source, tmp_path)) == names


def small_bundle() -> Bundle:
    spec = fdht_lstm(8, 4, 3, (4, 3), (4, 4), 2)
    bundle = random_bundle(np.random.default_rng(1), spec, plan(spec, find_target("icebreaker")))
    return with_vectors(bundle, bundle.clips, bundle.labels)


@pytest.mark.slow
def test_installed_among_files_of_other_names(built, clone, tmp_path):
    """The base installation does all that needs no training, without torch, and says what the rest needs; with the
    extra, the demo runs. The folder, and that of the cache, have a space and a # in their names, and the `python` that
    is found first is another one. In the clone that it was installed from, the sources run.
    """
    here = tmp_path / "sp ace #1"
    here.mkdir()
    for name in DECOYS:
        (here / f"{name}.py").write_text(f"raise SystemExit('the file {name}.py of this folder was imported')\n")
    small_bundle().save(here / "small.bundle")
    venv.create(tmp_path / "environment", with_pip=True)
    python = str(tmp_path / "environment" / "bin" / "python")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("FDHT_", "PYTHON"))}
    environment["XDG_CACHE_HOME"] = str(here / "cache")
    other = tmp_path / "another" / "python"
    other.parent.mkdir()
    other.write_text("#!/bin/sh\necho another Python, without the environment's modules >&2; exit 1\n")
    other.chmod(0o755)
    environment["PATH"] = os.pathsep.join((str(other.parent), environment["PATH"]))

    def install(what: str) -> None:
        pip = [python, "-m", "pip", "install", "--quiet", what, "-c", str(ROOT / "requirements.lock")]
        made = subprocess.run(pip, capture_output=True, text=True, env=environment)
        assert made.returncode == 0, made.stderr

    def run(*words: str, code: int = 0, cwd: Path = here) -> subprocess.CompletedProcess:
        result = subprocess.run([python, *words], cwd=cwd, capture_output=True, text=True, env=environment)
        assert result.returncode == code, (words, result.stdout, result.stderr)
        return result

    install(str(built[0]))
    run("-c", "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is not None)")
    run("-c", "from fdht import Bundle, Device; print(Bundle.load('small.bundle').spec)")
    assert run("-m", "fdht", "--version").stdout == f"fdht {VERSION}\n"
    assert run("-m", "fdht", "--version", cwd=clone).stdout == f"fdht {VERSION}\n"
    run("-c", f"from fdht import Device, Bundle; Bundle.load({str(here / 'small.bundle')!r})", cwd=clone)
    script = Path(python).with_name("fdht")
    shown = subprocess.run([script, "synth", "--list"], cwd=here, capture_output=True, text=True, env=environment)
    assert shown.stdout == run("-m", "fdht", "synth", "--list").stdout and "ulx3s-85f" in shown.stdout
    assert "fdht[train]" in run("-m", "fdht", "doctor").stdout
    run("-m", "fdht", "info", "small.bundle")
    assert '"mismatches": 0' in run("-m", "fdht", "simulate", "small.bundle", "-t", "icebreaker", "--json").stdout
    run("-m", "fdht", "export", "--axi", "-t", "icebreaker", "-o", "ip")
    assert (here / "ip" / "fdht_axi.v").is_file()
    needs = "torch is not installed; pip install 'fdht[train]' brings it"
    assert run("-m", "fdht", "train", "digits", code=1).stderr.splitlines()[-1] == f"fdht: error: {needs}"
    assert needs in run("-c", "from fdht import FDHTLSTM", code=1).stderr
    kept = {path.name for path in here.iterdir()}
    assert kept == {*(f"{name}.py" for name in DECOYS), "small.bundle", "ip", "cache"}

    install(f"fdht[train] @ {built[0].as_uri()}")
    run("-c", "from fdht import FDHTLSTM, lstm_from_dense")
    shown = run("-m", "fdht", "demo", "--quick", "--json")
    assert '"mismatches": 0' in shown.stdout and "Traceback" not in shown.stderr
    assert (here / "build" / "demo").is_dir()
