"""Text alone: a language model is trained, measured, and continues prompts."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seq2seq.data.demo import Demo

Command = Callable[..., Any]

SMALL = (
    "model=decoder_only_tiny", "model.decoder.d_model=16", "model.decoder.num_layers=1", "data=text_files",
    "data.source=null", "data.target=de", "data.train=text", "data.validation=text", "data.test=text",
    "tokenizer=characters", "trainer.precision=fp32", "trainer.max_steps=4", "trainer.validate_every=2",
    "trainer.device=cpu", "run=lm",
)  # fmt: skip


@pytest.fixture
def text(command: Command) -> list[str]:
    """Lines of text.de in the working directory, where no other side of it is."""
    source = Demo(source=None, train=60, validation=1, test=1).split("train")
    lines = [example.target for example in source.read()]
    Path("text.de").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return lines


def test_from_text_to_continuations(command: Command, text: list[str]) -> None:
    told = command("seq2seq-train", *SMALL)
    assert told.status == 0, told.err
    assert "data: 60 lines of text\n" in told.err
    assert "BLEU" not in told.err
    assert sorted(path.name for path in Path("lm/tokenizer").iterdir()) == ["target"]
    metrics = [json.loads(line) for line in Path("lm/metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    losses = [line["validation/loss"] for line in metrics if "validation/loss" in line]
    best = Path("lm/checkpoints/best").read_text(encoding="utf-8").strip()
    assert int(best.removeprefix("step_")) == 2 * (1 + losses.index(min(losses)))

    told = command("seq2seq-evaluate", "run=lm")
    assert told.status == 0, told.err
    scores = json.loads(Path("lm/evaluation/test/scores.json").read_text(encoding="utf-8"))
    assert scores["loss"] == pytest.approx(min(losses), abs=1e-6)
    assert scores["perplexity"] == pytest.approx(math.exp(scores["loss"]))
    num_tokens = sum(len(line) + 1 for line in text)
    num_bytes = len("".join(f"{line}\n" for line in text).encode())
    assert scores["bits_per_byte"] == pytest.approx(scores["loss"] / math.log(2) * num_tokens / num_bytes)
    assert f"{scores['bits_per_byte']:.3f}" in told.out
    assert scores["byte_perplexity"] == pytest.approx(2 ** scores["bits_per_byte"])
    num_words = sum(len(line.split()) + 1 for line in text)
    assert math.log(scores["word_perplexity"]) == pytest.approx(scores["loss"] * num_tokens / num_words)
    for name in ("word", "byte"):
        assert re.search(rf"^ +\S+    per {name}$", told.out, flags=re.MULTILINE)
    assert 0 < scores["token_accuracy"] < 100
    best_validation = next(line for line in metrics if line.get("validation/loss") == min(losses))
    for name in ("token_accuracy", "word_perplexity", "byte_perplexity", "bits_per_byte"):  # the test split is the same
        assert best_validation[f"validation/{name}"] == pytest.approx(scores[name], rel=1e-5)
    assert "BLEU" not in told.out
    assert not Path("lm/evaluation/test/hypotheses.txt").exists()
    Path("test").write_bytes(Path("text.de").read_bytes())  # not to be taken for the split
    Path("blank.de").write_text("          \n" * 30, encoding="utf-8")
    for name in ("text.de", "test", "blank.de"):
        told = command("seq2seq-evaluate", "run=lm", f"target={name}")
        assert told.status == 0, told.err
    assert Path("lm/evaluation/test-file/scores.json").exists()
    blank = json.loads(Path("lm/evaluation/blank.de/scores.json").read_text(encoding="utf-8"))
    assert blank["bits_per_byte"] == pytest.approx(blank["loss"] / math.log(2))  # characters: a token for each byte
    for key in ("metrics.bleu.tokenize=char", "search.beam_size=3"):
        told = command("seq2seq-evaluate", "run=lm", key)
        name = key.partition("=")[0].partition(".")[0]
        message = f"seq2seq-evaluate: {name}: a language model is measured without translating\n"
        assert (told.status, told.out, told.err) == (2, "", message)
    told = command("seq2seq-evaluate", "run=lm", "data.source=en")
    message = "seq2seq-evaluate: data.source: the run was trained on data without a source\n"
    assert (told.status, told.out, told.err) == (2, "", message)
    told = command("seq2seq-translate", "run=lm", "input=text.de", "attention=out")
    assert (told.status, told.err) == (
        2,
        "seq2seq-translate: attention: the run's model has no source: nothing to write\n",
    )
    again = json.loads(Path("lm/evaluation/text.de/scores.json").read_text(encoding="utf-8"))
    assert again["loss"] == scores["loss"]

    prompts = [" ".join(line.split()[:2]) for line in text[:5]]
    Path("prompts").write_text("".join(f"{prompt}\n" for prompt in [*prompts, ""]), encoding="utf-8")
    told = command("seq2seq-translate", "run=lm", "input=prompts", "search.max_length=6")
    assert told.status == 0, told.err
    lines = told.out.splitlines()
    assert len(lines) == 6
    assert all(line.startswith(prompt) for line, prompt in zip(lines, prompts, strict=False))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["model=lstm_tiny", "data.source=null"],
            "data.source: is null: model=encoder_decoder needs a source; model=decoder_only learns from text alone",
        ),
        (
            ["model=decoder_only_tiny", "data.source=null", "trainer.metric=bleu"],
            "trainer.metric: text without a source has no bleu: set loss",
        ),
        (
            ["model=decoder_only_tiny", "data.source=null", "model.loss_on=all"],
            "model.loss_on: text without a source has nothing but the target: set target",
        ),
        (
            [
                "data=text_files",
                "data.source=null",
                "data.target=de",
                "model.encoder.num_heads=3",
                "trainer.metric=chrf",
            ],
            "3 mistakes in the config\n"
            "  model.encoder: d_model must be a multiple of num_heads, which is 3: for example 129, not 128\n"
            "  data.source: is null: model=encoder_decoder needs a source; model=decoder_only learns from text alone\n"
            "  trainer.metric: text without a source has no chrf: set loss",
        ),
        (["model=decoder_only_tiny", "model/encoder=lstm"], "model/encoder: the chosen model has no part 'encoder'"),
        (["data.noise=x"], "data/noise: the chosen data has no part 'noise'"),
        (["data/noise=text_infilling"], "data/noise: the chosen data has no part 'noise'"),
        (
            ["model=decoder_only_tiny", "tokenizer.shared=false"],
            "model: one stack reads both sides with one vocabulary: set tokenizer.shared=true",
        ),
        (
            ["model=decoder_only", "model/decoder=lstm_tiny", "model.tie_embeddings=true"],
            "model.decoder: a decoder-only model has no source to attend to: set attention=none and "
            "context_input=false",
        ),
    ],
)
def test_what_does_not_fit_is_told_first(command: Command, arguments: list[str], message: str) -> None:
    told = command("seq2seq-train", *arguments)
    assert (told.status, told.out, told.err) == (2, "", f"seq2seq-train: {message}\n")


def test_evaluate_wants_the_files_that_the_run_has_sides_for(command: Command, text: list[str], run: Path) -> None:
    told = command("seq2seq-evaluate", "run=run", "target=text.de")
    message = "seq2seq-evaluate: source: the run translates: target=FILE needs source=FILE\n"
    assert (told.status, told.out, told.err) == (2, "", message)
    told = command("seq2seq-evaluate", "run=run", "source=text.de")
    assert told.status == 2
    assert "source=FILE needs target=FILE" in told.err
