"""What every search promises, for all that are registered, on small models with real states."""

import importlib
import pkgutil
from typing import Any

import pytest
import torch
from torch import Tensor

import seq2seq.models.decoders
import seq2seq.models.encoders
import seq2seq.search
from seq2seq.data.batch import Batch, make_batch, pad
from seq2seq.models.base import Model, decoders, encoders
from seq2seq.models.decoder_only import DecoderOnly
from seq2seq.models.encoder_decoder import EncoderDecoder
from seq2seq.registry import Factory
from seq2seq.search.base import Hypothesis, searches
from seq2seq.text.vocab import Vocab

for package in (seq2seq.models.encoders, seq2seq.models.decoders, seq2seq.search):
    for found in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        importlib.import_module(found.name)

VOCAB = Vocab((*Vocab.special, *(f"t{i}" for i in range(13))))
SIZES = {"d_model": 12, "num_layers": 2}
SOURCES = [[5, 6, 7], [8], [4, 9, 10, 11, 12, 13], [], [5, 6]]
PROMPTS = [[5, 6], [], [7, 8, 9], [4]]
MORE: dict[str, list[dict[str, Any]]] = {
    "beam": [
        {"nbest": 3, "no_repeat_ngram": 2, "min_length": 3, "repetition_penalty": 1.3},
        {"nbest": 4, "groups": 3, "diversity": 0.8},
    ],
    "sampling": [{"nbest": 4, "top_p": 0.9, "min_length": 2}, {"temperature": 0.7, "seed": 4}],
    "greedy": [{"no_repeat_ngram": 2}],
}

every_search = pytest.mark.parametrize(
    ("name", "options"),
    [(name, options) for name in sorted(searches.components) for options in [{}, *MORE.get(name, [])]],
)


def model(decoder: str, with_source: bool = True) -> Model:
    torch.manual_seed(3)
    options: dict[str, Any] = dict(SIZES)
    if decoder == "transformer":
        options |= {"num_heads": 3, "d_ff": 20}
    if not with_source and decoder != "transformer":
        options |= {"attention": "none"}
    writes = Factory(decoders.components[decoder], decoder, options)
    made: Model
    if with_source:
        reads = Factory(encoders.components["lstm"], "lstm", dict(SIZES))
        made = EncoderDecoder(VOCAB, VOCAB, encoder=reads, decoder=writes)
    else:
        made = DecoderOnly(VOCAB, VOCAB, decoder=writes)
    with torch.no_grad():
        for parameter in made.parameters():  # as they begin, all outputs are equally likely
            parameter.mul_(2.5)
    return made.eval()


def same(found: list[Hypothesis], expected: list[Hypothesis]) -> None:
    assert [h.tokens for h in found] == [h.tokens for h in expected]
    assert [h.score for h in found] == pytest.approx([h.score for h in expected], abs=1e-4)


def with_eos(rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    return pad([[*row, Vocab.eos] for row in rows])


@every_search
@pytest.mark.parametrize("decoder", sorted(decoders.components))
@torch.no_grad()
def test_neighbours_change_nothing(name: str, options: dict[str, Any], decoder: str) -> None:
    search, searched = searches.components[name](**options), model(decoder)
    together = search(searched, *with_eos(SOURCES))
    assert len({len(h.tokens) for best_first in together for h in best_first}) > 1
    for source, found in zip(SOURCES, together, strict=True):
        same(found, search(searched, *with_eos([source]))[0])


@every_search
@pytest.mark.parametrize("decoder", ["transformer", "lstm"])
@torch.no_grad()
def test_other_prompts_change_nothing(name: str, options: dict[str, Any], decoder: str) -> None:
    search, searched = searches.components[name](max_length=9, **options), model(decoder, with_source=False)

    def continued(prompts: list[list[int]]) -> list[list[Hypothesis]]:
        nothing = torch.zeros(len(prompts), 0, dtype=torch.long)
        return search(searched, nothing, nothing.bool(), prompts)

    for prompt, found in zip(PROMPTS, continued(PROMPTS), strict=True):
        same(found, continued([prompt])[0])
        assert all(h.tokens[: len(prompt)] == prompt for h in found)
        assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)


@every_search
@pytest.mark.parametrize("decoder", ["transformer", "gru"])
@torch.no_grad()
def test_teacher_forcing_gives_the_same_log_probability(name: str, options: dict[str, Any], decoder: str) -> None:
    if name == "beam" and "repetition_penalty" in options:
        options = {**options, "repetition_penalty": 1.0}  # part of a beam's log-probabilities
    searched = model(decoder)
    for source, found in zip(SOURCES, searches.components[name](**options)(searched, *with_eos(SOURCES)), strict=True):
        batch: Batch = make_batch([source] * len(found), [h.tokens for h in found], range(len(found)))
        values = searched.head(searched.features(batch)).log_softmax(dim=2)
        told = values.gather(2, batch.labels[:, :, None])[..., 0].masked_fill(~batch.target_mask, 0).sum(dim=1)
        assert [h.log_probability for h in found] == pytest.approx(told.tolist(), abs=1e-3)
