"""A corpus with every fault that crawled text has: the check names them, and training ends well with and without it."""

import json
from pathlib import Path
from typing import Any

import pytest

from seq2seq.data.demo import Demo

from .conftest import Command

Texts = list[tuple[str, str]]

SHIFTED = range(500, 1100)  # whose targets stand one line too late

PARALLEL: Texts = [
    (
        "Our neighbours painted the fence while the children were still asleep.",
        "Unsere Nachbarn haben den Zaun gestrichen, w\u00e4hrend die Kinder noch schliefen.",
    ),
    (
        "The museum stays closed on Mondays because the roof is being repaired.",
        "Das Museum bleibt montags geschlossen, weil gerade das Dach repariert wird.",
    ),
    (
        "I would rather walk along the river than wait for the next bus.",
        "Ich gehe lieber am Fluss entlang, als auf den n\u00e4chsten Bus zu warten.",
    ),
    (
        "Please bring warm clothes, since the nights in the mountains are cold.",
        "Bitte bringen Sie warme Kleidung mit, denn die N\u00e4chte in den Bergen sind kalt.",
    ),
]
UNTRANSLATED: Texts = [(english, english) for english, _ in PARALLEL[:2]]
FRENCH: Texts = [
    (PARALLEL[0][0], "Nos voisins ont peint la cl\u00f4ture pendant que les enfants dormaient encore."),
    (PARALLEL[1][0], "Le mus\u00e9e reste ferm\u00e9 le lundi parce que l'on r\u00e9pare la toiture."),
    ("Je pr\u00e9f\u00e8re marcher le long de la rivi\u00e8re plut\u00f4t que d'attendre.", PARALLEL[2][1]),
]
RIGHT_TO_LEFT: Texts = [
    (
        PARALLEL[2][0],  # Arabic
        "\u0623\u0641\u0636\u0644 \u0627\u0644\u0645\u0634\u064a \u0639\u0644\u0649 \u0637\u0648\u0644 "
        "\u0627\u0644\u0646\u0647\u0631 \u0628\u062f\u0644\u0627 \u0645\u0646 \u0627\u0646\u062a\u0638\u0627\u0631 "
        "\u0627\u0644\u062d\u0627\u0641\u0644\u0629",
    ),
    (
        PARALLEL[1][0],  # Hebrew, after a sign that turns a terminal's direction
        "\u202e\u05d4\u05de\u05d5\u05d6\u05d9\u05d0\u05d5\u05df \u05e1\u05d2\u05d5\u05e8 \u05d1\u05d9\u05de\u05d9 "
        "\u05e9\u05e0\u05d9 \u05db\u05d9 \u05de\u05ea\u05e7\u05e0\u05d9\u05dd \u05d0\u05ea \u05d4\u05d2\u05d2 "
        "\u05e9\u05dc\u05d5",
    ),
]
FAULTS: dict[str, Texts] = {
    "swapped": [(german, english) for english, german in PARALLEL],
    "untranslated": UNTRANSLATED,
    "french": FRENCH,
    "right to left": RIGHT_TO_LEFT,
    "empty": [("", "Niemand ist da."), ("Nobody is here.", ""), (" ", "\t"), ("", "")],
    "control": [
        ("The bell rings \x07 twice.", "Die Glocke l\u00e4utet zweimal."),
        ("Broken here.", "Hier kaputt \ufffd."),
    ],
    "endless": [("x" * 100_000, "y" * 100_000), ("so " * 33_334, "Ja."), ("Yes.", "so" * 50_000)],
    "long": [tuple(" ".join([text] * 40) for text in PARALLEL[3])],  # type: ignore[list-item]
    "emoji": [("\U0001f600\U0001f680\u2764\ufe0f", "\U0001f468\u200d\U0001f469\u200d\U0001f467")],
    "lengths": [("Yes, of course.", PARALLEL[3][1] + " " + PARALLEL[0][1])],
}


def write(prefix: str, texts: Texts) -> None:
    for side, language in enumerate(("en", "de")):
        Path(f"{prefix}.{language}").write_text("".join(f"{pair[side]}\n" for pair in texts), encoding="utf-8")


