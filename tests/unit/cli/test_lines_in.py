import threading
from collections.abc import Iterable, Iterator

import pytest

from seq2seq.cli.lines_in import Input, Line, chunks, chunks_as_they_come
from seq2seq.data.ahead import ahead
from seq2seq.data.corpus import Context, Corpus, Source, Split


def test_chunks() -> None:
    assert list(chunks(iter("abcdefg"), 3)) == [["a", "b", "c"], ["d", "e", "f"], ["g"]]
    assert list(chunks(iter("abcd"), 2)) == [["a", "b"], ["c", "d"]]
    assert list(chunks(iter(""), 2)) == []


def test_what_has_come_is_not_kept_back() -> None:
    asked = threading.Event()

    def lines() -> Iterator[str]:
        yield from "abc"
        assert asked.wait(10)
        yield "d"

    arriving = chunks_as_they_come(lines(), 2)
    assert next(arriving) == ["a", "b"]
    assert next(arriving) == ["c"]  # although there may be another
    asked.set()
    assert list(arriving) == [["d"]]


def three_and_a_fault() -> Iterator[str]:
    yield from "abc"
    raise KeyError("a fault")


@pytest.mark.parametrize(
    ("arriving", "expected"),
    [(chunks_as_they_come(three_and_a_fault(), 2), [["a", "b"], ["c"]]), (ahead(three_and_a_fault(), 2), [*"abc"])],
)
def test_a_fault_comes_after_what_was_before_it(arriving: Iterator[object], expected: list[object]) -> None:
    assert [next(arriving) for _ in expected] == expected
    with pytest.raises(KeyError, match="a fault"):
        next(arriving)


def test_no_more_is_made_than_there_is_room_for() -> None:
    made: list[int] = []
    full = threading.Event()

    def numbers() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            if number == 7:
                full.set()
            yield number

    items = ahead(numbers(), 3)
    assert next(items) == 0
    assert next(items) == 1
    assert not full.wait(0.3)  # 2 taken, 3 in the queue, 1 that waits for room, and no 8th
    assert len(made) <= 6
    assert [*items] == list(range(2, 100))


def test_the_thread_ends_with_who_asks() -> None:
    before = threading.active_count()
    items = ahead(iter(range(100)), 2)
    next(items)
    assert threading.active_count() == before + 1
    items.close()  # type: ignore[attr-defined]
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and thread.daemon:
            thread.join(5)
    assert threading.active_count() == before


class Before(Context):
    """ahead: how many lines are taken before one is given."""

    def __init__(self, ahead: int = 0) -> None:
        self.ahead = ahead

    def with_context(self, lines: Iterable[str]) -> Iterator[str]:
        before = ""
        waiting: list[str] = []
        for line in lines:
            waiting.append(f"{before}|{line}")
            before = line
            if len(waiting) > self.ahead:
                yield waiting.pop(0)
        yield from waiting

    def last_sentence(self, text: str) -> str:
        return text.rpartition("|")[2]


class Told(Corpus):
    source, target = "en", "de"
    context = Before()

    def split(self, name: Split) -> Source | None:
        return None


def given(lines: Iterable[str], corpus: Corpus | None = None) -> Input:
    return Input(iter(lines), False, [], corpus)


@pytest.mark.parametrize("ahead", [0, 2])
def test_lines_with_context(ahead: int) -> None:
    lines = list(given("abc").with_context(Before(ahead)))
    assert lines == [Line("a", "|a"), Line("b", "a|b"), Line("c", "b|c")]


def test_lines_without_context() -> None:
    assert list(given("ab").with_context(None)) == [Line("a", "a"), Line("b", "b")]


def test_context_does_not_wait_for_the_next_line() -> None:
    asked: list[str] = []

    def lines() -> Iterator[str]:
        for line in "ab":
            asked.append(line)
            yield line

    read = given(lines()).with_context(Before())
    assert next(read) == Line("a", "|a")
    assert asked == ["a"]


def test_examples_with_context_have_it_already() -> None:
    assert list(given(["|a", "x|b"], Told()).with_context(Before())) == [Line("a", "|a"), Line("b", "x|b")]
