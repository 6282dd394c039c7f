"""Set-up names everything a machine lacks, at once, and how to get it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
TOOLS = ("g++", "make", "perl", "git")


@pytest.fixture
def check(tmp_path):
    """`setup.sh --check` on a machine that has only the given tools, and a Python that lacks the given parts."""

    def run(tools: tuple[str, ...], python_lacks: str | None) -> subprocess.CompletedProcess:
        for tool in ("dirname", *tools):
            (tmp_path / tool).symlink_to(shutil.which(tool) or "/bin/true")
        python = tmp_path / "python"
        if python_lacks is not None:
            python.write_text(f"#!/bin/sh\necho {python_lacks}\n")
            python.chmod(0o755)
        environment = {"PATH": str(tmp_path), "PYTHON": str(python)}
        return subprocess.run(
            ["/bin/sh", str(ROOT / "setup.sh"), "--check"], env=environment, capture_output=True, text=True
        )

    return run


def test_a_complete_machine_passes(check):
    assert check(TOOLS, "").returncode == 0


def test_everything_missing_is_named_in_one_sentence(check):
    result = check((), None)
    assert result.returncode == 1 and not result.stdout
    (sentence,) = result.stderr.splitlines()
    for name in ("Python >= 3.11", "venv", "development files", *TOOLS):
        assert name in sentence
    assert "apt install python3 python3-venv python3-dev g++ make perl git" in sentence


@pytest.mark.parametrize("tool", TOOLS)
def test_each_missing_tool_is_named_alone(check, tool):
    result = check(tuple(other for other in TOOLS if other != tool), "")
    assert result.returncode == 1
    assert result.stderr.strip().endswith(f"missing {tool}; on Debian or Ubuntu: apt install {tool}")


@pytest.mark.parametrize(
    "lacking, package", [("venv", "python3-venv"), ("shared", "python3-dev"), ("python", "python3")]
)
def test_each_missing_part_of_python_is_named(check, lacking, package):
    result = check(TOOLS, lacking)
    assert result.returncode == 1 and package in result.stderr


def test_the_python_that_runs_this_is_complete():
    """What the check asks of an interpreter, asked of a real one."""
    path = os.pathsep.join([os.environ["PATH"], "/usr/bin", "/bin"])
    result = subprocess.run(
        ["/bin/sh", str(ROOT / "setup.sh"), "--check"], env={"PATH": path}, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
