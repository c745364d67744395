import json
import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from seq2seq.data import prepared
from seq2seq.data.corpus import Example, ListSource, Source
from seq2seq.data.encoded import Block, Counts, Encoder, encode_source
from seq2seq.data.loader import Loader
from seq2seq.data.prepared import key_of, prepare
from seq2seq.data.text_files import TextFiles
from seq2seq.errors import DataError
from seq2seq.text.plain import ByteTokenizer


@pytest.fixture(scope="module")
def tokenizer() -> ByteTokenizer:
    tokenizer = ByteTokenizer()
    tokenizer.train(["a"])
    return tokenizer


def examples(number: int) -> ListSource:
    return ListSource([Example("s" * (n % 5), "t" * (1 + n % 9) + chr(97 + n % 26), n) for n in range(number)])


@pytest.mark.parametrize("rows", [1, 7, 40, 1000])
@pytest.mark.parametrize("has_source", [True, False])
def test_what_is_prepared_is_what_is_encoded(
    tmp_path: Path, tokenizer: ByteTokenizer, monkeypatch: pytest.MonkeyPatch, rows: int, has_source: bool
) -> None:
    monkeypatch.setattr(prepared, "ROWS", rows)
    monkeypatch.setattr("seq2seq.data.encoded.CHUNK", 11)
    source_tokenizer = tokenizer if has_source else None
    expected = encode_source(examples(80), source_tokenizer, tokenizer, max_length=8)
    encode = Encoder(source_tokenizer, tokenizer, 8)
    for _ in range(2):  # made, then opened
        heard: list[int] = []
        corpus = prepare(examples(80), encode, tmp_path / "key", progress=heard.append)
        assert sum(heard) in (80, 0)
        assert len(corpus) == len(expected) < 80
        assert (corpus.counts, corpus.digest) == (expected.counts, expected.digest)
        np.testing.assert_array_equal(corpus.numbers, expected.numbers)
        np.testing.assert_array_equal(corpus.source_lengths, expected.source_lengths)
        np.testing.assert_array_equal(corpus.target_lengths, expected.target_lengths)
        for i in range(len(corpus)):
            np.testing.assert_array_equal(corpus.targets[i], expected.targets[i])
            if has_source:
                assert corpus.sources is not None
                assert expected.sources is not None
                np.testing.assert_array_equal(corpus.sources[i], expected.sources[i])
        assert (corpus.sources is None) is not has_source
    batches = [Loader(of, max_tokens=60, seed=3) for of in (corpus, expected)]
    for _ in range(2 * batches[0].batches_per_epoch):
        ours, theirs = (loader.next_batch() for loader in batches)
        assert ours.numbers == theirs.numbers
        assert ours.target.equal(theirs.target)


def test_the_second_time_nothing_is_read(tmp_path: Path, tokenizer: ByteTokenizer) -> None:
    class Once(ListSource):
        def read(self, shard: tuple[int, int] = (0, 1), start: int = 0) -> Iterator[Example]:
            if (tmp_path / "key").exists():
                raise AssertionError("read again")
            return super().read(shard, start)

    source = Once(examples(9).examples)
    for _ in range(2):
        assert len(prepare(source, Encoder(None, tokenizer, None), tmp_path / "key")) == 9


@pytest.mark.parametrize("file", ["data.arrow", "about.json"])
@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: os.truncate(path, 40)])
def test_what_is_damaged_is_made_again(tmp_path: Path, tokenizer: ByteTokenizer, file: str, damage: object) -> None:
    encode = Encoder(None, tokenizer, None)
    digest = prepare(examples(9), encode, tmp_path / "key").digest
    damage(tmp_path / "key" / file)  # type: ignore[operator]
    assert prepare(examples(9), encode, tmp_path / "key").digest == digest
    assert json.loads((tmp_path / "key" / "about.json").read_text())["examples"] == 9


@dataclass
class KilledAt(Source):
    number: int

    def read(self, shard: tuple[int, int] = (0, 1), start: int = 0) -> Iterator[Example]:
        for example in examples(200).read(shard, start):
            if example.number == self.number:
                os.kill(os.getpid(), signal.SIGKILL)
            yield example


def test_a_killed_preparation_leaves_nothing_that_is_taken_for_whole(
    tmp_path: Path, tokenizer: ByteTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepared, "ROWS", 16)
    monkeypatch.setattr("seq2seq.data.encoded.CHUNK", 8)
    encode = Encoder(None, tokenizer, None)
    process = multiprocessing.get_context("fork").Process(
        target=prepare, args=(KilledAt(150), encode, tmp_path / "key")
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert (tmp_path / "key.partial" / "data.arrow").stat().st_size > 0
    corpus = prepare(examples(200), encode, tmp_path / "key")
    assert corpus.digest == encode_source(examples(200), None, tokenizer, max_length=None).digest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key", "key.lock"]


def test_nothing_left(tmp_path: Path, tokenizer: ByteTokenizer) -> None:
    with pytest.raises(DataError, match="none of the 2 examples can be used: 2 have an empty side"):
        prepare(ListSource([Example("", "x", n) for n in range(2)]), Encoder(tokenizer, tokenizer, 3), tmp_path / "key")
    assert not (tmp_path / "key").exists()
    assert not (tmp_path / "key.partial").exists()


def test_parts_have_equally_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared, "ROWS", 4)

    def block(numbers: Sequence[int]) -> Block:
        lengths = np.array([n % 3 for n in numbers], np.int32)
        return Block(np.array(numbers), [(np.repeat(np.array(numbers, np.int32), lengths), lengths)], Counts(), [])

    parts = list(prepared._in_parts(iter([block(range(3)), block(range(3, 14)), block([14])])))
    assert [part.numbers.tolist() for part in parts] == [[*range(4)], [*range(4, 8)], [*range(8, 12)], [12, 13, 14]]
    assert [part.sides[0][0].tolist() for part in parts] == [[1, 2, 2], [4, 5, 5, 7], [8, 8, 10, 11, 11], [13, 14, 14]]


def test_the_identity_changes_with_what_is_read(tmp_path: Path) -> None:
    def identity(**options: object) -> str:
        source = TextFiles(train=f"{tmp_path}/a", **{"source": "en", "target": "de"} | options).split("train")  # type: ignore[arg-type]
        assert source is not None
        return source.identity()

    for language in ("en", "de"):
        (tmp_path / f"a.{language}").write_text("x\n")
    first = identity()
    assert identity() == first
    assert identity(source="de", target="en") != first
    assert identity(source=None) != first
    (tmp_path / "a.de").write_text("other\n")
    assert identity() != first
    assert key_of(first, 3) != key_of(identity(), 3)
    assert ListSource([]).identity() is None
