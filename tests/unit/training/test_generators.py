"""The global random generators, stored as a checkpoint stores them."""

import io
import random

import numpy as np
import torch

from seq2seq.training.generators import generators_state, restore_generators, seed_generators

CPU = torch.device("cpu")


def draw() -> tuple[float, float, float, float]:
    return torch.rand(()).item(), random.random(), random.gauss(0, 1), float(np.random.standard_normal())


def test_all_of_them_go_on_where_they_were() -> None:
    seed_generators(5)
    first = draw()
    file = io.BytesIO()
    torch.save(generators_state(CPU), file)
    expected = draw()
    seed_generators(6)
    other = draw()
    file.seek(0)
    restore_generators(torch.load(file, weights_only=True), CPU)
    assert draw() == expected
    assert all(a != b for a, b in zip(expected, other, strict=True))
    seed_generators(5)
    assert draw() == first


def test_a_seed_that_numpy_has_no_room_for() -> None:
    seed_generators(2**63 - 1)
    assert all(np.isfinite(draw()))


def test_each_rank_draws_its_own_numbers_and_the_first_those_of_one_process() -> None:
    def drawn(*arguments: int) -> tuple[float, float, float]:
        seed_generators(*arguments)
        return torch.rand(1).item(), random.random(), float(np.random.rand())

    assert drawn(5, 0) == drawn(5)
    assert drawn(5, 1) == drawn(5, 1)
    found = [drawn(5), drawn(5, 1), drawn(5, 2), drawn(6), drawn(6, 1)]
    assert all(len(set(numbers)) == len(found) for numbers in zip(*found, strict=True))
