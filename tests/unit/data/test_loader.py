import json
from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch

from seq2seq.data.batch import Batch, make_batch, pad
from seq2seq.data.encoded import EncodedCorpus, Rows
from seq2seq.data.loader import Loader, ordered_batches
from seq2seq.errors import CheckpointError


def corpus_of(source_lengths: list[int], target_lengths: list[int]) -> EncodedCorpus:
    """Example i has number 10 * i; the ids of a side say the example and the place."""

    def rows(lengths: list[int], base: int) -> Rows:
        ids = [np.arange(length) + base + 1000 * i for i, length in enumerate(lengths)]
        return Rows((np.concatenate(ids).astype(np.int32), np.concatenate([[0], np.cumsum(lengths)])))

    numbers = 10 * np.arange(len(source_lengths))
    return EncodedCorpus(rows(source_lengths, 4), rows(target_lengths, 504), numbers)


def realistic(size: int) -> EncodedCorpus:
    """Lengths as of sentences: log-normal, the two sides alike but not equal."""
    generator = np.random.default_rng(7)
    source = np.clip(generator.lognormal(3.1, 0.6, size), 1, 250).astype(int)
    target = np.clip(source * generator.normal(1.1, 0.2, size), 1, 250).astype(int)
    return corpus_of(source.tolist(), target.tolist())


def epoch_of(loader: Loader) -> list[Batch]:
    assert loader.batches_per_epoch is not None
    return [loader.next_batch() for _ in range(loader.batches_per_epoch)]


def numbers(batches: list[Batch]) -> list[tuple[int, ...]]:
    return [batch.numbers for batch in batches]


@pytest.fixture(scope="module")
def corpus() -> EncodedCorpus:
    return realistic(1003)


def test_a_batch_holds_the_ids_of_its_examples() -> None:
    corpus = corpus_of([2, 1, 3], [1, 4, 2])
    (batch,) = epoch_of(Loader(corpus, max_tokens=1000, seed=1))
    assert sorted(batch.numbers) == [0, 10, 20]
    row = {number: i for i, number in enumerate(batch.numbers)}
    assert batch.source[row[0]].tolist() == [4, 5, 3, 0]
    assert batch.source_mask[row[0]].tolist() == [True, True, True, False]
    assert batch.source[row[20]].tolist() == [2004, 2005, 2006, 3]
    assert batch.target[row[0]].tolist() == [2, 504, 0, 0, 0]
    assert batch.target_mask[row[0]].tolist() == [True, True, False, False, False]
    assert batch.labels[row[0]].tolist() == [504, 3, 0, 0, 0]
    assert batch.target[row[10]].tolist() == [2, 1504, 1505, 1506, 1507]
    assert batch.labels[row[10]].tolist() == [1504, 1505, 1506, 1507, 3]
    assert batch.num_tokens == 2 + 5 + 3
    assert batch.source.dtype == batch.target.dtype == batch.labels.dtype == torch.int64
    assert batch.source_mask.dtype == batch.target_mask.dtype == torch.bool


def test_lists_and_arrays_make_the_same_batch() -> None:
    sources, targets = [[5, 6, 7], [8]], [[], [9, 10]]
    a = make_batch(sources, targets, [4, 2])
    b = make_batch([np.array(x, np.int32) for x in sources], [np.array(x, np.int32) for x in targets], [4, 2])
    assert a.labels.tolist() == b.labels.tolist() == [[3, 0, 0], [9, 10, 3]]
    assert a.target.tolist() == b.target.tolist() == [[2, 0, 0], [2, 9, 10]]
    assert a.source.tolist() == b.source.tolist() == [[5, 6, 7, 3], [8, 3, 0, 0]]
    tokens, mask = pad([[5, 6, 7], [8]])
    assert tokens.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert mask.tolist() == [[True, True, True], [True, False, False]]


@pytest.mark.parametrize("max_tokens", [1, 60, 500, 100_000])
def test_every_example_once_per_epoch_within_the_budget(corpus: EncodedCorpus, max_tokens: int) -> None:
    loader = Loader(corpus, max_tokens=max_tokens, seed=3)
    for epoch in range(2):
        assert (loader.epoch, loader.position) == (epoch, 0)
        batches = epoch_of(loader)
        assert Counter(n for batch in batches for n in batch.numbers) == Counter(corpus.numbers.tolist())
        for batch in batches:
            size = len(batch.numbers) * max(batch.source.shape[1], batch.labels.shape[1])
            assert size <= max_tokens or len(batch.numbers) == 1
    if max_tokens == 1:
        assert loader.batches_per_epoch == len(corpus)


