"""What every registered noise promises."""

import pickle
import random
import re
from pathlib import Path

import pytest

from seq2seq.binding import options_of
from seq2seq.data.noise import Noise, noises
from seq2seq.plugins import load_components

load_components()

NAMES = sorted(noises.components)
CHINESE = "\u6211\u559c\u6b22\u7528 Python \u5199\u7a0b\u5e8f\u3002\u4f60\u5462\uff1f\u6211\u4e5f\u559c\u6b22\u3002"
THAI = "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e04\u0e23\u0e31\u0e1a \u0e22\u0e34\u0e19\u0e14\u0e35\u0e17\u0e35\u0e48"
TEXTS = [
    "",
    " ",
    "\t \u3000",
    "one",
    "one two",
    "\u6211",
    "\u6211\u4eec",
    "  The cat sat on the mat.  It was a warm day!   Was it? ",
    "a\u00a0b \u2028 c \x85 d",
    "<s> </s> <unk> <pad> {braces} \\n %s",
    "\u0301 combining first",
    "\ub098\ub294 \uace0\uc591\uc774\ub97c \uc88b\uc544\ud55c\ub2e4 .",
    CHINESE,
    THAI,
    "word " * 3000,
    "\u8a9e" * 3000,
]


@pytest.fixture(params=NAMES)
def noise(request: pytest.FixtureRequest) -> Noise:
    return noises.components[request.param]()


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_a_pair_is_a_function_of_the_text_and_the_generator(noise: Noise, text: str) -> None:
    other = pickle.loads(pickle.dumps(noise))
    for seed in range(20):
        generator = random.Random(seed)
        pair = noise(text, generator)
        noise("something else in between", random.Random(3))
        again = random.Random(seed)
        assert other(text, again) == pair
        assert again.getstate() == generator.getstate()


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_a_pair_is_two_lines_that_are_empty_for_an_empty_text_only(noise: Noise, text: str) -> None:
    for seed in range(50):
        for side in noise(text, random.Random(seed)):
            assert not re.search("[\r\n]", side)
            assert bool(side.strip()) == bool(text.strip())


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_what_a_pair_adds_to_the_words_are_its_symbols(noise: Noise, text: str) -> None:
    known = set("".join(text.split()))
    for seed in range(20):
        for side in noise(text, random.Random(seed)):
            for symbol in re.findall(r"<mask>|<extra_id_\d+>", side):
                assert symbol in noise.symbols
                side = side.replace(symbol, "", 1)
            assert set("".join(side.split())) <= known


def test_symbols_are_without_spaces_and_all_different(noise: Noise) -> None:
    assert len(set(noise.symbols)) == len(noise.symbols)
    assert all(symbol and not re.search(r"\s", symbol) for symbol in noise.symbols)


def test_other_seeds_give_other_pairs(noise: Noise) -> None:
    text = " ".join(f"word{i}" for i in range(40))
    assert len({noise(text, random.Random(seed)) for seed in range(20)}) > 15


@pytest.mark.parametrize("name", NAMES)
def test_every_option_has_a_default(name: str) -> None:
    """So that data/noise=NAME is all there is to type."""
    options = options_of(noises.components[name])
    assert all(option.default is not option.annotation for option in options.values())
    assert isinstance(noises.components[name](), Noise)


def test_each_is_in_the_configs() -> None:
    folder = Path(__file__).parents[2] / "configs" / "data" / "noise"
    assert {path.stem for path in folder.glob("*.yaml")} >= set(NAMES)
