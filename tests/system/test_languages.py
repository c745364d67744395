"""From raw text to scores in Chinese, and one model for several languages."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from .conftest import Command
from .three_languages import write

SMALL = (
    "model.encoder.d_model=64", "model.decoder.d_model=64", "model.encoder.num_layers=1", "model.decoder.num_layers=1",
    "optimizer=muon", "optimizer.lr=1e-2", "schedule.warmup=50", "schedule.cooldown=0.35", "trainer.max_tokens=1024",
    "trainer.device=cpu", "trainer.precision=fp32", "tokenizer.vocab_size=800", "run=run",
)  # fmt: skip
HAN = re.compile("[\u4e00-\u9fff]")
CHINESE_LINE = re.compile("[\u4e00-\u9fff]+\u3002")


@pytest.fixture(autouse=True)
def texts(tmp_path: Path) -> None:
    write(tmp_path, train=3000, val=60, test=100)


def read(name: str) -> list[str]:
    return Path(name).read_text(encoding="utf-8").splitlines()


def scores(command: Command, *given: str) -> dict[str, Any]:
    """What is told goes to standard output, too."""
    told = command("seq2seq-evaluate", "run=run", *given)
    assert told.status == 0, told.err
    folder = re.findall("^written to (.+)$", told.err, flags=re.MULTILINE)[-1]
    found: dict[str, Any] = json.loads(Path(folder, "scores.json").read_text(encoding="utf-8"))
    assert f"BLEU{found['bleu']['score']:17.2f}" in told.out
    return found


def validations() -> list[dict[str, Any]]:
    records = map(json.loads, read("run/metrics.jsonl"))
    return [record for record in records if "validation/bleu" in record]


def test_chinese(command: Command) -> None:
    """Nothing but the two languages says that the texts are other ones than English and German."""
    data = ["data=text_files", "data.source=en", "data.target=zh"]
    files = ["data.train=train", "data.validation=val", "data.test=test"]
    steps = ["trainer.max_steps=200", "trainer.validate_every=200"]
    told = command("seq2seq-train", *SMALL, *data, *files, *steps)
    assert told.status == 0, told.err
    assert validations()[-1]["validation/bleu"] > 60  # 13a would see one word in each sentence, so no 4-grams
    found = scores(command)
    assert "|tok:zh|" in found["bleu"]["signature"]
    assert "|asian:yes|" in found["ter"]["signature"]
    assert found["bleu"]["score"] > 70
    assert found["ter"]["score"] < 20
    told = command("seq2seq-translate", "run=run", "input=test.en")
    lines = told.out.splitlines()
    assert lines == read("run/evaluation/test/hypotheses.txt")
    assert sum(CHINESE_LINE.fullmatch(line) is not None for line in lines) > 95

    # A long line is translated in parts, which have no spaces between either.
    Path("long.en").write_text(" ".join(read("test.en")[:40]) + "\n", encoding="utf-8")
    told = command("seq2seq-translate", "run=run", "input=long.en")
    assert "translated in" in told.err
    assert re.fullmatch("[\u4e00-\u9fff\u3002]+\n", told.out)


@pytest.mark.parametrize("filters", ["usual", "strict"])
def test_good_chinese_pairs_are_no_faults(command: Command, filters: str) -> None:
    data = ["data=text_files", "data.source=en", "data.target=zh", "data.train=train", "check=true"]
    told = command("seq2seq-train", *SMALL, *data, f"data/filters={filters}", "trainer.max_steps=1")
    assert told.status == 0, told.err
    report = json.loads(Path("run/data_report.json").read_text(encoding="utf-8"))
    assert {name: fault["count"] for name, fault in report["faults"].items() if fault["count"]} == {}
    assert report["examples"]["used"] == 3000
    assert report["target"]["tokens per word"] is None
    assert f"; {report['target']['tokens per character']:.2f} a character, 0.00% unknown" in told.err


DIRECTIONS = {"to_de": ("en", "de"), "to_en": ("de", "en"), "to_zh": ("en", "zh")}


@pytest.mark.slow
def test_many_to_many(command: Command) -> None:
    """Two parts have the same sources, so that nothing but the tag can say which language is asked for."""
    parts = ["data=mixture"]
    for name, (source, target) in DIRECTIONS.items():
        key = f"data.parts.{name}"
        parts += [f"+data@{key}=text_files", f"{key}.source={source}", f"{key}.target={target}"]
        parts += [f"{key}.train=train", f"{key}.validation=val", f"{key}.test=test", f"data.tags.{name}='<2{target}>'"]
    told = command("seq2seq-train", *SMALL, *parts, "trainer.max_steps=400", "trainer.validate_every=200")
    assert told.status == 0, told.err
    last = validations()[-1]
    assert len(validations()) == 2
    for metric in ("loss", "bleu", "chrf"):
        of_parts = [last[f"validation/{metric}/{name}"] for name in DIRECTIONS]
        assert last[f"validation/{metric}"] == pytest.approx(sum(of_parts) / 3)

    found = scores(command)
    assert list(found["parts"]) == list(DIRECTIONS)
    assert found["sentences"] == 300
    for metric in ("bleu", "chrf", "ter"):
        of_parts = [part[metric]["score"] for part in found["parts"].values()]
        assert found[metric]["score"] == pytest.approx(sum(of_parts) / 3)
        assert found[metric]["low"] < found[metric]["score"] < found[metric]["high"]
    hypotheses = read("run/evaluation/test/hypotheses.txt")
    assert len(hypotheses) == 300
    for place, (name, (source, target)) in enumerate(DIRECTIONS.items()):
        bleu = found["parts"][name]["bleu"]
        assert bleu["score"] > 40
        assert f"|tok:{'zh' if target == 'zh' else '13a'}|" in bleu["signature"]
        # By the tag the same lines give the same scores, and every third hypothesis is of this part.
        told = command("seq2seq-translate", "run=run", f"input=test.{source}", f"tag=<2{target}>")
        assert told.out.splitlines() == hypotheses[place::3]
        alone = scores(command, f"source=test.{source}", f"target=test.{target}", f"tag=<2{target}>")
        assert alone["bleu"] == bleu
        assert "parts" not in alone
        in_chinese = sum(HAN.search(line) is not None for line in hypotheses[place::3])
        assert in_chinese > 90 if target == "zh" else in_chinese < 10
