"""The simulators the end-to-end tests run on: Verilator, and Icarus where it is installed."""

import pytest

from fdht.sim.build import SIMULATORS, ToolError, find_simulator


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items) -> None:
    """Icarus takes minutes for what Verilator does in seconds."""
    for item in items:
        if "test_random_networks[icarus" in item.name or "sequences[icarus" in item.name:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(params=SIMULATORS)
def simulator(request) -> str:
    try:
        find_simulator(request.param)
    except ToolError as missing:
        if request.param == "verilator":
            raise
        pytest.skip(str(missing))
    return request.param
