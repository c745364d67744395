import itertools
import math

import pytest
import torch

from seq2seq.data.batch import pad
from seq2seq.search.base import Hypothesis
from seq2seq.search.beam import Beam
from seq2seq.search.beams import highest
from seq2seq.search.greedy import Greedy
from seq2seq.text.vocab import Vocab

SEEDS = [1, 2, 3, 4]
EOS = Vocab.eos
SOURCES = [[4, 5, EOS], [6, EOS], [4, 4, 5, 6, 5, EOS], [EOS], [5, 5, 4, EOS]]
NOT_GENERATED = {Vocab.pad, Vocab.bos, EOS}


def search(beam, model, sources=SOURCES):
    return beam(model, *pad(sources))


def assert_same(found, expected):
    assert [h.tokens for h in found] == [h.tokens for h in expected]
    assert [h.log_probability for h in found] == pytest.approx([h.log_probability for h in expected], abs=1e-5)
    assert [h.score for h in found] == pytest.approx([h.score for h in expected], abs=1e-5)


def without_eos(row, prefix):
    row[EOS] = -30.0


@pytest.mark.parametrize("seed", SEEDS)
def test_greedy_takes_the_most_probable_token_at_each_step(make_model, seed):
    model, limit = make_model(seed), 6
    for source, found in zip(SOURCES, search(Greedy(max_length=limit), model), strict=True):
        tokens = []
        while len(tokens) < limit:
            row = model.logits(tuple(source), (Vocab.bos, *tokens))
            row[[Vocab.pad, Vocab.bos]] = -math.inf
            if row.argmax() == EOS:
                break
            tokens.append(int(row.argmax()))
        assert [h.tokens for h in found] == [tokens]
        assert found[0].log_probability == pytest.approx(model.log_probability(source, tokens), abs=1e-5)


@pytest.mark.parametrize("seed", SEEDS)
def test_beam_1_equals_greedy(make_model, seed):
    for max_length in (None, 4):
        greedy = search(Greedy(max_length=max_length), make_model(seed))
        for found, expected in zip(
            search(Beam(beam_size=1, max_length=max_length), make_model(seed)), greedy, strict=True
        ):
            assert_same(found, expected)


@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_full_beam_equals_brute_force(make_model, seed, length_penalty):
    model, limit = make_model(seed, vocab_size=6), 3
    alphabet = [token for token in range(6) if token not in NOT_GENERATED]
    outputs = [list(o) for length in range(limit + 1) for o in itertools.product(alphabet, repeat=length)]
    beam_size = len(outputs)  # 1 + 3 + 9 + 27: nothing is ever left out, and no source is done before the limit
    assert beam_size == 40
    beam = Beam(beam_size=beam_size, length_penalty=length_penalty, max_length=limit, nbest=beam_size)
    for source, found in zip(SOURCES, search(beam, model), strict=True):
        expected = []
        for tokens in outputs:
            value = model.log_probability(source, tokens)
            expected.append(Hypothesis(tokens, value, value / (len(tokens) + 1) ** length_penalty))
        assert_same(found, sorted(expected, key=lambda h: -h.score))


def plain_beam_search(model, source, beam_size, length_penalty, limit):
    """The rules in plain Python, one source and one hypothesis at a time."""
    alive, finished = [((Vocab.bos,), 0.0)], []
    for length in range(limit + 1):
        candidates = []
        for prefix, total in alive:
            row = torch.log_softmax(model.logits(tuple(source), prefix), -1).tolist()
            allowed = [EOS] if length == limit else [t for t in range(len(row)) if t not in (Vocab.pad, Vocab.bos)]
            candidates += [((*prefix, token), total + row[token]) for token in allowed]
        candidates.sort(key=lambda candidate: -candidate[1])
        for tokens, total in candidates[:beam_size]:
            if tokens[-1] == EOS:
                score = total / (len(tokens) - 1) ** length_penalty
                finished.append(Hypothesis(list(tokens[1:-1]), total, score))
        if len(finished) >= beam_size:
            break
        alive = [candidate for candidate in candidates if candidate[0][-1] != EOS][:beam_size]
    return sorted(finished, key=lambda h: -h.score)[:beam_size]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("beam_size", "length_penalty"), [(2, 1.0), (3, 0.0), (5, 0.6), (12, 1.3)])
def test_equals_a_plain_beam_search(make_model, seed, beam_size, length_penalty):
    model = make_model(seed, vocab_size=9)
    beam = Beam(beam_size=beam_size, length_penalty=length_penalty, nbest=beam_size)
    for source, found in zip(SOURCES, search(beam, model), strict=True):
        limit = 2 * (len(source) - 1) + 10
        assert_same(found, plain_beam_search(model, source, beam_size, length_penalty, limit))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("beam_size", [1, 3, 8])
def test_a_batch_equals_one_at_a_time(make_model, seed, beam_size):
    beam = Beam(beam_size=beam_size, nbest=beam_size)
    together = search(beam, make_model(seed))
    for source, found in zip(SOURCES, together, strict=True):
        assert_same(found, search(beam, make_model(seed), [source])[0])


