import gzip
from pathlib import Path

import pytest

from seq2seq.data.corpus import Example, corpora
from seq2seq.data.mixture import MixtureSource, TaggedCorpus
from seq2seq.data.text_files import TextFiles
from seq2seq.errors import DataError


def write(folder: Path, name: str, lines: list[str]) -> None:
    content = "".join(line + "\n" for line in lines).encode()
    (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """7 examples: 4 in `a`, 3 in `b`, one with an empty side."""
    write(tmp_path, "a.en", ["a0", "a1", "", "a3"])
    write(tmp_path, "a.de", ["A0", "A1\u2028more", "A2", "A3"])
    write(tmp_path, "b.en.gz", ["b4", "b5", "b6"])
    write(tmp_path, "b.de", ["B4", "B5", "B6"])
    return tmp_path


EXPECTED = [
    Example("a0", "A0", 0),
    Example("a1", "A1\u2028more", 1),
    Example("", "A2", 2),
    Example("a3", "A3", 3),
    Example("b4", "B4", 4),
    Example("b5", "B5", 5),
    Example("b6", "B6", 6),
]


def test_a_list_of_prefixes_plain_and_compressed(folder: Path) -> None:
    corpus = TextFiles(train=[f"{folder}/a", f"{folder}/b"], validation=f"{folder}/b", source="en", target="de")
    train = corpus.split("train")
    assert train is not None
    assert list(train.read()) == EXPECTED
    assert list(train.read()) == EXPECTED
    validation = corpus.split("validation")
    assert validation is not None
    assert list(validation.read()) == [Example("b4", "B4", 0), Example("b5", "B5", 1), Example("b6", "B6", 2)]
    assert corpus.split("test") is None
    assert corpora.components["text_files"] is TextFiles


def test_the_other_direction(folder: Path) -> None:
    source = TextFiles(train=f"{folder}/b", source="de", target="en").split("train")
    assert source is not None
    assert next(source.read()) == Example("B4", "b4", 0)


@pytest.mark.parametrize("start", range(9))
@pytest.mark.parametrize("shards", [1, 2, 3])
def test_shards_add_up_and_start_anywhere(folder: Path, shards: int, start: int) -> None:
    source = TextFiles(train=[f"{folder}/a", f"{folder}/b"], source="en", target="de").split("train")
    assert source is not None
    parts = [list(source.read((shard, shards), start)) for shard in range(shards)]
    for shard, part in enumerate(parts):
        assert part == [example for example in EXPECTED[start:] if example.number % shards == shard]


def test_a_missing_file_names_the_key_and_what_is_there(folder: Path) -> None:
    write(folder, "newstest.eng", ["x"])
    corpus = TextFiles(train=f"{folder}/a", validation=f"{folder}/newstest", source="en", target="de")
    assert corpus.split("train") is not None
    with pytest.raises(DataError) as caught:
        corpus.split("validation")
    assert str(caught.value) == (
        f"data.validation: there is neither {folder}/newstest.en nor newstest.en.gz; similar files there: newstest.eng"
    )


@pytest.mark.parametrize("name", ["empty.de", "empty.de.gz"])
def test_an_empty_file(folder: Path, name: str) -> None:
    write(folder, "empty.en", ["x"])
    write(folder, name, [])
    with pytest.raises(DataError, match=rf"^data\.test: {folder}/{name} is empty$"):
        TextFiles(test=f"{folder}/empty", source="en", target="de").split("test")


@pytest.mark.parametrize(("longer", "shorter"), [("en", "de"), ("de", "en")])
def test_unequal_line_counts_name_both(folder: Path, longer: str, shorter: str) -> None:
    write(folder, f"c.{longer}", [f"line {n}" for n in range(1234)])
    write(folder, f"c.{shorter}", ["x"] * 5)
    source = TextFiles(train=[f"{folder}/a", f"{folder}/c"], source=longer, target=shorter).split("train")
    assert source is not None
    with pytest.raises(DataError, match=rf"{folder}/c\.{longer} has 1,234 lines, {folder}/c\.{shorter} has 5:"):
        list(source.read())
    with pytest.raises(DataError, match="1,234 lines"):
        list(source.read(start=2000))


def test_bad_utf8_names_the_line_of_its_own_file(folder: Path) -> None:
    write(folder, "c.en", ["c0", "c1"])
    (folder / "c.de").write_bytes(b"C0\nC\xe9\n")
    source = TextFiles(train=[f"{folder}/a", f"{folder}/c"], source="en", target="de").split("train")
    assert source is not None
    with pytest.raises(DataError, match=rf"{folder}/c\.de, line 2: not valid UTF-8 \(byte 0xE9 at column 2\)"):
        list(source.read())


def test_a_folder_in_place_of_a_file(folder: Path) -> None:
    (folder / "d.en").mkdir()
    with pytest.raises(DataError, match=r"data\.train: .*d\.en: Is a directory"):
        TextFiles(train=f"{folder}/d", source="en", target="de").split("train")


def test_both_sides_of_one_file_are_refused() -> None:
    advice = "within one language give target_suffix, as in target_suffix=summary"
    with pytest.raises(ValueError, match=f"both 'en': they name the two files of each prefix; {advice}"):
        TextFiles(train="x", source="en", target="en")
    with pytest.raises(ValueError, match="both 'en'"):
        TextFiles(train="x", source="de", target="en", source_suffix="en")
    with pytest.raises(ValueError, match="source_suffix=text has no effect without a source"):
        TextFiles(train="x", source=None, target="en", source_suffix="text")


def test_suffixes_of_one_language(folder: Path) -> None:
    corpus = TextFiles(train=f"{folder}/a", source="xx", target="xx", source_suffix="en", target_suffix="de")
    other = TextFiles(train=f"{folder}/a", source="en", target="de")
    assert (corpus.source, corpus.target) == ("xx", "xx")
    sources = corpus.split("train"), other.split("train")
    assert sources[0] is not None
    assert sources[1] is not None
    assert list(sources[0].read()) == list(sources[1].read())


def test_the_files_that_are_read(folder: Path) -> None:
    """Also within a mixture, with tags."""
    pairs = TextFiles(train=[f"{folder}/a", f"{folder}/b"], source="en", target="de").split("train")
    alone = TaggedCorpus(TextFiles(train=f"{folder}/a", source=None, target="de"), "<de>").split("train")
    assert pairs is not None
    assert alone is not None
    files = [folder / name for name in ("a.en", "a.de", "b.en.gz", "b.de")]
    assert list(pairs.paths()) == files
    assert list(MixtureSource({0: pairs, 2: alone}, 3).paths()) == [*files, folder / "a.de"]
