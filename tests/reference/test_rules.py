"""Rules and truncations against the logits processors of Hugging Face transformers, and whole searches of T5 with them.

B rows, W hypotheses, T tokens so far, V vocabulary.
"""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LogitsProcessorList, T5Config, T5ForConditionalGeneration
from transformers.generation.logits_process import (
    MinLengthLogitsProcessor,
    MinPLogitsWarper,
    NoBadWordsLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from seq2seq.models.base import Model
from seq2seq.search.beam import Beam
from seq2seq.search.greedy import Greedy
from seq2seq.search.rules import Rules
from seq2seq.search.sampling import Sampling
from seq2seq.text.vocab import Vocab

B, W, T, V = 3, 2, 9, 13
SEQUENCES = [(5,), (6, 7), (4, 4, 8), (9, 10)]
EVER = -torch.inf


def rows(seed: int, length: int = T) -> tuple[Tensor, Tensor]:
    """Logits (B,W,V), pad and bos impossible, and tokens (B,W,T) with many repetitions."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(B, W, V, generator=generator)
    logits[..., [Vocab.pad, Vocab.bos]] = EVER
    tokens = torch.randint(4, 9, (B, W, length), generator=generator)
    tokens[..., 0] = Vocab.bos
    return logits, tokens


def processors(rules: dict[str, Any], sequences: list[tuple[int, ...]]) -> LogitsProcessorList:
    chosen = LogitsProcessorList()
    if rules.get("repetition_penalty"):
        chosen.append(RepetitionPenaltyLogitsProcessor(rules["repetition_penalty"]))
    if rules.get("no_repeat_ngram"):
        chosen.append(NoRepeatNGramLogitsProcessor(rules["no_repeat_ngram"]))
    if sequences:
        chosen.append(NoBadWordsLogitsProcessor([list(sequence) for sequence in sequences]))
    if rules.get("min_length"):
        chosen.append(MinLengthLogitsProcessor(rules["min_length"] + 1, Vocab.eos))  # theirs counts bos
    return chosen


CHOICES: list[tuple[dict[str, Any], list[tuple[int, ...]]]] = [
    ({"repetition_penalty": 1.7}, []),
    ({"repetition_penalty": 0.6}, []),
    ({"no_repeat_ngram": 1}, []),
    ({"no_repeat_ngram": 2}, []),
    ({"no_repeat_ngram": 3}, []),
    ({"min_length": T - 1}, []),
    ({"min_length": T}, []),
    ({}, SEQUENCES),
    ({"repetition_penalty": 1.3, "no_repeat_ngram": 2, "min_length": T + 4}, SEQUENCES),
]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("alone", [True, False], ids=["greedy", "beam"])
@pytest.mark.parametrize(("given", "sequences"), CHOICES)
def test_rules(given: dict[str, Any], sequences: list[tuple[int, ...]], alone: bool, seed: int) -> None:
    logits, tokens = rows(seed, length=1 + 4 * seed)
    rules = Rules(**given)
    rules.ban(sequences)
    going = torch.ones(B, W, dtype=torch.bool)
    found = rules.log_probabilities(logits, tokens, [None] * B, going, alone)
    scores = logits if alone else logits.log_softmax(-1)
    expected = processors(given, sequences)(tokens.flatten(0, 1), scores.flatten(0, 1)).view(B, W, V)
    assert torch.equal(found > EVER, expected > EVER)
    if alone:  # theirs are not normalized
        expected, found = expected.softmax(-1), found.softmax(-1)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("option", "theirs"),
    [
        ({"temperature": 0.6}, [TemperatureLogitsWarper(0.6)]),
        ({"top_k": 4}, [TopKLogitsWarper(4)]),
        ({"top_k": 99}, [TopKLogitsWarper(99)]),
        ({"top_p": 0.7}, [TopPLogitsWarper(0.7)]),
        ({"top_p": 0.01}, [TopPLogitsWarper(0.01)]),
        ({"min_p": 0.15}, [MinPLogitsWarper(0.15)]),
        ({"typical_p": 0.6}, [TypicalLogitsWarper(0.6)]),
        ({"typical_p": 0.05}, [TypicalLogitsWarper(0.05)]),
        (
            {"temperature": 1.9, "top_k": 8, "top_p": 0.9, "min_p": 0.05, "typical_p": 0.8},
            [
                TemperatureLogitsWarper(1.9),
                TopKLogitsWarper(8),
                TopPLogitsWarper(0.9),
                MinPLogitsWarper(0.05),
                TypicalLogitsWarper(0.8),
            ],
        ),
    ],
    ids=lambda value: "" if isinstance(value, list) else "-".join(value),
)
def test_truncations(option: dict[str, Any], theirs: list[Any], seed: int) -> None:
    scores, tokens = rows(seed)
    scores = scores.flatten(0, 1).double()
    found = Sampling(**option).truncated(scores)
    expected = LogitsProcessorList(theirs)(tokens.flatten(0, 1), scores)
    assert 0 < (expected == EVER).sum() < expected.numel()
    torch.testing.assert_close(found, expected)


class Theirs(Model):
    """T5 as a model of ours, without a cache: each step reads all that was said."""

    def __init__(self, t5: T5ForConditionalGeneration) -> None:
        super().__init__()
        self.t5 = t5

    @property
    def head(self) -> Any:
        raise NotImplementedError

    def features(self, batch: object) -> Tensor:
        raise NotImplementedError

    def start(self, source: Tensor, mask: Tensor, max_length: int) -> Any:
        return Said(source, mask, source.new_empty(len(source), 0))

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        said = torch.cat((state.said, tokens[:, None]), dim=1)
        width = len(said) // len(state.source)
        source, mask = (x.repeat_interleave(width, dim=0) for x in (state.source, state.mask))
        logits = self.t5(input_ids=source, attention_mask=mask.long(), decoder_input_ids=said).logits[:, -1].clone()
        return logits, Said(state.source, state.mask, said)


class Said:
    def __init__(self, source: Tensor, mask: Tensor, said: Tensor) -> None:
        self.source, self.mask, self.said = source, mask, said

    def select(self, sources: Tensor) -> "Said":
        by_source = self.said.view(len(self.source), -1, self.said.size(1))[sources]
        return Said(self.source[sources], self.mask[sources], by_source.flatten(0, 1))

    def reorder(self, hypotheses: Tensor) -> "Said":
        return Said(self.source, self.mask, self.said[hypotheses])


@pytest.fixture(scope="module")
def t5() -> T5ForConditionalGeneration:
    torch.manual_seed(4)
    config = T5Config(
        vocab_size=V,
        d_model=12,
        d_kv=4,
        d_ff=20,
        num_layers=1,
        num_heads=3,
        dropout_rate=0.0,
        pad_token_id=Vocab.pad,
        eos_token_id=Vocab.eos,
        decoder_start_token_id=Vocab.bos,
    )
    model = T5ForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.7 * torch.randn(parameter.shape))
    return model


SOURCES = torch.tensor([[5, 6, 7, 3], [8, 9, 4, 3], [12, 5, 10, 3], [11, 11, 11, 3]])
LIMIT = 14
WHOLE: list[dict[str, Any]] = [
    {},
    {"repetition_penalty": 1.4},
    {"no_repeat_ngram": 2},
    {"min_length": 6, "no_repeat_ngram": 3},
    {"repetition_penalty": 1.2, "no_repeat_ngram": 2, "min_length": 4},
]


def generated(t5: T5ForConditionalGeneration, given: dict[str, Any], **options: Any) -> Any:
    names = {"repetition_penalty": "repetition_penalty", "no_repeat_ngram": "no_repeat_ngram_size"}
    rules = {names[key]: value for key, value in given.items() if key in names}
    if "min_length" in given:
        rules["min_length"] = given["min_length"] + 1
    return t5.generate(
        input_ids=SOURCES,
        bad_words_ids=[[Vocab.pad], [Vocab.bos], [5, 6], [7, 8, 9]],
        max_length=LIMIT + 2,
        do_sample=False,
        return_dict_in_generate=True,
        output_scores=True,
        **rules,
        **options,
    )


def line(row: Tensor) -> list[int]:
    tokens = row.tolist()[1:]
    return tokens[: tokens.index(Vocab.eos)] if Vocab.eos in tokens else tokens[:LIMIT]


@pytest.mark.parametrize("given", WHOLE)
def test_greedy_search(t5: T5ForConditionalGeneration, given: dict[str, Any]) -> None:
    search = Greedy(max_length=LIMIT, **given)
    search._beam.rules.ban([(5, 6), (7, 8, 9)])
    found = search(Theirs(t5), SOURCES, torch.ones_like(SOURCES).bool())
    expected = generated(t5, given).sequences
    assert [best_first[0].tokens for best_first in found] == [line(row) for row in expected]
    assert len({tuple(best_first[0].tokens) for best_first in found}) > 1


@pytest.mark.parametrize("given", WHOLE)
def test_beam_search(t5: T5ForConditionalGeneration, given: dict[str, Any]) -> None:
    """Ranked by log-probability, which prefers outputs that end long before the limit, where theirs has no eos."""
    search = Beam(max_length=LIMIT, beam_size=20, length_penalty=0.0, **given)
    search.rules.ban([(5, 6), (7, 8, 9)])
    found = search(Theirs(t5), SOURCES, torch.ones_like(SOURCES).bool())
    expected = generated(t5, given, num_beams=20, early_stopping="never", length_penalty=0.0)
    assert [best_first[0].tokens for best_first in found] == [line(row) for row in expected.sequences]
    scores = torch.tensor([best_first[0].score for best_first in found])
    torch.testing.assert_close(scores, expected.sequences_scores, atol=1e-4, rtol=1e-4)
