import random

import pytest

from seq2seq.data.noises.word_noise import WordNoise

WORDS = [f"w{i}" for i in range(200)]
TEXT = " ".join(WORDS)


def test_the_share_of_words_left_out() -> None:
    generator = random.Random(1)
    pairs = [WordNoise(drop=0.1)(TEXT, generator) for _ in range(300)]
    assert {target for _, target in pairs} == {TEXT}
    left = sum(len(source.split()) for source, _ in pairs)
    assert left / (300 * len(WORDS)) == pytest.approx(0.9, abs=0.005)


@pytest.mark.parametrize("shuffle", [1, 3, 10])
def test_no_word_moves_further_than_it_may(shuffle: int) -> None:
    generator = random.Random(1)
    furthest = 0
    for _ in range(200):
        source, _ = WordNoise(drop=0.0, shuffle=shuffle)(TEXT, generator)
        assert sorted(source.split()) == sorted(WORDS)
        furthest = max(furthest, *(abs(place - int(word[1:])) for place, word in enumerate(source.split())))
    assert furthest == shuffle if shuffle < 10 else 7 < furthest <= 10


def test_without_shuffling_the_order_stays() -> None:
    source, _ = WordNoise(drop=0.5, shuffle=0)(TEXT, random.Random(1))
    numbers = [int(word[1:]) for word in source.split()]
    assert numbers == sorted(numbers)
    assert len(numbers) < 150


def test_masks_stand_for_words_that_are_left() -> None:
    generator = random.Random(1)
    noise = WordNoise(drop=0.0, shuffle=0, mask=0.2)
    assert noise.symbols == ("<mask>",)
    masks = 0
    for _ in range(300):
        words = noise(TEXT, generator)[0].split()
        assert all(word in ("<mask>", original) for word, original in zip(words, WORDS, strict=True))
        masks += words.count("<mask>")
    assert masks / (300 * len(WORDS)) == pytest.approx(0.2, abs=0.005)
    assert WordNoise().symbols == ()


def test_one_word_always_stays() -> None:
    noise = WordNoise(drop=0.99, shuffle=0)
    assert {noise("one two", random.Random(seed))[0] for seed in range(100)} == {"one", "two"}
    assert {noise("one", random.Random(seed))[0] for seed in range(100)} == {"one"}


def test_characters_move_where_there_are_no_spaces() -> None:
    text = "\u4eca\u5929\u4e0b\u96e8\u4f60\u6765\u5417"
    source, target = WordNoise(drop=0.0)(text, random.Random(1))
    assert target == text
    assert source != text
    assert sorted(source) == sorted(text)


def test_settings_without_effect() -> None:
    with pytest.raises(ValueError, match="leaves every text as it is"):
        WordNoise(drop=0.0, shuffle=0)
