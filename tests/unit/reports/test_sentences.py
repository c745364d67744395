"""Sentences that two systems translate differently."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics import CHRF

from seq2seq.reports.sentences import compared, grams, largest, pieces, sentence_chrf

texts = st.text(alphabet="ab c.\u00e4\u4e00\u4e8c", max_size=25)


@settings(max_examples=150, deadline=None)
@given(texts, texts)
def test_chrf_is_that_of_sacrebleu(hypothesis: str, reference: str) -> None:
    expected = CHRF().sentence_score(hypothesis, [reference]).score
    assert sentence_chrf(grams(hypothesis), grams(reference)) == pytest.approx(expected, abs=1e-9)


def test_the_largest_differences_come_first_both_ways() -> None:
    by_first, by_second = largest([90, 10, 50, 50, 80], [10, 95, 50, 49, 70], most=2)
    assert [one.place for one in by_first] == [0, 4]
    assert [(one.place, one.first, one.second) for one in by_second] == [(1, 10, 95)]


@settings(deadline=None)
@given(st.text(max_size=30))
def test_pieces_together_are_the_text(text: str) -> None:
    assert "".join(pieces(text)) == text


def test_pieces_are_words_marks_and_characters_of_scripts_without_spaces() -> None:
    assert pieces("Geht's gut,  ja?") == ["Geht", "'", "s", " ", "gut", ",", "  ", "ja", "?"]
    assert pieces("\u4e00\u4e8c\u3002A1") == ["\u4e00", "\u4e8c", "\u3002", "A1"]


def test_differing_words_are_told_and_which_of_them_the_reference_has() -> None:
    found = compared("the big dog dog runs", "the dog walks", reference="a big dog runs")
    differs = [piece.text for piece in found if piece.differs]
    assert differs == ["big", "dog", "runs"]
    assert [piece.text for piece in found if piece.differs and piece.met] == ["big", "runs"]
    assert "".join(piece.text for piece in found) == "the big dog dog runs"


def test_what_the_reference_has_once_is_met_once() -> None:
    found = compared("who swum swum ?", "who is swum ?", reference="who is slowly swum ?")
    assert [piece.text for piece in found if piece.differs] == ["swum"]
    assert not any(piece.met for piece in found)


def test_equal_texts_do_not_differ() -> None:
    assert not any(piece.differs for piece in compared("so so .", "so so .", "no"))
    assert all(piece.differs for piece in compared("alone", "", "") if piece.text.strip())
