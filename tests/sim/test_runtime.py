"""Verilator's runtime is compiled once for all simulators, and nothing else is."""

import shlex
import subprocess

import pytest

from fdht.sim import runtime

COMPILER = """#!/bin/sh
test "$1" = --version && { echo "$VERSION"; exit; }
for last; do :; done
while test "$1" != -o; do shift; done
printf x >>calls
test -s "$last" && cp "$last" "$2"
"""
"""Copies the source to the object, and counts how often; fails on an empty source."""


@pytest.fixture
def compiled(tmp_path, monkeypatch):
    """Calls the compiler for a source in the store's way; returns exit code, object and the calls so far."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cc").write_text(COMPILER)
    (tmp_path / "cc").chmod(0o755)

    def run(name: str, *flags: str, text: str = "int a;", source: str = "") -> tuple[int, str, int]:
        where = tmp_path / f"{name}.cpp"
        where.write_text(text)
        made = tmp_path / f"{name}.o"
        made.unlink(missing_ok=True)
        command = [str(tmp_path / "cc"), *flags, "-c", "-o", made.name, source or str(where)]
        code = runtime.compile_once(tmp_path / "kept", command)
        return code, made.read_text() if made.exists() else "", len((tmp_path / "calls").read_text())

    monkeypatch.setenv("VERSION", "1")
    return run


def test_an_equal_call_is_not_repeated(compiled):
    assert compiled("verilated_vpi", "-Os") == compiled("verilated_vpi", "-Os") == (0, "int a;", 1)


def test_other_flags_sources_and_compilers_are_compiled_anew(compiled, monkeypatch):
    compiled("verilated")
    assert compiled("verilated", "-DVM_TRACE=1") == (0, "int a;", 2)
    assert compiled("verilated", text="int b;") == (0, "int b;", 3)
    monkeypatch.setenv("VERSION", "2")
    assert compiled("verilated") == (0, "int a;", 4)


def test_the_model_is_always_compiled(compiled):
    """Its sources have the same name in every folder, and the bench's main program includes its header."""
    for name, source in [("Vtop__ALL", "Vtop__ALL.cpp"), ("verilator", ""), ("verilated", "verilated.cpp")]:
        before = compiled(name, source=source)[2]
        assert compiled(name, source=source) == (0, "int a;", before + 1)


def test_what_fails_is_not_kept(compiled, tmp_path):
    assert compiled("verilated", text="")[0] != 0 and not (tmp_path / "kept").exists()
    assert compiled("verilated") == (0, "int a;", 2) and len(list((tmp_path / "kept").iterdir())) == 1


def test_it_runs_from_a_makefile(tmp_path):
    """Whatever the folder is called, `make` gives the words on unchanged."""
    (tmp_path / "makefile").write_text("all:\n\t@$(OBJCACHE) echo verilated.o\n")
    environment = {"PATH": "/usr/bin:/bin", "OBJCACHE": runtime.objcache(tmp_path / "it's $1 #2: x")}
    ran = subprocess.run(["make", "-C", tmp_path, "-s"], env=environment, capture_output=True, text=True)
    assert ran.stdout.strip() == "verilated.o" and not ran.stderr
    assert shlex.split(runtime.objcache(tmp_path))[-1] == str(tmp_path)
