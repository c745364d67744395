"""The converted model against the model itself: probabilities of given outputs, and searches."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from seq2seq.cli.overrides import config_folder
from seq2seq.config import bind_run
from seq2seq.data.batch import make_batch
from seq2seq.errors import Problem
from seq2seq.export.huggingface import HuggingFaceBackend, layout, next_step, save, unsupported_model
from seq2seq.search.backend import TorchBackend
from seq2seq.text.pair import TokenizerPair

from .random_models import config, quiet, random_ids, random_model, tokenizer

transformers = pytest.importorskip("transformers")
CPU = torch.device("cpu")
PRE = {"norm": "pre"}
LEARNED = PRE | {"positions": "learned"}


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> None:
    transformers.utils.logging.disable_progress_bar()


@pytest.mark.parametrize(
    ("encoder", "decoder", "tie", "family"),
    [
        ({}, {}, "all", "Marian"),
        ({}, {}, "target", "Marian"),
        ({}, {}, "none", "Marian"),
        ({"activation": "gelu", "num_kv_heads": 2}, {"activation": "gelu", "num_heads": 3}, "none", "Marian"),
        ({"num_kv_heads": 1, "num_layers": 1}, {"num_kv_heads": 2, "num_layers": 3, "d_ff": 28}, "target", "Marian"),
        (PRE, PRE, "all", "Pegasus"),
        (PRE, PRE, "target", "Pegasus"),
        (PRE | {"activation": "silu"}, PRE | {"activation": "silu"}, "none", "Pegasus"),
        # the longer rows go beyond the table: the last position repeats
        (LEARNED | {"max_positions": 7}, LEARNED | {"max_positions": 5}, "none", "Blenderbot"),
        (PRE | {"positions": "none"}, PRE | {"positions": "none", "num_kv_heads": 2}, "all", "Blenderbot"),
    ],
)
@pytest.mark.parametrize("larger", ["source", "target"])
def test_probabilities_are_the_same(
    tmp_path: Path, encoder: dict[str, Any], decoder: dict[str, Any], tie: str, family: str, larger: str
) -> None:
    bound = config(encoder, decoder, tie_embeddings=tie)
    assert unsupported_model(bound) == []
    assert layout(bound).name == family
    letters = ("abcdefghij", "klmnopq") if larger == "source" else ("klmnopq", "abcdefghij")
    source, target = (tokenizer(some) for some in letters)
    tokenizers = TokenizerPair(source, source if tie == "all" else target)
    made = random_model(bound, tokenizers)
    batch = make_batch(
        random_ids((5, 1, 9, 150), tokenizers.vocabs[0]), random_ids((7, 3, 2, 140), tokenizers.vocabs[1]), range(4)
    )
    save(bound, made, tmp_path, num_positions=200)
    given = {
        "input_ids": batch.source,
        "attention_mask": batch.source_mask.long(),
        "decoder_input_ids": batch.target,
    }
    load = transformers.AutoModelForSeq2SeqLM.from_pretrained
    model, loading = load(tmp_path, output_loading_info=True)
    assert not any(loading.values())  # no tensor too much, none too few, none of another shape
    model.save_pretrained(tmp_path / "again")
    with torch.no_grad():
        expected = made.head(made.features(batch)).log_softmax(-1)
        found = model.eval()(**given).logits
        assert torch.equal(load(tmp_path / "again").eval()(**given).logits, found)
    found = found.log_softmax(-1)
    num_targets = expected.size(-1)
    assert torch.all(found[..., num_targets:] == float("-inf"))
    torch.testing.assert_close(
        found[..., :num_targets][batch.target_mask], expected[batch.target_mask], atol=3e-5, rtol=0
    )


@pytest.mark.parametrize(
    "search",
    [
        {"name": "beam", "beam_size": 4},
        {"name": "beam", "beam_size": 3, "length_penalty": 0.0},
        {"name": "beam", "beam_size": 3, "length_penalty": 2.0, "nbest": 2},
        {"name": "greedy"},
        {"name": "greedy", "max_length": 5},  # which the outputs of these models reach
    ],
)
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_searches_find_the_same(tmp_path: Path, search: dict[str, Any], norm: str) -> None:
    both = tokenizer("abcdefghijklmnopqrstuvwxyz")
    tokenizers = TokenizerPair(both, both)
    bound = config({"norm": norm}, {"norm": norm}, search=search, tie_embeddings="none")
    model: Any = random_model(bound, tokenizers)
    if norm == "pre":
        quiet(model)
    save(bound, model, tmp_path, num_positions=100)
    rows = [random_ids(lengths, both.vocab) for lengths in ((9, 8, 3, 8), (2,), (1, 1))]
    ours = TorchBackend(model, bound.search(), True, CPU, torch.no_grad)(rows)
    theirs = HuggingFaceBackend(tmp_path, bound.search)
    for batch, of_batch, of_other in zip(rows, ours, theirs(rows), strict=True):
        for row, mine, [other] in zip(batch, of_batch, of_other, strict=True):
            at_limit = search["name"] == "beam" and len(mine[0].tokens) >= 2 * len(row) + 10
            assert at_limit or mine[0].tokens == other.tokens  # a beam is ended there in another way


def test_pad_and_bos_are_never_generated(tmp_path: Path) -> None:
    both = tokenizer("abc")
    tokenizers = TokenizerPair(both, both)
    bound = config(PRE, PRE, search={"name": "beam", "max_length": 5})
    model: Any = random_model(bound, tokenizers)
    quiet(model)
    with torch.no_grad():
        model.head.weight[:, 0] *= -1  # they are what it would say
    save(bound, model, tmp_path, num_positions=20)
    [[[first], [second]]] = HuggingFaceBackend(tmp_path, bound.search)([[[4, 5], [6]]])
    for hypothesis in (first, second):
        assert not {0, 2} & set(hypothesis.tokens)
        assert len(hypothesis.tokens) <= 5


SPECIAL = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 2}
ENDS = SPECIAL | {"forced_eos_token_id": 3, "suppress_tokens": [0, 2]}


@pytest.mark.parametrize(
    ("search", "num_positions", "expected"),
    [
        ({"name": "greedy"}, 1024, {"num_beams": 1, "max_length": 2 * 256 + 10 + 2}),
        ({"name": "greedy", "max_length": 7}, 1024, {"num_beams": 1, "max_length": 9}),
        ({"name": "greedy"}, 300, {"num_beams": 1, "max_length": 300}),
        (
            {"name": "beam", "beam_size": 4, "length_penalty": 0.6, "max_length": 7, "nbest": 2},
            1024,
            {"num_beams": 4, "length_penalty": 0.6, "early_stopping": True, "num_return_sequences": 2, "max_length": 9},
        ),
    ],
)
def test_generation_is_as_the_runs_search(
    tmp_path: Path, search: dict[str, Any], num_positions: int, expected: dict[str, Any]
) -> None:
    both = tokenizer("abc")
    bound = config(search=search, tie_embeddings="all")
    save(bound, random_model(bound, TokenizerPair(both, both)), tmp_path, num_positions=num_positions)
    assert json.loads((tmp_path / "generation_config.json").read_text()) == ENDS | expected


def test_what_has_no_place() -> None:
    encoder = {"d_ff": 0, "positions": "alibi", "norm_type": "rms", "qk_norm": True}
    decoder = {"activation": "swiglu", "cross_attention": "parallel"}
    assert unsupported_model(config(encoder, decoder)) == [
        Problem("model.encoder.norm_type", "Hugging Face has no place for rms, only for layer"),
        Problem("model.encoder.positions", "Hugging Face has no place for alibi, only for sinusoidal, learned, none"),
        Problem("model.encoder.qk_norm", "Hugging Face has no place for true, only for false"),
        Problem("model.encoder.d_ff", "Hugging Face has no place for layers without a feed-forward sublayer"),
        Problem("model.decoder.activation", "Hugging Face has no place for swiglu, only for relu, gelu, silu"),
        Problem("model.decoder.cross_attention", "Hugging Face has no place for parallel, only for sequential"),
    ]
    told = "{} is {}, and the encoder's is {}: Hugging Face has a place only for two that are the same"
    assert unsupported_model(config({"d_model": 36}, {"norm": "pre", "activation": "gelu"})) == [
        Problem(f"model.decoder.{option}", told.format("", *values).lstrip())
        for option, values in {"d_model": (24, 36), "activation": ("gelu", "relu"), "norm": ("pre", "post")}.items()
    ]
    positions = {"positions": "learned"}
    assert unsupported_model(config(positions, positions)) == [
        Problem("model.encoder.positions", "Hugging Face has no place for learned with norm=post, only for sinusoidal")
    ]


@pytest.fixture(scope="module")
def _hydra() -> Iterator[None]:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        yield


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("transformer_tiny", "Pegasus"),
        ("transformer_base", "Marian"),
        ("transformer_big", "Marian"),
        ("transformer_deep", "Pegasus"),
        ("transformer_t5", ["encoder.norm_type", "encoder.positions", "decoder.norm_type", "decoder.positions"]),
        ("transformer_parallel", ["decoder.cross_attention"]),
        ("transformer_lstm", ["decoder.name"]),
        ("conv_tiny", ["encoder.name", "decoder.name"]),
        ("gru_tiny", ["encoder.name", "decoder.name"]),
        ("decoder_only_tiny", ["name"]),
    ],
)
@pytest.mark.usefixtures("_hydra")
def test_which_presets_have_a_place(preset: str, expected: str | list[str]) -> None:
    tree = OmegaConf.to_container(compose("train", [f"model={preset}"]), resolve=True)
    assert isinstance(tree, dict)
    tree.pop("run")
    bound = bind_run(tree)
    problems = unsupported_model(bound)
    if isinstance(expected, list):
        assert [problem.path for problem in problems] == [f"model.{key}" for key in expected]
    else:
        assert (problems, layout(bound).name) == ([], expected)


def test_the_next_step_is_python(capsys: pytest.CaptureFixture[str]) -> None:
    for target in (None, "target"):
        compile(next_step("a folder's name", target), "next_step", "exec")
    assert "target = AutoTokenizer.from_pretrained('made/target')" in next_step("made", "target")
