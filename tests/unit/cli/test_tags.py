import pytest

from seq2seq.cli.tags import check_tag
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
        check_tag("2de", Tagged(*tags))
    assert str(caught.value) == message


def test_a_tag_that_it_knows() -> None:
    check_tag("<2de>", Tagged("<2de>", "<2fr>"))
