import random
from typing import Any

import pytest

from seq2seq.data.corpus import Corpus, Example, ListSource, Source, Split
from seq2seq.data.denoising import Denoising
from seq2seq.data.documents import Documents
from seq2seq.data.mixture import Mixture, MixtureSource, TaggedNoise
from seq2seq.data.noise import Noise
from seq2seq.errors import ConfigError, DataError
from seq2seq.registry import Factory


class Backwards(Noise):
    symbols = ("<mask>",)

    def __call__(self, text: str, generator: random.Random) -> tuple[str, str]:
        return text[::-1], text


class Few(Corpus):
    """Examples that tell their name and number."""

    def __init__(
        self, *, name: str, size: int, source: str | None = "en", target: str = "de", only: Split = "train", noisy=False
    ) -> None:
        self.source, self.target, self.only = source, target, only
        self.name, self.size = name, size
        self.noise = Backwards() if noisy else None
        self.symbols = Backwards.symbols if noisy else ()

    def split(self, name: Split) -> Source | None:
        if name == "test":
            raise DataError("data.test: there is no such file")
        if name not in ("train", self.only):
            return None
        texts = [f"{self.name}{number}" for number in range(self.size)]
        return ListSource([Example("" if self.noise else text, text.upper(), n) for n, text in enumerate(texts)])


def part(name: str, size: int, **options: Any) -> Factory[Corpus]:
    return Factory(Few, name, {"name": name, "size": size, **options})


def read(source: Source | None, *arguments: Any) -> list[tuple[str, str, int]]:
    assert source is not None
    return [(example.source, example.target, example.number) for example in source.read(*arguments)]


def test_parts_take_turns_and_each_example_tells_its_part() -> None:
    mixture = Mixture(parts={"few": part("a", 2), "more": part("b", 4)}, tags={"more": "<b>"})
    expected = [
        *[("a0", "A0", 0), ("<b> b0", "B0", 1), ("a1", "A1", 2), ("<b> b1", "B1", 3)],
        *[("<b> b2", "B2", 5), ("<b> b3", "B3", 7)],
    ]
    source = mixture.split("train")
    assert read(source) == expected
    for start in range(9):
        assert read(source, (0, 1), start) == [each for each in expected if each[2] >= start]
        for shard in range(3):
            wanted = [each for each in expected if each[2] >= start and each[2] % 3 == shard]
            assert read(source, (shard, 3), start) == wanted
    assert [mixture.place_of(number) for number in (2, 7)] == [("few", 1), ("more", 3)]
    assert mixture.tags == mixture.symbols == ("<b>",)


def test_a_split_of_some_parts_alone_keeps_their_numbers() -> None:
    mixture = Mixture(parts={"one": part("a", 2), "two": part("b", 1, only="validation"), "three": part("c", 1)})
    assert read(mixture.split("validation")) == [("b0", "B0", 1)]
    assert mixture.place_of(1) == ("two", 0)
    assert Mixture(parts={"one": part("a", 2)}).split("validation") is None


def test_languages_are_those_of_all_or_several() -> None:
    both = {"one": part("a", 1, source="en", target="de"), "two": part("b", 1, source="de", target="en")}
    assert (Mixture(parts=both).source, Mixture(parts=both).target) == ("mul", "mul")
    same = Mixture(parts={"one": part("a", 1), "two": part("b", 1)})
    assert (same.source, same.target) == ("en", "de")


def test_noise_gets_the_tag_when_it_is_made() -> None:
    mixture = Mixture(parts={"noisy": part("a", 2, noisy=True), "plain": part("b", 1)}, tags={"noisy": "<n>"})
    noisy = mixture.parts["noisy"]
    assert isinstance(noisy.noise, TaggedNoise)
    assert noisy.noise("AB", random.Random(1)) == ("<n> BA", "AB")
    assert read(noisy.split("train")) == [("", "A0", 0), ("", "A1", 1)]
    assert mixture.symbols == ("<mask>", "<n>")


