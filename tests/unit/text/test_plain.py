import json
import re
from pathlib import Path

import pytest

from seq2seq.errors import CheckpointError, ConfigError
from seq2seq.text.plain import ByteTokenizer, CharacterTokenizer, WordTokenizer
from seq2seq.text.vocab import Vocab


def test_characters_are_the_code_points_of_the_lines() -> None:
    tokenizer = CharacterTokenizer()
    tokenizer.train(["ba", "a\u00e9", "b b"])
    assert tokenizer.vocab.tokens == (*Vocab.special, " ", "a", "b", "\u00e9")
    assert tokenizer.encode("b a") == [6, 4, 5]


def test_an_unseen_character_is_unk_and_visible() -> None:
    tokenizer = CharacterTokenizer()
    tokenizer.train(["ab"])
    assert tokenizer.encode("azb") == [4, Vocab.unk, 5]
    assert tokenizer.decode([4, Vocab.unk, 5]) == "a\u2047b"


def test_a_character_that_breaks_the_line_becomes_a_space() -> None:
    tokenizer = CharacterTokenizer()
    tokenizer.train(["a\nb\rc"])
    assert tokenizer.decode(tokenizer.encode("a\nb\r\nc")) == "a b  c"


def test_bytes_have_260_ids_without_training() -> None:
    tokenizer = ByteTokenizer()
    assert len(tokenizer.vocab) == 260
    assert tokenizer.vocab.tokens[4 + 0x0A] == "<0x0A>"
    assert tokenizer.encode("A\u00e9\0") == [4 + 0x41, 4 + 0xC3, 4 + 0xA9, 4]


def test_broken_bytes_are_replaced_and_breaks_become_spaces() -> None:
    tokenizer = ByteTokenizer()
    assert tokenizer.decode([4 + 0x41, 4 + 0xC3, 4 + 0x42]) == "A\ufffdB"
    assert tokenizer.decode([4 + 0x41, 4 + 0x0D, 4 + 0x0A, Vocab.unk]) == "A  \u2047"


def test_bytes_with_a_special_id_inside_a_character() -> None:
    assert ByteTokenizer().decode([4 + 0xC3, Vocab.pad, 4 + 0xA9]) == "\u00e9"


def test_training_bytes_reads_no_more_than_it_must() -> None:
    lines = iter(["", "text", "unread"])
    ByteTokenizer().train(lines)
    assert list(lines) == ["unread"]


def test_words_by_count_then_alphabet() -> None:
    tokenizer = WordTokenizer()
    tokenizer.train(["d c b b", "  a\tc b\u00a0"])
    assert tokenizer.vocab.tokens[4:] == ("b", "c", "a", "d")
    assert tokenizer.encode(" d   b\nx") == [7, 4, Vocab.unk]
    assert tokenizer.decode([7, 4, Vocab.unk]) == "d b \u2047"


def test_a_word_that_looks_special_is_a_word() -> None:
    tokenizer = WordTokenizer()
    tokenizer.train(["<s> a <s>"])
    assert tokenizer.encode("<s> </s>") == [4, Vocab.unk]
    assert tokenizer.decode([4]) == "<s>"


@pytest.mark.parametrize(
    ("max_size", "min_count", "words"),
    [(None, 2, ("b", "c")), (1, 1, ("b",)), (3, 1, ("b", "c", "a")), (5, 3, ("b",)), (9, 1, ("b", "c", "a", "d"))],
)
def test_limits_of_words(max_size: int | None, min_count: int, words: tuple[str, ...]) -> None:
    tokenizer = WordTokenizer(max_size=max_size, min_count=min_count)
    tokenizer.train(["c b b", "a c b d"])
    assert tokenizer.vocab.tokens[4:] == words


def test_a_min_count_that_leaves_nothing() -> None:
    with pytest.raises(ConfigError, match=r"^min_count: 3 is too high: no word occurs more than 2 times$"):
        WordTokenizer(min_count=3).train(["b a b"])


def test_the_stored_vocabulary_is_plain_json(tmp_path: Path) -> None:
    tokenizer = WordTokenizer(shared=False)
    tokenizer.train(["\u00e9 \U0001f600"])
    tokenizer.save(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["vocab.json"]
    stored = json.loads((tmp_path / "vocab.json").read_text(encoding="ascii"))
    assert stored == {"tokenizer": "words", "shared": False, "tokens": [*Vocab.special, "\u00e9", "\U0001f600"]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokenizer": "words"}, "holds the tokenizer 'words', not 'characters'"),
        ({"shared": "yes"}, "damaged"),
        ({"tokens": None}, "damaged"),
        ({"tokens": [*Vocab.special, 1]}, "damaged"),
        ({"tokens": ["a", "b"]}, "damaged"),
    ],
)
def test_a_stored_vocabulary_is_checked(tmp_path: Path, change: dict[str, object], message: str) -> None:
    tokenizer = CharacterTokenizer()
    tokenizer.train(["ab"])
    tokenizer.save(tmp_path)
    file = tmp_path / "vocab.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(CheckpointError, match=f"^{re.escape(str(file))}: .*{message}"):
        CharacterTokenizer.load(tmp_path)


def test_a_byte_vocabulary_has_all_bytes(tmp_path: Path) -> None:
    ByteTokenizer().save(tmp_path)
    file = tmp_path / "vocab.json"
    stored = json.loads(file.read_text())
    file.write_text(json.dumps({**stored, "tokens": stored["tokens"][:-1]}))
    with pytest.raises(CheckpointError, match=re.escape(f"{file}: the file is damaged")):
        ByteTokenizer.load(tmp_path)
