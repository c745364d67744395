import numpy as np
import pytest

from seq2seq.search.alignment import AttentionMap
from seq2seq.training import attention_image
from seq2seq.training.attention_image import CELL, DARK, LIGHT, MAX_TOKENS, draw


def make_map(source: list[str], target: list[str], weights: np.ndarray) -> AttentionMap:
    return AttentionMap(source, target, [weights.astype(np.float32)], [-1] * len(source), [-1] * len(target))


@pytest.fixture(params=["fonts of the system", "no fonts"])
def fonts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on any machine, and as on one without fonts."""
    if request.param == "no fonts":
        own = attention_image._fonts()[-1:]
        monkeypatch.setattr(attention_image, "_fonts", lambda: own)


def places(image: np.ndarray, color: np.ndarray) -> np.ndarray:
    """Rows and columns of the pixels of this colour, (number, 2)."""
    return np.argwhere((image == color.astype(np.uint8)).all(axis=2))


@pytest.mark.usefixtures("fonts")
def test_rows_are_target_tokens_and_columns_source_tokens() -> None:
    weights = np.zeros((3, 5))
    weights[2, 1] = 1
    image = draw(make_map(["\u2581Der", "\u2581gro\u00dfe", "B\u00e4r", ".", "</s>"], ["a", "bear", "</s>"], weights))
    assert image.dtype == np.uint8
    assert image.shape[2] == 3
    light, dark = places(image, LIGHT), places(image, DARK)
    grid = light.min(axis=0) - 1  # its upper left corner, but for the line around the cells
    cell = dark[np.all(dark - grid < (3 * CELL + 2, 5 * CELL + 2), axis=1)]  # without the legend
    assert len(cell) > 0.8 * CELL**2
    assert ((cell - grid) // CELL == (2, 1)).mean() > 0.95


@pytest.mark.usefixtures("fonts")
def test_labels_are_drawn() -> None:
    """Every label of its own changes the picture, whatever the letters."""
    seen = set()
    for label in ("a", "\u00fc", "\u4e00\u4e00", " ", "<0xC3>"):
        seen.add(draw(make_map([label, "x"], ["y"], np.full((1, 2), 0.5))).tobytes())
    assert len(seen) == 5


def test_a_letter_that_no_font_has_is_still_something() -> None:
    own = attention_image._fonts()[-1]
    drawn = {letter: attention_image._drawn(own, letter) for letter in "a\u00fc\u00df\u2581 \u4e00"}
    assert drawn == {"a": "a", "\u00fc": "u", "\u00df": "ss", "\u2581": "_", " ": "_", "\u4e00": "?"}


def test_what_is_long_is_cut() -> None:
    long = ["a"] * (MAX_TOKENS + 30)
    image = draw(make_map(long, ["b", "c"], np.full((2, len(long)), 0.01)))
    assert MAX_TOKENS * CELL < image.shape[1] < (MAX_TOKENS + 10) * CELL


@pytest.mark.usefixtures("fonts")
def test_every_letter_can_be_drawn() -> None:
    """Controls and separators too, at which a text layout fails."""
    letters = [chr(code) for code in (*range(0x3000), 0xD800, 0xFEFF, 0x1F600)]
    tokens = ["".join(letters[start : start + 25]) for start in range(0, len(letters), 25)]
    for start in range(0, len(tokens), MAX_TOKENS):
        some = tokens[start : start + MAX_TOKENS]
        assert draw(make_map(some, ["x\n"], np.full((1, len(some)), 0.5))).size


def test_a_long_token_is_cut() -> None:
    def width(token: str) -> int:
        return draw(make_map(["a"], [token], np.ones((1, 1)))).shape[1]

    assert width("b" * 20) < width("b" * 3000) <= width("b" * 30)
