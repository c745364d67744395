import random

from seq2seq.data.noise import Noise
from seq2seq.data.variation import make_variation
from seq2seq.text.pair import TokenizerPair
from seq2seq.text.plain import WordTokenizer
from seq2seq.text.sentencepiece import SentencePieceTokenizer

TEXTS = ["the banana bread is sweet and the bread is warm", "one sweet banana", "bread and banana and bread"]


class Shuffled(Noise):
    def __call__(self, text: str, generator: random.Random) -> tuple[str, str]:
        words = text.split()
        return " ".join(generator.sample(words, len(words))), text


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
