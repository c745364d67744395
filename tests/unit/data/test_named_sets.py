"""Test sets by name, with a cache of sacrebleu's own layout and no network."""

import hashlib
import io
import json
import logging
import tarfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from sacrebleu.dataset import DATASETS

from seq2seq.data import named_sets
from seq2seq.data.corpus import Example, corpora, open_splits
from seq2seq.data.documents import Documents
from seq2seq.data.huggingface import HuggingFace
from seq2seq.data.text_files import TextFiles
from seq2seq.errors import ConfigError, DataError
from seq2seq.plugins import load_components
from seq2seq.registry import Factory

load_components()

SETS = ("wmt14/full", "wmt20/tworefs", "wmt21", "multi30k/2016", "mtnt2019")
SOURCE, TARGET = "test-full/newstest2014-deen-src.en.sgm", "test-full/newstest2014-deen-ref.de.sgm"
WMT14 = [Example("Two dogs.", "Zwei Hunde.", 0), Example("A  cat & mouse", "Eine Katze & Maus", 1)]
NAMING = [name for name, cls in corpora.components.items() if issubclass(cls, named_sets.NamingCorpus)]

Store = Callable[[str, Mapping[str, str]], Path]


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise urllib.error.URLError("no network here")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    for name in SETS:
        monkeypatch.setattr(DATASETS[name], "_outdir", str(tmp_path / "sets" / name))
        monkeypatch.setattr(DATASETS[name], "_rawdir", str(tmp_path / "sets" / name / "raw"))
    named_sets._fetched.cache_clear()
    return tmp_path / "sets"


