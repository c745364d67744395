"""Plain text of web pages: Common Crawl's WET files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from seq2seq.data.corpus import corpora
from seq2seq.data.files import TableCorpus, Texts
from seq2seq.data.lines import one_line
from seq2seq.errors import DataError

if TYPE_CHECKING:
    from fastwarc.warc import WarcRecord

_NO_WET = "holds no WARC records, so it is no WET file"


@corpora.register("common_crawl")
class CommonCrawl(TableCorpus):
    """Text alone from WET files, the plain text that Common Crawl extracts from web pages, plain or `.gz`.

    Options:
        train: training file, a pattern such as `crawl/*.warc.wet.gz`, or a list of them
        validation: validation file (or files), null for none
        test: test file (or files), null for none
        target: language of the text, as in `de`
        unit: what an example is: a `line` of a page (a paragraph, a heading), a `sentence` of one, a whole `document`
        identified_as: three-letter code such as `deu`: only pages whose main language Common Crawl took for this one;
            null takes all
    """

    def __init__(
        self,
        *,
        train: str | list[str] | None = None,
        validation: str | list[str] | None = None,
        test: str | list[str] | None = None,
        target: str,
        unit: Literal["line", "sentence", "document"] = "line",
        identified_as: str | None = None,
    ) -> None:
        if identified_as is not None and len(identified_as) != 3:
            raise ValueError(f"identified_as is {identified_as!r}, but must be a code of three letters, as in deu")
        super().__init__({"train": train, "validation": validation, "test": test}, None, target, None, None)
        self.unit = unit
        self.identified_as = identified_as

    def count(self, paths: Iterable[Path]) -> int | None:
        """Sentences are found in reading only."""
        return None

    def read_file(self, path: Path) -> Iterator[Texts]:
        units = self._units()
        for number, record in enumerate(_records(path), start=1):
            if self.identified_as is not None and not _languages(record).startswith(self.identified_as):
                continue
            content = record.reader.read()
            if len(content) < record.content_length:
                raise DataError(f"{path}, record {number}: the file ends in the middle of it")
            try:
                text = content.decode()
            except UnicodeDecodeError as error:
                raise DataError(f"{path}, record {number}: not valid UTF-8") from error
            for unit in units(text):
                yield "", unit

    def _units(self) -> Callable[[str], Iterator[str]]:
        if self.unit == "document":
            return lambda text: iter([one_line(text)])
        if self.unit == "line":
            return _lines
        try:
            from sentencex import segment
        except ImportError as error:
            raise DataError(_missing("sentencex")) from error
        language = self.target
        return lambda text: (s for line in _lines(text) for part in segment(language, line) if (s := part.strip()))


def _records(path: Path) -> Iterator[WarcRecord]:
    """The pages' texts: records of type `conversion`. Raises DataError for what is no WARC file."""
    try:
        from fastwarc.warc import ArchiveIterator, WarcRecordType
    except ImportError as error:
        raise DataError(_missing("fastwarc")) from error

    found = False
    try:
        with open(path, "rb") as stream:
            for record in ArchiveIterator(stream, record_types=WarcRecordType.any_type):
                found = True
                if record.record_type == WarcRecordType.conversion:
                    yield record
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}" if found else f"{path}: {_NO_WET}") from error
    if not found:
        raise DataError(f"{path}: {_NO_WET}")


def _languages(record: WarcRecord) -> str:
    """Codes with commas between, that of most of the text first."""
    return record.headers.get("WARC-Identified-Content-Language") or ""


def _lines(text: str) -> Iterator[str]:
    return (line for raw in text.split("\n") if (line := raw.strip()))


def _missing(library: str) -> str:
    return f"the library `{library}` is missing: pip install 'seq2seq[common_crawl]'"
