import threading
from collections.abc import Iterator

import pytest

from seq2seq.cli.lines_in import chunks, chunks_as_they_come
from seq2seq.data.ahead import ahead


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
