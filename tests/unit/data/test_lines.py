import gzip
import io
from pathlib import Path

import pytest

from seq2seq.data.lines import about_how_many_lines, byte_lines, decode_line, read_lines, read_stream, resolve
from seq2seq.errors import DataError


def write(folder: Path, content: bytes, name: str = "file.txt") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


@pytest.mark.parametrize("name", ["file.txt", "file.txt.gz"])
@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", []),
        (b"a", ["a"]),
        (b"a\n", ["a"]),
        (b"a\nb", ["a", "b"]),
        (b"a\n\n", ["a", ""]),
        (b"\n", [""]),
        (b"a\r\nb\r\n", ["a", "b"]),
        (b"a\rb\n", ["a\rb"]),
        (b"a\r\r\nb\r", ["a\r", "b\r"]),
        (
            "a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg\n\u00e9\n".encode(),
            ["a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg", "\u00e9"],
        ),
        (b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n", ["a", "\ufeffb"]),
        (b"\x00\n", ["\x00"]),
    ],
)
def test_only_line_feeds_end_lines(tmp_path: Path, name: str, content: bytes, lines: list[str]) -> None:
    assert list(read_lines(write(tmp_path, content, name))) == lines
    assert list(read_stream(io.BytesIO(content))) == lines


def test_bad_utf8_is_told_with_file_line_and_column(tmp_path: Path) -> None:
    path = write(tmp_path, "good\n\u00fc\u00fc caf".encode() + b"\xe9 x\n")
    lines = read_lines(path)
    assert next(lines) == "good"
    with pytest.raises(DataError) as caught:
        next(lines)
    assert str(caught.value) == (
        f"{path}, line 2: not valid UTF-8 (byte 0xE9 at column 7); convert it, for example: iconv -f latin1 -t utf-8"
    )
    with pytest.raises(DataError, match="standard input, line 1: not valid UTF-8"):
        list(read_stream(io.BytesIO(b"\xff\n")))


def test_utf16_is_recognised(tmp_path: Path) -> None:
    path = write(tmp_path, "hello\nworld\n".encode("utf-16"))
    with pytest.raises(DataError, match="iconv -f utf-16"):
        list(read_lines(path))


def test_a_skipped_line_is_not_decoded(tmp_path: Path) -> None:
    lines = list(byte_lines(write(tmp_path, b"\xff\r\nb\n")))
    assert lines == [b"\xff", b"b"]
    assert decode_line(lines[1], "name", 2) == "b"


def test_broken_gzip_names_the_file(tmp_path: Path) -> None:
    whole = gzip.compress(b"".join(b"line %d\n" % n for n in range(5000)))
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF
    for content in (whole[: len(whole) // 2], bytes(damaged), b"no gzip at all\n"):
        path = tmp_path / "file.gz"
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"file\.gz: truncated or corrupt gzip file"):
            list(read_lines(path))


def test_what_cannot_be_opened_is_a_data_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=f"{tmp_path}: Is a directory"):
        list(read_lines(tmp_path))
    with pytest.raises(DataError, match=r"nowhere\.txt: No such file"):
        list(read_lines(tmp_path / "nowhere.txt"))

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(DataError, match=r"secret\.txt: Permission denied"):
        list(read_lines(tmp_path / "secret.txt"))


def test_resolve_finds_plain_before_compressed(tmp_path: Path) -> None:
    compressed = write(tmp_path, b"a\n", "train.en.gz")
    assert resolve(tmp_path / "train.en") == compressed
    assert resolve(compressed) == compressed
    plain = write(tmp_path, b"a\n", "train.en")
    assert resolve(tmp_path / "train.en") == plain


def test_resolve_tells_what_is_there_instead(tmp_path: Path) -> None:
    write(tmp_path, b"a\n", "train.eng")
    write(tmp_path, b"a\n", "zzz")
    with pytest.raises(DataError) as caught:
        resolve(tmp_path / "train.en")
    assert str(caught.value) == (
        f"there is neither {tmp_path}/train.en nor train.en.gz; similar files there: train.eng"
    )
    with pytest.raises(DataError, match=f"there is no folder {tmp_path}/missing$"):
        resolve(tmp_path / "missing" / "train.en")


def test_about_how_many_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seq2seq.data.lines.SAMPLE", 1000)
    one, two, packed, endless = (tmp_path / name for name in ("one", "two", "packed.gz", "endless"))
    one.write_text("nine more\n" * 7)
    two.write_text("nine more\n" * 5000)
    packed.write_bytes(gzip.compress(two.read_bytes()))
    endless.write_text("x" * 5000)
    assert about_how_many_lines([one]) == 7
    assert about_how_many_lines([one, two]) == 5007
    for unknown in (packed, endless, tmp_path / "nothing"):
        assert about_how_many_lines([one, unknown]) is None
