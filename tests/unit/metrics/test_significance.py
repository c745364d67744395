"""Paired tests against sacrebleu's own command."""

import json
import random
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from seq2seq.metrics.base import Texts
from seq2seq.metrics.sacrebleu import BLEU, TER, BySacrebleu, ChrF
from seq2seq.metrics.significance import paired_tests

LABELS = {"bleu": "BLEU", "chrf": "chrF2", "ter": "TER"}
METRICS: Mapping[str, BySacrebleu] = {"bleu": BLEU(), "chrf": ChrF(), "ter": TER()}
WORDS = (
    "der",
    "die",
    "das",
    "Haus",
    "Hund",
    "Kind",
    "geht",
    "rennt",
    "schläft",
    "in",
    "im",
    "nach",
    "rote",
    "nie",
    "und",
)


def written(seed: int, wrong: float) -> list[str]:
    """The same sentences for all seeds, with some of the words replaced, left out or moved."""
    sentences, changes = random.Random(0), random.Random(seed)
    lines = []
    for _ in range(40):
        words = [sentences.choice(WORDS) for _ in range(sentences.randint(4, 14))]
        for place in range(len(words)):
            if changes.random() < wrong:
                words[place] = changes.choice([*WORDS, "", words[place - 1]])
        lines.append(" ".join(filter(None, words)))
    return lines


REFERENCES = written(0, 0.0)
BASELINE = written(1, 0.3)
SYSTEMS = {"alike": written(2, 0.3), "better": written(4, 0.1)}


def by_the_command(folder: Path, kind: str, metrics: Sequence[str], form: str = "json") -> str:
    """What `sacrebleu REF -i BASE SYS ... --paired-bs` tells."""
    for name, lines in {"ref": REFERENCES, "base": BASELINE, **SYSTEMS}.items():
        (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    files = [str(folder / name) for name in ("base", *SYSTEMS)]
    command = [sys.executable, "-m", "sacrebleu", str(folder / "ref"), "-i", *files, f"--paired-{kind}"]
    command += ["-m", *metrics, "-f", form, "--no-color"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def p_values(told: str, key: str, label: str) -> dict[str, float]:
    """By the names of the systems. The scores, too, have to be ours."""
    base, *rows = json.loads(told)
    for lines, row in zip((BASELINE, *SYSTEMS.values()), (base, *rows), strict=True):
        assert row[label]["score"] == METRICS[key].measure(Texts(lines, REFERENCES, "de"), False)[""].score
    return {Path(row["system"]).name: row[label]["p_value"] for row in rows}


def in_table(told: str) -> list[str]:
    """The p-values of each system, one after the other."""
    return re.findall(r"\(p = (\d\.\d{4})\)", told)


def test_p_values_are_those_of_sacrebleu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SACREBLEU_SEED", raising=False)
    found = paired_tests(BASELINE, SYSTEMS, REFERENCES, METRICS, "de", num_jobs=1)
    ours = {
        (kind, key): {name: getattr(values[key], field) for name, values in found.items()}
        for kind, field in (("bs", "bootstrap"), ("ar", "randomisation"))
        for key in METRICS
    }
    randomised = by_the_command(tmp_path, "ar", ["bleu", "chrf", "ter"])
    for key, label in LABELS.items():
        assert ours["ar", key] == p_values(randomised, key, label)
    assert ours["bs", "bleu"] == p_values(by_the_command(tmp_path, "bs", ["bleu"]), "bleu", "BLEU")
    # sacrebleu cannot write JSON of the others' bootstrap; its table has four digits.
    assert in_table(by_the_command(tmp_path, "bs", ["chrf", "ter"], "text")) == [
        f"{ours['bs', key][name]:.4f}" for name in SYSTEMS for key in ("chrf", "ter")
    ]
    assert ours["bs", "bleu"]["better"] < 0.01 < 0.1 < ours["bs", "bleu"]["alike"]


def test_the_seed_is_sacrebleus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ter = {"ter": METRICS["ter"]}
    monkeypatch.delenv("SACREBLEU_SEED", raising=False)
    before = paired_tests(BASELINE, SYSTEMS, REFERENCES, ter, "de", num_jobs=1)
    monkeypatch.setenv("SACREBLEU_SEED", "77")
    found = paired_tests(BASELINE, SYSTEMS, REFERENCES, ter, "de", num_jobs=1)
    told = in_table(by_the_command(tmp_path, "bs", ["ter"], "text"))
    assert [f"{values['ter'].bootstrap:.4f}" for values in found.values()] == told
    assert before != found


def test_several_processes_find_the_same() -> None:
    told: list[int] = []
    metrics = {"ter": TER()}
    found = paired_tests(BASELINE, SYSTEMS, REFERENCES, metrics, "de", num_jobs=2, on_done=told.append)
    assert found == paired_tests(BASELINE, SYSTEMS, REFERENCES, metrics, "de", num_jobs=1)
    assert [*found] == [*SYSTEMS]
    assert told == [1, 1]


def test_the_scorers_are_those_of_the_language_and_the_options() -> None:
    """Without case there is no difference between the first two; of Chinese TER counts characters."""
    shouted = [line.upper() for line in BASELINE]
    metrics = {"bleu": BLEU(), "small": BLEU(lowercase=True)}
    found = paired_tests(BASELINE, {"shouted": shouted}, REFERENCES, metrics, "de", num_jobs=1)
    assert found["shouted"].keys() == {"bleu"}
    character = {word: chr(0x4E00 + number) for number, word in enumerate(WORDS)}
    base, better, references = (
        ["".join(character[word] for word in line.split()) for line in lines]
        for lines in (BASELINE, SYSTEMS["better"], REFERENCES)
    )
    ter = {"ter": METRICS["ter"]}
    as_words = paired_tests(base, {"x": better}, references, ter, "de", num_jobs=1)
    as_characters = paired_tests(base, {"x": better}, references, ter, "zh", num_jobs=1)
    assert as_characters == paired_tests(BASELINE, {"x": SYSTEMS["better"]}, REFERENCES, ter, "de", num_jobs=1)
    assert as_characters != as_words


def test_a_system_and_itself_are_not_tested() -> None:
    """sacrebleu would tell the least p-value there is."""
    systems = {"same": [*BASELINE], "other": SYSTEMS["alike"], "same again": [*BASELINE]}
    found = paired_tests(BASELINE, systems, REFERENCES, {"ter": METRICS["ter"]}, "de", num_jobs=1)
    assert {name: len(values) for name, values in found.items()} == {"same": 0, "other": 1, "same again": 0}
