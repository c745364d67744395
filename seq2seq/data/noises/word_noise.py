"""Words are left out, masked and moved a little, and the model has to say the text."""

from __future__ import annotations

import random

from seq2seq.data.noise import Noise, noises
from seq2seq.data.noises.text_infilling import MASK
from seq2seq.data.noises.units import units_of
from seq2seq.registry import NonNegativeInt, Probability


@noises.register("word_noise")
class WordNoise(Noise):
    """Words are left out, masked and moved by a few places; the target is the text.

    Text in a script without spaces between words is taken by characters. Lample et al. (2018), "Unsupervised machine
    translation using monolingual corpora only".

    Options:
        drop: share of the words that are left out; one always stays
        shuffle: places that a word moves at most
        mask: share of the words left that are masked
    """

    def __init__(self, *, drop: Probability = 0.1, shuffle: NonNegativeInt = 3, mask: Probability = 0.0) -> None:
        if not drop and not shuffle and not mask:
            raise ValueError("drop, shuffle and mask are all 0, which leaves every text as it is")
        self.drop = drop
        self.shuffle = shuffle
        self.mask = mask
        self.symbols = (MASK,) if mask else ()

    def __call__(self, text: str, generator: random.Random) -> tuple[str, str]:
        units, between = units_of(text)
        if not units:
            return "", text
        left = [unit for unit in units if generator.random() >= self.drop] or [generator.choice(units)]
        left = [MASK if generator.random() < self.mask else unit for unit in left]
        places = [place + generator.random() * (self.shuffle + 1) for place in range(len(left))]
        moved = [left[i] for i in sorted(range(len(left)), key=places.__getitem__)]
        return between.join(moved).strip(), text
