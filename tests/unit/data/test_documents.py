import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from seq2seq.data.corpus import Corpus, Example, corpora
from seq2seq.data.documents import Documents, SentencesBefore
from seq2seq.errors import ConfigError
from seq2seq.plugins import load_components
from seq2seq.registry import Factory

load_components()

# Two documents and a third of one sentence; in the second a translation is missing.
SOURCE = ["a1", "a2", "a3", "a4", "", "b1", "b2 is longer", "b3", "b4", "b5", "", "", "c1"]
TARGET = ["A1", "A2", "A3", "A4", "", "B1", "B2", "B3 is much longer", "", "B5", "", "", "C1"]


@pytest.fixture
def files(tmp_path: Path) -> Factory[Corpus]:
    (tmp_path / "x.de").write_text("\n".join(SOURCE) + "\n", encoding="utf-8")
    (tmp_path / "x.en").write_text("\n".join(TARGET) + "\n", encoding="utf-8")
    prefixes = dict.fromkeys(("train", "validation", "test"), str(tmp_path / "x"))
    return text_files(**prefixes, source="de", target="en")


def text_files(**options: Any) -> Factory[Corpus]:
    return Factory(corpora.components["text_files"], "text_files", options)


def read(corpus: Corpus, split: Any = "train", *place: Any) -> list[Example]:
    source = corpus.split(split)
    assert source is not None
    return list(source.read(*place))


def test_the_source_alone(files: Factory[Corpus]) -> None:
    corpus = Documents(sentences=files)
    assert [e.source for e in read(corpus)] == [
        "a1",
        "a1 <sep> a2",
        "a1 <sep> a2 <sep> a3",
        "a2 <sep> a3 <sep> a4",
        "",
        "b1",
        "b1 <sep> b2 is longer",
        "b1 <sep> b2 is longer <sep> b3",
        "b4",  # has no translation, and ends the document
        "b5",
        "",
        "",
        "c1",
    ]
    assert [e.target for e in read(corpus)] == TARGET
    assert [e.number for e in read(corpus)] == list(range(13))
    assert (corpus.source, corpus.target, corpus.symbols) == ("de", "en", ("<sep>",))
    assert corpus.key("test") == "data.sentences.test"


def test_both_sides_in_training(files: Factory[Corpus]) -> None:
    corpus = Documents(sentences=files, sides="both", before=1, separator="|")
    assert [(e.source, e.target) for e in read(corpus)][:8] == [
        ("a1", "A1"),
        ("a1 | a2", "A1 | A2"),
        ("a2 | a3", "A2 | A3"),
        ("a3 | a4", "A3 | A4"),
        ("", ""),
        ("b1", "B1"),
        ("b1 | b2 is longer", "B1 | B2"),
        ("b2 is longer | b3", "B2 | B3 is much longer"),
    ]
    for split in ("validation", "test"):
        assert [e.target for e in read(corpus, split)] == TARGET
        assert [e.source for e in read(corpus, split)] == [e.source for e in read(corpus)]


def test_no_side_is_longer_than_it_may_be(files: Factory[Corpus]) -> None:
    sources = [e.source for e in read(Documents(sentences=files, max_characters=15))]
    assert sources[:4] == ["a1", "a1 <sep> a2", "a2 <sep> a3", "a3 <sep> a4"]  # three would be 20 characters
    assert sources[6:8] == ["b2 is longer", "b3"]
    exact = [e.source for e in read(Documents(sentences=files, max_characters=20))]
    assert exact[2] == "a1 <sep> a2 <sep> a3"
    assert all(len(source) <= 20 for source in exact)
    both = read(Documents(sentences=files, sides="both", max_characters=24))
    assert (both[6].source, both[6].target) == ("b1 <sep> b2 is longer", "B1 <sep> B2")
    assert (both[7].source, both[7].target) == ("b3", "B3 is much longer")  # the target has no place for B2
    assert read(Documents(sentences=files, max_characters=1)) == read(files())


@pytest.mark.parametrize("sides", ["source", "both"])
@pytest.mark.parametrize("before", [1, 2, 5])
@pytest.mark.parametrize("start", range(15))
def test_shards_add_up_and_start_anywhere(files: Factory[Corpus], sides: Any, before: int, start: int) -> None:
    corpus = Documents(sentences=files, sides=sides, before=before, max_characters=30)
    whole = read(corpus)
    assert read(corpus, "train", (0, 1), start) == whole[start:]
    for shard in range(3):
        assert read(corpus, "train", (shard, 3), start) == [e for e in whole[start:] if e.number % 3 == shard]
    assert read(pickle.loads(pickle.dumps(corpus)), "train", (1, 2), start) == [
        e for e in whole[start:] if e.number % 2 == 1
    ]


def test_identity_follows_the_options(files: Factory[Corpus]) -> None:
    def identity(split: Any = "train", **options: Any) -> str | None:
        source = Documents(sentences=files, **options).split(split)
        assert source is not None
        return source.identity()

    assert identity() == identity()
    changed = [{}, {"before": 1}, {"sides": "both"}, {"separator": "|"}, {"max_characters": 20}]
    assert len({identity(**options) for options in changed}) == len(changed)
    assert identity("test", sides="both") == identity("test")


def test_lines_get_the_context_that_examples_have(files: Factory[Corpus]) -> None:
    corpus = Documents(sentences=files, max_characters=20)
    assert corpus.context is not None
    found = list(corpus.context.with_context(SOURCE))
    expected = [example.source for example in read(corpus, "test")]
    assert found[:8] == expected[:8]  # then a translation is missing, which ends a document of pairs only
    assert found[8:] == ["b3 <sep> b4", "b3 <sep> b4 <sep> b5", "", "", "c1"]


def test_each_line_comes_before_the_next_is_asked_for() -> None:
    asked: list[str] = []

    def lines() -> Iterator[str]:
        for line in ("a", "b", " ", "c"):
            asked.append(line)
            yield line

    found = SentencesBefore(before=2, separator="|", max_characters=100).with_context(lines())
    assert [(line, len(asked)) for line in found] == [("a", 1), ("a | b", 2), (" ", 3), ("c", 4)]


def test_the_last_sentence() -> None:
    context = SentencesBefore(before=2, separator="<sep>", max_characters=100)
    assert context.last_sentence("A <sep> B <sep> C d ") == "C d"
    assert context.last_sentence("A<sep>B") == "B"
    assert context.last_sentence("only") == "only"
    assert context.last_sentence("A <sep>") == ""
    lines = ["a", "b", "c", "", "d"]
    assert [context.last_sentence(line) for line in context.with_context(lines)] == lines


def test_settings_that_cannot_be(files: Factory[Corpus]) -> None:
    for separator in ("", "a b", " "):
        with pytest.raises(ValueError, match="must be one word, without spaces"):
            Documents(sentences=files, separator=separator)
    with pytest.raises(ValueError, match="context is for pairs"):
        Documents(sentences=text_files(source=None, target="en"))
    twice = Factory[Corpus](Documents, "documents", {"sentences": files}, "data.sentences")
    with pytest.raises(ConfigError, match="sentences=documents does not give sentences as they are"):
        Factory(Documents, "documents", {"sentences": twice}, "data")()
