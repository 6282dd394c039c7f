"""Compiles the part of a simulator that all have in common once: Verilator's runtime, 15 of the 25 seconds of a build.

Run by Verilator's makefile in front of every call of the compiler (its OBJCACHE), so it imports nothing of fdht.
"""

import hashlib
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path


def objcache(folder: Path) -> str:
    """What to set OBJCACHE to, so that a makefile keeps the runtime's objects in a folder."""
    words = sys.executable, "-I", __file__, str(folder)
    return shlex.join(words).replace("$", "$$")  # a makefile's


def compile_once(folder: Path, command: list[str]) -> int:
    """Carries out a call of the compiler, or copies what an equal one left; returns the exit code.

    Only objects of the runtime, whose sources lie with Verilator and see nothing of the model, are kept.
    """
    made, source = Path(command[command.index("-o") + 1]) if "-o" in command else None, Path(command[-1])
    if made is None or not made.name.startswith("verilated") or not source.is_absolute():
        return subprocess.call(command)
    compiler = subprocess.run([command[0], "--version"], capture_output=True)
    key = hashlib.sha256(compiler.stdout + source.read_bytes() + "\0".join(command).encode()).hexdigest()[:20]
    kept = folder / f"{made.stem}-{key}{made.suffix}"
    if kept.exists():
        shutil.copyfile(kept, made)
        return 0
    code = subprocess.call(command)
    if code == 0:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as aside:  # whole or not at all, also beside another build
            Path(shutil.copyfile(made, Path(aside) / made.name)).replace(kept)
    return code


if __name__ == "__main__":
    sys.exit(compile_once(Path(sys.argv[1]), sys.argv[2:]))
