"""Data sets in files: every form gives the same data, and what is damaged, too large or strange is refused."""

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fdht.model.data import Source, files, from_arrays, is_file_name, load, room
from fdht.spec.errors import FileError, SpecError
from fdht.spec.task import Task

X = np.random.default_rng(0).normal(size=(12, 4, 2)).round(3)
Y = np.arange(12) % 2
LENGTHS = 1 + np.arange(12) % 4


@pytest.fixture
def npz(tmp_path) -> Path:
    np.savez(tmp_path / "mine.npz", x=X, y=Y)
    return tmp_path / "mine.npz"


def same(path: Path, **arrays) -> None:
    """A file holds the data set of these arrays."""
    data, wanted = load(str(path)), from_arrays(**{"x": X, "y": Y, **arrays})
    assert data.scaling == wanted.scaling and data.task == wanted.task and data.class_names == wanted.class_names
    for part in ("train", "validation", "final", "test"):
        found, other = getattr(data, part), getattr(wanted, part)
        assert np.array_equal(found.clips, other.clips)
        assert np.array_equal(found.labels, other.labels, equal_nan=data.task.real)
        assert (found.lengths is None) == (other.lengths is None)
        assert found.lengths is None or np.array_equal(found.lengths, other.lengths)


def test_npz(npz, tmp_path):
    same(npz)
    more = {"lengths": LENGTHS, "groups": np.arange(12)}
    np.savez_compressed(tmp_path / "packed.npz", X_train=X.astype(">f8"), y_train=Y, **more)
    same(tmp_path / "packed.npz", **more)
    np.savez(tmp_path / "told.npz", x=X, y=Y, task="regress", x_test=X[:3], y_test=Y[:3])
    same(tmp_path / "told.npz", task="regress", x_test=X[:3], y_test=Y[:3])
    np.savez(tmp_path / "named.npz", x=X, y=Y, class_names=["no", "yes"])
    assert load(str(tmp_path / "named.npz")).class_names == ("no", "yes")


def test_pairs_of_npy(tmp_path):
    for name in ("x.npy", "walk_x.npy", "x_train.npy"):
        folder = tmp_path / name.removesuffix(".npy")
        folder.mkdir()
        np.save(folder / name, X)
        np.save(folder / name.replace("x", "y"), Y)
        same(folder / name)
    np.save(tmp_path / "x" / "lengths.npy", LENGTHS)
    np.save(tmp_path / "x" / "other.npy", LENGTHS)  # nobody's
    same(tmp_path / "x" / "x.npy", lengths=LENGTHS)
    with pytest.raises(FileError, match=r"is not called x.npy or NAME_x.npy, with y.npy or NAME_y.npy beside it"):
        load(str(tmp_path / "x" / "lengths.npy"))
    np.save(tmp_path / "x" / "y_train.npy", Y)
    with pytest.raises(FileError, match=r"has y twice, y.npy and y_train.npy; rename one of them"):
        load(str(tmp_path / "x" / "x.npy"))
    (tmp_path / "x" / "y_train.npy").unlink()
    (tmp_path / "x" / "y.npy").unlink()
    with pytest.raises(FileError, match="has no y; samples are in x, their labels or targets in y"):
        load(str(tmp_path / "x" / "x.npy"))


def rows(x: np.ndarray, lengths: np.ndarray, cells: list[str]) -> str:
    """A CSV of sequences, each row with more cells."""
    lines = ["sequence,a,b," + cells[0]]
    for number, sample in enumerate(x):
        for step in sample[: lengths[number]]:
            lines.append(f"{number},{step[0]},{step[1]}," + ",".join(cell[number] for cell in cells[1:]))
    return "\n".join(lines) + "\n"


