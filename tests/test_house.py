"""The rules of the house: imports point downwards, light layers stay light, every folder explains itself."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from fdht.extras import TRAIN

ROOT = Path(__file__).parent.parent
BELOW = {
    "spec": set(),
    "model": {"spec"},
    "compiler": {"spec"},
    "hw": {"spec"},
    "host": {"spec", "compiler"},
    "sim": {"spec", "compiler", "hw", "host"},
    "boards": {"spec", "compiler", "hw", "host"},
    "fdht": {"spec", "model", "compiler", "hw", "host", "sim", "boards"},
}
"""The rooms, and what each may import: fdht.spec lies in the folder spec, and fdht itself is the front door."""

WITHIN = {
    "workflow": set(),
    "studies": {"workflow"},
    "explore": {"workflow"},
    "export": {"workflow"},
    "report": {"workflow", "studies"},
    "commands": {"workflow", "studies", "explore", "export", "report"},
}
"""The rooms of fdht/ itself, and which of each other they may import. All of them show what they have through console
and drawing, which import none, as do allocator, extras and streams; cli.py imports commands."""

TORCHLESS = ("spec", "compiler", "hw", "host", "sim", "boards")


def sources(package: str) -> list[Path]:
    """The files of a room; fdht/ also holds links to the others, which are not followed."""
    files = sorted((ROOT / package).rglob("*.py"))
    return [file for file in files if file.relative_to(ROOT).parts[1] not in BELOW]


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """What a file imports anywhere in it, with the lines: a package's name, or for fdht's the room's.

    A name of fdht's own, as in `from fdht import Bundle`, counts as the front door's.
    """
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path}:{node.lineno}: an import says the whole name"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            first, _, rest = name.partition(".")
            room = rest.partition(".")[0]
            yield room if first == "fdht" and room in BELOW else first, node.lineno


ROOM = rf"(?:{'|'.join(sorted(BELOW.keys() - {'fdht'}))})\b"
IN_TEXT = re.compile(rf"\bimport +(?:[\w.]+, *)*{ROOM}(?!-)|\bfrom +{ROOM}[\w.]* +import\b|(?<!\S)-m +{ROOM}(?!-)")
"""An import by a bare name, or a module that is run by one, in what is no Python: pages, scripts, shell commands."""


def bare_in_text(text: str) -> list[int]:
    """The lines of a page or a script that name a room without fdht."""
    return [number for number, line in enumerate(text.splitlines(), 1) if IN_TEXT.search(line)]


def bare_in_code(text: str) -> list[int]:
    """The lines of a module that name a room without fdht: imports anywhere, and strings that are modules' names."""
    found = []
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Import(names=aliases):
                names = [alias.name for alias in aliases]
            case ast.ImportFrom(module=str(module), level=0):
                names = [module]
            case ast.Call(func=ast.Name(id=called) | ast.Attribute(attr=called)) if called in (
                "__import__",
                "import_module",
            ):
                given = [*node.args, *(each.value for each in node.keywords if each.arg == "name")]
                names = [each.value for each in given if isinstance(each, ast.Constant) and isinstance(each.value, str)]
            case ast.Constant(value=str(word)) if re.fullmatch(rf"{ROOM}(?:\.[A-Za-z_]\w*)+", word):
                place = ROOT.joinpath(*word.split(".")[:2])
                names = [word] if place.is_dir() or place.with_suffix(".py").is_file() else []
            case _:
                continue
        found += [node.lineno for name in names if re.match(rf"{ROOM}(?:\.|$)", name)]
    return sorted(set(found))


@pytest.mark.parametrize(
    ("snippet", "line"),
    [
        ("import hw", 1),
        ("import os, hw", 1),
        ("x = 1; import hw.engine as e", 1),
        ("import os, \\\n    hw", 1),
        ("if x:\n    from spec.fixed import Fixed", 2),
        ("def f():\n    from spec import (\n        fixed,\n    )", 2),
        ("__import__('hw')", 1),
        ("import_module('hw.engine.array')", 1),
        ("importlib.import_module(name='hw')", 1),
        ("x = 1\nrunner.test(module='sim.engine_bench')", 2),
        ("patch('hw.engine.array.Array')", 1),
        ("[python, '-m', 'sim.build']", 1),
    ],
)
def test_a_bare_name_in_code_is_noticed(snippet, line):
    """And the same with fdht before it is none."""
    assert bare_in_code(snippet) == [line]
    rooms = rf"(?<!\.)\b({ROOM})"
    assert bare_in_code(re.sub(rooms, r"fdht.\1", snippet)) == []


