import json
import pickle
import random
import re
import tracemalloc
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

from seq2seq.errors import CheckpointError, ConfigError, DataError
from seq2seq.text.sentencepiece import SentencePieceTokenizer, sample
from seq2seq.text.vocab import Vocab

THREE = ["the cat sat on the mat", "a dog", "on the mat"]
FIRST_BYTE = len(Vocab.special)
NUM_FIXED = FIRST_BYTE + 256


def trained(lines: list[str], **options: object) -> SentencePieceTokenizer:
    tokenizer = SentencePieceTokenizer(**options)  # type: ignore[arg-type]
    tokenizer.train(lines)
    return tokenizer


@pytest.fixture(scope="module", params=["unigram", "bpe"])
def model_type(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("lines", [THREE, ["a"], ["a b"] * 3])
@pytest.mark.parametrize("byte_fallback", [True, False])
def test_a_tiny_corpus_gets_a_smaller_vocabulary(model_type: str, lines: list[str], byte_fallback: bool) -> None:
    tokenizer = trained(lines, model_type=model_type, byte_fallback=byte_fallback)
    assert len(tokenizer.vocab) < 8000
    assert tokenizer.vocab.tokens[:4] == Vocab.special
    assert tokenizer.decode(tokenizer.encode(lines[0])) == lines[0]


def test_vocab_size_is_reached_where_the_text_allows(model_type: str) -> None:
    words = [f"{first}{second}{third}" for first in "abcde" for second in "fghij" for third in "klmno"]
    assert len(trained(words, model_type=model_type, vocab_size=NUM_FIXED + 37).vocab) == NUM_FIXED + 37


def test_frequent_text_becomes_few_pieces(model_type: str) -> None:
    tokenizer = trained(["banana split", "banana bread", "one banana", "banana"] * 20, model_type=model_type)
    assert len(tokenizer.encode("banana")) <= 2


def test_the_model_types_learn_different_pieces() -> None:
    words = [f"{first}{second}{third}" for first in "abcde" for second in "fghij" for third in "klmno"]
    unigram, bpe = (trained(words, model_type=kind, vocab_size=NUM_FIXED + 37).vocab for kind in ("unigram", "bpe"))
    assert set(unigram.tokens) != set(bpe.tokens)


def test_nothing_is_printed(model_type: str, capfd: pytest.CaptureFixture[str]) -> None:
    tokenizer = trained([*THREE, "x" * 20_000, "\u2585 skipped"], model_type=model_type)
    tokenizer.encode_batch([*THREE, "\u2585\0"])
    with pytest.raises(ConfigError):
        trained(THREE, model_type=model_type, vocab_size=NUM_FIXED + 1, character_coverage=1.0)
    with pytest.raises(DataError):
        trained(["\u2581"], model_type=model_type)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("text", "decoded"),
    [
        ("  a   b  ", "a b"),
        ("a\u2581\u2581b\u2581", "a b"),
        (" \u2581", ""),
        ("\ta\tb\t", "\ta\tb\t"),
        ("a\u00a0 b\u3000", "a\u00a0 b\u3000"),
        ("a\nb\r\nc", "a b  c"),
        ("\0a\0", "\0a\0"),
        ("e\u0301", "e\u0301"),
        ("\U0001f468\u200d\U0001f469", "\U0001f468\u200d\U0001f469"),
        ("\u2585", "\u2585"),
        ("<s></s><pad><unk><0x0A>", "<s></s><pad><unk><0x0A>"),
        ("\uff21", "\uff21"),
        ("\ud83d", "?"),
    ],
)
def test_what_becomes_of_odd_text(model_type: str, text: str, decoded: str) -> None:
    tokenizer = trained(THREE, model_type=model_type)
    assert tokenizer.decode(tokenizer.encode(text)) == decoded


@pytest.mark.parametrize("normalization", ["nfkc", "nmt_nfkc"])
def test_normalization_unifies(normalization: str, tmp_path: Path) -> None:
    tokenizer = trained(THREE, normalization=normalization)
    tokenizer.save(tmp_path)
    for same in (tokenizer, SentencePieceTokenizer.load(tmp_path)):
        assert same.decode(same.encode("\uff21 \ufb01")) == "A fi"


def test_nfc_joins_accents_and_changes_nothing_else(model_type: str, tmp_path: Path) -> None:
    tokenizer = trained([*THREE, "caf\u00e9"], model_type=model_type, normalization="nfc")
    tokenizer.save(tmp_path)
    for same in (tokenizer, SentencePieceTokenizer.load(tmp_path)):
        assert same.encode("cafe\u0301") == same.encode("caf\u00e9")
        assert same.encode_batch(["cafe\u0301"]) == [same.encode("caf\u00e9")]
        assert same.decode(same.encode("e\u0301 \ufb01 \uff21")) == "\u00e9 \ufb01 \uff21"
    pieces = "".join(trained(["cafe\u0301"] * 3, model_type=model_type, normalization="nfc").vocab.tokens)
    assert "\u00e9" in pieces
    assert "\u0301" not in pieces


