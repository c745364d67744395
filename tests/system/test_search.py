"""What may be said, and how it is found, as a user asks for it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]
LINES = ["The old woman opens the door.", "", "a", "Does the teacher help?", "The blue car is old."]


@pytest.fixture
def run(transformer: Path, command: Command) -> Path:
    Path("in.txt").write_text("".join(f"{line}\n" for line in LINES), encoding="utf-8")
    return Path(shutil.copytree(transformer, "run"))


def translated(command: Command, *given: str) -> list[str]:
    told = command("seq2seq-translate", "run=run", "input=in.txt", *given)
    assert told.status == 0, told.err
    return list(told.out.splitlines())


def test_sampling(command: Command, run: Path) -> None:
    given = ("search=sampling", "search.top_k=5", "search.max_length=30")
    found = translated(command, *given)
    assert found == translated(command, *given, "max_tokens=31")
    Path("in.txt").write_text("".join(f"{line}\n" for line in reversed(LINES)), encoding="utf-8")
    assert found[::-1] == translated(command, *given, "max_tokens=100")
    assert found[::-1] != translated(command, *given, "search.seed=1")
    assert len(found) == len(LINES)
    assert found[1] == ""


def test_samples_are_written_as_an_nbest_list(command: Command, run: Path) -> None:
    found = [line.split(" ||| ") for line in translated(command, "search=sampling", "search.nbest=4")]
    assert [number for number, _, _ in found] == [
        number for number in "01234" for _ in range(1 if number == "1" else 4)
    ]
    assert len({text for number, text, _ in found if number == "0"}) > 1
    for number in "0234":
        scores = [float(score) for place, _, score in found if place == number]
        assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("search", ["greedy", "sampling"])
def test_rules(command: Command, run: Path, search: str) -> None:
    usual = translated(command, f"search={search}")
    letter = max("enrstia", key="".join(usual).count)
    assert "".join(usual).count(letter) > 3
    found = translated(command, f"search={search}", f"search.banned=[{letter},'e ']", "search.min_length=9")
    assert len(found) == len(LINES)
    assert not any(letter in line or "e " in line for line in found)
    assert all(len(line) >= 8 for line in found if line)  # spaces at the ends count, too


def test_required_phrases(command: Command, run: Path) -> None:
    found = translated(command, "search.required=[Haus,gut]", "search.nbest=2")
    assert {line[0] for line in found} == set("01234")
    assert all("Haus" in line and "gut" in line for line in found if not line.startswith("1 "))


def test_groups(command: Command, run: Path) -> None:
    found = translated(command, "search.groups=4", "search.diversity=2.5", "search.nbest=5")
    assert {line.partition(" ")[0] for line in found} == set("01234")


def test_what_ctranslate2_is_not_given(command: Command, run: Path) -> None:
    pytest.importorskip("ctranslate2")
    for given, reason in [
        (["search=sampling"], "search.name: CTranslate2 has no place for sampling"),
        (["search=greedy", "search.min_length=2"], "search.min_length: CTranslate2 is not given it"),
    ]:
        told = command("seq2seq-translate", "run=run", "input=in.txt", *given)
        assert (told.status, told.err.splitlines()[0]) == (0, f"backend: torch ({reason})")
        told = command("seq2seq-translate", "run=run", "input=in.txt", "backend=ctranslate2", *given)
        assert (told.status, told.out, told.err) == (2, "", f"seq2seq-translate: {reason}\n")


def test_evaluation_of_samples(command: Command, run: Path) -> None:
    told = command("seq2seq-evaluate", "run=run", "search=sampling", "search.top_p=0.9", "search.seed=3")
    assert told.status == 0, told.err
    scores = json.loads(Path("run/evaluation/test/scores.json").read_text(encoding="utf-8"))
    assert (scores["search"]["name"], scores["search"]["seed"], scores["backend"]) == ("sampling", 3, "torch")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            ["search=greedy", "search.required=a"],
            "search: required has no effect on one hypothesis alone: set search=beam",
        ),
        (["search=sampling", "search.required=a"], "search: required has no effect on samples: set search=beam"),
        (["search=sampling", "search.top_p=0"], "search.top_p: should be greater than 0, but is 0"),
        (["search=sampling", "search.beam_size=2"], "search.beam_size: unknown key"),
        (
            ["search.groups=2"],
            "search: groups and diversity have no effect without each other: set groups=4 and diversity=0.5",
        ),
        (
            ["search.banned=\u4e2d"],
            "search.banned: '\u4e2d' holds what the tokenizer does not know, so it is never said",
        ),
        (["search.required=''"], "search.required: '' holds no text"),
    ],
)
def test_errors(command: Command, run: Path, given: list[str], message: str) -> None:
    told = command("seq2seq-translate", "run=run", "input=in.txt", *given)
    assert (told.status, told.out) == (2, "")
    assert told.err.startswith(f"seq2seq-translate: {message}")
