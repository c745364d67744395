"""What every output keeps to, on random models, sources, phrases and options."""

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seq2seq.data.batch import pad
from seq2seq.search.base import Search
from seq2seq.search.beam import Beam
from seq2seq.search.greedy import Greedy
from seq2seq.search.sampling import Sampling
from seq2seq.text.vocab import Vocab

FIRST, VOCAB, LIMIT = 4, 12, 11
EOS = Vocab.eos
some_examples = settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
few_examples = settings(some_examples, max_examples=8)
token = st.integers(FIRST, VOCAB - 1)
phrase = st.lists(token, min_size=1, max_size=3).map(tuple)
sources = st.lists(st.lists(token, max_size=4), min_size=1, max_size=4)
seeds = st.integers(0, 10**6)
searches = st.one_of(
    st.just((Greedy, {})),
    st.integers(1, 5).map(lambda size: (Beam, {"beam_size": size, "nbest": size})),
    st.integers(2, 5).map(lambda size: (Beam, {"beam_size": size, "nbest": size, "groups": 2, "diversity": 0.7})),
    st.integers(1, 3).map(lambda count: (Sampling, {"nbest": count, "top_k": 6, "seed": count})),
)


def searched(search: Search, model: Any, rows: list[list[int]]) -> list[Any]:
    found = search(model, *pad([[*row, EOS] for row in rows]))
    assert len(found) == len(rows)
    assert all(found)
    return found


def outputs(found: list[Any]) -> list[list[int]]:
    result = [hypothesis.tokens for best_first in found for hypothesis in best_first]
    assert all(hypothesis.log_probability > -torch.inf for best_first in found for hypothesis in best_first)
    return result


def holds(tokens: list[int], wanted: tuple[int, ...]) -> bool:
    return any(tuple(tokens[i : i + len(wanted)]) == wanted for i in range(len(tokens) - len(wanted) + 1))


@some_examples
@given(chosen=searches, seed=seeds, rows=sources, banned=st.lists(phrase, min_size=1, max_size=4))
def test_what_is_banned_never_occurs(make_model, chosen, seed, rows, banned):
    kind, options = chosen
    search = kind(max_length=LIMIT, **options)
    rules = search._beam.rules if kind is Greedy else search.rules
    rules.ban(banned)
    for tokens in outputs(searched(search, make_model(seed, vocab_size=VOCAB), rows)):
        assert not any(holds(tokens, unwanted) for unwanted in banned)


@some_examples
@given(chosen=searches, seed=seeds, rows=sources, size=st.integers(1, 3))
def test_nothing_is_said_twice(make_model, chosen, seed, rows, size):
    kind, options = chosen
    search = kind(max_length=LIMIT, no_repeat_ngram=size, **options)
    for tokens in outputs(searched(search, make_model(seed, vocab_size=VOCAB), rows)):
        said = [tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1)]
        assert len(said) == len(set(said))


@some_examples
@given(chosen=searches, seed=seeds, rows=sources, shortest=st.integers(0, 25))
def test_outputs_have_their_length(make_model, chosen, seed, rows, shortest):
    """Also where the usual limit is less than that."""
    kind, options = chosen
    found = searched(kind(min_length=shortest, **options), make_model(seed, vocab_size=VOCAB), rows)
    for row, best_first in zip(rows, found, strict=True):
        for tokens in outputs([best_first]):
            assert shortest <= len(tokens) <= max(shortest, 2 * len(row) + 10)


@some_examples
@given(
    seed=seeds,
    rows=sources,
    size=st.integers(1, 6),
    wanted=st.lists(st.lists(phrase, min_size=1, max_size=2), min_size=1, max_size=3),
    room=st.integers(0, 5),
)
def test_what_is_required_always_occurs(make_model, seed, rows, size, wanted, room):
    """Also where the limit leaves no more room than that, and where the beam is smaller than the number of banks."""
    limit = max(sum(min(map(len, spellings)) for spellings in wanted) + room, 1)
    search = Beam(beam_size=size, nbest=size, max_length=limit)
    search.require(wanted)
    for tokens in outputs(searched(search, make_model(seed, vocab_size=VOCAB), rows)):
        assert len(tokens) <= limit
        assert all(any(holds(tokens, spelling) for spelling in spellings) for spellings in wanted)


@few_examples
@given(
    seed=seeds,
    rows=st.lists(st.lists(token, max_size=4), min_size=2, max_size=5),
    count=st.integers(1, 3),
    order=st.randoms(use_true_random=False),
    options=st.sampled_from(
        [
            {},
            {"temperature": 0.5},
            {"top_p": 0.8},
            {"typical_p": 0.7, "no_repeat_ngram": 2},
            {"repetition_penalty": 1.5},
        ]
    ),
)
def test_samples_do_not_depend_on_the_batch(make_model, seed, rows, count, order, options):
    search = Sampling(seed=seed, nbest=count, **options)
    together = searched(search, make_model(seed, vocab_size=VOCAB), rows)
    assert searched(search, make_model(seed, vocab_size=VOCAB), rows) == together
    for row, found in zip(rows, together, strict=True):
        assert searched(search, make_model(seed, vocab_size=VOCAB), [row]) == [found]
    places = list(range(len(rows)))
    order.shuffle(places)
    shuffled = searched(search, make_model(seed, vocab_size=VOCAB), [rows[place] for place in places])
    assert shuffled == [together[place] for place in places]


@few_examples
@given(seed=seeds, prompts=st.lists(st.lists(token, max_size=4), min_size=2, max_size=4), count=st.integers(1, 3))
@pytest.mark.parametrize("kind", ["beam", "groups", "required", "sampling"])
def test_prompts_do_not_depend_on_the_batch(make_model, kind, seed, prompts, count):
    search = {
        "beam": Beam(beam_size=3, nbest=count, max_length=8, no_repeat_ngram=2, min_length=5),
        "groups": Beam(beam_size=3, nbest=count, max_length=8, groups=2, diversity=0.4),
        "required": Beam(beam_size=3, nbest=count, max_length=8),
        "sampling": Sampling(nbest=count, max_length=8, seed=seed, repetition_penalty=1.2),
    }[kind]
    if kind == "required":
        search.require([[(5, 6)], [(7,)]])

    def searched(some: list[list[int]]) -> list[Any]:
        nothing = torch.zeros(len(some), 0, dtype=torch.long)
        return search(make_model(seed, vocab_size=VOCAB), nothing, nothing.bool(), some)

    together = searched(prompts)
    for prompt, found in zip(prompts, together, strict=True):
        [alone] = searched([prompt])
        assert [h.tokens for h in found] == [h.tokens for h in alone]
        assert [h.score for h in found] == pytest.approx([h.score for h in alone], abs=1e-5)
        assert all(h.tokens[: len(prompt)] == prompt for h in found)
        if kind == "required":
            assert all(holds(h.tokens, (5, 6)) and holds(h.tokens, (7,)) for h in found)


@pytest.mark.parametrize("search", [Greedy, Beam, Sampling])
def test_where_the_rules_leave_nothing_the_output_ends(make_model, search):
    """Four tokens that may be said once each, and a minimum that they cannot reach."""
    found = search(no_repeat_ngram=1, min_length=9, max_length=9)(make_model(), *pad([[4, EOS], [5, 6, EOS]]))
    for best_first in found:
        assert sorted(best_first[0].tokens) == [Vocab.unk, 4, 5, 6]
        assert best_first[0].score > -torch.inf