def demo_pairs(number: int) -> Texts:
    source = Demo(train=number, validation=1, test=1).split("train")
    return [(example.source, example.target) for example in source.read()]


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Texts:
    """The training lines; beside them validation and test data, of which some are among them."""
    monkeypatch.chdir(tmp_path)
    pairs = demo_pairs(1640)
    clean, validation, test = pairs[:1600], pairs[1600:1620], pairs[1620:]
    late = [clean[number - 1][1] for number in SHIFTED]
    late[0] = clean[SHIFTED[-1]][1]
    for number, target in zip(SHIFTED, late, strict=True):
        clean[number] = clean[number][0], target
    spoilt = [pair for pairs in FAULTS.values() for pair in pairs]
    train = [*clean, *spoilt, *clean[3:10], clean[3], *validation[:3], *test[:2]]
    for prefix, texts in (("train", train), ("val", validation), ("test", test)):
        write(prefix, texts)
    return train


ARGUMENTS = (
    "data=text_files", "data.source=en", "data.target=de", "data.train=train", "data.validation=val", "data.test=test",
    "cache=cache", "model=transformer_tiny", "model.encoder.d_model=16", "model.decoder.d_model=16",
    "model.encoder.num_layers=1", "model.decoder.num_layers=1", "tokenizer.vocab_size=900", "trainer.max_steps=3",
    "trainer.max_length=2000", "trainer.max_tokens=1000", "trainer.validation_examples=4", "trainer.device=cpu",
)  # fmt: skip


def strikingly_unequal(pair: tuple[str, str]) -> bool:
    short, long = sorted(len(text) + 10 for text in pair)
    return long > 2.5 * short


def test_strict_filters_name_every_fault_and_training_ends_well(command: Command, corpus: Texts) -> None:
    found = command("seq2seq-train", *ARGUMENTS, "data/filters=strict", "check=true", "run=strict")
    assert (found.status, found.out) == (0, ""), found.err
    report: dict[str, Any] = json.loads(Path("strict/data_report.json").read_text(encoding="utf-8"))
    assert report["examples"]["read"] == len(corpus)
    assert report["examples"]["with an empty side"] == len(FAULTS["empty"])
    assert report["examples"]["with too many tokens"] == len(FAULTS["endless"])
    not_looked_at = [*FAULTS["empty"], *FAULTS["endless"]]
    expected = {
        "duplicates": 8,
        "held_out": 5,
        "identical": len(UNTRANSLATED),
        "characters": len(FAULTS["long"]),
        "length_ratio": sum(strikingly_unequal(pair) for pair in corpus if pair not in not_looked_at),
        "few_letters": len(FAULTS["emoji"]),
        "script": len(RIGHT_TO_LEFT),
        "control_characters": len(FAULTS["control"]),
        "language": len(FRENCH) + len(PARALLEL) + len(UNTRANSLATED) + len(RIGHT_TO_LEFT),
        "swapped": len(PARALLEL),
    }
    assert {name: fault["count"] for name, fault in report["faults"].items()} == expected
    for name, count in expected.items():
        assert f"\n{name}: {count} {report['faults'][name]['fault']}, left out\n" in found.err
    [shifted] = report["shifted"]
    assert shifted["by"] == 1
    assert abs(shifted["first"] - 1 - SHIFTED[0]) <= 8
    assert abs(shifted["last"] - 1 - SHIFTED[-1]) <= 8
    assert shifted["last"] - shifted["first"] >= 255
    told = f"shifted: about {shifted['first']:,} to {shifted['last']:,}, targets 1 line later than sources"
    assert told in found.err
    assert not {"\x07", "\u202e"} & set(found.err)  # nothing that a terminal obeys
    trained = command("seq2seq-train", *ARGUMENTS, "data/filters=strict", "run=strict")
    assert trained.status == 0, trained.err
    assert Path("strict/checkpoints/step_00000003").is_dir()


def test_without_filters_nothing_breaks(command: Command, corpus: Texts) -> None:
    for tried in ("check=true", "check=false"):
        found = command("seq2seq-train", *ARGUMENTS, "data/filters=none", "run=all", tried)
        assert (found.status, found.out) == (0, ""), found.err
    assert Path("all/checkpoints/step_00000003").is_dir()
    report = json.loads(Path("all/data_report.json").read_text(encoding="utf-8"))
    assert report["examples"]["used"] == len(corpus) - len(FAULTS["empty"]) - len(FAULTS["endless"])
    assert report["target"]["longest"] > 256
