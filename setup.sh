#!/bin/sh
# Makes .venv from requirements.lock. Run by `make setup`; safe to run again.
#
#   sh setup.sh           check, install, prepare the tools
#   sh setup.sh --check   only check what the system must bring
#   sh setup.sh --lock    resolve pyproject.toml in a fresh environment and write requirements.lock
#
# PYTHON names the interpreter to use; without it the first complete one that is found.
set -eu
cd "$(dirname "$0")"

say() { printf 'setup: %s\n' "$*" >&2; }

# What a Python lacks, as words; empty when it has all. cocotb loads the interpreter as a shared library.
lacks() {
    "$1" - <<'PYTHON' 2>/dev/null || echo python
import importlib.util, os, sys, sysconfig
lacking = []
if sys.version_info < (3, 11):
    lacking = ["python"]
else:
    if not all(importlib.util.find_spec(name) for name in ("venv", "ensurepip")):
        lacking.append("venv")
    name = sysconfig.get_config_var("INSTSONAME") or ""
    places = [sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("LIBPL"), sys.base_prefix + "/lib"]
    if ".so" not in name or not any(place and os.path.exists(os.path.join(place, name)) for place in places):
        lacking.append("shared")
print(*lacking)
PYTHON
}

# Folders that are packages of fdht; see tool.setuptools in pyproject.toml.
rooms='boards compiler host hw model sim spec'

missing='' packages=''
need() {
    missing="${missing:+$missing, }$1"
    packages="${packages:+$packages }$2"
}

check() {
    python='' lacking='python'
    for candidate in ${PYTHON:-python3 /usr/bin/python3 python3.14 python3.13 python3.12 python3.11}; do
        command -v "$candidate" >/dev/null 2>&1 || continue
        found=$(lacks "$candidate")
        if [ -z "$found" ]; then
            python=$candidate lacking=''
            break
        fi
        # The first that only lacks packages is the one to complete.
        if [ "$lacking" = python ] && [ "$found" != python ]; then lacking=$found; fi
    done
    case $lacking in *python*) need 'Python >= 3.11 with venv and development files' 'python3 python3-venv python3-dev' ;; esac
    case $lacking in *venv*) need "Python's venv" python3-venv ;; esac
    case $lacking in *shared*) need "Python's development files (a shared libpython)" python3-dev ;; esac
    command -v g++ >/dev/null 2>&1 || need g++ g++
    command -v make >/dev/null 2>&1 || need make make
    command -v perl >/dev/null 2>&1 || need perl perl
    command -v git >/dev/null 2>&1 || need git git
    if [ -n "$missing" ]; then
        say "error: missing $missing; on Debian or Ubuntu: apt install $packages"
        exit 1
    fi
}

# Resolves afresh, except for torch: the newest is a build of several gigabytes for GPUs, so it moves by hand.
lock() {
    torch=$(sed -n 's/^torch==//p' requirements.lock)
    fresh=$(mktemp -d)
    trap 'rm -rf "$fresh"' EXIT
    "$python" -m venv "$fresh"
    mkdir "$fresh/project"
    cp pyproject.toml README.md "$fresh/project"
    for package in fdht $rooms; do mkdir -p "$fresh/project/$package"; done
    cp spec/version.py "$fresh/project/spec"
    "$fresh/bin/pip" install --quiet --upgrade pip
    "$fresh/bin/pip" install --quiet "torch==$torch" "$fresh/project[dev]"
    {
        echo "# Exact versions of everything that make setup installs. Written by make lock; do not edit,"
        echo "# except torch, which make lock leaves at the version named here."
        "$fresh/bin/pip" freeze --all | sed 's/+cpu$//; s/+cu[0-9]*$//' |
            grep -v -i -E '^(fdht|pip|triton|nvidia-|cuda-)'
    } >"$fresh/lock"
    cp "$fresh/lock" requirements.lock
    say "wrote requirements.lock"
}

install() {
    rm -f .venv/stamp
    if ! .venv/bin/python -c 'import pip' >/dev/null 2>&1; then
        say "making .venv with $("$python" --version)"
        "$python" -m venv --clear .venv
    fi
    say "installing the packages of requirements.lock (some minutes the first time)"
    .venv/bin/pip install --quiet --disable-pip-version-check -r requirements.lock
    .venv/bin/pip install --quiet --disable-pip-version-check --no-deps -r requirements-data.lock
    .venv/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
    # What reads sources where they lie (type checkers, editors) finds fdht.spec as fdht/spec.
    for room in $rooms; do ln -sfn "../$room" "fdht/$room"; done
}

# The synthesis tools are WebAssembly: each is compiled once per machine, then starts at once.
prepare() {
    for tool in yosys nextpnr-ice40 nextpnr-ecp5 ecppack nextpnr-himbaechel-gowin; do
        say "preparing $tool (compiled once per machine, up to a minute or two)"
        .venv/bin/yowasp-$tool --version >/dev/null 2>&1 || {
            say "error: yowasp-$tool does not start; run .venv/bin/yowasp-$tool --version to see why"
            exit 1
        }
    done
    .venv/bin/yowasp-icepack --help >/dev/null 2>&1 || true # small, and answers every question with 1
}

check
case ${1:-} in
--check) say "everything needed is here, Python is $(command -v "$python")" ;;
--lock) lock ;;
'')
    install
    prepare
    touch .venv/stamp
    say "done; try: make demo"
    ;;
*)
    say "error: unknown option $1; there are --check and --lock"
    exit 2
    ;;
esac
