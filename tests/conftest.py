"""Settings of every test: random tests repeat themselves, and parallel workers share the cores fairly."""

import os

import hypothesis

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

hypothesis.settings.register_profile("fdht", derandomize=True, deadline=None)
hypothesis.settings.load_profile("fdht")
