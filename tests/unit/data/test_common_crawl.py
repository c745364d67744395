"""WET files, written here by the specification (WARC 1.0, ISO 28500)."""

import gzip
import sys
from pathlib import Path
from typing import Any

import pytest

from seq2seq.data.common_crawl import CommonCrawl
from seq2seq.errors import DataError

PAGES = [
    ("deu,eng", "\u00dcberschrift\n\n  Ein Satz. Noch einer!  \n"),
    ("eng", "A page in English.\n"),
    ("deu", "Ja\r\nnein\n"),
]


def record(kind: str, headers: str, content: bytes) -> bytes:
    head = f"WARC/1.0\r\nWARC-Type: {kind}\r\n{headers}Content-Length: {len(content)}\r\n\r\n"
    return head.encode() + content + b"\r\n\r\n"


def write(path: Path, pages: list[tuple[str, bytes]]) -> Path:
    """Each record is a gzip member of its own, as in Common Crawl's files."""
    records = [record("warcinfo", "", b"Software-Info: test\r\n")]
    records += [
        record("conversion", f"WARC-Identified-Content-Language: {languages}\r\nContent-Type: text/plain\r\n", text)
        for languages, text in pages
    ]
    path.write_bytes(b"".join(map(gzip.compress, records)) if path.suffix == ".gz" else b"".join(records))
    return path


@pytest.fixture(params=["a.warc.wet", "a.warc.wet.gz"])
def wet(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write(tmp_path / request.param, [(languages, text.encode()) for languages, text in PAGES])


def texts(path: Path | str, **options: Any) -> list[str]:
    source = CommonCrawl(train=str(path), target="de", **options).split("train")
    assert source is not None
    examples = list(source.read())
    assert [example.number for example in examples] == list(range(len(examples)))
    assert {example.source for example in examples} == {""}
    return [example.target for example in examples]


def test_lines_of_pages(wet: Path) -> None:
    expected = ["\u00dcberschrift", "Ein Satz. Noch einer!", "A page in English.", "Ja", "nein"]
    assert texts(wet) == expected
    assert texts(f"{wet.parent}/*.wet*") == expected


def test_sentences_and_documents(wet: Path) -> None:
    assert texts(wet, unit="sentence", identified_as="deu") == [
        "\u00dcberschrift", "Ein Satz.", "Noch einer!", "Ja", "nein",
    ]  # fmt: skip
    assert texts(wet, unit="document", identified_as="deu") == [
        "\u00dcberschrift   Ein Satz. Noch einer!  ", "Ja nein",
    ]  # fmt: skip


def test_the_language_that_most_of_a_page_is_in(wet: Path) -> None:
    assert texts(wet, identified_as="eng") == ["A page in English."]
    with pytest.raises(ValueError, match="identified_as is 'de', but must be a code of three letters"):
        CommonCrawl(target="de", identified_as="de")
    with pytest.raises(DataError, match=r"^data\.train: .* holds no examples$"):
        texts(wet, identified_as="fra")


def test_what_is_no_wet_file(tmp_path: Path) -> None:
    for name, content in (("a.txt", b"only text\n"), ("empty", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=rf"^data\.train: .*/{name}: holds no WARC records, so it is no WET file$"):
            texts(tmp_path / name)


def test_bytes_that_are_no_utf8(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wet", [("deu", b"gut\n"), ("deu", b"\xff\n")])
    with pytest.raises(DataError, match=r"a\.wet, record 2: not valid UTF-8$"):
        texts(path)


@pytest.mark.parametrize("name", ["a.wet", "a.wet.gz"])
def test_a_file_that_was_cut_off(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, [("deu", b"gut\n"), ("deu", b"and much more text that is cut off\n")])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"a\.wet.*, record 2: the file ends in the middle of it$"):
        texts(path)


@pytest.mark.parametrize(("library", "unit"), [("fastwarc.warc", "line"), ("sentencex", "sentence")])
def test_a_missing_library_is_told(wet: Path, library: str, unit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    name = library.partition(".")[0]
    with pytest.raises(DataError, match=rf"the library `{name}` is missing: pip install 'seq2seq\[common_crawl\]'"):
        texts(wet, unit=unit)
