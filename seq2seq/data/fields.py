"""Texts in the columns of Arrow tables, nested ones too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from seq2seq.data.corpus import LINE_BREAK
from seq2seq.data.lines import one_line

if TYPE_CHECKING:
    import pyarrow

BOTH = "translation"  # the column that holds a text for each language in most of the hub's parallel data


class FieldError(Exception):
    """What is wrong with a field, without the place."""


def find_field(schema: pyarrow.Schema, field: str, line_break: str = LINE_BREAK) -> list[str]:
    """The names that lead to a text: a column, a path with dots, or a language in the column `translation`.

    line_break: of the corpus. Raises FieldError where there is none, or no text.
    """
    import pyarrow

    path = [field] if field in schema.names else field.split(".")
    if len(path) == 1 and field not in schema.names and BOTH in schema.names:
        path = [BOTH, field]
    kind: pyarrow.DataType = pyarrow.struct(list(schema))
    for depth, name in enumerate(path):
        where = f" in {'.'.join(path[:depth])}" if depth else ""
        names = [member.name for member in kind] if pyarrow.types.is_struct(kind) else []
        if name not in names:
            raise FieldError(f"no {name!r}{where}; there is {', '.join(names) or str(kind)}")
        kind = kind.field(name).type
    types = pyarrow.types
    if line_break != LINE_BREAK and (types.is_list(kind) or types.is_large_list(kind)):
        kind = kind.value_type
    if not (types.is_string(kind) or types.is_large_string(kind) or types.is_null(kind)):
        raise FieldError(f"{'.'.join(path)!r} holds {kind}, not text")
    return path


def texts_of(
    table: pyarrow.Table | pyarrow.RecordBatch, path: list[str] | None, line_break: str = LINE_BREAK
) -> Iterator[str]:
    """The texts of all rows, each as one line; empty ones for None, where there is no such side."""
    import pyarrow.compute

    if path is None:
        return iter([""] * table.num_rows)
    column = table[path[0]]
    for name in path[1:]:
        column = pyarrow.compute.struct_field(column, name)
    return (one_line(text, line_break) for text in column.to_pylist())