@pytest.mark.parametrize("seed", SEEDS)
def test_teacher_forcing_gives_a_hypothesis_its_log_probability(make_model, seed):
    model = make_model(seed, vocab_size=11)
    for source, found in zip(SOURCES, search(Beam(beam_size=4, length_penalty=0.6, nbest=4), model), strict=True):
        for hypothesis in found:
            expected = model.log_probability(source, hypothesis.tokens)
            assert hypothesis.log_probability == pytest.approx(expected, abs=1e-4)
            assert hypothesis.score == pytest.approx(expected / (len(hypothesis.tokens) + 1) ** 0.6, abs=1e-4)


@pytest.mark.parametrize("seed", SEEDS)
def test_nbest_are_sorted_distinct_and_begin_with_the_best(make_model, seed):
    several = search(Beam(beam_size=6, nbest=5), make_model(seed))
    for found, best in zip(several, search(Beam(beam_size=6), make_model(seed)), strict=True):
        assert len(found) == 5
        assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)
        assert len({tuple(h.tokens) for h in found}) == 5
        assert_same(found[:1], best)
        assert not any(NOT_GENERATED & set(h.tokens) for h in found)


def test_nbest_above_the_beam_is_refused():
    with pytest.raises(ValueError, match="nbest is 4: must be at most beam_size, which is 3"):
        Beam(beam_size=3, nbest=4)


def test_finished_sources_leave_the_batch(make_model):
    def change(row, prefix):
        row[EOS] = 30.0 if len(prefix) > 2 else -30.0

    model = make_model(change=change)
    search(Beam(beam_size=3), model, [[4, EOS], [5, 5, EOS]])
    # bos alone, then 3 for each: three hypotheses of a source cannot all end before the third step.
    assert model.rows == [2, 6, 6]

    model = make_model(change=without_eos)  # only the limits, 10 + 2 x tokens, end these
    search(Beam(beam_size=3), model, [[4, EOS], [EOS], [5, 5, EOS]])
    assert model.rows == [3] + 10 * [9] + 2 * [6] + 2 * [3]


def test_a_source_at_its_limit_leaves_the_batch_with_whatever_it_has(make_model):
    def one_output_of_each_limit(row, prefix):
        row[:] = -math.inf
        row[4] = 0.0
        if len(prefix) in (11, 13):
            row[EOS] = -1.0

    model = make_model(change=one_output_of_each_limit)
    found = search(Beam(beam_size=3, nbest=3), model, [[EOS], [6, EOS]])
    # With q = log(1 + e), 10 tokens score -q / 11, and 12 tokens (1 - 2 q) / 13, which is a little less.
    assert [[len(h.tokens) for h in of_source] for of_source in found] == [[10], [10, 12]]
    assert model.rows == [2] + 10 * [6] + 2 * [3]


@pytest.mark.parametrize("beam", [Greedy(max_length=5), Beam(beam_size=3, max_length=5, nbest=3)])
def test_a_model_that_never_ends_is_ended_at_the_limit(make_model, beam):
    model = make_model(change=without_eos)
    for source, found in zip(SOURCES, search(beam, model), strict=True):
        assert {len(h.tokens) for h in found} == {5}
        for hypothesis in found:  # what eos costs there counts
            assert hypothesis.log_probability == pytest.approx(
                model.log_probability(source, hypothesis.tokens), abs=1e-4
            )
            assert hypothesis.log_probability < -25


def test_the_limit_follows_from_the_source(make_model):
    found = search(Beam(beam_size=2), make_model(change=without_eos))
    assert [len(of_source[0].tokens) for of_source in found] == [14, 12, 20, 10, 16]


@pytest.mark.parametrize("vocab_size", [4, 5, 7])
def test_a_beam_larger_than_the_vocabulary(make_model, vocab_size):
    model = make_model(vocab_size=vocab_size)
    beam_size = 9
    for source, found in zip(
        SOURCES, search(Beam(beam_size=beam_size, nbest=beam_size, max_length=12), model), strict=True
    ):
        assert len({tuple(h.tokens) for h in found}) == len(found) == beam_size
        for hypothesis in found:
            assert hypothesis.log_probability == pytest.approx(
                model.log_probability(source, hypothesis.tokens), abs=1e-4
            )
    assert max(model.rows) <= beam_size * len(SOURCES)


def test_impossible_continuations_are_never_hypotheses(make_model):
    def only_two_outputs(row, prefix):
        row[:] = -math.inf
        if len(prefix) == 1:
            row[4], row[5] = 1.0, 0.5
        else:
            row[EOS] = 0.0

    found = search(Beam(beam_size=4, nbest=4, length_penalty=0.0), make_model(change=only_two_outputs), [[6, 4, EOS]])
    assert [h.tokens for h in found[0]] == [[4], [5]]
    log_sum = math.log(math.exp(1.0) + math.exp(0.5))
    assert [h.score for h in found[0]] == pytest.approx([1.0 - log_sum, 0.5 - log_sum], abs=1e-5)


