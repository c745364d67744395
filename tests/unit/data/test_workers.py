"""What several processes encode is what one encodes; the classes are here so that other processes can import them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from seq2seq.data import workers
from seq2seq.data.corpus import Example, Source
from seq2seq.data.encoded import Block, Encoder, encode_blocks
from seq2seq.data.jsonl import JsonLines
from seq2seq.data.workers import encode_in_parallel, join
from seq2seq.errors import DataError
from seq2seq.text.plain import ByteTokenizer

NUMBER = 150


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "ALONE", 1)
    monkeypatch.setattr("seq2seq.data.encoded.CHUNK", 16)


@pytest.fixture(scope="module")
def tokenizer() -> ByteTokenizer:
    tokenizer = ByteTokenizer()
    tokenizer.train(["a"])
    return tokenizer


def write(path: Path, spoilt: str = "") -> Source:
    """Of every length, some empty and some too long."""
    lines = [f'{{"en": "{"x" * (number % 7)}", "de": "{"y" * (number % 11)}"}}' for number in range(NUMBER)]
    if spoilt:
        lines[100] = spoilt
    path.write_text("\n".join(lines) + "\n")
    source = JsonLines(train=str(path), source="en", target="de").split("train")
    assert source is not None
    return source


def all_of(blocks: Iterator[Block]) -> Block:
    return join(list(blocks))


@pytest.mark.parametrize("number", [2, 3])
def test_two_processes_give_what_one_gives(tmp_path: Path, tokenizer: ByteTokenizer, number: int) -> None:
    source = write(tmp_path / "a.jsonl")
    encode = Encoder(tokenizer, tokenizer, 8)
    expected = all_of(encode_blocks(source, encode))
    assert len(expected.numbers) < NUMBER
    found = all_of(encode_in_parallel(source, encode, number))
    assert found.counts == expected.counts
    np.testing.assert_array_equal(found.numbers, expected.numbers)
    for side, expected_side in zip(found.sides, expected.sides, strict=True):
        np.testing.assert_array_equal(side[0], expected_side[0])
        np.testing.assert_array_equal(side[1], expected_side[1])


def test_what_a_process_meets_is_told(tmp_path: Path, tokenizer: ByteTokenizer) -> None:
    source = write(tmp_path / "a.jsonl", spoilt="{")
    with pytest.raises(DataError, match=r"a\.jsonl, line 101: not JSON"):
        all_of(encode_in_parallel(source, Encoder(tokenizer, tokenizer, None), 2))


@dataclass
class Unsendable(Source):
    source: Source
    reason: object

    def read(self, shard: tuple[int, int] = (0, 1), start: int = 0) -> Iterator[Example]:
        return self.source.read(shard, start)


def test_what_cannot_be_sent_is_encoded_here(tmp_path: Path, tokenizer: ByteTokenizer) -> None:
    source = Unsendable(write(tmp_path / "a.jsonl"), lambda: 0)
    encode = Encoder(None, tokenizer, None)
    found = all_of(encode_in_parallel(source, encode, 2))
    assert found.counts.read == NUMBER
    assert len(found.sides) == 1


def test_blocks_are_joined_in_the_order_of_their_numbers() -> None:
    def block(numbers: list[int]) -> Block:
        """Row n holds n times n."""
        flat = np.concatenate([np.full(n, n, np.int32) for n in numbers])
        return Block(np.array(numbers), [(flat, np.array(numbers, np.int32))], workers.Counts(len(numbers)), [])

    joined = join([block([1, 4, 5]), block([2, 6]), block([3])])
    assert joined.numbers.tolist() == [1, 2, 3, 4, 5, 6]
    assert joined.sides[0][1].tolist() == [1, 2, 3, 4, 5, 6]
    assert joined.sides[0][0].tolist() == [n for n in range(1, 7) for _ in range(n)]
    assert joined.counts.read == 6