VARIED = ["the cat sat on the mat and a dog sat there"] * 20


def sampling(model_type: str, **options: object) -> SentencePieceTokenizer:
    usual = {"unigram": 0.2, "bpe": 0.1}[model_type]
    return trained([*THREE, *VARIED, *ODD], model_type=model_type, **{"sampling": usual, **options})


ODD = ["e\u0301 \U0001f468\u200d\U0001f469", "a\tb", "\u65e5\u672c", ""]
UNSEEN = ["\u0416\u0434\u0438 \U0001f600", "\0"]


def test_another_seed_cuts_in_other_ways(model_type: str) -> None:
    tokenizer = sampling(model_type)
    drawn = [tokenizer.sample_batch(VARIED, seed) for seed in (1, 2, 1, 2**64 - 1, 2**64 - 1)]
    assert drawn[0] == drawn[2] != drawn[1]
    assert drawn[3] == drawn[4]
    assert len(set(map(tuple, drawn[0]))) > 5
    tokenizer.sample_batch(VARIED, 1)
    assert tokenizer.sample_batch(VARIED[:3], 1) == drawn[0][:3]


def test_seeds_hold_in_threads_that_sample_at_a_time(model_type: str) -> None:
    tokenizer = sampling(model_type)
    expected = [tokenizer.sample_batch(VARIED, seed) for seed in range(20)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda seed: tokenizer.sample_batch(VARIED, seed), range(20))) == expected


@pytest.mark.parametrize("normalization", ["identity", "nfc", "nfkc"])
def test_sampled_text_comes_back(model_type: str, normalization: str) -> None:
    tokenizer = sampling(model_type, normalization=normalization)
    texts = [*THREE, *VARIED, *ODD, *UNSEEN]
    for seed in range(5):
        for ids, plain in zip(tokenizer.sample_batch(texts, seed), tokenizer.encode_batch(texts), strict=True):
            assert tokenizer.decode(ids) == tokenizer.decode(plain)
            assert Vocab.unk not in ids
    assert tokenizer.sample_batch([], 1) == []


@pytest.mark.parametrize("alpha", [0.1, 1.0])
def test_symbols_stay_whole_in_samples(model_type: str, alpha: float, tmp_path: Path) -> None:
    tokenizer = SentencePieceTokenizer(model_type=model_type, sampling=alpha)  # type: ignore[arg-type]
    tokenizer.train([*THREE, *VARIED, "< m a s k > mask"], symbols=["<mask>", "<b>"])
    tokenizer.save(tmp_path)
    for same in (tokenizer, SentencePieceTokenizer.load(tmp_path)):
        drawn = same.sample_batch(["the <mask> cat<b>sat <mask>"] * 2000, 3)
        counts = [[ids.count(same.vocab.tokens.index(symbol)) for symbol in ("<mask>", "<b>")] for ids in drawn]
        assert counts == [[2, 1]] * 2000


def test_without_sampling_a_sample_is_the_usual_way(model_type: str) -> None:
    tokenizer = trained([*THREE, *VARIED], model_type=model_type)
    assert tokenizer.sampling is False
    assert tokenizer.sample_batch(VARIED, 3) == tokenizer.encode_batch(VARIED)


def test_sampling_changes_no_pieces_and_is_loaded(model_type: str, tmp_path: Path) -> None:
    tokenizer = sampling(model_type)
    tokenizer.save(tmp_path)
    loaded = SentencePieceTokenizer.load(tmp_path)
    assert loaded.sampling is True
    for same in (loaded, pickle.loads(pickle.dumps(loaded))):
        assert same.sample_batch(VARIED, 5) == tokenizer.sample_batch(VARIED, 5)
    without = sampling(model_type, sampling=None)
    assert without.vocab == tokenizer.vocab
    assert without.encode_batch(VARIED) == tokenizer.encode_batch(VARIED)


def test_what_is_stored_without_new_options_is_as_before(tmp_path: Path) -> None:
    trained(THREE).save(tmp_path)
    assert set(json.loads((tmp_path / "tokenizer.json").read_text())) == {"shared", "sha256"}


