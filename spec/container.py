"""The one file format of the project: safetensors whose metadata carries JSON, a version and a content hash.

Checkpoints, bundles and images are all written here, so none is ever half-written, silently damaged or
unpickled. A file is checked from its header before anything of it is loaded: its size, its hash (read through
once, in pieces), then the description, field by field, and last the type and shape of every tensor, which follow from
the description.
"""

import errno
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from fdht.spec.errors import FileError, SpecError
from fdht.spec.record import Plain, parse
from fdht.spec.version import VERSION as FDHT_VERSION

VERSION = 6
"""Version of the format. Until fdht 1.0 no other is read: `ANEW` says how to make a file again."""

ANEW = {"checkpoint": "fdht train PRESET", "bundle": "fdht compile CHECKPOINT", "image": "fdht compile CHECKPOINT"}
"""The command that makes a file, by kind."""

WRITER = "fdht"
"""The key of the metadata under which the version of fdht that wrote the file stands, see `_signed`."""

LARGEST = {"checkpoint": 1 << 30, "bundle": 1 << 29, "image": 1 << 26}
"""Most bytes of a file, by kind: the dense LSTM of 57,600 inputs has checkpoints of 0.9 GB and bundles of 0.25."""

_TYPES = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4", "U64": "<u8",
    "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8",
}  # fmt: skip
"""The types of safetensors that numpy has."""

HEADER_BYTES = 8 << 20
"""Most bytes of a header, with the description in it: some 50,000 epochs of training."""

MOST_TENSORS = 10_000
"""Most tensors of a file; the largest real ones have some hundred."""

_PIECE = 1 << 20
"""Bytes that are hashed at once."""

D = TypeVar("D")


@dataclass(frozen=True)
class Tensor:
    """What the header says of a tensor: its type and shape, and where its bytes begin in the file."""

    dtype: np.dtype
    shape: tuple[int, ...]
    begin: int


Tensors = Mapping[str, Tensor]


def expect(tensors: Tensors, name: str, kinds: str, shape: tuple[int | None, ...]) -> tuple[int, ...]:
    """The shape of a tensor that must be there.

    Args:
        kinds: numpy's letters of what it may hold: i, u, f.
        shape: None for any size.

    Raises:
        SpecError: it is missing, holds something else or has another shape.
    """
    if name not in tensors:
        raise SpecError(f"{name} is missing")
    found = tensors[name]
    if found.dtype.kind not in kinds:
        raise SpecError(f"{name} holds {found.dtype}, not {' or '.join(_WORDS[kind] for kind in kinds)}")
    if len(found.shape) != len(shape) or any(s not in (None, f) for s, f in zip(shape, found.shape, strict=True)):
        wanted = " × ".join("any" if size is None else str(size) for size in shape)
        raise SpecError(f"{name} has shape {found.shape}, not {wanted or 'that of a single number'}")
    return found.shape


_WORDS = {"i": "integers", "u": "unsigned integers", "f": "floating point"}


def expect_only(tensors: Tensors, names: set[str]) -> None:
    """Whether there is no tensor but these.

    Raises:
        SpecError: there is.
    """
    for name in tensors:
        if name not in names:
            raise SpecError(f"nobody knows its tensor {name}")


