import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from seq2seq.data.batch import Batch
from seq2seq.models.base import Model
from seq2seq.search.alignment import NO_WORD, AttentionMap, attends, attention_maps, word_places
from seq2seq.search.base import Hypothesis, Search
from seq2seq.search.translator import Translator
from seq2seq.text.plain import ByteTokenizer, CharacterTokenizer, WordTokenizer
from seq2seq.text.sentencepiece import SentencePieceTokenizer
from seq2seq.text.tokenizer import Tokenizer
from seq2seq.text.vocab import Vocab

# Several spaces, at the ends too; letters of two, three and four bytes; another kind of space; one long word.
LINES = [
    "the old woman opens the door",
    "  a   b\tc  ",
    "gr\u00fc\u00dfe \u4e2d\u6587 \U0001f600!",
    "one\u00a0two\u3000three",
    "Donaudampfschifffahrtsgesellschaft",
    "x",
]


def trained(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.train([*LINES, "old door", "gr\u00fcn", "ab abc"])
    return tokenizer


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, Tokenizer]:
    return {
        "characters": trained(CharacterTokenizer()),
        "bytes": trained(ByteTokenizer()),
        "words": trained(WordTokenizer()),
        "unigram": trained(SentencePieceTokenizer(vocab_size=320, character_coverage=0.98)),
        "bpe": trained(SentencePieceTokenizer(vocab_size=330, model_type="bpe")),
    }


@pytest.mark.parametrize("name", ["characters", "bytes", "words", "unigram", "bpe"])
@pytest.mark.parametrize("line", LINES)
def test_the_tokens_of_each_word_spell_it(tokenizers: dict[str, Tokenizer], name: str, line: str) -> None:
    tokenizer = tokenizers[name]
    ids = tokenizer.encode(line)
    places = word_places(tokenizer, [ids], line)
    assert len(places) == len(ids) + 1
    assert places.pop() == NO_WORD
    assert places == sorted(places)
    spelled = [
        tokenizer.decode([token for token, place in zip(ids, places, strict=True) if place == number]).strip()
        for number in range(len(line.split()))
    ]
    assert spelled == line.split()


def test_parts_of_a_line_go_on_counting(tokenizers: dict[str, Tokenizer]) -> None:
    words = tokenizers["words"]
    parts = [words.encode("the old"), [], words.encode("door opens the")]
    assert word_places(words, parts, "the old door  opens the") == [0, 1, -1, -1, 2, 3, 4, -1]
    characters = tokenizers["characters"]
    cut = [characters.encode("wo"), characters.encode("man a")]  # in the middle of a word
    assert word_places(characters, cut, "woman a") == [0, 0, -1, 0, 0, 0, 1, 1, -1]


def test_a_normalization_that_makes_other_words(tokenizers: dict[str, Tokenizer]) -> None:
    """U+200B becomes a space: the tokens spell four words of a line of three."""
    tokenizer = trained(SentencePieceTokenizer(vocab_size=320, normalization="nmt_nfkc"))
    line = "old a\u200bb door"
    ids = tokenizer.encode(line)
    assert tokenizer.decode(ids).split() == ["old", "a", "b", "door"]
    places = word_places(tokenizer, [ids], line)[:-1]
    assert places == sorted(places)
    assert set(places) == {0, 1, 2}
    last = [token for token, place in zip(ids, places, strict=True) if place == 2]
    assert tokenizer.decode(last).strip() == "door"


def test_links() -> None:
    """Two source words, of one token and of two; two target words, of two tokens and of one; eos has most of all."""
    weights = np.array(
        [
            [0.35, 0.20, 0.05, 0.40],  # 0.35 and 0.25
            [0.00, 0.10, 0.40, 0.50],  # 0.00 and 0.50; together the second word has more
            [0.30, 0.10, 0.10, 0.50],
            [0.00, 0.00, 0.00, 1.00],
        ]
    )
    attention = AttentionMap(["a", "b", "c", "</s>"], ["d", "e", "f", "</s>"], [weights], [0, 1, 1, -1], [0, 0, 1, -1])
    assert attention.links() == [(1, 0), (0, 1)]
    assert attention.pharaoh() == "1-0 0-1"
    assert attention.pharaoh((1, 0)) == "0-0"
    assert attention.pharaoh((0, 1)) == "0-0"
    assert json.loads(attention.json()) == {
        "source": ["a", "b", "c", "</s>"],
        "target": ["d", "e", "f", "</s>"],
        "weights": weights.tolist(),
    }


def test_json_has_four_decimals_and_one_line() -> None:
    weights = np.array([[1 / 3, 2 / 3]], dtype=np.float32)
    line = AttentionMap(["\u00fc\n", "b"], ["c"], [weights], [0, 1], [0]).json()
    assert "\n" not in line
    assert '"\u00fc\\n"' in line
    assert line.endswith('"weights": [[0.3333, 0.6667]]}')


def test_nothing_has_no_links() -> None:
    empty = AttentionMap([], [], [], [], [])
    assert (empty.links(), empty.pharaoh()) == ([], "")
    only_eos = AttentionMap(["a", "</s>"], ["</s>"], [np.array([[0.5, 0.5]])], [0, -1], [-1])
    assert only_eos.links() == []


def test_parts_share_no_weight_and_no_links() -> None:
    parts = [np.array([[0.2, 0.8], [0.9, 0.1]]), np.array([[1.0], [1.0], [1.0]])]
    tokens = ["a", "</s>", "</s>"], ["b", "</s>", "c", "d", "</s>"]
    attention = AttentionMap(*tokens, parts, [0, -1, -1], [0, -1, 1, 2, -1])
    assert attention.weights()[:2, :2].tolist() == parts[0].astype(np.float32).tolist()
    assert attention.weights()[2:].tolist() == [[0, 0, 1]] * 3
    assert attention.weights(max_tokens=2).shape == (2, 2)
    assert attention.links() == [(0, 0)]  # a part without a source word has none