@pytest.mark.parametrize("wrong", [{"sampling": "x"}, {"sampling": 2}, {"normalization": 3}, {"symbols": [1]}])
def test_what_is_stored_about_it_is_checked(wrong: dict[str, object], tmp_path: Path) -> None:
    trained(THREE).save(tmp_path)
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | wrong))
    with pytest.raises(CheckpointError, match=re.escape(f"{file}: the file is damaged")):
        SentencePieceTokenizer.load(tmp_path)


def test_an_unseen_character_becomes_bytes_or_unk() -> None:
    spelled = trained(THREE).encode("\u00e9")
    assert spelled[-2:] == [FIRST_BYTE + 0xC3, FIRST_BYTE + 0xA9]
    without = trained(THREE, byte_fallback=False)
    assert Vocab.unk in without.encode("cat\u00e9")
    assert without.decode(without.encode("cat\u00e9")) == "cat\u2047"


def test_spelled_line_breaks_become_spaces() -> None:
    tokenizer = trained(THREE)
    ids = [*tokenizer.encode("cat"), FIRST_BYTE + 0x0D, FIRST_BYTE + 0x0A, *tokenizer.encode("cat")]
    assert tokenizer.decode(ids).split() == ["cat", "cat"]
    assert not set("\r\n") & set(tokenizer.decode(ids))


@pytest.mark.parametrize("filler", ["word ", "x", "\u65e5"])
def test_long_lines_are_read_to_their_end(model_type: str, filler: str) -> None:
    line = "\u00e4" + filler * 4000 + "\u00f6" + filler * 4000 + "\u00fc"
    tokens = trained([*THREE, line], model_type=model_type).vocab.tokens
    assert all(any(character in token for token in tokens) for character in "\u00e4\u00f6\u00fc")


def test_a_line_with_the_private_mark_of_the_library_is_read(model_type: str) -> None:
    assert "\u00e4" in trained([*THREE, "\u2585\u00e4"], model_type=model_type).vocab.tokens


def test_rare_characters_can_be_left_to_the_bytes() -> None:
    lines = ["abab"] * 1000 + ["\u00e4"]
    assert "\u00e4" in trained(lines, character_coverage=1.0).vocab.tokens
    assert "\u00e4" not in trained(lines, character_coverage=0.99).vocab.tokens


def chinese() -> list[str]:
    """3,000 characters, the first ones often and the last ones once, in words of two."""
    generator = random.Random(1)
    often = [chr(0x4E00 + int(3000 ** generator.random()) - 1) for _ in range(40_000)]
    text = "".join(first + second for first, second in pairwise(often) if ord(first) % 2)
    return [text[i : i + 40] for i in range(0, len(text), 40)] + [chr(0x4E00 + n) for n in range(3000)]


def lengths_of_pieces(tokenizer: SentencePieceTokenizer) -> Counter[bool]:
    """How many longer ones (True) and characters there are, beside the fixed ones and the mark of a space."""
    return Counter(len(token) > 1 for token in tokenizer.vocab.tokens[NUM_FIXED:] if token != "\u2581")


@pytest.mark.parametrize("vocab_size", [600, 3000])
def test_many_characters_leave_room_for_longer_pieces(model_type: str, vocab_size: int) -> None:
    lines = chinese()
    tokenizer = trained(lines, model_type=model_type, vocab_size=vocab_size)
    assert len(tokenizer.vocab) == vocab_size
    found = lengths_of_pieces(tokenizer)
    assert found[False] == (vocab_size - NUM_FIXED) // 2
    assert found[True] == found[False] - 1  # that one is the mark of a space
    assert not any("\0" in token for token in tokenizer.vocab.tokens)
    for line in lines[:50] + lines[-50:]:
        assert Vocab.unk not in tokenizer.encode(line)
        assert tokenizer.decode(tokenizer.encode(line)) == line
    assert trained(lines, model_type=model_type, vocab_size=vocab_size).vocab == tokenizer.vocab


def test_of_many_characters_the_rarest_have_no_piece() -> None:
    """One of 4,000 is more than the other 0.9995, where there would be room for half of them and a few."""
    lines = [chr(0x4E00 + number) * 100 for number in range(500)] * 2 + [chr(0x6E00 + number) for number in range(200)]
    tokens = set(trained(lines, vocab_size=NUM_FIXED + 1390).vocab.tokens)
    rare = sum(chr(0x6E00 + number) in tokens for number in range(200))
    assert all(chr(0x4E00 + number) in tokens for number in range(500))
    assert rare == 150  # 100,200 characters, of which 50.1 may be without
    tokens = set(trained(lines, vocab_size=NUM_FIXED + 1402).vocab.tokens)
    assert all(chr(0x6E00 + number) in tokens for number in range(200))