def test_a_model_that_gives_nan_gets_an_empty_output(make_model):
    def nan(row, prefix):
        row[:] = math.nan

    for beam in (Greedy(max_length=3), Beam(beam_size=3, max_length=3, nbest=2)):
        found = search(beam, make_model(change=nan))
        assert found == [[Hypothesis([], -math.inf, -math.inf)]] * len(SOURCES)


def test_greedy_search_never_reorders(make_model, monkeypatch):
    model = make_model()
    state_type = type(model.start(*pad(SOURCES), 9))
    monkeypatch.setattr(state_type, "reorder", lambda *_: pytest.fail("reordered"))
    search(Greedy(), model)


def test_of_equal_tokens_the_first_is_taken(make_model):
    def equal(row, prefix):
        row[:] = 0.0
        row[EOS] = -5.0 if len(prefix) < 3 else 5.0

    model = make_model(vocab_size=5, change=equal)
    found = search(Beam(beam_size=4, nbest=4), model, [[4, EOS]])[0]
    assert [h.tokens for h in found] == [[1, 1], [1, 4], [4, 1], [4, 4]]


def test_no_sources():
    empty = torch.zeros(0, 3, dtype=torch.long)
    assert Beam()(None, empty, empty.bool()) == []


def test_half_precision_logits_are_normalized_in_full_precision(make_model):
    model, source = make_model(), SOURCES[0]
    step = model.step
    model.step = lambda tokens, state: (lambda logits, after: (logits.bfloat16(), after))(*step(tokens, state))
    hypothesis = search(Greedy(), model, [source])[0][0]
    total, prefix = 0.0, (Vocab.bos,)
    for token in [*hypothesis.tokens, EOS]:
        total += torch.log_softmax(model.logits(tuple(source), prefix).bfloat16().double(), -1)[token].item()
        prefix = (*prefix, token)
    assert hypothesis.log_probability == pytest.approx(total, abs=1e-5)


def test_highest_agrees_with_a_sort():
    generator = torch.Generator().manual_seed(5)
    values = -torch.randint(0, 4, (3, 13), generator=generator).float()
    values[1, 2] = -math.inf
    best, index = highest(values, 13)
    expected = values.sort(dim=1, descending=True, stable=True)
    assert torch.equal(best, expected.values)
    assert torch.equal(index, expected.indices)
    assert torch.equal(highest(values, 5)[0], expected.values[:, :5])


@pytest.mark.parametrize("length", [1280, 1311, 2000])
def test_highest_of_many_agrees_with_a_sort(length):
    """Also where some are in the last columns, which do not fill a group."""
    generator = torch.Generator().manual_seed(6)
    values = -torch.rand(4, length, generator=generator)
    values[:, 0] = -math.inf
    values[0, -1], values[1, 0], values[2, -9:] = -1e-6, -1e-7, -1e-3 * torch.rand(9, generator=generator)
    values[3, :-7] = -math.inf
    best, index = highest(values, 10)
    expected = values.sort(dim=1, descending=True, stable=True)
    assert torch.equal(best, expected.values[:, :10])
    assert torch.equal(index[:3], expected.indices[:3, :10])
    assert torch.equal(index[3, :7], expected.indices[3, :7])
    assert all(len(set(row)) == 10 for row in index.tolist())


def test_a_large_vocabulary_is_searched_as_a_small_one(make_model, monkeypatch):
    """Some sources at a time, and first among the maxima of groups."""
    expected = search(Beam(beam_size=3, nbest=3), make_model(1))
    monkeypatch.setattr("seq2seq.search.beams.IN_CACHE", 1)
    monkeypatch.setattr("seq2seq.search.beams.GROUP", 2)
    monkeypatch.setattr("seq2seq.search.beams.FEW_GROUPS", 1)
    for found, wanted in zip(search(Beam(beam_size=3, nbest=3), make_model(1)), expected, strict=True):
        assert_same(found, wanted)


@pytest.mark.parametrize("token", [4, 6], ids=["a likely prompt", "an unlikely prompt"])
def test_hypotheses_are_ranked_by_what_follows_their_prompt(make_model, token):
    """However unlikely the prompt is, what ends soon is the best where all that follows is equally likely."""

    def forgetful(row, prefix):
        row[:] = -math.inf
        row[EOS], row[4] = math.log(0.65), math.log(0.35)
        if len(prefix) < 3:
            row[6] = math.log(1e-9)

    model = make_model(vocab_size=8, change=forgetful)
    nothing = torch.zeros(2, 0, dtype=torch.long)
    found = Beam(beam_size=3, nbest=3, max_length=6)(model, nothing, nothing.bool(), [[token, token], [4, 4]])
    for hypotheses in found:
        assert [h.tokens[2:] for h in hypotheses] == [[], [4], [4, 4]]
        following = [math.log(0.65), math.log(0.35 * 0.65) / 2, math.log(0.35**2 * 0.65) / 3]
        assert [h.score for h in hypotheses] == pytest.approx(following, abs=1e-4)