@pytest.mark.parametrize(
    "snippet", ["model = hw = 1", "'spec.json'", "from fdht import hw", "'model'", "x.import_(hw)"]
)
def test_a_word_that_is_no_import_is_none(snippet):
    assert bare_in_code(snippet) == []


@pytest.mark.parametrize(
    "line",
    [
        "import hw",
        ">>> from hw.engine import array",
        'python -c "import os, hw; print(hw)"',
        "write `from hw import engine` there",
        "\t$(BIN)/python -m sim.build",
        ".venv/bin/python -m sim",
    ],
)
def test_a_bare_name_in_a_page_or_script_is_noticed(line):
    assert bare_in_text(f"above\n{line}\nbelow") == [2]
    assert bare_in_text(re.sub(ROOM, r"fdht.\g<0>", line)) == []


def test_no_room_is_imported_by_a_bare_name():
    """`import hw` would find the folder from the project's root, and make a second module of every file in it."""
    modules = [*ROOT.glob("*.py"), *(path for folder in (*BELOW, "tests", "docs") for path in sources(folder))]
    pages = [page for folder in (*BELOW, "tests", "docs") for page in (ROOT / folder).rglob("*.md")]
    scripts = [ROOT / name for name in ("Makefile", "setup.sh", "pyproject.toml", ".ci/run")]
    changes = ROOT / "CHANGELOG.md"  # says how it was
    texts = [*scripts, *pages, *(page for page in ROOT.glob("*.md") if page != changes)]
    assert len(modules) > 150 and len(texts) > 30
    assert not [f"{path.relative_to(ROOT)}:{line}" for path in modules for line in bare_in_code(path.read_text())]
    assert not [f"{path.relative_to(ROOT)}:{line}" for path in texts for line in bare_in_text(path.read_text())]


def test_the_description_of_the_package_names_every_folder_of_it():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {path.parent.relative_to(ROOT) for package in BELOW for path in sources(package)}
    names = {".".join(("fdht", *folder.parts)).replace("fdht.fdht", "fdht") for folder in folders}
    assert sorted(project["packages"]) == sorted(names)
    assert project["package-dir"] == {"fdht": "fdht"} | {f"fdht.{room}": room for room in BELOW.keys() - {"fdht"}}


@pytest.mark.parametrize("package", BELOW)
def test_imports_point_downwards_only(package):
    forbidden = BELOW.keys() - BELOW[package] - {package} | {"tests"}
    assert not [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sources(package)
        for name, line in imports(path)
        if name in forbidden
    ]


def test_the_rooms_of_the_front_door_point_downwards_too():
    """Commands call the rest; studies, explore and export stand side by side on workflow."""
    names = ("__init__", "allocator", "compiled", "console", "drawing", "extras", "remaining", "streams")
    bare: dict[str, set[str]] = {name: set() for name in names} | {"compiled": {"report"}}  # its page
    allowed = WITHIN | {"cli": {"commands"}, "__main__": {"cli"}} | bare
    found = {path.relative_to(ROOT / "fdht").parts[0].removesuffix(".py") for path in sources("fdht")}
    assert found == allowed.keys()
    above = allowed.keys() - bare.keys()
    assert not [
        f"{path.relative_to(ROOT)}: {name}"
        for path in sources("fdht")
        for name in re.findall(r"(?m)^\s*(?:from|import) fdht[. ](?:import )?(\w+)", path.read_text())
        for own in [path.relative_to(ROOT / "fdht").parts[0].removesuffix(".py")]
        if name in above and name != own and name not in allowed[own]
    ]


@pytest.mark.parametrize("module", ["commands.compile", "workflow.compilation", "workflow.explanation"])
def test_compiling_loads_no_simulator(module):
    program = f"import sys, fdht.{module}\nprint(*(n for n in sys.modules if n.startswith(('fdht.sim', 'cocotb'))))"
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


def test_the_machine_reaches_nothing_that_plans_or_assembles():
    """A second witness: what it knows of a program stands in the encoded image."""
    reached, left = set[str](), {"machine"}
    while left:
        reached |= left
        names = {name for module in left for name in modules_of(ROOT / "compiler" / f"{module}.py", "fdht.compiler")}
        left = names - reached
    assert reached == {"machine", "schedule", "nest", "segments"}


