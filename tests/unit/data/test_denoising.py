import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seq2seq.binding import bind
from seq2seq.config import RunConfig
from seq2seq.data.corpus import Corpus, Example, corpora, open_splits
from seq2seq.data.denoising import Denoising
from seq2seq.data.noise import noises
from seq2seq.data.noises.span_corruption import SENTINELS
from seq2seq.errors import ConfigError, DataError
from seq2seq.plugins import load_components
from seq2seq.registry import Factory

load_components()

TEXTS = [" ".join(f"w{line}.{i}" for i in range(12)) for line in range(6)] + ["", "one"]


def factory(family: Any, name: str, **options: Any) -> Factory[Any]:
    return Factory(family.components[name], name, options)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Denoising]:
    (tmp_path / "a.de").write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    (tmp_path / "a.en").write_text("not read\n" * len(TEXTS), encoding="utf-8")

    def make(noise: str = "span_corruption", source: str | None = None, **noise_options: Any) -> Denoising:
        files = dict.fromkeys(("train", "validation"), str(tmp_path / "a"))
        text = factory(corpora, "text_files", **files, source=source, target="de")
        return Denoising(text=text, noise=factory(noises, noise, **noise_options))

    return make


def examples(corpus: Corpus, split: Any, *place: Any) -> list[Example]:
    source = corpus.split(split)
    assert source is not None
    return list(source.read(*place))


@pytest.mark.parametrize("source", [None, "en"])
def test_training_texts_are_alone(make: Callable[..., Denoising], source: str | None) -> None:
    corpus = make(source=source)
    assert examples(corpus, "train") == [Example("", text, i) for i, text in enumerate(TEXTS)]
    assert (corpus.source, corpus.target) == ("de", "de")
    assert corpus.noise is not None
    assert corpus.symbols == corpus.noise.symbols == SENTINELS
    assert corpus.split("test") is None


def test_validation_pairs_are_the_same_at_every_reading(make: Callable[..., Denoising]) -> None:
    pairs = examples(make(), "validation")
    assert pairs == examples(make(), "validation") == examples(make(source="en"), "validation")
    assert pairs == examples(pickle.loads(pickle.dumps(make())), "validation")
    noise = make().noise
    assert noise is not None
    for pair, text in zip(pairs, TEXTS, strict=True):
        assert (pair.source, pair.target) == noise(text, random.Random(pair.number))
    assert len({pair.source.index("<extra_id_0>") for pair in pairs[:6]}) > 1  # not one place for all


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("start", [0, 3, 9])
def test_shards_add_up_and_start_anywhere(make: Callable[..., Denoising], split: str, start: int) -> None:
    whole = examples(make(), split)
    for shard in range(3):
        assert examples(make(), split, (shard, 3), start) == [e for e in whole[start:] if e.number % 3 == shard]


def test_identity_follows_what_the_examples_depend_on(make: Callable[..., Denoising], tmp_path: Path) -> None:
    def identity(split: Any, *arguments: Any, **options: Any) -> str | None:
        source = make(*arguments, **options).split(split)
        assert source is not None
        return source.identity()

    assert identity("validation") == identity("validation")
    different = [
        identity("train"),
        identity("validation"),
        identity("validation", rate=0.3),
        identity("validation", "text_infilling"),
    ]
    assert len(set(different)) == 4
    assert identity("train") == identity("train", "word_noise")  # the noise comes later
    (tmp_path / "a.de").write_text("other\n", encoding="utf-8")
    found = make().split("train")
    assert found is not None
    assert found.identity() not in different


def test_faults_of_the_text_are_told_by_its_keys(tmp_path: Path) -> None:
    files = {split: str(tmp_path / split) for split in ("train", "test")}
    text = factory(corpora, "text_files", **files, source=None, target="de")
    corpus = Denoising(text=text, noise=factory(noises, "word_noise"))
    assert corpus.key("train") == "data.text.train"
    assert corpus.test_is_apart
    with pytest.raises(DataError) as caught:
        open_splits(corpus)
    assert str(caught.value) == (
        "2 splits cannot be read\n"
        f"  data.text.train: there is neither {tmp_path}/train.de nor train.de.gz\n"
        f"  data.text.test: there is neither {tmp_path}/test.de nor test.de.gz"
    )
    (tmp_path / "train.de").write_bytes(b"fine\n\xff\n")
    with pytest.raises(DataError, match=f"^{tmp_path}/train.de, line 2: not valid UTF-8"):
        examples(corpus, "train")


def test_noise_in_noise_is_refused(make: Callable[..., Denoising]) -> None:
    once = factory(
        corpora,
        "denoising",
        text=factory(corpora, "demo", source=None, target="de"),
        noise=factory(noises, "word_noise"),
    )
    with pytest.raises(ConfigError, match="text=denoising has noise already"):
        factory(corpora, "denoising", text=once, noise=factory(noises, "word_noise"))()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("text", {"name": "text_files", "trian": 3}, "data.text.trian: unknown key; did you mean 'train'?"),
        (
            "text",
            {"name": "tex_files"},
            "data.text.name: no component is called 'tex_files'; did you mean 'text_files'?",
        ),
        ("train", "a", "data.train: unknown key; did you mean 'data.text.train'?"),
        ("noise", {"name": "word_noise", "drop": 1}, "data.noise.drop: should be less than 1, but is 1"),
    ],
)
def test_wrong_keys(key: str, value: Any, message: str) -> None:
    text = {"name": "text_files", "source": None, "target": "de"}
    data = {"name": "denoising", "text": text, "noise": "word_noise"}
    inside = text | value if isinstance(value, dict) and key == "text" else value
    with pytest.raises(ConfigError) as caught:
        bind(RunConfig, {"data": data | {key: inside}})
    assert message in str(caught.value).splitlines()
