import re

import pytest
import torch

from seq2seq.data.batch import pad
from seq2seq.search.base import Hypothesis
from seq2seq.search.beam import Beam
from seq2seq.text.vocab import Vocab

EOS = Vocab.eos
SOURCES = [[4, 5, EOS], [6, EOS], [4, 4, 5, 6, 5, EOS], [EOS], [5, 5, 4, EOS]]
SEEDS = [1, 2, 3, 4]


def plain_groups(model, source, sizes, diversity, limit):
    """The rules in plain Python, one source, one group and one hypothesis at a time."""
    alive = [[((Vocab.bos,), 0.0)] for _ in sizes]
    finished = [[] for _ in sizes]
    for length in range(limit + 1):
        said = []
        for group, size in enumerate(sizes):
            candidates = []
            for prefix, total in alive[group]:
                row = torch.log_softmax(model.logits(tuple(source), prefix), -1).tolist()
                allowed = [EOS] if length == limit else [t for t in range(len(row)) if t not in (Vocab.pad, Vocab.bos)]
                candidates += [((*prefix, token), total + row[token]) for token in allowed]
            candidates.sort(key=lambda candidate: diversity * said.count(candidate[0][-1]) - candidate[1])
            for tokens, total in candidates[:size]:
                if tokens[-1] == EOS and len(finished[group]) < size:
                    finished[group].append(Hypothesis(list(tokens[1:-1]), total, total / (len(tokens) - 1)))
            alive[group] = [candidate for candidate in candidates if candidate[0][-1] != EOS][:size]
            said += [tokens[-1] for tokens, _ in alive[group]]
        if all(len(found) == size for found, size in zip(finished, sizes, strict=True)):
            break
    once = {tuple(h.tokens): h for found in finished for h in found}
    return sorted(once.values(), key=lambda h: -h.score)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("groups", "sizes", "diversity"), [(2, [2, 2], 0.5), (3, [1, 1, 1], 5.0), (4, [2, 1, 1, 1], 0.3), (2, [3, 2], 1.5)]
)
def test_equals_a_plain_search(make_model, seed, groups, sizes, diversity):
    size = sum(sizes)
    model = make_model(seed, vocab_size=9)
    beam = Beam(beam_size=size, nbest=size, groups=groups, diversity=diversity)
    for source, found in zip(SOURCES, beam(model, *pad(SOURCES)), strict=True):
        expected = plain_groups(model, source, sizes, diversity, 2 * (len(source) - 1) + 10)
        assert [h.tokens for h in found] == [h.tokens for h in expected]
        assert [h.score for h in found] == pytest.approx([h.score for h in expected], abs=1e-5)


def test_groups_begin_differently(make_model):
    def peaked(row, prefix):
        row[8] += 7.0 * (len(prefix) == 1)
        row[EOS] -= 9.0 * (len(prefix) == 1)

    def beginnings(**options):
        search = Beam(beam_size=4, nbest=4, max_length=6, **options)
        found = search(make_model(2, vocab_size=12, change=peaked), *pad(SOURCES))
        return [len({h.tokens[0] for h in best_first}) for best_first in found]

    assert beginnings() == [1, 1, 1, 1, 1]
    assert beginnings(groups=4, diversity=15.0) == [4, 4, 4, 4, 4]
    assert beginnings(groups=2, diversity=15.0) == [2, 2, 2, 2, 2]


@pytest.mark.parametrize("vocab_size", [5, 6])
def test_a_tiny_vocabulary(make_model, vocab_size):
    found = Beam(beam_size=7, nbest=7, max_length=5, groups=3, diversity=0.4)(
        make_model(vocab_size=vocab_size), *pad(SOURCES)
    )
    for best_first in found:
        assert len({tuple(h.tokens) for h in best_first}) == len(best_first)
        assert all(h.score > -torch.inf for h in best_first)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": 6, "diversity": 1}, "groups is 6: must be at most beam_size, which is 5"),
        ({"groups": 2}, "groups and diversity have no effect without each other: set groups=4 and diversity=0.5"),
        ({"diversity": 0.5}, "groups and diversity have no effect without each other: set groups=4 and diversity=0.5"),
        (
            {"groups": 2, "diversity": 0.5, "required": "a"},
            "required and groups are two ways to share out the beam: set one of them",
        ),
        ({"min_length": 4, "max_length": 3}, "min_length is 4: must be at most max_length, which is 3"),
    ],
)
def test_what_has_no_effect_is_refused(options, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Beam(**options)