def modules_of(path: Path, package: str) -> set[str]:
    """The modules of a package that a file imports, or imports from, anywhere in it."""
    named = set[str]()
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            named.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            named.update(f"{node.module}.{alias.name}" for alias in node.names)
    return {name.split(".")[2] for name in named if name.startswith(f"{package}.")}


@pytest.mark.parametrize("package", ["compiler", "hw"])
def test_compiler_and_gateware_never_import_torch(package):
    assert not [path for path in sources(package) for name, _ in imports(path) if name == "torch"]


def test_spec_imports_nothing_heavy():
    allowed = {*sys.stdlib_module_names, "spec", "numpy", "pydantic", "safetensors", "platformdirs"}
    assert not [(path.name, name) for path in sources("spec") for name, _ in imports(path) if name not in allowed]


def test_the_layers_below_the_front_door_load_no_torch():
    """Also through what they import: a simulation or a synthesis runs where torch is not installed."""
    modules = [
        ".".join(("fdht", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
        for package in TORCHLESS
        for path in sources(package)
    ]
    program = "import sys, importlib\n" + "".join(f"importlib.import_module({name!r})\n" for name in modules)
    program += "sys.exit('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr or "torch was loaded"


def test_the_command_loads_no_layer_until_it_is_needed():
    """`fdht --help` answers at once, and `fdht simulate` and `fdht synth` need no torch to start."""
    heavy = {"torch", "amaranth", "cocotb", "sklearn", "numpy"}
    program = f"import sys, fdht, fdht.cli\nprint(*({heavy!r} & sys.modules.keys()))"
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


@pytest.mark.parametrize("folder", [*BELOW, "tests", "docs"])
def test_every_folder_explains_itself(folder):
    assert (ROOT / folder / "README.md").is_file()


def test_every_enumeration_is_unique():
    """A number given twice would make one name of two, without a word."""
    classes = [
        (path.name, node)
        for package in BELOW
        for path in sources(package)
        for node in ast.walk(ast.parse(path.read_text(), str(path)))
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base).endswith(("Enum", "Flag")) for base in node.bases)
    ]
    assert len(classes) > 10
    assert not [
        f"{file}: {node.name}"
        for file, node in classes
        if not any(ast.unparse(each).rpartition(".")[2] == "unique" for each in node.decorator_list)
    ]


def test_no_file_is_a_drawer():
    drawer = re.compile(r"_?(utils?|common|misc|helpers?)(_.*)?$")
    folders = [*BELOW, "tests"]
    assert not [path for folder in folders for path in sources(folder) if drawer.match(path.stem)]


def test_every_dependency_has_its_reason():
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    dependencies = [line for line in lines if re.match(r'(    |requires = \[)"[\w.-]+[><=]', line)]
    assert len(dependencies) > 10
    assert not [line for line in dependencies if not re.search(r"[,\]] +# \S", line)]


def test_who_lacks_a_package_of_training_is_told_the_extra():
    named = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["train"]
    assert sorted(TRAIN.values()) == sorted(re.split("[><=]", name)[0] for name in named)


def test_the_lock_names_exact_versions_of_every_dependency():
    lock = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lock), "one name==version per line"
    locked = {re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower() for line in lock}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    named = [*project["dependencies"], *extras["train"], *extras["docs"], *extras["dev"]]
    named = [name for name in named if not name.startswith("fdht[")]
    assert {re.split("[><=]", name)[0].lower() for name in named} <= locked
    assert not [name for name in locked if name.startswith(("nvidia", "triton", "cuda"))], "a lock for every machine"


DOUBLES = {
    "__init__": "every package has one",
    "conftest": "pytest looks for this name",
}
"""Names that more than one module may have, and why."""


def test_no_two_modules_share_a_name():
    """Whoever reads `registers` or `golden` in a traceback or an editor's tab knows which file it is.

    The files of fdht/commands are left out: each is called what its command is.
    """
    every = [path for package in BELOW for path in sources(package) if path.parent.name != "commands"]
    every += [path for folder in ("tests", "docs") for path in (ROOT / folder).rglob("*.py")]
    places: dict[str, list[str]] = {}
    for path in every:
        places.setdefault(path.stem, []).append(str(path.relative_to(ROOT)))
    assert len(places) > 150
    assert not {name: where for name, where in places.items() if len(where) > 1 and name not in DOUBLES}
    assert not [name for name in DOUBLES if len(places.get(name, ())) < 2], "no double any more"
