"""Parquet files, the hub's usual format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from seq2seq.data.corpus import corpora
from seq2seq.data.fields import FieldError, find_field, texts_of
from seq2seq.data.files import TableCorpus, Texts
from seq2seq.errors import DataError

ROWS = 4096  # read at a time


@corpora.register("parquet")
class Parquet(TableCorpus):
    """Parquet files, with the texts in columns, or in a column such as `translation` that holds both languages.

    Options:
        train: training file, a pattern such as `data/train-*.parquet`, or a list of them
        validation: validation file (or files), or a test set as in sacrebleu:wmt13; null for none
        test: test file (or files), or a test set as in sacrebleu:wmt14/full; null for none
        source: language of the source; null for text alone
        target: language of the target
        source_field: column of the source, nested ones as in `translation.en`; null takes the language's name
        target_field: column of the target; null takes the language's name
    """

    def __init__(
        self,
        *,
        train: str | list[str] | None = None,
        validation: str | list[str] | None = None,
        test: str | list[str] | None = None,
        source: str | None,
        target: str,
        source_field: str | None = None,
        target_field: str | None = None,
    ) -> None:
        files = {"train": train, "validation": validation, "test": test}
        super().__init__(files, source, target, source_field, target_field)

    def count(self, paths: Iterable[Path]) -> int | None:
        import pyarrow
        import pyarrow.parquet

        try:
            return sum(int(pyarrow.parquet.read_metadata(path).num_rows) for path in paths)
        except (pyarrow.ArrowException, OSError):
            return None  # told when it is read

    def read_file(self, path: Path) -> Iterator[Texts]:
        import pyarrow
        import pyarrow.parquet

        try:
            with pyarrow.parquet.ParquetFile(path, memory_map=True) as file:
                found = [
                    None if field is None else find_field(file.schema_arrow, field, self.line_break)
                    for field in self.fields
                ]
                columns = sorted({names[0] for names in found if names is not None})
                for batch in file.iter_batches(ROWS, columns=columns):
                    yield from zip(*(texts_of(batch, names, self.line_break) for names in found), strict=True)
        except FieldError as error:
            raise DataError(f"{path}: {error}") from error
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(f"{path}: not readable as Parquet: {str(error).splitlines()[0]}") from error