@pytest.mark.parametrize("symbols", [[], ["<mask>", "<sep>"]])
def test_few_characters_have_a_piece_each(model_type: str, symbols: list[str]) -> None:
    lines = [*THREE, "caf\u00e9", "\U0001f600"]
    usual, full = (
        SentencePieceTokenizer(model_type=model_type),
        SentencePieceTokenizer(  # type: ignore[arg-type]
            model_type=model_type,
            character_coverage=1.0,  # type: ignore[arg-type]
        ),
    )
    for tokenizer in (usual, full):
        tokenizer.train(lines, symbols)
    assert usual.vocab == full.vocab
    assert {"\u00e9", "\U0001f600"} <= set(usual.vocab.tokens)


def test_without_bytes_every_character_has_a_piece() -> None:
    with pytest.raises(ConfigError, match=r"vocab_size: 600 is too small: .* are 3005; raise it"):
        trained(chinese(), vocab_size=600, byte_fallback=False)


def test_training_reads_a_sample_only() -> None:
    characters = [chr(0x4E00 + number) for number in range(100)]
    tokens = set(trained(characters, max_training_lines=7).vocab.tokens)
    assert len(tokens & set(characters)) == 7


def test_blank_lines_do_not_count_for_the_sample() -> None:
    assert "a" in trained(["", " "] * 50 + ["a"], max_training_lines=1).vocab.tokens


def test_a_sample_is_even_and_always_the_same() -> None:
    lines = [str(number) for number in range(10_000)]
    drawn = sample(iter(lines), 1000)
    assert len(set(drawn)) == 1000
    tenths = [sum(int(line) // 1000 == tenth for line in drawn) for tenth in range(10)]
    assert all(60 < count < 140 for count in tenths)  # 100 each; the standard deviation is 9
    assert sample(iter(lines), 1000) == drawn
    assert sample(iter(lines), 10_000) == lines


def test_a_sample_keeps_no_more_than_it_must() -> None:
    tracemalloc.start()
    try:
        sample((str(number) * 200 for number in range(20_000)), 10)
        assert tracemalloc.get_traced_memory()[1] < 200_000  # all lines: 20 million
    finally:
        tracemalloc.stop()


def test_too_small_for_the_characters(model_type: str) -> None:
    # Beside the fixed ones: a, b, c and the mark of a space.
    with pytest.raises(ConfigError) as caught:
        trained(["abc"], model_type=model_type, vocab_size=NUM_FIXED + 3, character_coverage=1.0)
    assert str(caught.value) == (
        "vocab_size: 263 is too small: the special tokens, bytes and characters of the training lines are 264; "
        "raise it, or lower character_coverage"
    )


def test_too_small_for_the_fixed_tokens() -> None:
    with pytest.raises(ValueError, match=r"^vocab_size must be more than 260, the special tokens and the bytes"):
        SentencePieceTokenizer(vocab_size=260)
    with pytest.raises(ValueError, match=r"^vocab_size must be more than 4, the special tokens, not 4"):
        SentencePieceTokenizer(vocab_size=4, byte_fallback=False)


@pytest.mark.parametrize(
    ("line", "normalization"), [("\u2581", "identity"), ("\u2585", "identity"), ("\x01", "nmt_nfkc")]
)
def test_nothing_but_what_the_library_drops(line: str, normalization: str) -> None:
    with pytest.raises(DataError, match=r"^the training lines hold no text$"):
        trained([line], normalization=normalization)


def test_another_fault_of_the_library_is_told() -> None:
    with pytest.raises(DataError, match=r"^sentencepiece cannot learn from the training lines: .*character_coverage"):
        trained(THREE, character_coverage=0.5)


def test_a_fault_of_the_lines_is_not_the_librarys() -> None:
    def lines():  # type: ignore[no-untyped-def]
        yield "a"
        raise OSError("disk")

    with pytest.raises(OSError, match=r"^disk$"):
        SentencePieceTokenizer().train(lines())


def test_a_model_with_a_changed_byte_is_refused(tmp_path: Path) -> None:
    trained(["banana split", "one banana"] * 20, model_type="bpe").save(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["tokenizer.json", "tokenizer.model"]
    file = tmp_path / "tokenizer.model"
    model = bytearray(file.read_bytes())
    model[model.index(b"banana")] ^= 1  # still a model for the library
    file.write_bytes(model)
    with pytest.raises(CheckpointError, match=re.escape(f"{file}: the file is damaged")):
        SentencePieceTokenizer.load(tmp_path)


def test_bpe_is_still_bpe_after_loading(tmp_path: Path) -> None:
    tokenizer = trained(["banana split", "one banana"] * 20, model_type="bpe", byte_fallback=False)
    tokenizer.save(tmp_path)
    assert SentencePieceTokenizer.load(tmp_path).encode("banana xyz") == tokenizer.encode("banana xyz")
