"""Attention as a picture: source tokens along the top, target tokens down the side, darker where more was read."""

from __future__ import annotations

import unicodedata
from functools import cache
from math import cos, radians, sin
from typing import TYPE_CHECKING

import numpy as np

from seq2seq.search.alignment import AttentionMap

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

CELL = 22  # pixels; TensorBoard shrinks what is wider than its cards, and letters suffer
FONT_SIZE = 14
GAP = 6  # around labels
SLANT = 50  # degrees, of the labels along the top
MAX_TOKENS = 100  # of a side that are drawn
MAX_LETTERS = 30  # of a token
SCALE_STEPS = 6  # cells of the legend

WHITE, INK, FAINT = (255, 255, 255), (40, 40, 40), (225, 229, 235)
LIGHT, DARK = np.array((250, 252, 255)), np.array((8, 72, 150))  # weights 0 and 1

# By name, from wherever the system keeps its fonts; the first that has all the letters is taken. Pillow's own font, the
# only one that is always there, has the letters of ASCII.
FONTS = (
    *("DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "Arial.ttf", "arial.ttf"),
    *("NotoSansCJK-Regular.ttc", "NotoSansCJKjp-Regular.otf", "wqy-zenhei.ttc", "msyh.ttc", "PingFang.ttc"),
    *("Arial Unicode.ttf", "unifont.ttf"),
)


def draw(attention: AttentionMap) -> np.ndarray:
    """(height, width, 3), uint8. Of a longer side the first MAX_TOKENS."""
    from PIL import Image, ImageDraw

    sides = [[_cut(token) for token in tokens[:MAX_TOKENS]] for tokens in (attention.source, attention.target)]
    font, letters = _font("".join(sorted({letter for tokens in sides for token in tokens for letter in token})))
    source, target = (["".join(letters[letter] for letter in token) for token in tokens] for tokens in sides)
    weights = attention.weights(MAX_TOKENS)
    tops = [_slanted(label, font) for label in source]
    lengths = [font.getlength(label) for label in target]
    left = round(max(lengths)) + 2 * GAP
    top = max(image.height for image, _ in tops) + GAP
    right = left + len(source) * CELL
    width = max([right, *(left + i * CELL + CELL // 2 - x + tops[i][0].width for i, (_, x) in enumerate(tops))]) + GAP
    bottom = top + len(target) * CELL
    canvas = Image.new("RGB", (width, bottom + CELL + 2 * GAP), WHITE)
    pen = ImageDraw.Draw(canvas)
    for column, (image, x) in enumerate(tops):
        place = (left + column * CELL + CELL // 2 - x, top - GAP // 2 - image.height)
        canvas.paste(INK, place, image)
    for row, label in enumerate(target):
        y = top + row * CELL
        pen.text((left - GAP - lengths[row], y + CELL // 2), label, INK, font, anchor="lm")
        for column in range(len(source)):
            _cell(pen, left + column * CELL, y, float(weights[row, column]))
    _legend(pen, left, bottom + GAP, font)
    return np.asarray(canvas)


def _cut(token: str) -> str:
    return token if len(token) <= MAX_LETTERS else token[: MAX_LETTERS - 2] + ".."


def _moves(letter: str) -> bool:
    """Whether it is a space or a control character, which fonts do not draw, and at which some layouts fail."""
    return letter.isspace() or unicodedata.category(letter) in ("Cc", "Cs")


def _slanted(label: str, font: FreeTypeFont) -> tuple[Image, int]:
    """The label as a mask, rising to the right, and the column of the mask that its beginning is in."""
    from PIL import Image, ImageDraw

    width, height = round(font.getlength(label)) + 2, FONT_SIZE + 6
    flat = Image.new("L", (width, height))
    ImageDraw.Draw(flat).text((1, height // 2), label, 255, font, anchor="lm")
    turned = flat.rotate(SLANT, Image.Resampling.BICUBIC, expand=True)
    beginning = turned.width / 2 - width / 2 * cos(radians(SLANT)) + height / 4 * sin(radians(SLANT))
    return turned, round(beginning)


def _cell(pen: ImageDraw, x: int, y: int, weight: float) -> None:
    red, green, blue = (LIGHT + (DARK - LIGHT) * weight).round().astype(int).tolist()
    pen.rectangle((x, y, x + CELL, y + CELL), (red, green, blue), FAINT)


def _legend(pen: ImageDraw, x: int, y: int, font: FreeTypeFont) -> None:
    pen.text((x - GAP, y + CELL // 2), "0", INK, font, anchor="rm")
    for i in range(SCALE_STEPS):
        _cell(pen, x + i * CELL, y, i / (SCALE_STEPS - 1))
    pen.text((x + SCALE_STEPS * CELL + GAP, y + CELL // 2), "1", INK, font, anchor="lm")


@cache
def _fonts() -> list[FreeTypeFont]:
    from PIL import ImageFont

    found = []
    for name in FONTS:
        try:
            found.append(ImageFont.truetype(name, FONT_SIZE))
        except OSError:
            continue
    own = ImageFont.load_default(FONT_SIZE)
    assert isinstance(own, ImageFont.FreeTypeFont)
    return [*found, own]


def _font(letters: str) -> tuple[FreeTypeFont, dict[str, str]]:
    """The font that has most of the letters, and what is drawn for each: itself, the plain letter in it, or '?'."""
    font = max(_fonts(), key=lambda font: sum(_has(font, letter) for letter in letters))
    return font, {letter: _drawn(font, letter) for letter in letters}


def _drawn(font: FreeTypeFont, letter: str) -> str:
    if letter == "\u2581" or _moves(letter):  # U+2581: how sentencepiece writes a space
        return "_"
    if _has(font, letter):
        return letter
    for known in (letter, letter.casefold()):
        plain = "".join(part for part in unicodedata.normalize("NFKD", known) if not unicodedata.combining(part))
        if plain and all(_has(font, part) for part in plain):
            return plain
    return "?"


def _has(font: FreeTypeFont, letter: str) -> bool:
    """Whether the font draws something else than its sign for letters that it lacks."""
    if _moves(letter):
        return False
    mask, missing = font.getmask(letter), font.getmask("\uffff")
    return mask.size != missing.size or bytes(mask) != bytes(missing)
