import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from seq2seq.errors import CheckpointError, ConfigError, DataError
from seq2seq.registry import Factory
from seq2seq.text.pair import TokenizerPair, load_pair, train_pair
from seq2seq.text.plain import CharacterTokenizer, WordTokenizer
from seq2seq.text.sentencepiece import SentencePieceTokenizer
from seq2seq.text.tokenizer import Tokenizer


def factory(cls: type[Tokenizer], **options: object) -> Factory[Tokenizer]:
    return Factory(cls, "name", options, "tokenizer")


def source() -> Iterator[str]:
    return iter(["ab", "ba"])


def target() -> Iterator[str]:
    return iter(["xyz"])


def pair(cls: type[Tokenizer] = CharacterTokenizer, *, shared: bool) -> TokenizerPair:
    return train_pair(factory(cls, shared=shared), source, target)


def test_a_shared_tokenizer_knows_both_sides() -> None:
    both = pair(shared=True)
    assert both.source is both.target
    assert both.source.vocab.tokens[4:] == ("a", "b", "x", "y", "z")


def test_separate_tokenizers_know_their_own_side() -> None:
    both = pair(shared=False)
    assert both.source.vocab.tokens[4:] == ("a", "b")
    assert both.target.vocab.tokens[4:] == ("x", "y", "z")


@pytest.mark.parametrize("cls", [CharacterTokenizer, SentencePieceTokenizer])
def test_a_shared_pair_is_stored_once(cls: type[Tokenizer], tmp_path: Path) -> None:
    both = pair(cls, shared=True)
    folder = tmp_path / "run" / "tokenizer"
    both.save(folder)
    assert [path.name for path in folder.iterdir()] == ["shared"]
    loaded = load_pair(cls, folder)
    assert loaded.source is loaded.target
    assert loaded.source.shared
    assert loaded.source.vocab == both.source.vocab


@pytest.mark.parametrize("cls", [CharacterTokenizer, SentencePieceTokenizer])
def test_a_separate_pair_is_stored_by_side(cls: type[Tokenizer], tmp_path: Path) -> None:
    both = pair(cls, shared=False)
    folder = tmp_path / "tokenizer"
    both.save(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["source", "target"]
    loaded = load_pair(cls, folder)
    assert not loaded.source.shared
    assert (loaded.source.vocab, loaded.target.vocab) == (both.source.vocab, both.target.vocab)
    assert loaded.target.encode("zy") == both.target.encode("zy")


def test_a_killed_save_leaves_nothing_under_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = pair(shared=False)
    folder = tmp_path / "tokenizer"

    def killed(self: Tokenizer, part: Path) -> None:
        (part / "half").write_text("half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(CharacterTokenizer, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            both.save(folder)
    assert not folder.exists()
    both.save(folder)
    assert sorted(path.name for path in folder.rglob("*")) == ["source", "target", "vocab.json", "vocab.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer"]


def test_files_are_on_the_disk_before_they_get_their_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    real_replace = Path.replace

    def replace(self: Path, name: Path) -> Path:
        events.append("rename")
        return real_replace(self, name)

    monkeypatch.setattr("os.fsync", lambda descriptor: events.append("fsync"))
    monkeypatch.setattr(Path, "replace", replace)
    pair(shared=True).save(tmp_path / "tokenizer")
    # The file, its folder and the folder of that one; after renaming the folder that holds the new name.
    assert events == ["fsync", "fsync", "fsync", "rename", "fsync"]


def test_a_stored_tokenizer_is_not_overwritten(tmp_path: Path) -> None:
    first = pair(shared=True)
    first.save(tmp_path / "tokenizer")
    with pytest.raises(OSError, match="tokenizer"):
        train_pair(factory(CharacterTokenizer), target, target).save(tmp_path / "tokenizer")
    assert load_pair(CharacterTokenizer, tmp_path / "tokenizer").source.vocab == first.source.vocab


@pytest.mark.parametrize("missing", ["", "source", "target"])
def test_a_missing_folder_is_named(tmp_path: Path, missing: str) -> None:
    folder = tmp_path / "tokenizer"
    if missing:
        pair(shared=False).save(folder)
        (folder / missing / "vocab.json").unlink()
        (folder / missing).rmdir()
    with pytest.raises(CheckpointError, match=re.escape(f"{folder / missing}: the tokenizer's folder is missing")):
        load_pair(CharacterTokenizer, folder)


def test_a_truncated_model_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "tokenizer"
    pair(SentencePieceTokenizer, shared=False).save(folder)
    file = folder / "target" / "tokenizer.model"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=re.escape(f"{file}: the file is damaged")):
        load_pair(SentencePieceTokenizer, folder)


@pytest.mark.parametrize(("shared", "side"), [(True, "shared"), (False, "source")])
def test_a_side_without_text_is_named(shared: bool, side: str) -> None:
    with pytest.raises(DataError, match=f"^{side} tokenizer: the training lines hold no text$"):
        train_pair(factory(CharacterTokenizer, shared=shared), lambda: [""], lambda: [] if shared else ["text"])


def test_options_that_do_not_fit_the_text_are_named_with_their_path() -> None:
    with pytest.raises(ConfigError, match=r"^tokenizer\.min_count: 5 is too high"):
        train_pair(factory(WordTokenizer, min_count=5), source, target)
    with pytest.raises(ConfigError, match=r"^tokenizer: vocab_size must be more than 260"):
        train_pair(factory(SentencePieceTokenizer, vocab_size=100), source, target)
