"""The converted model against the model itself: probabilities of given outputs, and searches."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from seq2seq.config import RunConfig, bind_run
from seq2seq.data.batch import make_batch
from seq2seq.errors import Problem
from seq2seq.export.ctranslate2 import (
    CTranslate2Backend,
    distinct,
    needed_positions,
    save,
    unsupported_model,
    unsupported_search,
    without_rules,
)
from seq2seq.models.base import Model
from seq2seq.search.backend import TorchBackend
from seq2seq.search.beam import Beam
from seq2seq.text.pair import TokenizerPair
from seq2seq.text.vocab import Vocab

from .random_models import config, quiet, random_ids, random_model, tokenizer

ctranslate2 = pytest.importorskip("ctranslate2")
CPU = torch.device("cpu")
GROUPED = {"num_kv_heads": 2}


@pytest.mark.parametrize(
    ("encoder", "decoder", "model"),
    [
        ({}, {}, {}),
        ({}, {}, {"tie_embeddings": "target"}),
        ({"norm": "pre"}, {"norm": "pre"}, {}),
        ({"norm": "pre", "norm_type": "rms"}, {"norm": "post"}, {}),
        ({"norm_type": "rms"}, {"norm": "pre", "norm_type": "rms"}, {}),
        ({"activation": "gelu"}, {"activation": "silu"}, {}),
        ({"activation": "swiglu"}, {"activation": "swiglu"}, {}),
        # the longer rows go beyond the table: the last position repeats
        ({"positions": "learned", "max_positions": 7}, {"positions": "learned", "max_positions": 5}, {}),
        ({"positions": "none"}, {"positions": "none"}, {}),
        ({"positions": "rotary"}, {"positions": "rotary"}, {}),
        ({"positions": "relative"}, {"positions": "relative"}, {}),
        ({}, {"positions": "alibi"}, {}),
        ({}, {"positions": "alibi", "num_heads": 3}, {}),
        (GROUPED, GROUPED, {}),
        ({"num_kv_heads": 1}, {"num_kv_heads": 1}, {}),
        (GROUPED | {"positions": "rotary"}, GROUPED | {"positions": "rotary"}, {}),
        (GROUPED | {"positions": "relative"}, GROUPED | {"positions": "relative"}, {}),
        ({}, GROUPED | {"positions": "alibi"}, {}),
        ({"qk_norm": True}, {}, {}),
        ({"d_model": 36, "num_heads": 3, "num_layers": 1}, {"num_layers": 3}, {}),
    ],
)
def test_probabilities_are_the_same(
    tmp_path: Path, encoder: dict[str, Any], decoder: dict[str, Any], model: dict[str, Any]
) -> None:
    bound = config(encoder, decoder, **model)
    assert unsupported_model(bound) == []
    made = random_model(bound, SIDES)
    save(bound, made, SIDES, tmp_path, num_positions=200)
    for found, expected in zip(scored(tmp_path, "float32"), expected_scores(made), strict=True):
        assert found == pytest.approx(expected, abs=3e-5)


SIDES = TokenizerPair(tokenizer("abcdefghij"), tokenizer("klmnopq"))
SOURCES, TARGETS = (
    random_ids(lengths, vocab) for lengths, vocab in zip(((5, 1, 9, 150), (7, 3, 2, 140)), SIDES.vocabs, strict=True)
)


def expected_scores(model: Model) -> list[list[float]]:
    """The model's own log-probabilities of the targets' tokens and eos."""
    batch = make_batch(SOURCES, TARGETS, range(4))
    with torch.no_grad():
        logits = model.head(model.features(batch))
    found = logits.log_softmax(-1).gather(2, batch.labels[:, :, None]).squeeze(2)
    return [row[: len(target) + 1].tolist() for row, target in zip(found, TARGETS, strict=True)]


def scored(folder: Path, compute_type: str) -> list[list[float]]:
    """The same by what was saved in the folder."""
    names = []
    for vocab, rows in zip(SIDES.vocabs, (SOURCES, TARGETS), strict=True):
        tokens = distinct(vocab)
        names.append([[tokens[token] for token in row] for row in rows])
    found = ctranslate2.Translator(str(folder), compute_type=compute_type).score_batch(*names)
    return [scores.log_probs for scores in found]


@pytest.mark.parametrize("quantization", ["int8", "int8_float32"])
def test_sums_of_weights_of_one_sign_stay_exact_in_int8(tmp_path: Path, quantization: str) -> None:
    """A CPU without VNNI cuts off what lies beyond 16 bits."""
    bound = config(tie_embeddings="target")
    made = random_model(bound, SIDES)
    with torch.no_grad():
        for part in (made.encoder, made.decoder):
            for layer in part.layers:
                layer.feed_forward.inner.bias += 1.0  # past relu: activations of one sign, too
                layer.feed_forward.outer.weight.fill_(0.3)
                layer.feed_forward.outer.weight[::2] *= -1
    save(bound, made, SIDES, tmp_path, num_positions=200, quantization=quantization)
    for found, expected in zip(scored(tmp_path, "default"), expected_scores(made), strict=True):
        assert found == pytest.approx(expected, abs=0.15)


def searched(bound: RunConfig, rows: list[list[list[int]]], folder: Path, num_threads: int = 1) -> tuple[Any, Any]:
    """What ours and theirs find for the same batches."""
    both = tokenizer("abcdefghijklmnopqrstuvwxyz")
    tokenizers = TokenizerPair(both, both)
    model = random_model(bound, tokenizers)
    quiet(model)
    save(bound, model, tokenizers, folder, num_positions=needed_positions(bound))
    theirs = CTranslate2Backend(folder, bound, tokenizers, num_threads=num_threads)
    assert theirs.compute_type == "float32"
    ours = TorchBackend(model, bound.search(), True, CPU, torch.no_grad)
    return list(ours(rows)), list(theirs(rows))


ROWS = [random_ids(lengths, tokenizer("abcdefghijklmnopqrstuvwxyz").vocab) for lengths in ((9, 8, 3), (2,), (1, 1))]


@pytest.mark.parametrize(
    "search",
    [
        {"name": "beam", "beam_size": 4, "nbest": 3},
        {"name": "beam", "beam_size": 3, "nbest": 3, "length_penalty": 0.0},
        {"name": "beam", "beam_size": 3, "nbest": 2, "length_penalty": 2.0},
        {"name": "beam", "beam_size": 4, "nbest": 4, "max_length": 6},  # which the outputs of these models reach
        {"name": "beam", "beam_size": 2, "max_length": 1},
        {"name": "beam", "beam_size": 1},
        {"name": "greedy"},
        {"name": "greedy", "max_length": 5},
    ],
)
def test_searches_find_the_same(tmp_path: Path, search: dict[str, Any]) -> None:
    ours, theirs = searched(config(decoder={"norm": "pre"}, search=search), ROWS, tmp_path)
    for of_batch, of_other in zip(ours, theirs, strict=True):
        for mine, other in zip(of_batch, of_other, strict=True):
            assert [h.tokens for h in mine] == [h.tokens for h in other]
            assert [h.score for h in mine] == pytest.approx([h.score for h in other], abs=1e-3)
            assert [h.log_probability for h in mine] == pytest.approx([h.log_probability for h in other], abs=1e-2)


def test_threads_and_neighbours_change_nothing(tmp_path: Path) -> None:
    bound = config(decoder={"norm": "pre"}, search={"name": "beam", "beam_size": 3, "nbest": 2})
    batches = [[row] for rows in ROWS for row in rows] * 3
    _, one = searched(bound, batches, tmp_path)
    _, two = searched(bound, batches, tmp_path, num_threads=2)
    assert one == two
    _, together = searched(bound, ROWS, tmp_path)
    alone = [found for [found] in one[: len(batches) // 3]]
    assert [[h.tokens for h in found] for rows in together for found in rows] == [
        [h.tokens for h in found] for found in alone
    ]


@pytest.mark.parametrize("name", ["beam", "greedy"])
def test_pad_and_bos_are_never_generated(tmp_path: Path, name: str) -> None:
    both = tokenizer("abc")
    tokenizers = TokenizerPair(both, both)
    bound = config(decoder={"norm": "pre"}, search={"name": name, "max_length": 5})
    model: Any = random_model(bound, tokenizers)
    quiet(model)
    with torch.no_grad():
        model.head.weight[:, 0] *= -1  # they are what it would say
    save(bound, model, tokenizers, tmp_path, num_positions=needed_positions(bound))
    [[first], [second]] = CTranslate2Backend(tmp_path, bound, tokenizers)([[[4, 5]], [[6]]])
    for hypothesis in (*first, *second):
        assert not {Vocab.pad, Vocab.bos} & set(hypothesis.tokens)
        assert len(hypothesis.tokens) <= 5


def test_there_are_positions_for_all_that_is_not_cut_off() -> None:
    bound = config(search={"name": "greedy", "max_length": 3})
    assert needed_positions(bound) == bound.trainer.max_length + 2
    assert needed_positions(replace(bound, max_source_tokens=700)) == 702


def test_batches_are_taken_when_there_is_room(tmp_path: Path) -> None:
    both = tokenizer("abc")
    tokenizers = TokenizerPair(both, both)
    bound = config(search={"name": "greedy", "max_length": 3})
    save(bound, random_model(bound, tokenizers), tokenizers, tmp_path, num_positions=needed_positions(bound))
    taken = []

    def batches():  # type: ignore[no-untyped-def]
        for number in range(9):
            taken.append(number)
            yield [[4]]
        raise KeyError("from the batches")

    results = CTranslate2Backend(tmp_path, bound, tokenizers)(batches())
    next(results)
    assert taken == [0, 1, 2]
    next(results)
    assert taken == [0, 1, 2, 3]
    with pytest.raises(KeyError, match="from the batches"):
        list(results)


def test_what_has_no_place() -> None:
    encoder = {"d_ff": 0, "positions": "alibi"}
    decoder = {"d_ff": 0, "qk_norm": True, "cross_attention": "parallel"}
    assert unsupported_model(config(encoder, decoder)) == [
        Problem("model.encoder.d_ff", "CTranslate2 has no place for 0"),
        Problem("model.encoder.positions", "CTranslate2 has no place for alibi"),
        Problem("model.decoder.d_ff", "CTranslate2 has no place for 0"),
        Problem("model.decoder.qk_norm", "CTranslate2 has no place for true"),
        Problem("model.decoder.cross_attention", "CTranslate2 has no place for parallel"),
    ]
    assert unsupported_search(config().search) == []
    given = {"name": "beam", "beam_size": 3, "no_repeat_ngram": 2, "required": ["a"], "banned": None, "min_length": 0}
    assert unsupported_search(config(search=given).search) == [
        Problem("search.no_repeat_ngram", "CTranslate2 is not given it"),
        Problem("search.required", "CTranslate2 is not given it"),
    ]
    plain = config(search={**given, **without_rules(Beam)})
    assert unsupported_search(plain.search) == []
    assert plain.search.options["beam_size"] == 3
    bound = bind_run({
        **{key: "demo" if key == "data" else "characters" for key in ("data", "tokenizer")},
        "model": {"name": "encoder_decoder", "encoder": "lstm", "decoder": "gru"},
        "optimizer": "adamw", "schedule": "constant", "loss": "cross_entropy", "search": "greedy", "trainer": {},
    })  # fmt: skip
    assert unsupported_model(bound) == [
        Problem("model.encoder.name", "CTranslate2 has no place for lstm"),
        Problem("model.decoder.name", "CTranslate2 has no place for gru"),
    ]


def test_tokens_are_known_by_their_text() -> None:
    assert distinct(Vocab((*Vocab.special, "a", "<s>", "a"))) == [*Vocab.special, "a", "<s>\u2581", "a\u2581"]


@pytest.mark.parametrize(("max_length", "expected"), [(None, 2 * 256 + 10 + 2), (3, 256 + 2), (900, 902)])
def test_room_for_the_longest(max_length: int | None, expected: int) -> None:
    assert needed_positions(config(search={"name": "greedy", "max_length": max_length})) == expected
