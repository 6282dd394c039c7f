"""A Yosys that is too old for Amaranth is passed over, wherever one is chosen."""

import os
from pathlib import Path

import pytest

from fdht.boards import tools
from fdht.hw.yosys import LEAST, PACKAGE, YosysError, find_yosys
from fdht.sim.build import toolchain_environment


def script(folder: Path, said: str) -> Path:
    """A `yosys` that says something and does nothing."""
    folder.mkdir()
    file = folder / "yosys"
    file.write_text(f"#!/bin/sh\necho '{said}'\n")
    file.chmod(0o755)
    return file


def version(major: int, minor: int) -> str:
    return f"Yosys {major}.{minor} (git sha1 7ce5011c2, clang 14.0.6 -fPIC)"


@pytest.fixture
def path(monkeypatch):
    """Puts folders in front of the path."""
    monkeypatch.delenv("YOSYS", raising=False)

    def prepend(*folders: Path) -> None:
        monkeypatch.setenv("PATH", os.pathsep.join([*map(str, folders), os.environ["PATH"]]))

    return prepend


TOO_OLD = version(LEAST[0], LEAST[1] - 1)


def test_one_that_is_new_enough_is_taken(tmp_path, path):
    ours = script(tmp_path / "new", version(*LEAST))
    path(ours.parent)
    assert find_yosys() == tools.find_tool("yosys") == toolchain_environment()["YOSYS"] == str(ours)


@pytest.mark.parametrize("said", [TOO_OLD, version(0, 9), "I am something else"])
def test_one_that_is_not_is_passed_over(tmp_path, path, said):
    old, new = script(tmp_path / "old", said), script(tmp_path / "new", version(LEAST[0] + 1, 0))
    path(old.parent)
    assert Path(find_yosys()).name == Path(tools.find_tool("yosys")).name == PACKAGE
    assert Path(toolchain_environment()["YOSYS"]).name == PACKAGE
    path(old.parent, new.parent)
    assert find_yosys() == str(new)


def test_one_that_is_asked_for_must_be_new_enough(tmp_path, path, monkeypatch):
    old = script(tmp_path / "old", TOO_OLD)
    monkeypatch.setenv("YOSYS", str(old))
    with pytest.raises(YosysError, match=rf"YOSYS names {old}, which is no Yosys of at least 0\.40; unset it"):
        find_yosys()
    with pytest.raises(tools.ToolError, match="unset it"):
        tools.find_tool("yosys")
    monkeypatch.setenv("YOSYS", "nowhere")
    with pytest.raises(YosysError, match=f"YOSYS names nowhere, which was not found; .*{PACKAGE}"):
        find_yosys()
