import itertools
import math

import pytest

from seq2seq.data.batch import pad
from seq2seq.search.beam import Beam
from seq2seq.search.required import Required, _shares
from seq2seq.search.rules import Rules
from seq2seq.text.vocab import Vocab

EOS = Vocab.eos
SOURCES = [[4, 5, EOS], [6, EOS], [EOS], [5, 5, 4, EOS]]


def holds(tokens, spelling):
    return any(tuple(tokens[i : i + len(spelling)]) == spelling for i in range(len(tokens) - len(spelling) + 1))


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("phrases", [[[(4,)]], [[(5, 4)]], [[(4,)], [(5,)]], [[(4, 5), (5, 5)]], [[(4, 5)], [(5, 1)]]])
def test_a_full_beam_finds_the_best_that_has_them(make_model, seed, phrases):
    """Among all outputs of a tiny vocabulary."""
    model, limit = make_model(seed, vocab_size=6), 4
    alphabet = [1, 4, 5]
    outputs = [list(o) for length in range(limit + 1) for o in itertools.product(alphabet, repeat=length)]
    beam = Beam(beam_size=2 * len(outputs), length_penalty=0.6, max_length=limit)
    beam.require(phrases)
    for source, found in zip(SOURCES, beam(model, *pad(SOURCES)), strict=True):
        scored = [
            (model.log_probability(source, tokens) / (len(tokens) + 1) ** 0.6, tokens)
            for tokens in outputs
            if all(any(holds(tokens, spelling) for spelling in spellings) for spellings in phrases)
        ]
        score, tokens = max(scored)
        assert found[0].tokens == tokens
        assert found[0].score == pytest.approx(score, abs=1e-5)


def test_where_there_is_no_room_the_output_goes_to_the_limit(make_model):
    beam = Beam(beam_size=3, max_length=3)
    beam.require([[(4, 4)], [(5, 6)]])
    for best_first in beam(make_model(), *pad(SOURCES)):
        assert len(best_first[0].tokens) == 3
        assert best_first[0].score > -math.inf


def test_where_a_rule_forbids_them_there_is_an_output(make_model):
    beam = Beam(beam_size=3, max_length=6)
    beam.require([[(4, 5)]])
    beam.rules.ban([(5,)])
    for best_first in beam(make_model(), *pad(SOURCES)):
        assert 5 not in best_first[0].tokens
        assert best_first[0].score > -math.inf


def test_phrases_may_overlap(make_model):
    def only_this(row, prefix):
        row[:] = -30.0
        row[{1: 4, 2: 5, 3: 1}.get(len(prefix), EOS)] = 0.0

    beam = Beam(beam_size=3)
    beam.require([[(4, 5)], [(5, 1)]])
    assert [best_first[0].tokens for best_first in beam(make_model(change=only_this), *pad(SOURCES))] == 4 * [[4, 5, 1]]


def test_a_model_that_would_never_say_them(make_model):
    def never(row, prefix):
        row[4] = -30.0

    beam = Beam(beam_size=2, nbest=2)
    beam.require([[(4, 4, 4)]])
    for best_first in beam(make_model(change=never), *pad(SOURCES)):
        assert all(holds(h.tokens, (4, 4, 4)) for h in best_first)


def test_what_is_missing():
    required = Required([[(4, 5, 6), (7, 8)], [(5, 9)]], 3, Rules())
    assert required.total == 4
    for tokens, missing in [
        ([], 4),
        ([7], 3),
        ([7, 7], 3),
        ([7, 9], 4),
        ([4, 5], 3),  # a begun (5, 9), while (4, 5, 6) needs as much as (7, 8)
        ([7, 8], 2),
        ([4, 5, 6], 2),
        ([4, 5, 9], 2),
        ([7, 8, 5], 1),
        ([7, 8, 1, 5, 9], 0),
        ([5, 9, 4, 5, 6], 0),
    ]:
        assert required.missing(tokens) == missing, tokens


def test_shares_of_the_banks():
    assert _shares([9, 9, 9], 6) == [2, 2, 2]
    assert _shares([9, 9, 9], 5) == [1, 2, 2]
    assert _shares([9, 9, 1], 6) == [2, 3, 1]
    assert _shares([9, 0, 0], 6) == [6, 0, 0]
    assert _shares([9, 9, 9], 2) == [0, 1, 1]
    assert _shares([1, 1, 0], 5) == [1, 1, 0]
