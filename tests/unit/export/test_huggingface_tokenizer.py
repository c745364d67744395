"""What transformers makes of the files against our tokenizers: the ids of odd texts, and back."""

import random
from pathlib import Path
from typing import Any

import pytest

from seq2seq.errors import ConfigError
from seq2seq.export.huggingface_tokenizer import save_tokenizer
from seq2seq.text.plain import ByteTokenizer, CharacterTokenizer, WordTokenizer
from seq2seq.text.sentencepiece import SentencePieceTokenizer
from seq2seq.text.tokenizer import Tokenizer
from seq2seq.text.vocab import Vocab

transformers = pytest.importorskip("transformers")

LINES = [
    "The old woman opens the door of the house, and the dog sleeps.",
    "Die alte Frau \u00f6ffnet die T\u00fcr des Hauses, und der Hund schl\u00e4ft.",
    "Does the teacher help the child? Hilft die Lehrerin dem Kind?",
    "In 1984 there were 2,935 houses and 100 dogs; one (or two) cats!",
    "Un caf\u00e9 na\u00efve, \u041f\u0440\u0438\u0432\u0435\u0442, \u4f60\u597d\uff0c\u4e16\u754c\u3002",
]
TEXTS = [
    *LINES, "", " ", "  a  b   c ", "\ta\tb", "a\u00a0b", "a\nb", " \n a", "a \n", "\r\n", "\u2003a\u2003\u3000b",
    "\u2581a\u2581", "a\u2581\u2581b", "\x00a\x00b", "\x01\x02", "\ufeffx", "\u200bx\u200b", "e\u0301x",
    "\ufb01ne \u2460", "\uff21\uff22 \u00bd \u212b", "\U0001f600 \U0001f469\u200d\U0001f469 x", "\ud55c\uad6d\uc5b4",
    "<s>", "</s> x <unk> <pad>", "x<s>y", "<<s>>", "< s>", "<0x41> a<0x0A>b", "qqqq zzzz", "\u0436\u0449\u0436\u0449",
    "<2de> the house", "the house <2de>", "x<2de>y", "<2de>", " <2de>  the <2de><2de>", "<2de><s>", "\u2047",
    "a\x85b\x1cc",
]  # fmt: skip
LETTERS = "abcdehtse  .,-'<>/s019\u00f6\u00fc\u00e9\u4f60\u0436\u0301\u00a0\u2003\t\n\u2581\U0001f600\u200d"


def odd_texts() -> list[str]:
    generator = random.Random(2)
    words = " ".join(LINES).split()
    mixed = ["".join(generator.choices(LETTERS, k=generator.randrange(25))) for _ in range(300)]
    return [*TEXTS, *mixed, *(" ".join(generator.choices(words, k=generator.randrange(20))) for _ in range(100))]


def sentencepiece(**options: Any) -> Tokenizer:
    size = 400 if options.get("byte_fallback", True) else 140
    return SentencePieceTokenizer(vocab_size=size, **options)


def loaded(tokenizer: Tokenizer, folder: Path) -> Any:
    tokenizer.train(LINES * 3, ["<2de>"])
    save_tokenizer(tokenizer, folder, 77)
    return transformers.AutoTokenizer.from_pretrained(folder)


KINDS: list[Tokenizer] = [
    CharacterTokenizer(),
    WordTokenizer(),
    WordTokenizer(min_count=4),
    ByteTokenizer(),
    *(
        sentencepiece(model_type=model_type, byte_fallback=byte_fallback, normalization=normalization)
        for model_type in ("unigram", "bpe")
        for byte_fallback in (True, False)
        for normalization in ("identity", "nfc")
    ),
]


@pytest.mark.parametrize("tokenizer", KINDS)
def test_the_same_ids_and_texts(tmp_path: Path, tokenizer: Tokenizer) -> None:
    theirs = loaded(tokenizer, tmp_path)
    for text in odd_texts():
        ids = tokenizer.encode(text)
        assert theirs(text)["input_ids"] == [*ids, Vocab.eos], text
        assert theirs.decode([Vocab.bos, *ids, Vocab.eos, Vocab.pad], skip_special_tokens=True) == tokenizer.decode(ids)


