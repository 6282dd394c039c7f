"""Data sets in a file: arrays (.npz, .npy), the time series archive's .ts, and CSV.

What a file says of its size is compared with the room there is before any of it is taken, and no file is unpickled.
"""

import csv
import hashlib
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np

from fdht.model.data.arrays import from_arrays
from fdht.model.data.room import check_room
from fdht.model.data.sets import DataSet
from fdht.spec.errors import FileError, SpecError
from fdht.spec.record import check_name
from fdht.spec.scaling import BITS

NAMES = ("x", "y", "lengths", "groups", "class_names", "value_names", "task")
NAMES += tuple(f"{what}_{part}" for part in ("validation", "test") for what in ("x", "y", "lengths"))
"""The arrays of a file, as `from_arrays` calls them; `x_train` is x, and so on."""

NPY_HEADER_BYTES = 10_000
"""Most bytes of the header of an array; numpy's own have some hundred."""

INFLATED_BYTES, WORST_RATIO = 64 << 20, 400
"""An array of more bytes than the first, packed to less than a `WORST_RATIO`th of them, is taken for a bomb."""

TEXT_SHARE = 16
"""Bytes of memory that a byte of text may take while it becomes numbers."""

SPLITS = {"train": "", "validation": "_validation", "test": "_test"}
"""What the column `split` of a CSV holds, and the ending of the arrays that its rows become."""

COLUMNS = ("sequence", "label", "target", "group", "split")
"""Columns of a CSV that are no values of a step; several targets are called `target1`, `target2` and so on."""


def is_file_name(name: str) -> bool:
    """Whether a name is that of a data file: it ends so."""
    return Path(name).suffix.lower() in _READERS


def read_file(path: Path, *, bits: int = BITS[0], fold: int = 0) -> DataSet:
    """The data set of a file, called after it.

    Args:
        bits, fold: as for `from_arrays`.

    Raises:
        FileError: missing, damaged, too large for this machine, of another form, or without what is needed.
        SpecError: data that no model can be trained on.
    """
    name = path.stem.removesuffix("_TRAIN")
    with _reading(path):
        try:
            check_name("a data set", name)
        except SpecError as error:
            raise FileError(f"{path} names no data set ({error})") from None
        files, given = _READERS[path.suffix.lower()](path)
        content = hashlib.sha256()
        for file in files:
            with file.open("rb") as opened:
                content.update(hashlib.file_digest(opened, "sha256").digest())
        return from_arrays(**given, bits=bits, fold=fold, name=name, content=content.hexdigest())


def read_arrays(path: Path) -> dict[str, Any]:
    """The arrays of a file as they are, by the names of `NAMES`.

    Raises:
        FileError: as for `read_file`.
    """
    with _reading(path):
        return _READERS[path.suffix.lower()](path)[1]


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    if not path.is_file():
        raise FileError(f"there is no file {path}; check the path, or pass where it is with --data")
    if not is_file_name(path.name):
        raise FileError(f"{path} is no data file; its name ends in {', '.join(_READERS)}")
    try:
        yield
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror or error}; check the path") from None
    except MemoryError:
        raise FileError(f"{path} does not fit this machine's memory; take fewer samples or a smaller type") from None


def _npz(path: Path) -> tuple[list[Path], dict[str, Any]]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = {_called(info.filename.removesuffix(".npy")): info for info in archive.infolist()}
            if len(members) < len(archive.infolist()):
                raise FileError(f"{path} has an array twice; save each once")
            _check_names(path, members)
            total = 0
            for name, info in members.items():
                if info.file_size > INFLATED_BYTES and info.file_size > WORST_RATIO * info.compress_size:
                    raise FileError(
                        f"{name} of {path} grows from {info.compress_size:,} to {info.file_size:,} bytes, which no "
                        "real data do; save them with numpy.savez, uncompressed"
                    )
                kind, shape, header = _npy_header(lambda info=info: archive.open(info), f"{name} of {path}")
                if header + prod(shape) * kind.itemsize != info.file_size:
                    raise FileError(f"{name} of {path} has another size than {kind} of {shape}; save it anew")
                total += info.file_size
            check_room(str(path), total, FileError)
            return [path], _ready({name: _loaded(archive, info) for name, info in members.items()})
    except PermissionError:
        raise
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
        raise FileError(f"{path} is damaged or no .npz ({error}); write it with numpy.savez") from None


