"""Every block says what it promises, in the pattern that fdht.hw.component describes."""

import importlib
import inspect
import re
from pathlib import Path

import pytest

from fdht import hw
from fdht.hw.component import Component

ROOT = Path(hw.__path__[0])
MODULES = [
    ".".join(("fdht.hw", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
    for path in sorted(ROOT.rglob("*.py"))
]
BLOCKS = {
    f"{name.removeprefix('fdht.hw.')}.{block.__name__}": block
    for name in MODULES
    for block in vars(importlib.import_module(name)).values()
    if inspect.isclass(block) and issubclass(block, Component) and block.__module__ == name and block is not Component
}
HEADINGS = ("Args:", "Members:", "Costs:", "Raises:")


def test_there_are_blocks():
    assert len(BLOCKS) > 30


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_says_its_parameters_ports_and_costs(name):
    block = BLOCKS[name]
    contract = inspect.getdoc(block) or ""
    found = re.findall(rf"^({'|'.join(HEADINGS)})", contract, re.MULTILINE)
    assert found == [heading for heading in HEADINGS if heading in found], "in this order, each once"
    assert {"Members:", "Costs:"} <= set(found)
    parameters = list(inspect.signature(block.__init__).parameters)[1:]
    assert ("Args:" in found) == bool(parameters)
    said = contract.partition("Args:")[2].partition("Members:")[0]
    assert not [parameter for parameter in parameters if not re.search(rf"\b{parameter}\b", said)]


@pytest.mark.parametrize("name", BLOCKS)
def test_a_blocks_ports_are_named_in_its_contract(name):
    """Those that are written as a literal where it is described."""
    block = BLOCKS[name]
    literal = re.findall(r'"(\w+)": (?:In|Out)\(', inspect.getsource(block.__init__))
    contract = (inspect.getdoc(block) or "").partition("Members:")[2]
    unnamed = [port for port in literal if not re.search(rf"\b{port}\b", contract)]
    families = re.findall(r"(\w+)_\*", contract)  # `s_axi_*`
    assert not [port for port in unnamed if not any(port.startswith(family) for family in families)]
