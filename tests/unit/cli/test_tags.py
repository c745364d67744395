from collections.abc import Mapping

import pytest

from seq2seq.cli.tags import asked_for, check_tag
from seq2seq.data.corpus import Corpus, Source, Split
from seq2seq.errors import ConfigError


class Tagged(Corpus):
    source, target = "en", "de"

    def __init__(self, *tags: str) -> None:
        self.tags = tags

    def split(self, name: Split) -> Source | None:
        return None


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        (("<2de>", "<2fr>"), "tag: the run was trained without '2de'; did you mean '<2de>'?"),
        (("<back>", "<real>"), "tag: the run was trained without '2de'; there are: <back>, <real>"),
        ((), "tag: the run was trained without tags"),
    ],
)
def test_a_tag_that_the_run_does_not_know(tags: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_tag("2de", Tagged(*tags), reads_lines=True)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("tag", "tags", "reads_lines", "warned"),
    [
        ("<2de>", ("<2de>", "<2fr>"), True, False),
        (None, ("<2de>", "<2fr>"), True, True),
        (None, ("<2de>", "<2fr>"), False, False),
        (None, (), True, False),
    ],
)
def test_lines_without_a_tag_where_every_source_had_one(
    tag: str | None, tags: tuple[str, ...], reads_lines: bool, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    check_tag(tag, Tagged(*tags), reads_lines)
    told = "in training every source began with a tag; tag=... puts one of these before each line: <2de>, <2fr>"
    assert caplog.messages == ([told] if warned else [])


class Mixed(Tagged):
    def __init__(self, **targets: str) -> None:
        super().__init__("<2de>", "<2fr>", "<bt>")
        self.named: dict[str, Corpus] = {}
        for name, target in targets.items():
            self.named[name] = part = Tagged(f"<{name.rstrip('_')}>")
            part.target = target

    @property
    def parts(self) -> Mapping[str, Corpus]:
        return self.named


def test_the_part_that_a_tag_asks_for() -> None:
    corpus = Mixed(**{"2de": "de", "2fr": "fr", "2fr_": "fr", "bt": "de", "bt_": "fr"})
    assert asked_for("<2de>", corpus) is corpus.parts["2de"]
    assert asked_for("<2fr>", corpus) is corpus.parts["2fr"]
    assert asked_for("<bt>", corpus) is asked_for(None, corpus) is corpus
    assert asked_for(None, corpus.parts["bt"]) is corpus.parts["bt"]
