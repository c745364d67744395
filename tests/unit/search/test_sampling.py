import hashlib
import math
from collections import Counter

import pytest
import torch

from seq2seq.data.batch import pad
from seq2seq.search.base import Hypothesis
from seq2seq.search.greedy import Greedy
from seq2seq.search.sampling import Sampling
from seq2seq.text.vocab import Vocab

EOS = Vocab.eos
SOURCES = [[4, 5, EOS], [6, EOS], [4, 4, 5, 6, 5, EOS], [EOS], [5, 5, 4, EOS]]


def drawn(search, model, sources=SOURCES):
    return search(model, *pad(sources))


def tokens(found):
    return [[hypothesis.tokens for hypothesis in best_first] for best_first in found]


def chain(model, source, prefix=(), limit=2):
    """Every output of at most `limit` tokens and what the model gives it, given that pad and bos are never said."""
    row = model.logits(tuple(source), (Vocab.bos, *prefix)).double()
    row[[Vocab.pad, Vocab.bos]] = -math.inf
    probabilities = row.softmax(-1).tolist()
    if len(prefix) == limit:
        return {prefix: 1.0}
    found = {prefix: probabilities[EOS]}
    for token, probability in enumerate(probabilities):
        if token != EOS and probability > 0:
            found |= {output: probability * p for output, p in chain(model, source, (*prefix, token), limit).items()}
    return found


def test_outputs_come_as_often_as_the_model_says(make_model):
    model, source, count = make_model(3, vocab_size=6), SOURCES[0], 5000
    expected = chain(model, source)
    assert sum(expected.values()) == pytest.approx(1)
    counts = Counter(tuple(h.tokens) for h in drawn(Sampling(nbest=count, max_length=2, seed=9), model, [source])[0])
    assert counts.keys() <= expected.keys()
    squares = sum((counts[output] - count * p) ** 2 / (count * p) for output, p in expected.items())
    degrees = len(expected) - 1
    assert degrees == 12
    assert squares < degrees + 4 * math.sqrt(2 * degrees)


def test_samples_of_a_source_are_independent(make_model):
    """Pairs of neighbours come as often as the product of what each comes as."""
    model, count = make_model(3, vocab_size=6), 4000
    firsts = [
        [found[0].tokens[:1] for found in drawn(Sampling(max_length=1, seed=seed), model, [SOURCES[0]])]
        for seed in range(40)
    ]
    assert len({tuple(first[0]) for first in firsts}) > 2  # seeds differ
    uniform = Sampling(nbest=count, seed=5)._uniform(*pad([SOURCES[0]]), [()], 3)[0]
    together = torch.tensor(uniform).T.reshape(3, -1)
    correlations = torch.corrcoef(torch.cat((together[:, :-1], together[:, 1:]))) - torch.eye(6)
    assert correlations.abs().max() < 5 / math.sqrt(count)
    assert 0 <= uniform.min() < uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 0.01


def test_a_sample_depends_on_its_source_its_number_and_the_seed():
    rows = Sampling(nbest=3, seed=5)._uniform(*pad(SOURCES), [()] * 5, 4)
    assert len({*rows.flatten().tolist()}) == rows.size
    again = Sampling(nbest=2, seed=5)._uniform(*pad([SOURCES[2], SOURCES[0]]), [()] * 2, 9)
    assert again[:, :, :4].tolist() == rows[[2, 0], :2].tolist()
    other = Sampling(nbest=3, seed=6)._uniform(*pad(SOURCES), [()] * 5, 4)
    assert not set(rows.flatten().tolist()) & set(other.flatten().tolist())
    nothing = torch.zeros(2, 0, dtype=torch.long)
    prompts = Sampling()._uniform(nothing, nothing.bool(), [(4, 5), (4,)], 2)
    assert prompts[0].tolist() != prompts[1].tolist()


def philox(key, counter):
    """Four numbers of 64 bits by ten rounds of Philox-4x64 (Salmon et al. 2011)."""
    low = (1 << 64) - 1
    (k0, k1), (a, b, c, d) = key, counter
    for _ in range(10):
        first, second = 0xD2E7470EE14C6C93 * a, 0xCA5A826395121157 * c
        a, b, c, d = (second >> 64) ^ b ^ k0, second & low, (first >> 64) ^ d ^ k1, first & low
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & low, (k1 + 0xBB67AE8584CAA73B) & low
    return [a, b, c, d]