def test_batches_are_as_full_as_the_budget_allows() -> None:
    """Longer sides with eos: 2 2 2 3 3 5 9; no batch could take the next example too."""
    corpus = corpus_of([1, 1, 1, 2, 2, 4, 8], [1, 1, 1, 1, 1, 1, 1])
    for max_tokens, sizes in {4: [2, 1, 1, 1, 1, 1], 6: [3, 2, 1, 1], 9: [3, 2, 1, 1], 15: [5, 1, 1]}.items():
        assert [len(batch.numbers) for batch in ordered_batches(corpus, max_tokens)] == sizes


def test_little_padding() -> None:
    batches = epoch_of(Loader(realistic(20_000), max_tokens=4096, seed=1))
    cells = sum(batch.source.numel() + batch.labels.numel() for batch in batches)
    tokens = sum(int(batch.source_mask.sum() + batch.target_mask.sum()) for batch in batches)
    assert 1 - tokens / cells < 0.07


@pytest.mark.parametrize("taken", [0, 1, 5, 40])
def test_resumes_exactly_also_across_epochs(corpus: EncodedCorpus, taken: int) -> None:
    whole = Loader(corpus, max_tokens=2000, seed=5)
    assert 5 < (whole.batches_per_epoch or 0) < 40
    for _ in range(taken):
        whole.next_batch()
    state = json.loads(json.dumps(whole.state_dict()))
    resumed = Loader(corpus, max_tokens=2000, seed=5)
    resumed.load_state_dict(state)
    assert (resumed.epoch, resumed.position) == (whole.epoch, whole.position)
    for _ in range(50):
        a, b = whole.next_batch(), resumed.next_batch()
        assert a.numbers == b.numbers
        assert torch.equal(a.source, b.source)
        assert torch.equal(a.labels, b.labels)


def test_a_loader_in_use_can_go_back(corpus: EncodedCorpus) -> None:
    loader = Loader(corpus, max_tokens=2000, seed=5)
    state = loader.state_dict()
    first = numbers(epoch_of(loader))
    epoch_of(loader)
    loader.load_state_dict(state)
    assert numbers(epoch_of(loader)) == first


def test_resuming_at_the_end_of_an_epoch(corpus: EncodedCorpus) -> None:
    whole = Loader(corpus, max_tokens=2000, seed=5)
    epoch_of(whole)
    assert (whole.epoch, whole.position) == (1, 0)
    resumed = Loader(corpus, max_tokens=2000, seed=5)
    resumed.load_state_dict(whole.state_dict())
    assert numbers(epoch_of(resumed)) == numbers(epoch_of(whole))


