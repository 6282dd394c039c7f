"""Standard output of another encoding, or with nobody who reads it."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_what_an_encoding_lacks_is_replaced(bundle_file, encoding):
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", "fdht", "info", str(bundle_file)]
    done = subprocess.run(command, env=environment, capture_output=True)
    assert done.returncode == 0 and b"Traceback" not in done.stderr, done.stderr
    assert b"U2 ? B12" in done.stdout
