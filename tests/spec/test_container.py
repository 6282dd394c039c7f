"""What a file of fdht says of itself, its mode, and what is said of one of another version."""

import os
import re
import stat

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save

from fdht.spec import container
from fdht.spec.errors import FileError
from fdht.spec.version import VERSION

ARRAYS = {"a": np.arange(3)}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "any.bundle"


def changed(path, **metadata: str | None) -> None:
    """Writes a bundle whose metadata have other values; None leaves one out."""
    container.write(path, "bundle", {}, ARRAYS)
    with safe_open(path, framework="numpy") as file:
        found = {**file.metadata(), **metadata}
    path.write_bytes(save(ARRAYS, {name: value for name, value in found.items() if value is not None}))


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_a_file_has_the_mode_that_the_umask_gives(path, mask):
    before = os.umask(mask)
    try:
        for _ in range(2):  # new, and in the place of another
            container.write(path, "bundle", {}, ARRAYS)
            assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask
    finally:
        os.umask(before)


def test_what_fails_leaves_the_old_file_and_nothing_else(path):
    container.write_whole(path, b"old")
    with pytest.raises(KeyboardInterrupt), container.replacing(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old" and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("place", [".", "..", "/", "a folder"])
def test_a_folder_is_no_place_for_a_file(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a folder").mkdir()
    with pytest.raises(FileError, match=f"cannot write {re.escape(place)}: Is a directory; choose another place"):
        container.write_whole(place, b"")
    assert [each.name for each in tmp_path.iterdir()] == ["a folder"]


def test_a_file_says_which_version_wrote_it(path):
    container.write(path, "bundle", {}, ARRAYS)
    assert container.written_by(path) == VERSION
    changed(path, fdht=None)
    assert container.written_by(path) is None


@pytest.mark.parametrize("writer", ["9.9.9", f"{VERSION} 0123456789abcdef", "\x1b[31m", "9" * 1_000_000])
def test_a_writer_that_is_none_is_refused(path, writer):
    changed(path, fdht=writer)
    with pytest.raises(FileError, match="version of fdht") as caught:
        container.kind_of(path)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 300


def test_metadata_that_nobody_knows_is_refused(path):
    changed(path, author="somebody")
    with pytest.raises(FileError, match="nobody knows what 'author'"):
        container.kind_of(path)


def test_what_would_be_too_large_to_be_read_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setitem(container.LARGEST, "bundle", 5000)
    with pytest.raises(
        FileError, match=r"would have [\d,]+ bytes; a bundle has at most 5,000, choose .* fewer or shorter"
    ):
        container.write(tmp_path / "a.bundle", "bundle", {}, {"x": np.zeros(5000, np.uint8)})
    assert not [*tmp_path.iterdir()]
    container.write(tmp_path / "a.bundle", "bundle", {}, {"x": np.zeros(1000, np.uint8)})
    assert container.kind_of(tmp_path / "a.bundle") == "bundle"


@pytest.mark.parametrize("kind", container.LARGEST)
def test_a_file_of_an_older_format_is_refused_with_the_command_that_makes_it_anew(path, kind):
    """Whatever else its metadata have."""
    changed(path, kind=kind, version="4", more="of another time")
    with pytest.raises(FileError, match=f"format version 4, .* make the {kind} anew with: {container.ANEW[kind]}"):
        container.kind_of(path)
