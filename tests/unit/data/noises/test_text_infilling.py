import random
from itertools import permutations

import pytest

from seq2seq.data.noises.text_infilling import TextInfilling, _poisson

WORDS = [f"w{i}" for i in range(200)]


def gaps(source: str) -> list[int]:
    """How many words each mask stands for, where sentences stay in their places."""
    lengths, expected, masks = [], 0, 0
    for word in [*source.split(), f"w{len(WORDS)}"]:
        if word == "<mask>":
            masks += 1
            continue
        number = int(word[1:])
        assert masks <= 1, "two masks side by side"
        assert masks or number == expected
        lengths += [number - expected] * masks
        expected, masks = number + 1, 0
    return lengths


def test_rate_and_lengths_are_right_on_average() -> None:
    generator = random.Random(1)
    noise = TextInfilling(rate=0.3, mean_span=3.0, permute_sentences=False)
    lengths: list[int] = []
    for _ in range(500):
        source, target = noise(" ".join(WORDS), generator)
        assert target == " ".join(WORDS)
        lengths += gaps(source)
    assert sum(lengths) / (500 * len(WORDS)) == pytest.approx(0.3, abs=0.001)
    assert sum(lengths) / len(lengths) == pytest.approx(3.0, abs=0.1)
    assert lengths.count(0) / len(lengths) == pytest.approx(0.05, abs=0.01)  # exp(-3)


def test_the_rate_is_right_where_most_is_masked() -> None:
    source, _ = TextInfilling(rate=0.95, mean_span=1.0, permute_sentences=False)(" ".join(WORDS), random.Random(1))
    assert sum(gaps(source)) == 190


@pytest.mark.parametrize("mean", [1.0, 3.0, 12.5])
def test_poisson(mean: float) -> None:
    """Its mean and its variance are the same."""
    generator = random.Random(1)
    drawn = [_poisson(mean, generator) for _ in range(20_000)]
    average = sum(drawn) / len(drawn)
    assert average == pytest.approx(mean, rel=0.02)
    assert sum((x - average) ** 2 for x in drawn) / len(drawn) == pytest.approx(mean, rel=0.05)


def test_sentences_change_places_as_a_whole() -> None:
    sentences = [["It", "rains."], ['"Does', 'it?"'], ["He", "nods!"]]
    text = " ".join(word for sentence in sentences for word in sentence)
    orders = {" ".join(word for sentence in order for word in sentence) for order in permutations(sentences)}

    def unmasked(permute: bool) -> set[str]:
        """The orders of the text of which one word or none is missing."""
        noise = TextInfilling(rate=0.01, mean_span=1.0, permute_sentences=permute)
        found = set()
        for seed in range(100):
            source, target = noise(text, random.Random(seed))
            assert target == text
            (order,) = (order for order in orders if is_left_of(source, order))
            found.add(order)
        return found

    assert unmasked(permute=True) == orders
    assert unmasked(permute=False) == {text}


def is_left_of(source: str, text: str) -> bool:
    """Whether the words of the source, masks not counted, are in the text in this order."""
    words = iter(text.split())
    return all(word in words for word in source.split() if word != "<mask>")


def test_sentences_without_spaces_between_them() -> None:
    text = "\u4eca\u5929\u4e0b\u96e8\u3002\u4f60\u6765\u5417\uff1f"
    found = {TextInfilling(rate=0.01)(text, random.Random(seed))[0].replace("<mask>", "") for seed in range(40)}
    assert {source[0] for source in found} >= {"\u4eca", "\u4f60"}


def test_short_texts() -> None:
    noise = TextInfilling()
    assert noise("one", random.Random(1)) == ("one", "one")
    found = {noise("one two", random.Random(seed))[0] for seed in range(500)}
    assert found == {"<mask> two", "one <mask>", "<mask> two <mask>", "<mask> one <mask>"}  # two masks: one of length 0
