import random

from seq2seq.data.noise import Noise
from seq2seq.data.reading import Reading
from seq2seq.data.variation import make_variation
from seq2seq.text.pair import TokenizerPair
from seq2seq.text.plain import WordTokenizer
from seq2seq.text.sentencepiece import SentencePieceTokenizer

TEXTS = ["the banana bread is sweet and the bread is warm", "one sweet banana", "bread and banana and bread"]


class Shuffled(Noise):
    def __call__(self, text: str, generator: random.Random) -> tuple[str, str]:
        words = text.split()
        return " ".join(generator.sample(words, len(words))), text


def test_made_sources_are_read_as_others() -> None:
    words = WordTokenizer()
    words.train([*TEXTS, "say:"])
    reading = Reading("say: {source}", "left", 4)
    vary = make_variation(TokenizerPair(words, words), Shuffled(), reading)
    assert vary is not None
    sources, targets = vary(None, words.encode_batch(TEXTS), 3)
    assert sources is not None
    for text, source, target in zip(TEXTS, sources, targets, strict=True):
        said = words.decode(source).split()
        assert (said[0], len(said)) == ("say:", min(4, 1 + len(text.split())))
        assert set(said[1:]) <= set(text.split())
        assert words.decode(target) == text


def subwords(**options: object) -> SentencePieceTokenizer:
    tokenizer = SentencePieceTokenizer(vocab_size=300, **options)  # type: ignore[arg-type]
    tokenizer.train(TEXTS * 5)
    return tokenizer


def test_nothing_varies_without_sampling_and_noise() -> None:
    plain = subwords()
    assert make_variation(TokenizerPair(plain, plain), None) is None


def test_subwords_vary_with_the_seed_and_the_text_stays() -> None:
    source, target = subwords(sampling=0.2), subwords()
    vary = make_variation(TokenizerPair(source, target), None)
    assert vary is not None
    ids = source.encode_batch(TEXTS), target.encode_batch(TEXTS)
    first, again, other = (vary(*ids, seed) for seed in (5, 5, 6))
    assert first == again
    assert first[0] is not None
    assert first[0] != other[0]
    assert [source.decode(row) for row in first[0]] == TEXTS
    assert first[1] == ids[1]  # the target's tokenizer does not sample


def test_noise_makes_both_sides_of_the_target_anew() -> None:
    tokenizer = WordTokenizer()
    tokenizer.train(TEXTS)
    vary = make_variation(TokenizerPair(tokenizer, tokenizer), Shuffled())
    assert vary is not None
    ids = tokenizer.encode_batch(TEXTS)
    first, again, other = (vary(None, ids, seed) for seed in (5, 5, 6))
    assert first == again
    assert first[0] is not None
    assert first[0] != other[0]
    assert [sorted(tokenizer.decode(row).split()) for row in first[0]] == [sorted(text.split()) for text in TEXTS]
    assert first[1] == ids


def test_a_text_that_is_not_wholly_known_is_not_cut_anew() -> None:
    tokenizer = subwords(sampling=0.2, byte_fallback=False, normalization="nfkc")
    vary = make_variation(TokenizerPair(None, tokenizer), None)
    assert vary is not None
    ids = tokenizer.encode_batch(["bread \u4e2d and banana", *TEXTS])
    assert tokenizer.vocab.unk in ids[0]
    drawn = [vary(None, ids, seed)[1] for seed in range(5)]
    assert all(rows[0] == ids[0] for rows in drawn)
    assert any(rows[1] != ids[1] for rows in drawn)
