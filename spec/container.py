"""The one file format of the project: safetensors whose metadata carries JSON, a version and a content hash.

Checkpoints, bundles and images are all written here, so none is ever half-written, silently damaged or
unpickled.
"""

import hashlib
import json
import os
import tempfile
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from spec.errors import FileError

VERSION = 5


def content_hash(kind: str, description: dict, arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 over kind, description and arrays; two files with one hash mean the same thing."""
    digest = hashlib.sha256(f"{kind} {VERSION} {json.dumps(description, sort_keys=True)}".encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def write(path: Path | str, kind: str, description: dict, arrays: dict[str, np.ndarray]) -> str:
    """Writes a file in one step (a reader sees the old one or the whole new one) and returns its content hash."""
    digest = content_hash(kind, description, arrays)
    metadata = {"kind": kind, "version": str(VERSION), "hash": digest, "description": json.dumps(description)}
    blob = save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, metadata=metadata)
    write_whole(path, blob)
    return digest


def write_whole(path: Path | str, content: bytes) -> None:
    """Writes a file in one step: whoever reads finds the old one or the whole new one, and a failure leaves the old.

    Raises:
        FileError: no permission, no room.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror}; choose another place") from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise FileError(f"cannot write {path}: {error.strerror}; choose another place") from None
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def kind_of(path: Path | str) -> str:
    """What a file is: `checkpoint`, `bundle` or `image`."""
    return _open(path)[0]["kind"]


def read(path: Path | str, kind: str) -> tuple[dict, dict[str, np.ndarray], str]:
    """Reads description, arrays and content hash of a file of the given kind.

    Raises:
        FileError: missing, truncated, of another kind or version, or changed since it was written.
    """
    metadata, arrays = _open(path)
    if metadata["kind"] != kind:
        raise FileError(f"{path} is a {metadata['kind']}, not a {kind}; pass the {kind} instead")
    description = json.loads(metadata["description"])
    if content_hash(kind, description, arrays) != metadata["hash"]:
        raise FileError(f"{path} was changed after it was written (its content hash does not match); make it anew")
    return description, arrays, metadata["hash"]


def _open(path: Path | str) -> tuple[dict, dict[str, np.ndarray]]:
    path = Path(path)
    if not path.is_file():
        raise FileError(f"there is no file {path}; check the path")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, ValueError) as error:
        raise FileError(f"{path} is damaged or not an fdht file ({error}); make it anew") from None
    if not {"kind", "version", "hash", "description"} <= metadata.keys():
        raise FileError(f"{path} is a safetensors file but none of fdht's; make one with fdht train or fdht compile")
    if metadata["version"] != str(VERSION):
        raise FileError(f"{path} has format version {metadata['version']}, this fdht reads {VERSION}; make it anew")
    return metadata, arrays