@pytest.mark.parametrize("tokenizer", KINDS)
def test_any_output_becomes_the_same_text(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """Bytes that are no UTF-8 apart, each of which becomes a mark of its own in one of the two."""
    theirs = loaded(tokenizer, tmp_path)
    known = [n for n, token in enumerate(tokenizer.vocab.tokens) if not token.startswith("<0x") or token < "<0x80>"]
    generator = random.Random(3)
    for _ in range(200):
        ids = generator.choices(known, k=generator.randrange(12))
        assert theirs.decode(ids, skip_special_tokens=True) == tokenizer.decode(ids), ids


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
@pytest.mark.parametrize("normalization", ["nfkc", "nmt_nfkc"])
def test_compatibility_forms(tmp_path: Path, model_type: str, normalization: str) -> None:
    """Of several marks on one letter in no usual order, the only texts that are read in another way, there are none."""
    tokenizer = sentencepiece(model_type=model_type, normalization=normalization)
    theirs = loaded(tokenizer, tmp_path)
    for text in odd_texts():
        if "\u0301" not in text:
            assert theirs(text)["input_ids"] == [*tokenizer.encode(text), Vocab.eos], text
    assert theirs("cafe\u0301")["input_ids"] == [*tokenizer.encode("cafe\u0301"), Vocab.eos]


def test_a_batch_with_padding(tmp_path: Path) -> None:
    tokenizer = CharacterTokenizer()
    theirs = loaded(tokenizer, tmp_path)
    batch = theirs(["a", "the dog"], padding=True)
    assert batch["input_ids"] == [[*tokenizer.encode("a"), 3, *[0] * 6], [*tokenizer.encode("the dog"), 3]]
    assert batch["attention_mask"] == [[1, 1, *[0] * 6], [1] * 8]
    assert set(batch) == {"input_ids", "attention_mask"}
    assert (theirs.pad_token_id, theirs.bos_token_id, theirs.eos_token_id) == (0, 2, 3)
    assert (len(theirs), theirs.model_max_length) == (len(tokenizer.vocab), 77)
    assert theirs.batch_decode(batch["input_ids"], skip_special_tokens=True) == ["a", "the dog"]


def test_all_tokens_have_their_ids(tmp_path: Path) -> None:
    for number, tokenizer in enumerate(KINDS):
        folder = tmp_path / str(number)
        folder.mkdir()
        theirs = loaded(tokenizer, folder)
        assert theirs.convert_ids_to_tokens(range(len(tokenizer.vocab))) == list(tokenizer.vocab.tokens)


def test_files_that_are_saved_again(tmp_path: Path) -> None:
    tokenizer = sentencepiece()
    loaded(tokenizer, tmp_path).save_pretrained(tmp_path / "again")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "again")
    for text in TEXTS:
        assert theirs(text)["input_ids"] == [*tokenizer.encode(text), Vocab.eos], text


def test_words_that_are_names_of_special_tokens(tmp_path: Path) -> None:
    tokenizer = WordTokenizer()
    tokenizer.train(["a <s> b <unk>"])
    with pytest.raises(ConfigError) as raised:
        save_tokenizer(tokenizer, tmp_path, 77)
    assert str(raised.value) == (
        "tokenizer: has the words <s>, <unk>, which are the special tokens' names in Hugging Face's files: "
        "take them out of the training data, or use another tokenizer"
    )


def test_a_tokenizer_of_ones_own(tmp_path: Path) -> None:
    class Own(CharacterTokenizer):
        pass

    with pytest.raises(ConfigError) as raised:
        save_tokenizer(Own(), tmp_path, 77)
    assert str(raised.value) == (
        "tokenizer.name: Hugging Face has no place for Own, only for sentencepiece, words, characters and bytes"
    )
