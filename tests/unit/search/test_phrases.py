import itertools
import re

import pytest
import torch

from seq2seq.errors import ConfigError
from seq2seq.search.beam import Beam
from seq2seq.search.phrases import all_spellings, listed_phrases, usual_spellings
from seq2seq.search.sampling import Sampling
from seq2seq.search.translator import Translator
from seq2seq.text.plain import ByteTokenizer, CharacterTokenizer, WordTokenizer
from seq2seq.text.sentencepiece import SentencePieceTokenizer
from seq2seq.text.tokenizer import Tokenizer
from seq2seq.text.vocab import Vocab

LINES = ["the cat sat on the mat", "a category of cats", "concatenate the cats", "#0 (cat) a 0", "Katze und Kater"] * 5


def trained(tokenizer, lines=LINES):
    tokenizer.train(lines)
    return tokenizer


@pytest.fixture(scope="module", params=["unigram", "bpe"])
def pieces(request):
    return trained(SentencePieceTokenizer(model_type=request.param, vocab_size=320))


@pytest.mark.parametrize("phrase", ["cat", "the cat", "Katze", "concat"])
def test_all_ways_to_spell_it_by_pieces(pieces, phrase):
    """Also those that the tokenizer itself would never choose, with a space before and without."""
    found = set(all_spellings(pieces, "search.banned", [phrase]))
    assert tuple(pieces.encode(phrase)) in found
    names = pieces.vocab.tokens
    spelled = phrase.replace(" ", "\u2581")
    expected = set()
    for text in (spelled, "\u2581" + spelled):
        for cuts in itertools.product([False, True], repeat=len(text) - 1):
            parts, start = [], 0
            for place, cut in enumerate([*cuts, True], 1):
                if cut:
                    parts.append(text[start:place])
                    start = place
            if all(part in names for part in parts):
                expected.add(tuple(names.index(part) for part in parts))
    assert found == expected
    assert len(expected) > 2


def test_a_phrase_inside_a_word_is_not_enough_for_what_is_required(pieces):
    [spellings] = usual_spellings(pieces, "search.required", ["cat"])
    assert spellings == [tuple(pieces.encode("cat"))]
    assert pieces.vocab.tokens[spellings[0][0]].startswith("\u2581")


class SpacedPieces(Tokenizer):
    """Pieces that hold the space before them where there is one, as byte-level BPE has."""

    shared = True

    def __init__(self):
        self.vocab = Vocab(
            (*Vocab.special, "cat", "\u0120cat", "c", "at", "\u0120c", "#", "\u0120", "the", "\u0120the")
        )

    def encode(self, text):
        found, text = [], text.replace(" ", "\u0120")
        while text:
            best = max((t for t in self.vocab.tokens[4:] if text.startswith(t)), key=len, default="")
            found.append(self.vocab.tokens.index(best) if best else Vocab.unk)
            text = text[max(len(best), 1) :]
        return found

    def decode(self, ids):
        return "".join(self.vocab.tokens[token] for token in ids).replace("\u0120", " ")

    def train(self, lines): ...
    def save(self, folder): ...
    @classmethod
    def load(cls, folder): ...


def test_pieces_with_the_space_before_them():
    tokenizer = SpacedPieces()

    def told(spellings):
        return {"+".join(tokenizer.vocab.tokens[token] for token in spelling) for spelling in spellings}

    assert told(usual_spellings(tokenizer, "search.required", ["cat"])[0]) == {"cat", "\u0120cat"}
    assert told(usual_spellings(tokenizer, "search.required", ["the cat"])[0]) == {
        "the+\u0120cat",
        "\u0120the+\u0120cat",
    }
    found = told(all_spellings(tokenizer, "search.banned", ["cat"]))
    assert found >= {"cat", "c+at", "\u0120cat", "\u0120c+at"}