def test_shares() -> None:
    parts = {"a": part("a", 1), "b": part("b", 1)}
    assert Mixture(parts=parts).shares([100, 900]) is None
    assert Mixture(parts=parts, weights={"a": 3.0, "b": 1.0}).shares(None) == [0.75, 0.25]
    assert Mixture(parts=parts, temperature=2.0).shares([100, 900]) == [0.25, 0.75]  # as 10 to 30
    with pytest.raises(ValueError, match="temperature needs sizes, which streams do not have: set weights"):
        Mixture(parts=parts, temperature=2.0).shares(None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parts": {}}, "a mixture needs parts; for example +data@data.parts.NAME=text_files"),
        ({"weights": {"a": 1.0}}, "weights: 'b' has none; give every part one"),
        ({"weights": {"c": 1.0}}, "weights: there is no part 'c'; there is a, b"),
        ({"tags": {"c": "<c>"}}, "tags: there is no part 'c'; there is a, b"),
        ({"tags": {"a": "</s>"}}, "tags: that of 'a', </s>, is a token that means something else"),
        ({"tags": {"a": "<0x41>"}}, "tags: that of 'a', <0x41>, is a token that means something else"),
        ({"tags": {"a": "two words"}}, "tags: that of 'a' is 'two words', but should be one word, as <2de>"),
        ({"weights": {"a": 1.0, "b": 1.0}, "temperature": 2.0}, "temperature has no effect where there are weights"),
        (
            {"parts": {"a": part("a", 1), "b": part("b", 1, source=None)}},
            "parts with and without a source cannot be mixed; without: b",
        ),
        ({"parts": {"a": part("a", 1, source=None)}, "tags": {"a": "<a>"}}, "tags stand before sources, and the parts"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, Any], message: str) -> None:
    factory = Factory(Mixture, "mixture", {"parts": {"a": part("a", 1), "b": part("b", 1)}, **options}, "data")
    with pytest.raises(ConfigError) as refused:
        factory()
    assert str(refused.value).startswith(f"data: {message}")


def test_faults_name_the_part() -> None:
    mixture = Mixture(parts={"one": part("a", 1)})
    with pytest.raises(DataError, match=r"^data\.parts\.one\.test: there is no such file$"):
        mixture.split("test")


def test_a_part_without_training_data_is_refused() -> None:
    class Nothing(Few):
        def split(self, name: Split) -> Source | None:
            return None

    nothing = Factory(Nothing, "nothing", {"name": "n", "size": 0})
    with pytest.raises(DataError, match=r"^data\.parts\.one\.train: is missing; every part is for training$"):
        Mixture(parts={"one": nothing}).split("train")


def test_identity_is_of_all_parts() -> None:
    class Known(ListSource):
        def __init__(self, about: str | None) -> None:
            super().__init__([])
            self.about = about

        def identity(self) -> str | None:
            return self.about

    def identity(*about: str | None) -> str | None:
        return MixtureSource(dict(enumerate(map(Known, about))), 2).identity()

    assert identity("a", "b") == identity("a", "b")
    assert len({identity("a", "b"), identity("b", "a"), identity("a")}) == 3
    assert identity("a", None) is None


def test_mixtures_stand_alone() -> None:
    inner = Factory(Mixture, "mixture", {"parts": {"a": part("a", 1)}}, "data.parts.b")
    with pytest.raises(ValueError, match="parts: 'b' is a mixture: name its parts here"):
        Mixture(parts={"b": inner})
    noise = Factory(Backwards, "backwards", {})
    with pytest.raises(ValueError, match="text is a mixture: mix such corpora as this one instead"):
        Denoising(text=inner, noise=noise)


def test_the_context_is_that_of_the_parts() -> None:
    def documents(before: int) -> Factory[Corpus]:
        return Factory(Documents, "documents", {"sentences": part("a", 1), "before": before})

    assert Mixture(parts={"a": part("a", 1)}).context is None
    mixture = Mixture(parts={"a": part("a", 1), "b": documents(2), "c": documents(2)}, tags={"b": "<b>"})
    assert mixture.context is not None
    assert list(mixture.context.with_context(["one", "two"])) == ["one", "one <sep> two"]
    with pytest.raises(ValueError, match="parts with different contexts cannot be mixed"):
        Mixture(parts={"b": documents(2), "c": documents(3)})