def test_csv(tmp_path):
    path, labels = tmp_path / "walk.csv", [str(label) for label in Y]
    path.write_text(rows(X, LENGTHS, ["label", labels]))
    same(path, lengths=LENGTHS)
    path.write_text(rows(X, LENGTHS, ["label", labels]).replace(",", ";"), encoding="utf-8-sig")
    same(path, lengths=LENGTHS)
    path.write_text(rows(X, np.full(12, 4), ["target", [str(0.5 * number) for number in range(12)]]))
    same(path, y=np.arange(12) / 2)
    parts = ["train"] * 9 + ["test"] * 3
    path.write_text(rows(X, np.full(12, 4), ["label,group,split", labels, [str(k // 2) for k in range(12)], parts]))
    same(path, x=X[:9], y=Y[:9], x_test=X[9:], y_test=Y[9:], groups=np.arange(9) // 2)


def test_csv_with_something_true_of_each_step(tmp_path):
    path = tmp_path / "walk.csv"
    path.write_text("sequence,v,label\n" + "".join(f"{s},{s * k},{'ab'[k % 2]}\n" for s in range(6) for k in range(3)))
    data = load(str(path))
    assert data.task is Task.LABEL_STEPS and data.train.labels[0].tolist() == [0, 1, 0]
    path.write_text(
        "sequence,v,target1,target2\n" + "".join(f"{s},{s * k},{k},{-k}\n" for s in range(6) for k in range(3))
    )
    data = load(str(path))
    assert data.task is Task.REGRESS_STEPS and data.train.labels[0].tolist() == [[0, 0], [1, -1], [2, -2]]


TS = """#A comment
@problemName Walk
@univariate false
@classLabel true no yes
@data
"""


def series(x: np.ndarray, truths: list[str], lengths: np.ndarray) -> str:
    lines = (
        ":".join([*(",".join(map(str, sample[:length, k])) for k in range(sample.shape[1])), truth])
        for sample, truth, length in zip(x, truths, lengths, strict=True)
    )
    return "\n".join(lines) + "\n"


def test_ts(tmp_path):
    path, words = tmp_path / "Walk_TRAIN.ts", ["no" if label == 0 else "yes" for label in Y]
    path.write_text(TS + series(X, words, LENGTHS))
    same(path, y=words, lengths=LENGTHS)
    assert load(str(path)).name == "Walk"
    (tmp_path / "Walk_TEST.ts").write_text(TS + series(X[:3], words[:3], LENGTHS[:3]))
    pieces = [sample[:length] for sample, length in zip(X, LENGTHS, strict=True)]
    same(path, x=pieces, y=words, x_test=pieces[:3], y_test=words[:3])
    with pytest.raises(FileError, match=r"is what tests; pass the _TRAIN.ts beside it"):
        load(str(tmp_path / "Walk_TEST.ts"))
    path = tmp_path / "Cases.ts"
    head = TS.replace("@classLabel true no yes", "@targetlabel true")
    path.write_text(head + series(X, [str(number) for number in range(12)], LENGTHS))
    same(path, y=np.arange(12.0), lengths=LENGTHS)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (TS.replace("@classLabel true no yes\n", "") + "1,2:no\n", "has neither class labels nor targets"),
        (TS.replace("@data", "@timeStamps true\n@data") + "(0,1):no\n", "has time stamps, which are not read"),
        (TS, "has no series after @data"),
        (TS + "1,?,3:no\n", "line 6: a value is empty; leave the sample out, or fill the value in"),
        (TS + "1,x,3:no\n", "line 6: a value is 'x', no number"),
        (TS + "1,2:1,2,3:no\n", r"dimensions of \[2, 3\] steps; all have the same"),
        (TS + "1,2:3,4:no\n1,2:yes\n", "line 7: 1 dimensions, and 2 of the first series"),
        (TS + "1,2,3\n", "line 6 does not end in ':' and a class; give every series one"),
        (TS + "1,2,3:\n", "line 6 does not end in ':' and a class"),
        (TS + "1,2:no\n@data\n", "line 7: '@data' behind @data, where only series stand"),
        (
            TS.replace("@data", "@targetLabel true\n@data") + "1,2:3\n",
            "has both class labels and targets; it needs one",
        ),
        ("@\n" + TS, "has no series after @data"),
        ("hello\n", "line 1: neither a comment nor an @ before @data"),
        (TS + "1,nan:no\n1,2:no\n", "sample 0 of x of Walk holds nan at step 1, value 0"),
    ],
)
def test_strange_ts(tmp_path, text, sentence):
    path = tmp_path / "Walk.ts"
    path.write_text(text)
    with pytest.raises((FileError, SpecError), match=sentence):
        load(str(path))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "has columns ''"),
        ("sequence,label,v,V\n1,a,2,3\n", "has two columns 'v'; give each column a name of its own"),
        ("sequence,label,,\n1,a,2,3\n", "has two columns without a name; give each"),
        ("sequence,label\n1,a\n", "it needs sequence .which sample a row is a step of., label or target, and values"),
        ("number,label,v\n1,a,2\n", "it needs sequence"),
        ("sequence,v\n1,2\n", "it needs sequence"),
        ("sequence,label,target,v\n1,a,2,3\n", "it needs sequence"),
        ("sequence,label,v\n1,a,2\n1,a\n", "line 3: 2 cells, where the header has 3"),
        ("sequence,label,v\n1,a,fast\n", "line 2: a value is 'fast', no number"),
        ("sequence,label,v\n1,a,\n", "line 2: a value is empty"),
        ("sequence,label,v\n1,,3\n", "sequence '1' has no label in some row"),
        ("sequence,label,v,group\n1,a,3,x\n1,a,3,y\n", "sequence '1' has more than one group"),
        ("sequence,label,v,split\n1,a,3,exam\n", "in the split 'exam'; there are train, validation, test"),
        ('sequence,label,v\n1,"a,3\n', "is no CSV"),
    ],
)
def test_strange_csv(tmp_path, text, sentence):
    path = tmp_path / "mine.csv"
    path.write_text(text)
    with pytest.raises(FileError, match=sentence):
        load(str(path))


def test_no_text(tmp_path):
    (tmp_path / "mine.csv").write_bytes(b"sequence,label,v\n\xff\xfe")
    with pytest.raises(FileError, match="is no text in UTF-8"):
        load(str(tmp_path / "mine.csv"))


def test_no_file_and_no_name(tmp_path):
    with pytest.raises(FileError, match=r"there is no file .*mine.npz; check the path"):
        load(str(tmp_path / "mine.npz"))
    (tmp_path / "#.npz").touch()
    with pytest.raises(FileError, match="names no data set"):
        load(str(tmp_path / "#.npz"))


def header(text: bytes, version: int = 1) -> bytes:
    return b"\x93NUMPY" + bytes([version, 0]) + len(text).to_bytes(2 if version == 1 else 4, "little") + text


def zipped(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def npy(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


@pytest.mark.parametrize(
    ("x", "sentence"),
    [
        (npy(X)[:-8], "x of .* has another size than float64 of .12, 4, 2."),
        (npy(X) + b"more", "has another size"),
        (header(b"{'descr': '<f8', 'fortran_order': False, 'shape': (999999999999, 4, 2), }\n"), "has another size"),
        (header(b" " * 20_000), "has a header of 20,000 bytes; at most 10,000 are read"),
        (
            header(b"{'descr': '|O', 'fortran_order': False, 'shape': (12,), }\n"),
            "objects, which are saved as pickles",
        ),
        (header(b"{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (1,), }\n"), "save plain numbers"),
        (header(b"__import__('os').abort()\n"), "is damaged"),
        (b"hello", "is no array of numpy"),
    ],
)
def test_damaged_arrays(tmp_path, x, sentence):
    with pytest.raises(FileError, match=sentence):
        load(str(zipped(tmp_path / "mine.npz", x=x, y=npy(Y))))
    folder = tmp_path / "pair"
    folder.mkdir()
    (folder / "x.npy").write_bytes(x)
    np.save(folder / "y.npy", Y)
    if not x.endswith(b"more"):  # which a file on the disk may have
        with pytest.raises(FileError):
            load(str(folder / "x.npy"))


def test_a_header_of_gigabytes_is_not_read(tmp_path):
    claim = b"\x93NUMPY\x02\x00" + struct.pack("<I", 4_000_000_000)
    with pytest.raises(FileError, match="has a header of 4,000,000,000 bytes"):
        load(str(zipped(tmp_path / "mine.npz", x=claim, y=npy(Y))))


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "INFLATED_BYTES", 1 << 20)
    packed = zipped(tmp_path / "mine.npz", x=npy(np.zeros((1 << 12, 64, 8))), y=npy(Y))
    with pytest.raises(FileError, match=r"x of .* grows from .* to 16,777,344 bytes, which no real data do"):
        load(str(packed))


def test_what_memory_does_not_hold_is_refused_from_the_headers(npz, tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)
    (tmp_path / "mine.csv").write_text("sequence,label,v\n" + "1,a,2\n" * 50)
    monkeypatch.setattr(room, "room", lambda: 100)
    for name in ("mine.npz", "x.npy", "mine.csv"):
        with pytest.raises(FileError, match=f"{name}.* takes [0-9,]+ bytes, and there is room for 100, half of this"):
            load(str(tmp_path / name))


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"x": X}, "has no y; samples are in x"),
        ({"y": Y}, "has no x; samples are in x"),
        ({"x": X, "y": Y, "group": Y}, "has an array 'group', which nobody knows; there are x, y, lengths, groups"),
        ({"x": X, "y": Y, "x_test": X}, "mine has no y_test"),
        ({"x": X.astype(str), "y": Y}, "x of mine holds text"),
        ({"x": X, "y": Y * 0}, "y of mine has one class, 0"),
    ],
)
def test_what_an_archive_must_have(tmp_path, arrays, sentence):
    np.savez(tmp_path / "mine.npz", **arrays)
    with pytest.raises((FileError, SpecError), match=sentence):
        load(str(tmp_path / "mine.npz"))