def content_hash(kind: str, description: dict, arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 over kind, description and arrays; two files with one hash mean the same thing."""
    digest = _begun(kind, description)
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(_heading(name, array.dtype, array.shape))
        digest.update(array.tobytes())
    return digest.hexdigest()


def _begun(kind: str, description: dict) -> "hashlib._Hash":
    return hashlib.sha256(f"{kind} {VERSION} {json.dumps(description, sort_keys=True)}".encode())


def _heading(name: str, dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    return f"{name} {dtype} {shape}".encode()


def write(path: Path | str, kind: str, description: dict, arrays: dict[str, np.ndarray]) -> str:
    """Writes a file in one step (a reader sees the old one or the whole new one) and returns its content hash."""
    digest = content_hash(kind, description, arrays)
    metadata = {"kind": kind, "version": str(VERSION), "hash": digest, "description": json.dumps(description)}
    metadata[WRITER] = _signed(FDHT_VERSION, digest)
    if len(metadata["description"]) > HEADER_BYTES // 2:  # its quotes are escaped there
        raise FileError(f"{path} would have {len(metadata['description']):,} bytes of description, too many to be read")
    blob = save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, metadata=metadata)
    _check_size(path, kind, len(blob), "would have")
    write_whole(path, blob)
    return digest


def make_room(path: Path | str) -> None:
    """Makes the folder that a file is to go to, before work begins whose result it takes.

    Raises:
        FileError: it cannot be made, or the file is a folder.
    """
    path = Path(path)
    try:
        _ready(path)
    except OSError as error:
        raise _unwritten(path, error) from None


def write_whole(path: Path | str, content: bytes) -> None:
    """Writes a file in one step: whoever reads finds the old one or the whole new one, and a failure leaves the old.

    Raises:
        FileError: a folder, no permission, no room.
    """
    path = Path(path)
    try:
        with replacing(path) as file:
            file.write(content)
    except OSError as error:
        raise _unwritten(path, error) from None


def _ready(path: Path) -> None:
    """Makes the folder of a file; OSError if that cannot be, or the file is a folder."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)


def _unwritten(path: Path, error: OSError) -> FileError:
    return FileError(f"cannot write {path}: {error.strerror}; choose another place")


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file beside `path` that takes its place when all is written, with the mode that the umask gives.

    Raises:
        OSError: a folder, no permission, no room. Whatever is raised inside, too; the old file is then left as it was.
    """
    _ready(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            yield file
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def kind_of(path: Path | str) -> str:
    """What a file is: `checkpoint`, `bundle` or `image`.

    Raises:
        FileError: missing, damaged, or none of fdht's.
    """
    return _header(Path(path))[0]["kind"]


def written_by(path: Path | str) -> str | None:
    """The version of fdht that wrote a file; None if it does not say.

    Raises:
        FileError: missing, damaged, or none of fdht's.
    """
    writer = _header(Path(path))[0].get(WRITER)
    return None if writer is None else writer.partition(" ")[0]


def hash_of(path: Path | str) -> str:
    """The content hash that a file says it has; whoever reads it checks that it is true."""
    return _header(Path(path))[0]["hash"]


def read(
    path: Path | str, kind: str, schema: type[D], check: Callable[[D, Tensors], None]
) -> tuple[D, dict[str, np.ndarray]]:
    """Reads description and arrays of a file of the given kind.

    Args:
        schema: what the description is.
        check: given the description and what the header says of the tensors, raises SpecError if they do not belong
            together. No tensor is loaded before.

    Raises:
        FileError: missing, truncated, too large, of another kind or version, changed since it was written, or
            inconsistent.
    """
    path = Path(path)
    metadata, tensors = _header(path)
    if metadata["kind"] != kind:
        raise FileError(f"{path} is {_a(metadata['kind'])}, not {_a(kind)}; pass the {kind} instead")
    try:
        digest = _begun(kind, parse(Plain, metadata["description"]))
        _hash_tensors(path, tensors, digest)
    except (SpecError, UnicodeEncodeError, OSError) as error:
        raise FileError(f"{path} is damaged ({error}); make it anew") from None
    if digest.hexdigest() != metadata["hash"]:
        raise FileError(f"{path} was changed after it was written (its content hash does not match); make it anew")
    try:
        description = parse(schema, metadata["description"])
        check(description, tensors)
    except SpecError as error:
        raise inconsistent(path, kind, error) from None
    with safe_open(path, framework="numpy") as file:
        return description, {name: file.get_tensor(name) for name in tensors}


def inconsistent(path: Path | str, kind: str, error: Exception) -> FileError:
    """What to raise where a file's parts do not belong together."""
    return FileError(f"{path} is not a consistent {kind} ({error}); make it anew")


def _a(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def _header(path: Path) -> tuple[dict[str, str], Tensors]:
    """Metadata and tensors of a file, its description unread.

    Raises:
        FileError: missing, damaged, too large, or none of fdht's.
    """
    if not path.is_file():
        raise FileError(f"there is no file {path}; check the path")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(size - 8, HEADER_BYTES):
                raise ValueError("its header is too long for it, or too short")
            text = file.read(length)
        with safe_open(path, framework="numpy") as file:  # checks that it is a header, and that tensors fill the file
            metadata, names = file.metadata() or {}, set(file.keys())
        header = _parsed(text)
        tensors = {name: _tensor(name, entry, 8 + length) for name, entry in header.items() if name != "__metadata__"}
        if tensors.keys() != names:
            raise ValueError("a tensor is named twice")
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise FileError(f"{path} is damaged or not an fdht file ({error}); make it anew") from None
    if not {"kind", "version", "hash", "description"} <= metadata.keys():
        raise FileError(f"{path} is a safetensors file but none of fdht's; make one with fdht train or fdht compile")
    kind, version = metadata["kind"], metadata["version"]
    if kind not in LARGEST:
        raise FileError(
            f"{path} is {kind[:40]!r}, none of {', '.join(LARGEST)}; make one with fdht train or fdht compile"
        )
    if version != str(VERSION):
        raise FileError(
            f"{path} has format version {version[:40]}, fdht {FDHT_VERSION} reads {VERSION}; make the {kind} anew "
            f"with: {ANEW[kind]}"
        )
    _check_signature(path, metadata)
    _check_size(path, kind, size, "has")
    return metadata, dict(sorted(tensors.items()))


def _check_size(path: Path | str, kind: str, size: int, has: str) -> None:
    if size > LARGEST[kind]:
        raise FileError(
            f"{path} {has} {size:,} bytes; {_a(kind)} has at most {LARGEST[kind]:,}, choose a smaller model"
            + (" or a test split of fewer or shorter clips, which it holds" if kind == "bundle" else "")
        )


def _signed(version: str, digest: str) -> str:
    """A version of fdht with a check of its own, since the content hash does not depend on who writes a content."""
    return f"{version} {hashlib.sha256(f'{version} {digest}'.encode()).hexdigest()[:16]}"


def _check_signature(path: Path, metadata: dict[str, str]) -> None:
    strange = sorted(metadata.keys() - {"kind", "version", "hash", "description", WRITER})
    if strange:
        raise FileError(
            f"{path} is damaged (nobody knows what {strange[0][:40]!r} of its metadata means); make it anew"
        )
    writer = metadata.get(WRITER, "")
    version = writer.partition(" ")[0]
    if writer and not (len(version) <= 40 and version.isprintable() and writer == _signed(version, metadata["hash"])):
        raise FileError(f"{path} is damaged (the version of fdht that wrote it was changed); make it anew")


def _parsed(text: bytes) -> dict:
    if text.count(b'"dtype"') > MOST_TENSORS:
        raise ValueError(f"it has more than {MOST_TENSORS:,} tensors")
    header = json.loads(text)
    if not isinstance(header, dict):
        raise ValueError("its header is no object")
    return header


def _tensor(name: str, entry: dict, data: int) -> Tensor:
    if entry["dtype"] not in _TYPES:
        raise ValueError(f"tensor {name} is of type {entry['dtype']}, which no fdht file holds")
    return Tensor(np.dtype(_TYPES[entry["dtype"]]), tuple(entry["shape"]), data + entry["data_offsets"][0])


def _hash_tensors(path: Path, tensors: Tensors, digest: "hashlib._Hash") -> None:
    """Adds the tensors to a hash, piece by piece."""
    with path.open("rb") as file:
        for name, tensor in tensors.items():
            digest.update(_heading(name, tensor.dtype, tensor.shape))
            file.seek(tensor.begin)
            left = prod(tensor.shape) * tensor.dtype.itemsize
            while left > 0:
                piece = file.read(min(_PIECE, left))
                if not piece:
                    raise OSError("it ends early")
                digest.update(piece)
                left -= len(piece)
