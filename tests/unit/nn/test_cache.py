import pytest
import torch
from torch import Tensor

from seq2seq.nn.cache import KeyValueCache, is_identity, select_sources

B, WIDTH, G, K, LAYERS = 2, 3, 2, 4, 2


def empty(capacity: int) -> KeyValueCache:
    return KeyValueCache.empty(LAYERS, like=torch.empty(B, G, 2, 5, K), capacity=capacity)


def write(cache: KeyValueCache, tokens: Tensor) -> KeyValueCache:
    """A column more, in which tokens (B*W,) stand for their keys; values are the negative."""
    cache = cache.longer()
    own = tokens.view(B, 1, -1, 1).float()  # (B,G,W,K)
    width = own.size(2)
    for buffer in cache.buffers:
        buffer[:, :, 0, cache.num_slots - width : cache.num_slots] = own
        buffer[:, :, 1, cache.num_slots - width : cache.num_slots] = -own
    return cache


def seen(cache: KeyValueCache) -> list[list[int]]:
    """The tokens that each hypothesis sees, in order of their columns."""
    found = []
    for source in range(cache.visible.size(0)):
        for visible in cache.visible[source]:
            slots = visible.nonzero().squeeze(1)
            slots = slots[cache.columns[source, slots].argsort()]
            assert cache.columns[source, slots].tolist() == list(range(cache.length))
            of_layers = [buffer[source, :, :, slots] for buffer in cache.buffers]
            assert all(torch.equal(x, of_layers[0]) for x in of_layers)
            assert torch.equal(of_layers[0][0, 0], -of_layers[0][1, 1])
            found.append(of_layers[0][0, 0, :, 0].int().tolist())
    return found


@pytest.mark.parametrize("capacity", [1, 6, 200])
def test_each_hypothesis_sees_its_own_tokens(capacity: int) -> None:
    """However often it is reordered, whether or not there was room from the start."""
    generator = torch.Generator().manual_seed(1)
    cache, expected = empty(capacity), [[] for _ in range(B)]
    for column in range(12):
        width = min(cache.visible.size(1) if column else 1, WIDTH)
        tokens = torch.arange(B * width) + 10 * (column + 1)
        cache = write(cache, tokens)
        expected = [[*row, token] for row, token in zip(expected, tokens.tolist(), strict=True)]
        assert seen(cache) == expected
        rows = torch.randint(width, (B, WIDTH), generator=generator) + torch.arange(0, B * width, width)[:, None]
        cache = cache.reorder(rows.flatten())
        expected = [expected[row] for row in rows.flatten().tolist()]
        assert seen(cache) == expected


def test_what_nobody_sees_is_dropped() -> None:
    """Where all hypotheses of a source go on from one, the buffers grow as for one."""
    cache = empty(4)
    for column in range(100):
        cache = write(cache, torch.full((B if column == 0 else B * WIDTH,), column))
        width = cache.visible.size(1)
        cache = cache.reorder((torch.arange(B) * width).repeat_interleave(WIDTH))
    assert seen(cache) == [list(range(100))] * (B * WIDTH)
    assert cache.buffers[0].size(3) <= 2 * (100 + WIDTH)


def test_buffers_with_room_are_written_in_place() -> None:
    cache = write(empty(4), torch.arange(B))
    places = [x.data_ptr() for x in cache.buffers]
    cache = write(cache.reorder(torch.tensor([0, 0, 0, 1, 1, 1])), torch.arange(B * WIDTH))
    assert [x.data_ptr() for x in cache.buffers] == places


def test_select_keeps_sources() -> None:
    cache = write(empty(9), torch.tensor([3, 4])).reorder(torch.tensor([0, 0, 1, 1]))
    cache = write(cache, torch.tensor([5, 6, 7, 8]))
    assert seen(cache.select(torch.tensor([1, 0]))) == [[4, 7], [4, 8], [3, 5], [3, 6]]
    assert seen(cache.select(torch.tensor([1]))) == [[4, 7], [4, 8]]


def test_mask_hides_what_a_hypothesis_does_not_see() -> None:
    cache = empty(9).with_prompts(torch.tensor([[True, True], [False, True]]))
    cache = cache.longer().reorder(torch.tensor([0, 0, 1, 1])).longer()
    never = -torch.inf
    expected = torch.tensor(
        [[[0, 0, 0, 0, never], [0, 0, 0, never, 0]], [[never, 0, 0, 0, never], [never, 0, 0, never, 0]]]
    )
    assert torch.equal(cache.mask(torch.float32), expected[:, None])
    row = torch.arange(1.0, 9.0).view(1, 2, 1, 4)  # of two heads for columns 0 to 3; both own slots are of column 3
    added = row[:, :, :, [0, 1, 2, 3, 3]]
    assert torch.equal(cache.mask(torch.float32, row), expected[:, None] + added)
    assert cache.mask(torch.bfloat16).dtype == torch.bfloat16


def test_select_sources_takes_all_their_rows() -> None:
    assert select_sources(torch.arange(6), torch.tensor([2, 0]), num_sources=3).tolist() == [4, 5, 0, 1]


def test_identity() -> None:
    assert is_identity(torch.tensor([0, 1, 2]), num_rows=3)
    assert not is_identity(torch.tensor([0, 2, 1]), num_rows=3)
    assert not is_identity(torch.tensor([0, 1]), num_rows=3)
    assert not is_identity(torch.arange(3, device="meta"), num_rows=3)  # cannot be told without waiting for the device
