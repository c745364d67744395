"""Summaries, answers and continuations, from training to output, on data of a few lines."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]

SMALL = (
    "model=lstm_tiny", "model.encoder.d_model=12", "model.decoder.d_model=12", "tokenizer.vocab_size=330",
    "trainer.max_steps=2", "trainer.validate_every=2", "trainer.device=cpu", "trainer.max_tokens=400", "run=run",
    "cache=cache", "search.max_length=10",
)  # fmt: skip
NOUNS, VERBS = ("cat", "dog", "bird", "horse", "fish"), ("runs", "sleeps", "eats", "sings")


def sentence(number: int) -> str:
    return f"the {NOUNS[number % 5]} {VERBS[number % 4]} {number} times ."


def write_json(name: str, rows: list[dict[str, Any]]) -> None:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def news(command: Command) -> tuple[str, ...]:
    """One to ten sentences, of which the first and the last are the summary."""
    articles = [[sentence(7 * n + i) for i in range(1 + n % 10)] for n in range(60)]
    rows = [{"article": "\n".join(lines), "summary": f"{lines[0]}\n{lines[-1]}"} for lines in articles]
    write_json("news.jsonl", rows)
    write_json("new.jsonl", rows[:12])
    files = ("data.train=news.jsonl", "data.validation=new.jsonl", "data.test=new.jsonl")
    fields = ("data.source=en", "data.target=en", "data.source_field=article", "data.target_field=summary")
    return ("task=summarization", "data=jsonl", *files, *fields)


def report() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path("run/data_report.json").read_text(encoding="utf-8"))
    return found


def ok(told: Any) -> Any:
    assert told.status == 0, told.err
    return told


def test_summarization(command: Command, news: tuple[str, ...]) -> None:
    told = ok(command("seq2seq-train", *SMALL, *news, "data.max_source_tokens=60", "data.max_target_tokens=99"))
    found = report()
    shortened = found["examples"]["shortened"]
    assert (found["examples"]["read"], found["examples"]["used"]) == (60, 60)
    assert 30 < shortened < 60
    limits = "data.max_source_tokens=60, data.max_target_tokens=99"
    assert f"data: 60 training pairs ({shortened} shortened to {limits})" in told.err
    held_out = re.search(rf"the validation data: (\d+) shortened to {limits}\n", told.err)
    assert held_out is not None
    assert 6 < int(held_out[1]) < 12
    assert found["source"]["longest"] == 60

    told = ok(command("seq2seq-evaluate", "run=run"))
    assert f"examples shortened to {limits}, as in training: {held_out[1]}; " in told.err
    scores = json.loads(Path("run/evaluation/test/scores.json").read_text(encoding="utf-8"))
    last = json.loads(Path("run/metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    assert scores["loss"] == pytest.approx(last["validation/loss"], abs=1e-6)  # read alike in both

    lines = [" ".join(sentence(i) for i in range(20)), "", sentence(3)]
    Path("in.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    told = ok(command("seq2seq-translate", "run=run", "input=in.txt", "output=out.txt", "attention=words.jsonl"))
    assert "lines shortened to data.max_source_tokens=60: 1\n" in told.err
    assert "translated in" not in told.err
    assert Path("out.txt").read_text(encoding="utf-8").count("\n") == 3
    read = [json.loads(line)["source"] for line in Path("words.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [len(tokens) for tokens in read][:2] == [61, 0]
    for tokens in (read[0], read[2]):
        assert "".join(tokens).replace("\u2581", " ").strip().startswith("summarize: the")
    assert "".join(read[2]).count("summarize") == 1

    for name in ("seq2seq-evaluate", "seq2seq-translate"):
        told = command(name, "run=run", "split=test", "data.max_source_tokens=50", "data.template='a {source}'")
        assert (told.status, told.out) == (2, "")
        assert told.err == (
            f"{name}: 2 mistakes in the config\n  data.template: stays as in the run's training\n"
            "  data.max_source_tokens: stays as in the run's training\n"
        )
    # Other data is read in the same way.
    Path("new.text").write_text(f"{lines[0]}\n", encoding="utf-8")
    Path("new.short").write_text(f"{lines[2]}\n", encoding="utf-8")
    others = ("data=text_files", "data.source=en", "data.target=en", "data.source_suffix=text")
    told = ok(command("seq2seq-evaluate", "run=run", *others, "data.target_suffix=short", "data.test=new"))
    assert f"examples shortened to {limits}, as in training: 1; " in told.err


def test_limits_are_part_of_what_is_prepared(command: Command, news: tuple[str, ...]) -> None:
    """Runs with one cache and other limits; and a run that streams learns from the same ids."""
    longest = {}
    for limit in ("40", "30", "null"):
        told = ok(command("seq2seq-train", *SMALL, *news, f"data.max_source_tokens={limit}", "check=true"))
        longest[limit] = report()["source"]["longest"]
        shown = [line for line in told.err.splitlines() if line.endswith(" shortened")]
        assert len(shown) == (limit != "null"), told.err
        Path("run").rename(f"run-{limit}")
    assert (longest["40"], longest["30"]) == (40, 30)
    assert longest["null"] > 40
    ok(command("seq2seq-train", *SMALL, *news, "data.max_source_tokens=40", "data.streaming=true", "check=true"))
    found = report()
    prepared = json.loads(Path("run-40/data_report.json").read_text(encoding="utf-8"))
    assert (found["examples"], found["source"]) == (prepared["examples"], prepared["source"])


def test_dialogue(command: Command) -> None:
    write_json("chats.jsonl", [{"dialog": [sentence(5 * n + i) for i in range(1 + n % 6)]} for n in range(40)])
    files = (f"data.turns.{split}=chats.jsonl" for split in ("train", "validation", "test"))
    fields = ("data.turns.source=null", "data.turns.target=en", "data.turns.target_field=dialog", "data.before=3")
    given = ("task=dialogue", "data=dialogue", *files, *fields, "data.max_source_tokens=30")
    told = ok(command("seq2seq-train", *SMALL, *given))
    found = report()
    assert found["examples"]["read"] == sum(max(n % 6, 1) for n in range(40))
    assert found["examples"]["with an empty side"] == 7  # dialogues of one turn
    assert found["source"]["longest"] == 30
    assert "shortened to data.max_source_tokens=30" in told.err
    ok(command("seq2seq-evaluate", "run=run"))
    typed = "hello . <turn> how are you ?<turn>the cat runs 1 times . <turn> the dog eats 2 times ."
    Path("in.txt").write_text(f"{typed}\n\nhi .\n", encoding="utf-8")
    told = ok(command("seq2seq-translate", "run=run", "input=in.txt", "attention=words.jsonl", "copy=copy.txt"))
    assert told.out.count("\n") == 3
    assert Path("copy.txt").read_text(encoding="utf-8") == f"{typed}\n\nhi .\n"
    read = [json.loads(line)["source"] for line in Path("words.jsonl").read_text(encoding="utf-8").splitlines()]
    tokens = read[0]
    assert len(tokens) == 31
    assert "".join(tokens[:-1]).replace("\u2581", " ").endswith("<turn> the dog eats 2 times .")
    assert tokens.count("<turn>") <= 2  # three turns, of which the beginning may be cut off
    assert "<turn>" in tokens


def test_generation(command: Command) -> None:
    write_json("text.jsonl", [{"text": " ".join(sentence(n + i) for i in range(n % 8))} for n in range(40)])
    files = (f"data.{split}=text.jsonl" for split in ("train", "validation", "test"))
    fields = ("data.source=null", "data.target=en", "data.target_field=text", "data.max_target_tokens=25")
    given = [option for option in SMALL if not option.startswith("model")]
    told = ok(
        command("seq2seq-train", *given, "model.decoder.d_model=16", "task=generation", "data=jsonl", *files, *fields)
    )
    assert "shortened to data.max_target_tokens=25" in told.err
    assert report()["target"]["longest"] == 25
    told = ok(command("seq2seq-evaluate", "run=run"))
    assert "no bits per byte: texts are shortened" in told.err
    Path("in.txt").write_text("the cat\n\n", encoding="utf-8")
    told = ok(command("seq2seq-translate", "run=run", "input=in.txt", "search.max_length=8"))
    assert told.out.count("\n") == 2
    assert told.out.startswith("the cat")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["data.template=summary"],
            "data.template: is 'summary', without {source}, the place of the source; for example 'summarize: {source}'",
        ),
        (["data.truncate=left"], "data.truncate: left has no effect without data.max_source_tokens"),
        (["data.truncate=middle"], "data.truncate: should be one of left, right, but is 'middle'"),
        (["data.max_source_tokens=0"], "data.max_source_tokens: should be greater than 0, but is 0"),
        (
            ["task=generation", "data=wikitext", "data.template=say {source}"],
            "data.template: stands around sources, and the data is text alone, without any",
        ),
        (["task=summarisation"], "task: no choice 'summarisation'; did you mean 'summarization'?"),
    ],
)
def test_mistakes_are_told(command: Command, arguments: list[str], message: str) -> None:
    told = command("seq2seq-train", *arguments)
    assert (told.status, told.out, told.err) == (2, "", f"seq2seq-train: {message}\n")


def test_a_template_without_room(command: Command, news: tuple[str, ...]) -> None:
    given = [option for option in SMALL if not option.startswith("tokenizer")]
    told = command("seq2seq-train", *given, *news, "tokenizer=characters", "data.max_source_tokens=11")
    assert told.status == 2, told.err
    assert "data.max_source_tokens: is 11, but the template alone has 11 tokens: set more\n" in told.err


PARTS = ("+data@data.parts.a=text_files", "+data@data.parts.b=text_files", "data.tags.a=<2a>", "data.tags.b=<2b>")


@pytest.mark.parametrize("kind", ["documents", "mixture", "denoising"])
def test_what_is_read_of_lines_is_what_was_learned_from(command: Command, kind: str) -> None:
    """The template once, around tag and context, in every way to the model."""
    lines = [sentence(number) for number in range(6)]
    for suffix in ("en", "de"):
        Path(f"x.{suffix}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    files = ("train=x", "validation=x", "test=x", "source=en", "target=de")
    given, tag, expected = {
        "documents": ([f"data.sentences.{option}" for option in files], [], f"{lines[0]} <sep> {lines[1]}"),
        "mixture": (
            [*PARTS, *(f"data.parts.{part}.{option}" for part in "ab" for option in files)],
            ["tag=<2b>"],
            f"<2b> {lines[1]}",
        ),
        "denoising": ([f"data.text.{option}" for option in files], [], lines[1]),
    }[kind]
    ok(command("seq2seq-train", *SMALL, f"data={kind}", *given, "data.template=Now say: {source} !"))

    def read(*arguments: str) -> list[str]:
        Path("words.jsonl").unlink(missing_ok=True)
        ok(command("seq2seq-translate", "run=run", *arguments, "attention=words.jsonl", "output=out.txt"))
        rows = [json.loads(line)["source"][:-1] for line in Path("words.jsonl").read_text("utf-8").splitlines()]
        return ["".join(tokens).replace("\u2581", " ").strip() for tokens in rows]

    typed = read("input=x.en", *tag)
    assert typed[1] == f"Now say: {expected} !"
    assert all(line.count("Now say:") == 1 for line in typed)
    of_split = read("split=test")
    if kind == "mixture":
        assert of_split[3] == typed[1]
    elif kind == "documents":
        assert of_split == typed
    assert all(line.startswith("Now say: ") and line.endswith(" !") for line in of_split)
    assert all(line.count("Now say:") == 1 for line in of_split)