def _npy(path: Path) -> tuple[list[Path], dict[str, Any]]:
    """x of a pair, and what lies beside it under the same name with another ending."""
    before = path.stem.removesuffix("_train").removesuffix("x")
    if before == path.stem.removesuffix("_train") or (before and before[-1] not in "_-."):
        raise FileError(f"{path} is not called x.npy or NAME_x.npy, with y.npy or NAME_y.npy beside it; rename them")
    found = dict[str, Path]()
    for file in sorted(path.parent.glob("*.npy")):
        name = _called(file.stem.removeprefix(before)) if file.stem.startswith(before) else ""
        if name == "x" or name not in NAMES:
            continue
        if name in found:
            raise FileError(f"{path.parent} has {name} twice, {found[name].name} and {file.name}; rename one of them")
        found[name] = file
    found["x"] = path
    _check_names(path, found)
    kinds = {name: _npy_header(lambda file=file: file.open("rb"), str(file)) for name, file in found.items()}
    check_room(str(path), sum(prod(shape) * min(2, kind.itemsize) for kind, shape, _ in kinds.values()), FileError)
    try:
        arrays = {name: np.load(file, mmap_mode="r", allow_pickle=False) for name, file in found.items()}
    except (ValueError, EOFError) as error:
        raise FileError(f"{path} is damaged or no .npy ({error}); write it with numpy.save") from None
    return list(found.values()), _ready(arrays)


def _called(name: str) -> str:
    return name.lower().removesuffix("_train")


def _check_names(path: Path, names: Any) -> None:
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise FileError(
            f"{path} has an array {unknown[0][:40]!r}, which nobody knows; there are {', '.join(NAMES)}: rename it or "
            "leave it out"
        )
    for needed in ("x", "y"):
        if needed not in names:
            raise FileError(f"{path} has no {needed}; samples are in x, their labels or targets in y")


def _npy_header(opened: Callable[[], IO[bytes]], what: str) -> tuple[np.dtype, tuple[int, ...], int]:
    """Type and shape of an array, and how many bytes come before its numbers."""
    with opened() as stream:
        start = stream.read(12)
    size = {1: 2, 2: 4}.get(start[6] if len(start) == 12 and start.startswith(b"\x93NUMPY") else 0)
    if size is None:
        raise FileError(f"{what} is no array of numpy; write it with numpy.savez or numpy.save")
    length = int.from_bytes(start[8 : 8 + size], "little")
    if length > NPY_HEADER_BYTES:
        raise FileError(f"{what} has a header of {length:,} bytes; at most {NPY_HEADER_BYTES:,} are read")
    with opened() as stream:
        try:
            version = np.lib.format.read_magic(stream)
            read = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}[version[0]]
            shape, _, kind = read(stream)
        except (ValueError, EOFError, KeyError) as error:
            raise FileError(f"{what} is damaged ({error}); save it anew") from None
    if kind.hasobject:
        raise FileError(
            f"{what} holds objects, which are saved as pickles, and none are read; sequences of different lengths are "
            "saved padded, with an array lengths"
        )
    if kind.names is not None or kind.itemsize == 0:
        raise FileError(f"{what} holds {kind}; save plain numbers, samples × steps × values")
    return kind, shape, 8 + size + length


