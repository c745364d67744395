import io
import random
import subprocess
import sys
import threading
from collections import Counter
from typing import Any

import pytest
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer, set_random_generator_seed

from seq2seq.text.sampling import BpeSampler, Sampler, UnigramSampler

LINES = ["banana bread", "a band of bananas", "the bandana and the banner", "an ant ran", "abba \u00e9t\u00e9"] * 4
KINDS = {"unigram": UnigramSampler, "bpe": BpeSampler}
TEXTS = [*LINES[:5], "unseen banter", "\u4e2d banana \u4e2d\U0001f600", "", "  two  spaces ", "x" * 60]


def processor(kind: str, byte_fallback: bool = True) -> Any:
    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(LINES),
        model_writer=model,
        model_type=kind,
        vocab_size=310 if byte_fallback else 50,
        byte_fallback=byte_fallback,
        user_defined_symbols=["<m>"],
        hard_vocab_limit=False,
        normalization_rule_name="identity",
        minloglevel=4,
    )
    return SentencePieceProcessor(model_proto=model.getvalue())


@pytest.mark.parametrize("byte_fallback", [True, False])
@pytest.mark.parametrize(("kind", "alpha"), [("unigram", 300.0), ("bpe", 0.0)])
def test_without_randomness_it_is_the_library_s_way(kind: str, alpha: float, byte_fallback: bool) -> None:
    library = processor(kind, byte_fallback)
    sampler = KINDS[kind](library, ["<m>"], alpha)
    for text in [*TEXTS, "a <m> banana", "ban<m>ana"]:
        assert sampler(text, random.Random(1)) == library.encode(text)


def test_unigram_draws_as_the_library_does() -> None:
    """The library is seeded in a thread of its own, and so draws anew; 20,000 draws of each."""
    library = processor("unigram")
    word, alpha, number = "bananas", 0.3, 20_000
    ours = UnigramSampler(library, [], alpha)
    generator = random.Random(5)
    found = Counter(tuple(ours(word, generator)) for _ in range(number))
    expected: Counter[tuple[int, ...]] = Counter()

    def draw() -> None:
        set_random_generator_seed(3)
        expected.update(
            tuple(library.encode(word, enable_sampling=True, alpha=alpha, nbest_size=-1)) for _ in range(number)
        )

    thread = threading.Thread(target=draw)
    thread.start()
    thread.join()
    assert len(found) > 20
    for way in found.keys() | expected.keys():
        share = (found[way] + expected[way]) / (2 * number)
        deviation = (2 * share * (1 - share) / number) ** 0.5
        assert abs(found[way] - expected[way]) / number < 5.5 * deviation + 2 / number


def test_bpe_passes_merges_over() -> None:
    """All merges passed over leaves characters; of half of them, something between."""
    library = processor("bpe")
    whole = len(library.encode("banana bread"))
    lengths = {
        alpha: [len(BpeSampler(library, [], alpha)("banana bread", random.Random(seed))) for seed in range(200)]
        for alpha in (0.0, 0.5, 1.0)
    }
    assert set(lengths[0.0]) == {whole}
    assert set(lengths[1.0]) == {len("_banana_bread")}
    assert whole < sum(lengths[0.5]) / 200 < len("_banana_bread")


@pytest.mark.parametrize("kind", KINDS)
def test_the_text_comes_back(kind: str) -> None:
    library = processor(kind)
    sampler: Sampler = KINDS[kind](library, ["<m>"], 0.2)
    for text in [*TEXTS, "a <m> banana"]:
        for seed in range(20):
            assert library.decode(sampler(text, random.Random(seed))) == " ".join(text.split())


PROGRAM = """
import json, random, sys
from seq2seq.text.sentencepiece import SentencePieceTokenizer
kind, seed = sys.argv[1], int(sys.argv[2])
tokenizer = SentencePieceTokenizer(model_type=kind, vocab_size=320, sampling=0.2)
tokenizer.train(["banana bread and a bandana"] * 9)
print(json.dumps(tokenizer.sample_batch(["banana bread", "and a bandana"] * 5, seed)))
"""


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_gives_the_same_in_every_process(kind: str) -> None:
    def drawn(seed: int) -> str:
        command = [sys.executable, "-c", PROGRAM, kind, str(seed)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert drawn(7) == drawn(7)
    assert drawn(7) != drawn(8)
