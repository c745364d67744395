from pathlib import Path

import pytest

from seq2seq.errors import CheckpointError, ConfigError
from seq2seq.registry import Factory
from seq2seq.text.huggingface import NO_ROW, HuggingFaceTokenizer, numbered
from seq2seq.text.pair import load_pair, train_pair
from seq2seq.text.vocab import Vocab

from ...pretrained_models import FAMILIES, make

LINES = [
    f"the {size} {animal} {verb} in the {place}" for size in ("small", "big", "old")
    for animal in ("dog", "cat", "owl") for verb in ("sleeps", "sings", "eats") for place in ("house", "garden", "wood")
]  # fmt: skip
ODD = ["", "  two  spaces ", "</s> <pad> <s>", "a\nb", "\ud83d half", "[SEP] <|endoftext|>", "\u65e5\u672c"]


@pytest.fixture(scope="module", params=list(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(family, tmp_path_factory.mktemp(family), LINES)


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> HuggingFaceTokenizer:
    tokenizer = HuggingFaceTokenizer(path=str(folder))
    tokenizer.train([], ["<2de>"])
    return tokenizer


def test_text_comes_back(tokenizer: HuggingFaceTokenizer) -> None:
    assert [tokenizer.decode(tokenizer.encode(line)) for line in LINES[:5]] == LINES[:5]


def test_ids_are_the_library_s_in_our_order(tokenizer: HuggingFaceTokenizer, folder: Path) -> None:
    import transformers

    library = transformers.AutoTokenizer.from_pretrained(folder)
    for line in LINES[:5]:
        theirs = [tokenizer.vocab.theirs[token] for token in tokenizer.encode(line)]
        assert theirs == library(line, add_special_tokens=False).input_ids


def test_every_row_has_one_token(tokenizer: HuggingFaceTokenizer) -> None:
    vocab = tokenizer.vocab
    assert vocab.tokens[:4] == Vocab.special
    assert len(set(vocab.tokens)) == len(vocab) == len(vocab.theirs)
    known = sorted(row for row in vocab.theirs if row != NO_ROW)
    assert known == list(range(len(known)))
    assert len(known) >= vocab.num_rows


def test_what_looks_like_an_end_is_none(tokenizer: HuggingFaceTokenizer) -> None:
    for text in ODD:
        ids = tokenizer.encode(text)
        assert not {Vocab.pad, Vocab.bos, Vocab.eos} & set(ids)
        assert "\n" not in tokenizer.decode(ids)
    assert tokenizer.encode_batch(ODD) == [tokenizer.encode(text) for text in ODD]


def test_symbols_are_one_token(tokenizer: HuggingFaceTokenizer) -> None:
    ids = tokenizer.encode("<2de> the cat")
    assert tokenizer.vocab.tokens[ids[0]] == "<2de>"
    assert tokenizer.decode(ids).replace(" ", "") == "<2de>thecat"


def test_stored_and_read_again(folder: Path, tmp_path: Path) -> None:
    pair = train_pair(Factory(HuggingFaceTokenizer, "huggingface", {"path": str(folder)}), list, list, ["<2de>"])
    pair.save(tmp_path / "tokenizer")
    again = load_pair(HuggingFaceTokenizer, tmp_path / "tokenizer")
    assert pair.source is not None
    assert again.source is not None
    assert again.vocabs == pair.vocabs
    for line in [*LINES[:3], *ODD]:
        assert again.source.encode(line) == pair.source.encode(line)
        assert again.target.encode(line) == pair.target.encode(line)


def test_the_two_sides_of_marian(tmp_path: Path) -> None:
    """Its source and its target are cut by different models of one vocabulary."""
    make("marian", tmp_path, [text for n in range(300) for text in (f"the dog number {n}", f"der Hund Nummer {n}")])
    source = HuggingFaceTokenizer(path=str(tmp_path))
    source.train([])
    target = source.as_target()
    assert Vocab.unk in target.encode("the dog number")  # has letters that no target has
    assert Vocab.unk not in source.encode("the dog number")
    assert Vocab.unk not in target.encode("der Hund Nummer")


def test_numbers() -> None:
    vocab = numbered(["a", "</s>", "<pad>", "b"], [2, None, 1, 1], num_rows=6)
    assert vocab.tokens == ("<pad>", "<unk>", "<s>", "</s>", "a", "b", "<row 4>", "<row 5>")
    assert vocab.theirs == (2, NO_ROW, NO_ROW, 1, 0, 3, 4, 5)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        HuggingFaceTokenizer(path=str(tmp_path / "none")).train([])
    assert str(caught.value) == f"path: {tmp_path / 'none'}: there is no such folder"
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"holds no tokenizer, as tokenizer\.json is one"):
        HuggingFaceTokenizer(path=str(tmp_path / "empty")).train([])
    with pytest.raises(CheckpointError, match=r"table\.json: the file is missing"):
        HuggingFaceTokenizer.load(tmp_path / "empty")
