"""What each output token read of the source, and the alignment of words that follows from it.

B sources, S source tokens and T target tokens, both with eos.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import chain, islice

import numpy as np
import torch

from seq2seq.data.batch import make_batch
from seq2seq.search.backend import evaluating
from seq2seq.search.translator import Translation, Translator
from seq2seq.text.tokenizer import Tokenizer
from seq2seq.text.vocab import Vocab

NO_WORD = -1


@dataclass(frozen=True, slots=True, eq=False)
class AttentionMap:
    """parts: for each part of the line weights (T,S): how much of source token s target token t read.

    source, target: the tokens as their vocabularies write them. source_words, target_words: for each token the place in
    the text of its word, where whitespace divides words; NO_WORD for eos. They are of all parts one after the other,
    with an eos after each.
    """

    source: list[str]
    target: list[str]
    parts: list[np.ndarray]
    source_words: list[int]
    target_words: list[int]

    def weights(self, max_tokens: int | None = None) -> np.ndarray:
        """(T,S) of all parts together, of at most max_tokens a side; none between tokens of different parts."""
        together = np.zeros((len(self.target[:max_tokens]), len(self.source[:max_tokens])), dtype=np.float32)
        for rows, columns, part in self._blocks():
            place = together[rows, columns]
            place[:] = part[: place.shape[0], : place.shape[1]]
        return together

    def _blocks(self) -> Iterator[tuple[slice, slice, np.ndarray]]:
        """The places of each part in both sides."""
        row = column = 0
        for part in self.parts:
            end_row, end_column = row + part.shape[0], column + part.shape[1]
            yield slice(row, end_row), slice(column, end_column), part
            row, column = end_row, end_column

    def json(self) -> str:
        """One line; weights with 4 decimals."""
        weights = np.round(self.weights().astype(np.float64), 4).tolist()
        fields = {"source": self.source, "target": self.target, "weights": weights}
        return json.dumps(fields, ensure_ascii=False)

    def pharaoh(self, first: tuple[int, int] = (0, 0)) -> str:
        """The links as word alignment tools write them, `0-0 1-2`: source-target, counted from 0.

        first: the words of source and target from which on they are counted; links of words before are left out.
        """
        counted = [(source - first[0], target - first[1]) for source, target in self.links()]
        return " ".join(f"{source}-{target}" for source, target in counted if min(source, target) >= 0)

    def links(self) -> list[tuple[int, int]]:
        """Source word and target word, for each target word: the source word that it read most of.

        Weights are summed over the tokens of the source word and averaged over those of the target word.
        """
        found = []
        for rows, columns, part in self._blocks():
            sources, targets = np.array(self.source_words[columns]), np.array(self.target_words[rows])
            words = np.unique(sources[sources != NO_WORD])
            if not len(words):
                continue
            by_word = np.stack([part[:, sources == word].sum(axis=1) for word in words], axis=1)  # (T,words)
            found += [
                (int(words[by_word[targets == word].mean(axis=0).argmax()]), word)
                for word in np.unique(targets[targets != NO_WORD]).tolist()
            ]
        return found


def attends(translator: Translator) -> bool:
    """Whether there is a source, and the model has attention to it."""
    return translator.source_tokenizer is not None and _weights(translator, [([Vocab.unk], [Vocab.unk])]) is not None


def attention_maps(
    translator: Translator, lines: Sequence[str], translations: Sequence[Translation]
) -> list[AttentionMap] | None:
    """The maps of translations that `translator` made, each of its line, by one pass of teacher forcing.

    They are of what the model read: with the translator's tag before the line, and in its template.

    None where there is no source, or the model has no attention to it.
    """
    tokenizers = translator.source_tokenizer, translator.target_tokenizer
    if tokenizers[0] is None:
        return None
    weights = _weights(translator, list(chain.from_iterable(translation.parts for translation in translations)))
    if weights is None:
        return None
    in_order = iter(weights)
    read = [translator.reads(line) for line in lines]
    return [
        _map(tokenizers[0], tokenizers[1], line, translation, list(islice(in_order, len(translation.parts))))
        for line, translation in zip(read, translations, strict=True)
    ]


def _weights(translator: Translator, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[np.ndarray] | None:
    """The weights (T,S) of each pair of ids, which come without eos. None where the model has no attention."""
    model = translator.model
    found: dict[int, np.ndarray] = {}
    with evaluating(model), torch.inference_mode(), translator.precision_context():
        for batch in translator.batches([max(pair, key=len) for pair in pairs]):
            sources, targets = zip(*(pairs[place] for place in batch), strict=True)
            weights = model.attention_weights(make_batch(sources, targets, batch).to(translator.device))
            if weights is None:
                return None
            for place, row in zip(batch, weights.float().cpu().numpy(), strict=True):
                source, target = pairs[place]
                found[place] = row[: len(target) + 1, : len(source) + 1].copy()  # not the whole batch
    return [found[place] for place in range(len(pairs))]


def _map(
    source_tokenizer: Tokenizer,
    target_tokenizer: Tokenizer,
    line: str,
    translation: Translation,
    weights: Sequence[np.ndarray],
) -> AttentionMap:
    sources, targets = [source for source, _ in translation.parts], [target for _, target in translation.parts]
    source_words = word_places(source_tokenizer, sources, line)
    target_words = word_places(target_tokenizer, targets, translation.text)
    return AttentionMap(
        _names(source_tokenizer, sources),
        _names(target_tokenizer, targets),
        list(weights),
        source_words,
        target_words,
    )


def _names(tokenizer: Tokenizer, parts: Sequence[Sequence[int]]) -> list[str]:
    return [tokenizer.vocab.tokens[token] for part in parts for token in (*part, Vocab.eos)]


def word_places(tokenizer: Tokenizer, parts: Sequence[Sequence[int]], text: str) -> list[int]:
    """For each token of the parts, and an eos after each part, the place of its word in the text.

    Where the tokens spell other words than the text, for example after a normalization, the place is that of the word
    in the same position between words that both have.
    """
    places: list[int] = []
    words: list[str] = []
    for ids in parts:
        spelled = tokenizer.decode(ids).split()
        last = len(spelled) - 1
        numbers = _words(tokenizer, ids) if spelled else [NO_WORD] * len(ids)
        places += [NO_WORD if number == NO_WORD else len(words) + min(number, last) for number in numbers]
        places.append(NO_WORD)
        words += spelled
    if len(words) == len(text.split()):
        return places
    moved = _moved(words, text.split())
    return [NO_WORD if place == NO_WORD else moved[place] for place in places]


def _words(tokenizer: Tokenizer, ids: Sequence[int]) -> list[int]:
    """For each token the number of its word in what the tokens decode to; the last one where it is part of several.

    A token of nothing but space belongs to the word after it. Decodes from the beginning of the current word on, since
    only decoding tells what a token is between its neighbours.
    """
    numbers: list[int] = []
    start = first = 0  # the token where the current word begins, and the number of the first word from there on
    before: list[str] = []
    for i in range(len(ids)):
        words = tokenizer.decode(ids[start : i + 1]).split()
        if words == before:
            continue
        number = first + len(words) - 1
        numbers += [number] * (i + 1 - len(numbers))
        if len(words) > 1:
            words = tokenizer.decode(ids[i : i + 1]).split()
            start, first = i, number - max(len(words) - 1, 0)
        before = words
    return numbers + numbers[-1:] * (len(ids) - len(numbers))


def _moved(old: list[str], new: list[str]) -> list[int]:
    """For each old word the place of the new one that stands for it."""
    places: list[int] = []
    for _, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        places += [min(c + (i - a) * (d - c) // (b - a), len(new) - 1) for i in range(a, b)]
    return places