def test_chinese_words_follow_each_other_without_spaces():
    pieces = trained(
        SentencePieceTokenizer(vocab_size=310), ["\u732b\u5728\u57ab\u5b50\u4e0a", "\u6211\u7684\u732b"] * 9
    )
    [spellings] = usual_spellings(pieces, "search.required", ["\u732b"])
    told = {"".join(pieces.vocab.tokens[token] for token in spelling) for spelling in spellings}
    assert told == {"\u732b"}  # the piece for the space before it is one of its own


@pytest.mark.parametrize("tokenizer", [CharacterTokenizer(), ByteTokenizer()], ids=["characters", "bytes"])
def test_characters_and_bytes_have_one_spelling(tokenizer):
    trained(tokenizer)
    for phrase in ("cat", "the cat"):
        assert all_spellings(tokenizer, "search.banned", [phrase]) == [tuple(tokenizer.encode(phrase))]
        assert usual_spellings(tokenizer, "search.required", [phrase]) == [[tuple(tokenizer.encode(phrase))]]


def test_words_have_one_spelling():
    tokenizer = trained(WordTokenizer(), [*LINES, "c at", "thecat"])
    assert all_spellings(tokenizer, "search.banned", ["cat", "the cat"]) == [
        tuple(tokenizer.encode("cat")) if "cat" in tokenizer.vocab.tokens else (),
        tuple(tokenizer.encode("the cat")),
    ]


def test_a_long_phrase_has_not_too_many_spellings(pieces):
    phrase = " ".join(["the cat sat on the mat"] * 4)
    found = all_spellings(pieces, "search.banned", [phrase])
    assert tuple(pieces.encode(phrase)) in found
    assert len(found) < 3000


def test_what_cannot_be_spelled_is_refused():
    tokenizer = trained(WordTokenizer())
    told = (
        "search.banned: ' ' holds no text\n"
        "search.banned: 'the dog' holds what the tokenizer does not know, so it is never said"
    )
    for search in (Beam(banned=["cat", " ", "the dog"]), Sampling(banned=["cat", " ", "the dog"])):
        with pytest.raises(ConfigError) as caught:
            search.learn(tokenizer)
        assert str(caught.value) == told.replace("'cat'", "")
    with pytest.raises(ConfigError, match=re.escape("search.required: 'dog' holds what the tokenizer does not know")):
        Beam(required="dog").learn(tokenizer)


def test_phrases_are_given_as_text_or_as_a_list():
    assert listed_phrases(None) == []
    assert listed_phrases("a cat") == ["a cat"]
    assert listed_phrases(["a", "b", "a"]) == ["a", "b"]


@pytest.mark.parametrize("options", [{"banned": "cat"}, {"required": "cat"}])
def test_text_means_nothing_before_the_tokenizer_is_known(make_model, options):
    with pytest.raises(ValueError, match=r"phrases are text: learn\(tokenizer\) has to be called before the search"):
        Beam(**options)(make_model(), torch.tensor([[4, 3]]), torch.tensor([[True, True]]))


@pytest.mark.parametrize("option", ["banned", "required"])
def test_what_the_translator_says(pieces, make_model, option):
    """A model that likes to say parts of the word, in every spelling."""
    names = pieces.vocab.tokens
    parts = [number for number, name in enumerate(names) if name.strip("\u2581") and name.strip("\u2581") in "cats"]
    assert len(parts) > 5

    def change(row, prefix):
        row[4:260] = -30.0  # bytes
        row[parts] += 5.0
        row[Vocab.eos] += 4.0

    def texts(**options):
        search = Beam(beam_size=6, nbest=6, max_length=12, **options)
        model = make_model(vocab_size=len(names), change=change)
        translator = Translator(model, pieces, pieces, search, max_tokens=99, max_length=20, device=torch.device("cpu"))
        found = translator.translate(["the mat", "a", "the cats sat on the mat", "on", "und", "a mat"])
        return [translation.text for of_line in found for translation in of_line]

    told = texts(**{option: "cat"})
    if option == "banned":
        assert not any("cat" in text.split() for text in told)
    else:
        assert all("cat" in text for text in told)  # at least as the beginning of a word
    assert {"cat" in text.split() for text in texts()} == {False, True}