class Reverse(Search):
    """The source backwards, and its first token only."""

    def __call__(
        self, model: Model, source: Tensor, mask: Tensor, prompts: Sequence[Sequence[int]] | None = None
    ) -> list[list[Hypothesis]]:
        rows = [row[real][:-1].tolist() for row, real in zip(source, mask, strict=True)]
        return [[Hypothesis(row[::-1], -1.0, -1.0), Hypothesis(row[:1], -2.0, -2.0)] for row in rows]


class Mirror(torch.nn.Module):
    """Attends to the same token as it says; counts the batches."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[tuple[int, ...]] = []
        self.was_training: list[bool] = []

    def attention_weights(self, batch: Batch) -> Tensor:
        self.batches.append(tuple(batch.labels.shape))
        self.was_training.append(self.training)
        assert torch.equal(
            batch.labels[:, :-1][batch.target_mask[:, 1:]], batch.target[:, 1:][batch.target_mask[:, 1:]]
        )
        same = (batch.labels[:, :, None] == batch.source[:, None]) & batch.source_mask[:, None]
        return same / same.sum(dim=2, keepdim=True).clamp(min=1)


def make_translator(model: Any, tokenizer: Tokenizer, **options: Any) -> Translator:
    settings = {"max_tokens": 40, "max_length": 30, **options}
    return Translator(model, tokenizer, tokenizer, Reverse(), device=torch.device("cpu"), **settings)


def maps_of(translator: Translator, lines: Sequence[str], nth: int = 0) -> list[AttentionMap]:
    found = [best_first[min(nth, len(best_first) - 1)] for best_first in translator.translate(lines)]
    maps = attention_maps(translator, lines, found)
    assert maps is not None
    return maps


def test_each_line_gets_its_own(tokenizers: dict[str, Tokenizer]) -> None:
    model = Mirror().train()
    lines = ["the old woman opens", "", "x", "door old", "a  b\tc old woman", " "]
    maps = maps_of(make_translator(model, tokenizers["words"], max_tokens=12), lines)
    assert [attention.pharaoh() for attention in maps] == [
        "3-0 2-1 1-2 0-3",
        "",
        "0-0",
        "1-0 0-1",
        "4-0 3-1 2-2 1-3 0-4",
        "",
    ]
    assert [attention.source for attention in maps] == [
        [*line.split(), "</s>"] if line.strip() else [] for line in lines
    ]
    assert maps[3].weights().tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]
    assert (maps[0].weights().shape, maps[1].weights().shape) == ((5, 5), (0, 0))
    assert len(model.batches) > 1
    assert all(rows * length <= 12 for rows, length in model.batches)
    assert model.was_training == [False] * len(model.batches)
    assert model.training


def test_of_other_hypotheses_too(tokenizers: dict[str, Tokenizer]) -> None:
    maps = maps_of(make_translator(Mirror(), tokenizers["words"]), ["old door", "x", "the a b"], nth=1)
    assert [attention.pharaoh() for attention in maps] == ["0-0", "0-0", "0-0"]
    assert maps[2].weights().tolist() == [[1, 0, 0, 0], [0, 0, 0, 1]]


def test_a_tag_is_the_first_word(tokenizers: dict[str, Tokenizer]) -> None:
    """Also of a line in parts, where those of the later parts count as the word behind them."""
    lines = ["old door", "", "the old woman opens"]
    maps = maps_of(make_translator(Mirror(), tokenizers["words"], max_length=3, tag="x"), lines)
    assert [attention.pharaoh() for attention in maps] == ["2-0 1-1 0-2", "", "2-0 1-1 0-2 4-3 3-4 3-5"]
    assert maps[0].source == ["x", "old", "door", "</s>"]


def test_a_line_in_parts(tokenizers: dict[str, Tokenizer]) -> None:
    """Reversed part by part; positions are those of the whole line and of the whole output."""
    line = "the old woman opens a door"
    [attention] = maps_of(make_translator(Mirror(), tokenizers["words"], max_length=3), [line])
    assert attention.target == ["woman", "old", "the", "</s>", "door", "a", "opens", "</s>"]
    assert attention.pharaoh() == "2-0 1-1 0-2 5-3 4-4 3-5"
    assert attention.weights().shape == (8, 8)
    assert not attention.weights()[:4, 4:].any()
    assert not attention.weights()[4:, :4].any()
    assert attention.weights().sum(axis=1).tolist() == [1] * 8


def test_words_of_many_tokens(tokenizers: dict[str, Tokenizer]) -> None:
    """Letters backwards: the first word of the output is the last of the source."""
    [attention] = maps_of(make_translator(Mirror(), tokenizers["characters"]), ["ox cw"])
    assert attention.target == [*"wc xo", "</s>"]
    assert attention.pharaoh() == "1-0 0-1"


def test_a_model_without_attention(make_model: Any, tokenizers: dict[str, Tokenizer]) -> None:
    translator = make_translator(make_model(vocab_size=len(tokenizers["words"].vocab)), tokenizers["words"])
    found = [best_first[0] for best_first in translator.translate(["old"])]
    assert attention_maps(translator, ["old"], found) is None
    assert not attends(translator)
    assert attends(make_translator(Mirror(), tokenizers["words"]))
    translator.source_tokenizer = None  # a language model
    assert attention_maps(translator, ["old"], found) is None
    assert not attends(translator)
    assert Vocab.eos not in found[0].parts[0][0]
