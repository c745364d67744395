import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from seq2seq.cli.lines_out import OutputFile, continue_after, open_new
from seq2seq.errors import ConfigError, DataError


def opened(path: Path, text: str | None, stack: ExitStack) -> OutputFile:
    if text is not None:
        path.write_text(text, encoding="utf-8")
    return open_new("output", str(path), [], stack)


def kept(file: OutputFile) -> str:
    file.cut()
    return Path(file.name).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "done", "expected"),
    [
        (None, 0, ""),
        ("", 0, ""),
        ("cut in the fir", 0, ""),
        ("one\n", 1, "one\n"),
        ("one\n\n\nzw\u00f6", 3, "one\n\n\n"),
        ("one\u2028still one\ntwo\n", 2, "one\u2028still one\ntwo\n"),
    ],
)
def test_whole_lines_are_kept(tmp_path: Path, text: str | None, done: int, expected: str) -> None:
    with ExitStack() as stack:
        file = opened(tmp_path / "out.txt", text, stack)
        assert continue_after(file, None, None, nbest=False) == done
        assert kept(file) == expected


NBEST = "0 ||| a ||| -1.0\n0 ||| b ||| -2.0\n1 ||| 7 ||| 8 ||| -1.5\n2 |||  ||| 0.0\n"


@pytest.mark.parametrize(
    ("text", "done", "num_lines"),
    [
        ("", 0, 0),
        (NBEST[:20], 0, 0),  # the first line's list may not be whole
        (NBEST[:40], 0, 0),
        (NBEST, 2, 3),
        (NBEST + "3 ||| c", 2, 3),
        (NBEST + "3 ||| c ||| -1.0\n", 3, 4),
    ],
)
def test_whole_lists_are_kept(tmp_path: Path, text: str, done: int, num_lines: int) -> None:
    with ExitStack() as stack:
        file = opened(tmp_path / "out.txt", text, stack)
        assert continue_after(file, None, None, nbest=True) == done
        assert kept(file).splitlines() == text.splitlines()[:num_lines]


@pytest.mark.parametrize(
    ("links", "nbest", "done", "num_lines"),
    [
        ("0-0\n1-0\n", False, 2, 2),
        ("0-0\n1-0\n\n1-1\n0-0\n0-1\n", False, 4, 4),
        ("", False, 0, 0),
        ("0-0\n1-0\n0-0", True, 1, 2),
        ("0-0\n", True, 0, 0),
        ("0-0\n1-0\n\n1-1\n", True, 2, 3),
    ],
)
def test_alignments_belong_to_what_is_kept(tmp_path: Path, links: str, nbest: bool, done: int, num_lines: int) -> None:
    with ExitStack() as stack:
        file, attention = opened(tmp_path / "out.txt", NBEST, stack), opened(tmp_path / "links.txt", links, stack)
        assert continue_after(file, attention, None, nbest) == done
        assert kept(file).splitlines() == NBEST.splitlines()[:num_lines]
        assert kept(attention).splitlines() == links.splitlines()[:num_lines]


@pytest.mark.parametrize(
    ("copied", "links", "nbest", "done", "num_lines"),
    [
        ("p\nq\nr\ns\n", None, False, 4, 4),
        ("p\nq\nr\ns\nt\nu", None, False, 4, 4),  # more than the output
        ("p\nq\nr", None, False, 2, 2),
        ("", None, False, 0, 0),
        ("p\nq\nr\n", "0-0\n1-0\n", False, 2, 2),
        ("p\n", "0-0\n1-0\n", False, 1, 1),
        ("p\nq\nr\n", None, True, 2, 3),  # a line for each list
        ("p\nq", None, True, 1, 2),
        ("p\nq\n", "0-0\n1-0\n", True, 1, 2),
        ("", "0-0\n1-0\n", True, 0, 0),
    ],
)
def test_copies_belong_to_what_is_kept(
    tmp_path: Path, copied: str, links: str | None, nbest: bool, done: int, num_lines: int
) -> None:
    with ExitStack() as stack:
        file, copy = opened(tmp_path / "out.txt", NBEST, stack), opened(tmp_path / "copy.txt", copied, stack)
        attention = opened(tmp_path / "links.txt", links, stack) if links is not None else None
        assert continue_after(file, attention, copy, nbest) == done
        assert kept(file).splitlines() == NBEST.splitlines()[:num_lines]
        assert kept(copy).splitlines() == copied.splitlines()[:done]
        if attention is not None:
            assert len(kept(attention).splitlines()) == num_lines


@pytest.mark.parametrize(
    ("text", "line"),
    [("a\n", 1), ("1 ||| a ||| 0.0\n", 1), (NBEST + "4 ||| a ||| 0.0\n", 5), (NBEST + "1 ||| a ||| 0.0\n", 5)],
)
def test_something_else_is_not_continued(tmp_path: Path, text: str, line: int) -> None:
    with ExitStack() as stack:
        file = opened(tmp_path / "out.txt", text, stack)
        with pytest.raises(DataError) as caught:
            continue_after(file, None, None, nbest=True)
        told = f"{file.name}, line {line}: does not fit an n-best list, so there is nothing to continue"
        assert str(caught.value) == told
    assert (tmp_path / "out.txt").read_text(encoding="utf-8") == text


def test_an_earlier_output_is_there_until_it_is_cut(tmp_path: Path) -> None:
    with ExitStack() as stack:
        file = opened(tmp_path / "out.txt", "earlier\n", stack)
        assert (tmp_path / "out.txt").read_text(encoding="utf-8") == "earlier\n"
        file.cut()
        file.write("new\n", 0)
        file.cut()
        file.write("newer\n", 1)
    assert (tmp_path / "out.txt").read_text(encoding="utf-8") == "new\nnewer\n"


@pytest.mark.parametrize(("text", "left"), [("", False), ("a\n", True)])
def test_a_new_file_without_a_line_goes_with_a_fault(tmp_path: Path, text: str, left: bool) -> None:
    def fail() -> None:
        with ExitStack() as stack:
            opened(tmp_path / "out.txt", None, stack).write(text, 0)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert (tmp_path / "out.txt").exists() == left


def test_the_input_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("a\n", encoding="utf-8")
    with ExitStack() as stack, pytest.raises(ConfigError) as caught:
        open_new("output", str(tmp_path / "in.txt"), [("input", os.stat(tmp_path / "in.txt"))], stack)
    assert str(caught.value) == f"output: {tmp_path}/in.txt is the input; name another file"
