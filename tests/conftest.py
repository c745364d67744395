"""One thread for each test process, in subprocesses too: `make test` runs as many processes as there are cores."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