def test_an_archive_that_is_none(npz, tmp_path):
    for content in (b"", b"hello", npz.read_bytes()[:300], npz.read_bytes()[100:]):
        (tmp_path / "broken.npz").write_bytes(content)
        with pytest.raises(FileError, match=r"is damaged or no .npz"):
            load(str(tmp_path / "broken.npz"))
    flipped = bytearray(npz.read_bytes())
    flipped[400] ^= 1  # the archive's own checksum notices
    (tmp_path / "broken.npz").write_bytes(flipped)
    with pytest.raises(FileError, match=r"is damaged or no .npz"):
        load(str(tmp_path / "broken.npz"))


def test_the_fingerprint_notices_a_change(npz):
    before = load(str(npz)).fingerprint
    changed = X.copy()
    changed[0, 0, 0] += 1e-9
    np.savez(npz, x=changed, y=Y)
    assert load(str(npz)).fingerprint != before


def test_a_source_says_fold_and_bits(npz, tmp_path):
    source = Source("mine.npz", str(tmp_path), fold=1, bits=16)
    assert str(source) == f"{npz} (fold 1, 16 bits)" and str(Source("mine.npz", str(tmp_path))) == str(npz)
    assert np.array_equal(load(source).test.labels, from_arrays(X, Y, fold=1, bits=16).test.labels)
    assert load(source).input_format.raw.width == 16
    with pytest.raises(SpecError, match=r"mine.npz has whole sequences; leave out --frames and --split"):
        load(Source("mine.npz", str(tmp_path), frames=8))
    with pytest.raises(SpecError, match="digits has input words of its own; leave out --input-bits"):
        load(Source("digits", bits=16))
    with pytest.raises(SpecError, match="input words of 9 bits; they have 8 or 16"):
        Source("mine.npz", bits=9)


def test_a_name_that_ends_so_is_a_file_and_no_module():
    assert all(map(is_file_name, ("mine.npz", "a:b.npz", "C:\\x\\mine.NPY", "d.ts", "e.csv")))
    assert not any(map(is_file_name, ("digits", "mine:npz", "mine.py", "npz")))
