"""Settings of every test: random tests repeat themselves, parallel workers share the cores fairly, and none hangs."""

import os
import signal
from pathlib import Path

import hypothesis
import pytest
from long_tests import SHARE, in_share, record

# Before anything of fdht is imported: simulators and clips are kept from one run of the tests to the next, and workers
# share them, but not with the user's own.
os.environ.setdefault("FDHT_CACHE", str(Path(__file__).parent.parent / "build" / "cache"))

# A shell starts what runs in its background deaf to interrupts, and tests interrupt what they test.
signal.signal(signal.SIGINT, signal.default_int_handler)

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

hypothesis.settings.register_profile("fdht", derandomize=True, deadline=None)
hypothesis.settings.load_profile("fdht")

TIMEOUTS = {"slow": 1800, "synth": 4 * 3600}
"""Seconds of one test with a mark. The others have `timeout` in pyproject.toml."""


def pytest_collection_modifyitems(config, items) -> None:
    if share := os.environ.get(SHARE):
        left = [item for item in items if item.get_closest_marker("slow") and not in_share(item.nodeid, share)]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]
    for item in items:
        for mark, seconds in TIMEOUTS.items():
            if item.get_closest_marker(mark):
                item.add_marker(pytest.mark.timeout(seconds))
        if item.get_closest_marker("synth"):
            item.user_properties.append(("synth", True))  # a report's keywords are also names of parameters


def pytest_runtest_logreport(report) -> None:
    ran = "PYTEST_XDIST_WORKER" not in os.environ  # else whoever gave the worker its tests records them
    if ran and ("synth", True) in map(tuple, report.user_properties) and (report.when == "call" or report.failed):
        record(report.nodeid, report.outcome, report.duration)