@pytest.fixture
def store(cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Puts the archive of a set where sacrebleu looks for it, by hand."""

    def put(name: str, files: Mapping[str, str]) -> Path:
        path = cache_folder / name / "raw" / DATASETS[name]._get_tarball_filename(DATASETS[name].data[0])
        path.parent.mkdir(parents=True)
        with tarfile.open(path, "w:gz") as archive:
            for file, text in files.items():
                entry = tarfile.TarInfo(file)
                entry.size = len(text.encode())
                archive.addfile(entry, io.BytesIO(text.encode()))
        monkeypatch.setattr(DATASETS[name], "md5", [hashlib.md5(path.read_bytes()).hexdigest()])
        return path

    return put


def sgml(*lines: str) -> str:
    segments = "".join(f'<seg id="{n}">{line}</seg>\n' for n, line in enumerate(lines, start=1))
    return (
        f'<srcset setid="x" srclang="any">\n<doc docid="d" genre="news" origlang="en">\n{segments}</doc>\n</srcset>\n'
    )


def wmt14(store: Store) -> Path:
    return store(
        "wmt14/full",
        {SOURCE: sgml("Two dogs.", " A  cat & mouse "), TARGET: sgml("Zwei Hunde.", "Eine Katze & Maus")},
    )


def text_files(**options: Any) -> TextFiles:
    return TextFiles(**{"source": "en", "target": "de", **options})


def read(corpus: Any, split: Any = "test") -> list[Example]:
    return list(corpus.split(split).read())


@pytest.mark.parametrize("name", [name for name in NAMING if name != "common_crawl"])
@pytest.mark.parametrize("split", ["validation", "test"])
def test_every_corpus_of_files_has_them(name: str, split: str, store: Store) -> None:
    wmt14(store)
    options = {"path": "nowhere"} if name == "huggingface" else {}
    corpus = corpora.components[name](**options, source="en", target="de", **{split: "sacrebleu:wmt14/full"})
    expected = [WMT14[0], Example("A cat & mouse", "Eine Katze & Maus", 1)]
    assert read(corpus, split) == expected


def test_the_corpora_of_files() -> None:
    assert set(NAMING) == {"text_files", "tsv", "csv", "jsonl", "parquet", "huggingface", "common_crawl"}


def test_the_other_direction_and_regions(store: Store) -> None:
    store("multi30k/2016", {"test_2016_flickr.en": "A dog .\n", "test_2016_flickr.de": "Ein Hund .\n"})
    regions = text_files(source="en-GB", target="de_CH", source_suffix="en", test="sacrebleu:multi30k/2016")
    assert read(regions) == [Example("A dog .", "Ein Hund .", 0)]
    with pytest.raises(ConfigError) as caught:
        read(text_files(source="de", target="en", test="sacrebleu:multi30k/2016"))
    known = "en-cs, en-de, en-fr"
    assert str(caught.value) == f"data.test: sacrebleu's multi30k/2016 is not of de-en, but of {known}"


def test_several_sets_one_after_the_other(store: Store) -> None:
    wmt14(store)
    store("multi30k/2016", {"test_2016_flickr.en": "A dog .\n", "test_2016_flickr.de": "Ein Hund .\n"})
    corpus = text_files(test=["sacrebleu:wmt14/full", "sacrebleu:multi30k/2016"])
    assert [(e.target, e.number) for e in read(corpus)] == [
        ("Zwei Hunde.", 0),
        ("Eine Katze & Maus", 1),
        ("Ein Hund .", 2),
    ]
    source = corpus.split("test")
    assert source is not None
    assert len([*source.paths()]) == 4
    with pytest.raises(ConfigError) as caught:
        text_files(test=["sacrebleu:wmt14/full", "corpus/test"]).split("test")
    told = "data.test: has names with and without sacrebleu:: all of a list must be of one kind"
    assert str(caught.value) == told


def test_of_several_references_the_first(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    names = ("newstest2020-ende-src.en", "newstest2020-ende-ref.de", "newstestB2020-ende-ref.de")
    store("wmt20/tworefs", {f"sgm/{name}.sgm": sgml(name) for name in names})
    with caplog.at_level(logging.INFO):
        found = read(text_files(test="sacrebleu:wmt20/tworefs"))
    assert found == [Example(names[0], names[1], 0)]
    told = "wmt20/tworefs has 2 references, of which the first is taken: wmt20_tworefs.en-de.ref-0"
    assert caplog.messages == [told]


def test_sets_of_one_xml_file(store: Store) -> None:
    sides = [("src", "en", "", "One."), ("ref", "de", "B", "Einer."), ("ref", "de", "A", "Eins.")]
    texts = "".join(
        f'<{side} lang="{language}" translator="{translator}"><p><seg id="1">{text}</seg></p></{side}>'
        for side, language, translator, text in sides
    )
    document = f'<dataset id="x"><doc origlang="en" id="d">{texts}</doc></dataset>'
    store("wmt21", {"test/newstest2021.en-de.xml": document})
    assert read(text_files(test="sacrebleu:wmt21")) == [Example("One.", "Eins.", 0)]


def test_sets_of_one_table(store: Store) -> None:
    store("mtnt2019", {"MTNT2019/en-fr.final.tsv": "1\tx\tHi.\tSalut.\n2\tx\tYes.\tOui.\n"})
    found = read(text_files(target="fr", test="sacrebleu:mtnt2019"))
    assert found == [Example("Hi.", "Salut.", 0), Example("Yes.", "Oui.", 1)]


def test_names_that_sacrebleu_does_not_know() -> None:
    with pytest.raises(ConfigError) as caught:
        open_splits(text_files(test="sacrebleu:wmt14/ful"))
    told = "data.test: sacrebleu knows no test set 'wmt14/ful'; did you mean 'wmt14/full'?"
    assert str(caught.value) == told
    with pytest.raises(ConfigError) as caught:
        open_splits(text_files(target="liv", validation="sacrebleu:none-such"))
    told = "data.validation: sacrebleu knows no test set 'none-such'; there are: wmt22"
    assert str(caught.value) == told


def test_text_alone_has_no_pair() -> None:
    with pytest.raises(ConfigError) as caught:
        open_splits(text_files(source=None, test="sacrebleu:wmt14/full"))
    told = "data.test: sacrebleu:wmt14/full is pairs of sentences, but the data has no source"
    assert str(caught.value) == told


def test_what_cannot_be_fetched_says_where_it_may_be_put(
    cache_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DataError) as caught:
        open_splits(text_files(test="sacrebleu:wmt14/full"))
    place = cache_folder / "wmt14/full/raw/wmt14_full.test-full.tgz"
    told = "https://statmt.org/wmt14/test-full.tgz cannot be fetched (<urlopen error no network here>)"
    assert str(caught.value) == f"data.test: wmt14/full: {told}; by hand, put it there as {place}"
    assert capsys.readouterr() == ("", "")


def test_an_archive_that_is_another_one(
    cache_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = cache_folder / "wmt14/full/raw/wmt14_full.test-full.tgz"
    monkeypatch.setattr(urllib.request, "urlopen", lambda url: io.BytesIO(b"<html>a login page</html>"))
    told = f"{place} is not https://statmt.org/wmt14/test-full.tgz as sacrebleu knows it (another MD5 sum)"
    for _ in range(2):  # sacrebleu looks at the sum of what it has just loaded alone
        with pytest.raises(DataError) as caught:
            open_splits(text_files(test="sacrebleu:wmt14/full"))
        assert str(caught.value) == f"data.test: wmt14/full: {told}: delete it, or put the right one there"
        assert capsys.readouterr() == ("", "")


def test_a_download_leaves_stdout_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = wmt14(store)
    content = place.read_bytes()
    place.unlink()

    def load(url: str) -> io.BytesIO:
        print("loading", url)
        return io.BytesIO(content)

    monkeypatch.setattr(urllib.request, "urlopen", load)
    assert len(read(text_files(test="sacrebleu:wmt14/full"))) == 2
    assert capsys.readouterr() == ("", "loading https://statmt.org/wmt14/test-full.tgz\n")


def test_a_finished_set_needs_no_archive(cache_folder: Path) -> None:
    folder = cache_folder / "wmt14/full"
    folder.mkdir(parents=True)
    for field in ("src", "ref", "docid", "genre", "origlang"):
        (folder / f"wmt14_full.en-de.{field}").write_text(f"{field}\n")
    assert read(text_files(test="sacrebleu:wmt14/full")) == [Example("src", "ref", 0)]


def test_lines_that_do_not_pair_up(store: Store) -> None:
    store("wmt14/full", {SOURCE: sgml("one", "two"), TARGET: sgml("eins")})
    with pytest.raises(DataError, match=r"wmt14_full\.en-de\.src has 2 lines, .*wmt14_full\.en-de\.ref has 1"):
        read(text_files(test="sacrebleu:wmt14/full"))


def test_one_process_waits_for_another(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which has opened the file of the source and not written it."""
    wmt14(store)
    convert, at_work = type(DATASETS["wmt14/full"])._convert_format, threading.Event()

    def slowly(self: Any, given: str, output: str) -> None:
        Path(output).touch()
        at_work.set()
        time.sleep(0.2)
        convert(self, given, output)

    monkeypatch.setattr(type(DATASETS["wmt14/full"]), "_convert_format", slowly)
    first = threading.Thread(target=read, args=(text_files(test="sacrebleu:wmt14/full"),))
    first.start()
    at_work.wait()
    assert len(read(text_files(test="sacrebleu:wmt14/full"))) == 2
    first.join()


def test_within_other_corpora(store: Store) -> None:
    wmt14(store)
    inner = {"source": "en", "target": "de", "test": "sacrebleu:wmt14/full"}
    documents = Documents(sentences=Factory(TextFiles, "text_files", inner, "data.sentences"))
    assert [example.source for example in read(documents)] == ["Two dogs.", "Two dogs. <sep> A cat & mouse"]
    wrong = Documents(sentences=Factory(TextFiles, "text_files", inner | {"test": "sacrebleu:wmt14/ful"}, "sentences"))
    with pytest.raises(ConfigError, match=r"^data\.sentences\.test: sacrebleu knows no test set"):
        wrong.split("test")


def test_lists_of_parts_of_the_hub(tmp_path: Path) -> None:
    for name in ("train", "test"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"en": name, "de": name.upper()}) + "\n")
    corpus = HuggingFace(path=str(tmp_path), source="en", target="de", test=["test", "train"])
    assert [example.target for example in read(corpus)] == ["TEST", "TRAIN"]