def _loaded(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(info) as member:
        return np.lib.format.read_array(member, allow_pickle=False)


def _ready(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    if "task" in arrays:
        return {**arrays, "task": str(arrays["task"].ravel()[0]) if arrays["task"].size else ""}
    return dict(arrays)


def _lines(path: Path) -> Iterator[str]:
    """The lines of a text that is not too long to become numbers.

    Raises:
        FileError: it is, or it is no text.
    """
    check_room(f"{path}, as numbers,", TEXT_SHARE * path.stat().st_size, FileError)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from file
    except UnicodeDecodeError as error:
        raise FileError(f"{path} is no text in UTF-8 ({error.reason}); save it as that") from None


def _numbers(texts: list[str], where: str) -> list[float]:
    try:
        return [float(text) for text in texts]
    except ValueError:
        wrong = next(text for text in texts if not _is_number(text))
        said = "is empty" if wrong.strip() in ("", "?") else f"is {wrong.strip()[:40]!r}, no number"
        if "," in wrong and _is_number(wrong.replace(",", ".")):
            raise FileError(f"{where} {said}; write its decimals with a point") from None
        raise FileError(f"{where}: a value {said}; leave the sample out, or fill the value in") from None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _ts(path: Path) -> tuple[list[Path], dict[str, Any]]:
    """A file of the archive; of NAME_TRAIN.ts, NAME_TEST.ts beside it tests."""
    files, given = [path], dict[str, Any]()
    if path.stem.endswith("_TEST"):
        raise FileError(f"{path} is what tests; pass the _TRAIN.ts beside it")
    if path.stem.endswith("_TRAIN"):
        test = path.with_name(f"{path.stem.removesuffix('_TRAIN')}_TEST{path.suffix}")
        files += [test] if test.is_file() else []
    for file, ending in zip(files, ("", "_test"), strict=False):
        given[f"x{ending}"], given[f"y{ending}"] = _series(file)
    return files, given


def _series(path: Path) -> tuple[list[np.ndarray], np.ndarray]:
    """The series of a .ts, steps × dimensions each, with their classes or targets."""
    head, series, truths, inside, what = dict[str, list[str]](), list[np.ndarray](), list[str](), False, ""
    for number, line in enumerate(_lines(path), 1):
        text, where = line.strip(), f"{path}, line {number}"
        if not text or text[0] in "#%":
            continue
        if not inside:
            if not text.startswith("@"):
                raise FileError(f"{where}: neither a comment nor an @ before @data; this is no .ts file")
            word, *rest = text[1:].split() or [""]
            head[word.lower()] = [each.lower() for each in rest]
            inside = word.lower() == "data"
            what = _truths(path, head) if inside else ""
            continue
        *dimensions, truth = text.split(":")
        if text[0] == "@":
            raise FileError(f"{where}: {text[:40]!r} behind @data, where only series stand; move it before @data")
        if not dimensions or not truth.strip():
            raise FileError(f"{where} does not end in ':' and a {what}; give every series one")
        values = [_numbers(dimension.split(","), where) for dimension in dimensions]
        if len({len(each) for each in values}) > 1:
            raise FileError(f"{where}: dimensions of {[len(each) for each in values]} steps; all have the same")
        if series and len(values) != series[0].shape[1]:
            raise FileError(f"{where}: {len(values)} dimensions, and {series[0].shape[1]} of the first series")
        series.append(np.array(values).T)
        truths.append(truth.strip())
    if not series:
        raise FileError(f"{path} has no series after @data; this is no .ts file, or it was cut off")
    return series, np.array(_numbers(truths, f"the targets of {path}") if what == "target" else truths)


def _truths(path: Path, head: dict[str, list[str]]) -> str:
    """What the series of a .ts have by its head, `class` or `target`."""
    if head.get("timestamps", ["false"])[0] == "true":
        raise FileError(f"{path} has time stamps, which are not read; resample it to even steps")
    said = [what for what in ("class", "target") if head.get(f"{what}label", ["false"])[0] == "true"]
    if len(said) != 1:
        raise FileError(
            f"{path} has {'both' if said else 'neither'} class labels {'and' if said else 'nor'} targets; it needs one "
            "of them (@classLabel true, @targetLabel true)"
        )
    return said[0]


def _csv(path: Path) -> tuple[list[Path], dict[str, Any]]:
    """Rows that are steps: a column `sequence` says of which sample, `label` or `target` what is true of it."""
    lines = _lines(path)
    first = next(lines, "")
    delimiter = max(",;\t", key=first.count)
    try:
        head = [name.strip() for name in next(csv.reader([first], delimiter=delimiter), [])]
        rows = list(csv.reader(lines, delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise FileError(f"{path} is no CSV ({error}); save it with a header and a row per step") from None
    names = [name.lower() for name in head]
    twice = next((name for k, name in enumerate(names) if name in names[:k]), None)
    if twice is not None:
        said = f"two columns {twice[:40]!r}" if twice else "two columns without a name"
        raise FileError(f"{path} has {said}; give each column a name of its own (small and capital letters are alike)")
    targets = [k for k, name in enumerate(names) if name.removeprefix("target").isdecimal() or name == "target"]
    targets = [k for k in targets if names[k].startswith("target")]
    special = {name: names.index(name) for name in COLUMNS if name in names and name != "target"}
    values = [k for k in range(len(names)) if k not in targets and k not in special.values()]
    if "sequence" not in special or not values or bool(targets) == ("label" in special):
        raise FileError(
            f"{path} has columns {', '.join(head)[:200]!r}; it needs sequence (which sample a row is a step of), label "
            "or target, and values of a step under other names"
        )
    samples = dict[str, list[tuple[int, list[str]]]]()
    for number, row in enumerate(rows, 2):
        if not row:
            continue
        if len(row) != len(head):
            raise FileError(f"{path}, line {number}: {len(row)} cells, where the header has {len(head)}")
        samples.setdefault(row[special["sequence"]].strip(), []).append((number, row))
    return [path], {**_tabulated(path, samples, special, targets, values), "value_names": [head[k] for k in values]}


def _tabulated(
    path: Path,
    samples: dict[str, list[tuple[int, list[str]]]],
    special: dict[str, int],
    targets: list[int],
    values: list[int],
) -> dict[str, Any]:
    """The arrays of a CSV's rows."""
    given, truths, groups = dict[str, list[Any]](), dict[str, list[np.ndarray]](), list[str]()
    for name, steps in samples.items():
        for column in ("group", "split"):
            if column in special and len({row[special[column]].strip() for _, row in steps}) > 1:
                raise FileError(f"{path}: sequence {name[:40]!r} has more than one {column}; it has one")
        _, row = steps[0]
        part = row[special["split"]].strip().lower() if "split" in special else "train"
        if part not in SPLITS:
            raise FileError(
                f"{path}: sequence {name[:40]!r} is in the split {part[:40]!r}; there are {', '.join(SPLITS)}"
            )
        x = [_numbers([row[k] for k in values], f"{path}, line {number}") for number, row in steps]
        given.setdefault(f"x{SPLITS[part]}", []).append(np.array(x))
        if targets:
            y = np.array([_numbers([row[k] for k in targets], f"{path}, line {number}") for number, row in steps])
        else:
            y = np.array([row[special["label"]].strip() for _, row in steps])
            if not all(y):
                raise FileError(f"{path}: sequence {name[:40]!r} has no label in some row; give it one")
        truths.setdefault(f"y{SPLITS[part]}", []).append(y)
        if "group" in special and part == "train":
            groups.append(row[special["group"]].strip())
    if "x" not in given:
        raise FileError(f"{path} has no rows that train; give each step a row under its header")
    once = all((y == y[0]).all() for each in truths.values() for y in each)
    result: dict[str, Any] = {**given, **{name: [y[0] if once else y for y in each] for name, each in truths.items()}}
    result["task"] = ("regress" if targets else "classify") if once else ("regress-steps" if targets else "label-steps")
    return result | ({"groups": groups} if groups else {})


_READERS: dict[str, Callable[[Path], tuple[list[Path], dict[str, Any]]]] = {
    ".npz": _npz,
    ".npy": _npy,
    ".ts": _ts,
    ".csv": _csv,
}
"""By the ending of the name: what gives the files that were read, and what they say as arguments of `from_arrays`."""

ENDINGS = tuple(_READERS)
"""Endings of files of data."""
