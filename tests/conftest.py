"""One thread for each test process, in subprocesses too: `make test` runs as many processes as there are cores."""

import atexit
import logging
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="seq2seq-tests-")
atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

# Ignored in what nohup or a shell's & has started, which the tests' subprocesses would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """Hydra's --info leaves a handler on the root logger, whose stream is closed after the test."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