@pytest.mark.parametrize("world_size", [2, 3, 7, 30])
def test_ranks_share_the_batches(corpus: EncodedCorpus, world_size: int) -> None:
    """Together they take the batches of one process in its order; the last turn begins the epoch's batches again."""
    alone = numbers(epoch_of(Loader(corpus, max_tokens=2000, seed=2)))
    ranks = [Loader(corpus, max_tokens=2000, seed=2, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert len({loader.batches_per_epoch for loader in ranks}) == 1
    turns = list(zip(*(numbers(epoch_of(loader)) for loader in ranks), strict=True))
    together = [batch for turn in turns for batch in turn]
    assert together[: len(alone)] == alone
    assert together[len(alone) :] == (alone * world_size)[: len(together) - len(alone)]
    assert len(together) - len(alone) < world_size
    assert {(loader.epoch, loader.position) for loader in ranks} == {(1, 0)}
    assert len({json.dumps(loader.state_dict()) for loader in ranks}) == 1


def test_another_number_of_ranks_goes_on_at_the_same_place(corpus: EncodedCorpus) -> None:
    alone = numbers(epoch_of(Loader(corpus, max_tokens=2000, seed=2)))
    three = Loader(corpus, max_tokens=2000, seed=2, rank=1, world_size=3)
    for _ in range(4):
        three.next_batch()
    two = Loader(corpus, max_tokens=2000, seed=2, rank=1, world_size=2)
    two.load_state_dict(three.state_dict())
    assert two.next_batch().numbers == alone[12 + 1]


def test_order_depends_on_seed_and_epoch_only(corpus: EncodedCorpus) -> None:
    loader = Loader(corpus, max_tokens=2000, seed=8)
    first, second = numbers(epoch_of(loader)), numbers(epoch_of(loader))
    other = numbers(epoch_of(Loader(corpus, max_tokens=2000, seed=9)))
    assert first != second
    assert first != other
    assert second != other
    # Not only the batches change places: their examples do, too.
    assert {frozenset(batch) for batch in first} != {frozenset(batch) for batch in second}
    np.random.seed(1)
    torch.manual_seed(1)
    assert numbers(epoch_of(Loader(corpus, max_tokens=2000, seed=8))) == first


def test_lengths_do_not_rise_through_a_shuffled_epoch(corpus: EncodedCorpus) -> None:
    widths = [batch.source.shape[1] for batch in epoch_of(Loader(corpus, max_tokens=2000, seed=8))]
    assert widths != sorted(widths)


def test_ordered_batches_are_the_same_each_time(corpus: EncodedCorpus) -> None:
    first, second = list(ordered_batches(corpus, 700)), list(ordered_batches(corpus, 700))
    assert numbers(first) == numbers(second)
    assert Counter(n for batch in first for n in batch.numbers) == Counter(corpus.numbers.tolist())
    widths = [max(batch.source.shape[1], batch.labels.shape[1]) for batch in first]
    assert widths == sorted(widths)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 6}, "seed was 5, is 6"),
        ({"max_tokens": 900}, "max_tokens was 2000, is 900"),
    ],
)
def test_a_state_of_other_settings_is_refused(corpus: EncodedCorpus, change: dict[str, int], message: str) -> None:
    state = Loader(corpus, max_tokens=2000, seed=5).state_dict()
    with pytest.raises(CheckpointError, match=message):
        Loader(corpus, **{"max_tokens": 2000, "seed": 5, **change}).load_state_dict(state)


def test_a_state_of_another_corpus_is_refused(corpus: EncodedCorpus) -> None:
    state = Loader(corpus, max_tokens=2000, seed=5).state_dict()
    with pytest.raises(CheckpointError, match="examples was 1003, is 1002"):
        Loader(realistic(1002), max_tokens=2000, seed=5).load_state_dict(state)
    longer = corpus_of([3] * 1003, [4] * 1003)
    with pytest.raises(CheckpointError, match=r"contents was [0-9a-f]+, is [0-9a-f]+"):
        Loader(longer, max_tokens=2000, seed=5).load_state_dict(state)


def test_a_broken_state_is_refused(corpus: EncodedCorpus) -> None:
    loader = Loader(corpus, max_tokens=2000, seed=5)
    state = loader.state_dict()
    with pytest.raises(CheckpointError, match="lacks epoch"):
        loader.load_state_dict({name: value for name, value in state.items() if name != "epoch"})
    for change in ({"pool": 0, "taken_of_pool": 999}, {"pool": 1}, {"pool": "a"}, {"epoch": -1}):
        with pytest.raises(CheckpointError, match=r"batch \d+, does not exist"):
            loader.load_state_dict({**state, **change})


def test_wrong_arguments_are_refused(corpus: EncodedCorpus) -> None:
    with pytest.raises(ValueError, match="max_tokens is 0"):
        Loader(corpus, max_tokens=0, seed=1)
    with pytest.raises(ValueError, match="rank is 2"):
        Loader(corpus, max_tokens=9, seed=1, rank=2, world_size=2)


def test_next_batch_never_ends() -> None:
    loader = Loader(corpus_of([1, 2], [2, 1]), max_tokens=3, seed=1)
    stream = iter(loader.next_batch, None)
    assert [len(batch.numbers) for batch in islice(stream, 9)] == [1] * 9
    assert (loader.epoch, loader.position) == (4, 1)


def test_a_state_of_before_there_were_pools(corpus: EncodedCorpus) -> None:
    whole = Loader(corpus, max_tokens=2000, seed=5)
    for taken in range(7):
        older = {name: value for name, value in whole.state_dict().items() if name not in ("pool", "taken_of_pool")}
        assert older["taken"] == taken
        resumed = Loader(corpus, max_tokens=2000, seed=5)
        resumed.load_state_dict({**older, "shuffle": True})
        assert resumed.next_batch().numbers == whole.next_batch().numbers