def test_the_numbers_are_those_of_philox():
    """So that other machines, and other versions of numpy, give the same samples."""
    rows = Sampling(nbest=2, seed=7)._uniform(*pad([[4, 5, EOS]]), [(8,)], 6)
    content = b"".join(number.to_bytes(8, "little") for number in (7, 3, 4, 5, EOS, 8))
    key = hashlib.blake2b(content, digest_size=16).digest()
    parts = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")
    for number, row in enumerate(rows[0].tolist()):
        bits = philox(parts, (1, 0, number, 0)) + philox(parts, (2, 0, number, 0))
        assert row == [(word >> 11) / 2**53 for word in bits[:6]]


@pytest.mark.parametrize("option", [{"top_k": 1}, {"top_p": 1e-9}, {"min_p": 0.999999}, {"temperature": 1e-3}])
def test_the_most_probable_token_alone_is_greedy_search(make_model, option):
    for rules in ({}, {"repetition_penalty": 1.6, "no_repeat_ngram": 2, "min_length": 3}):
        expected = drawn(Greedy(**rules), make_model(2))
        for nbest in (1, 3):
            found = drawn(Sampling(nbest=nbest, **rules, **option), make_model(2))
            assert tokens(found) == [nbest * [best_first[0].tokens] for best_first in expected]


def test_scores_are_those_of_the_model_itself(make_model):
    """Whatever was changed for the draw."""
    model = make_model(4, vocab_size=9)
    search = Sampling(nbest=4, temperature=2.0, top_k=4, repetition_penalty=1.5, seed=3)
    for source, found in zip(SOURCES, drawn(search, model), strict=True):
        assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)
        for hypothesis in found:
            total, prefix = 0.0, (Vocab.bos,)
            for token in [*hypothesis.tokens, EOS]:
                total += torch.log_softmax(model.logits(tuple(source), prefix).double(), -1)[token].item()
                prefix = (*prefix, token)
            assert hypothesis.log_probability == pytest.approx(total, abs=1e-4)
            assert hypothesis.score == pytest.approx(total / (len(hypothesis.tokens) + 1), abs=1e-4)


def test_what_is_over_leaves_the_batch(make_model):
    def change(row, prefix):
        """The first token, 4 to 6, says how many follow: 1 to 3."""
        row[:] = -math.inf
        if len(prefix) == 1:
            row[4:7] = 0.0
        elif len(prefix) > prefix[1] - 2:
            row[EOS] = 0.0
        else:
            row[7] = 0.0

    model = make_model(vocab_size=8, change=change)
    found = drawn(Sampling(nbest=5, seed=2), model, [[4, EOS], [5, 5, EOS]])
    lengths = [Counter(len(h.tokens) for h in best_first) for best_first in found]
    assert lengths[0] != lengths[1]
    expected = [2]
    for step in range(1, 6):
        going = [sum(count for length, count in counts.items() if length >= step) for counts in lengths]
        expected.append(sum(going > 0 for going in going) * max(going))
    assert model.rows == expected[:1] + [rows for rows in expected[1:] if rows]


@pytest.mark.parametrize(("uniform", "token"), [(0.0, 1), (0.2, 1), (0.25, 5), (0.5, 6), (1 - 2**-53, 7)])
def test_a_token_has_its_part_of_the_numbers(uniform, token):
    """Neither the first nor the last number belongs to one that is impossible."""
    logits = torch.full((1, 1, 9), -math.inf)
    logits[0, 0, [1, 5, 6, 7]] = 0.0
    tokens, numbers = torch.tensor([[[Vocab.bos]]]), torch.tensor([[uniform]], dtype=torch.float64)
    assert Sampling()._draw(logits, tokens, [None], numbers).item() == token


def test_samples_after_prompts(make_model):
    nothing = torch.zeros(3, 0, dtype=torch.long)
    prompts = [[4, 5], [], [6, 6, 6, 6]]
    found = Sampling(nbest=3, max_length=4, seed=1)(make_model(vocab_size=9), nothing, nothing.bool(), prompts)
    for prompt, best_first in zip(prompts, found, strict=True):
        assert len(best_first) == 3
        assert all(h.tokens[: len(prompt)] == prompt and len(h.tokens) <= 4 for h in best_first)
    assert tokens(found)[2] == 3 * [[6, 6, 6, 6]]


def test_a_model_that_gives_nan_gets_an_empty_output(make_model):
    def nan(row, prefix):
        row[:] = math.nan

    found = drawn(Sampling(nbest=2, max_length=3), make_model(change=nan))
    assert found == [[Hypothesis([], -math.inf, -math.inf)]] * len(SOURCES)


def test_no_sources():
    empty = torch.zeros(0, 3, dtype=torch.long)
    assert Sampling()(None, empty, empty.bool()) == []


def test_required_is_refused():
    with pytest.raises(ValueError, match="required has no effect on samples: set search=beam"):
        Sampling(required="a")
    with pytest.raises(ValueError, match="required has no effect on one hypothesis alone: set search=beam"):
        Greedy(required=["a"])
