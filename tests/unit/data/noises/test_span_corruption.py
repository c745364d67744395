import random
import re

import pytest

from seq2seq.data.noises.span_corruption import SENTINELS, SpanCorruption

WORDS = [f"w{i}" for i in range(200)]
CHINESE = "\u6211\u559c\u6b22\u7528 Python \u5199\u7a0b\u5e8f\uff0c\u4f60\u5462\uff1f" * 5


def put_together(source: str, target: str, between: str) -> str:
    """The text, from what the target says of each sentinel."""
    found = re.split(r"(<extra_id_\d+>)", target)
    sentinels, spans = found[1::2], found[2::2]
    assert found[0] == ""
    assert spans[-1] == ""
    assert sentinels == list(SENTINELS[: len(sentinels)])  # in order; the last one ends the target
    assert re.findall(r"<extra_id_\d+>", source) == sentinels[:-1]
    for sentinel, span in zip(sentinels[:-1], spans[:-1], strict=True):
        source = source.replace(sentinel, span.strip() if between else span, 1)
    return source


@pytest.mark.parametrize("rate", [0.01, 0.15, 0.5, 0.95])
@pytest.mark.parametrize("mean_span", [1.0, 3.0, 50.0])
@pytest.mark.parametrize("count", [2, 3, 11, 200])
def test_source_and_target_give_the_text_again(rate: float, mean_span: float, count: int) -> None:
    noise = SpanCorruption(rate=rate, mean_span=mean_span)
    text = " ".join(WORDS[:count])
    for seed in range(20):
        source, target = noise(text, random.Random(seed))
        assert put_together(source, target, " ") == text
        assert "> <" not in source  # no two sentinels side by side


def test_text_without_spaces_gives_itself_again_too() -> None:
    for seed in range(50):
        source, target = SpanCorruption(rate=0.3)(CHINESE, random.Random(seed))
        assert put_together(source, target, "") == CHINESE
        assert "<extra_id_1>" in source


def test_one_word_stays_and_two_words_lose_one() -> None:
    noise = SpanCorruption()
    assert noise("one", random.Random(1)) == ("one", "<extra_id_0>")
    found = {noise("one two", random.Random(seed)) for seed in range(20)}
    assert found == {
        ("<extra_id_0> two", "<extra_id_0> one <extra_id_1>"),
        ("one <extra_id_0>", "<extra_id_0> two <extra_id_1>"),
    }


def test_rate_and_spans_are_right_on_average() -> None:
    generator = random.Random(1)
    masked = spans = 0
    for _ in range(500):
        source, target = SpanCorruption(rate=0.15, mean_span=3.0)(" ".join(WORDS), generator)
        spans += source.count("<extra_id_")
        masked += len(target.split()) - target.count("<extra_id_")
    assert masked / (500 * len(WORDS)) == pytest.approx(0.15, abs=0.001)
    assert masked / spans == pytest.approx(3.0, abs=0.05)


def test_every_place_is_masked_as_often_as_another() -> None:
    generator = random.Random(1)
    counts = dict.fromkeys(WORDS[:20], 0)
    for _ in range(4000):
        for word in SpanCorruption(rate=0.3)(" ".join(counts), generator)[1].split():
            if word in counts:
                counts[word] += 1
    middle = [count / 4000 for count in list(counts.values())[4:-4]]
    assert middle == pytest.approx([0.3] * 12, abs=0.05)


def test_there_are_never_more_spans_than_sentinels() -> None:
    text = "word " * 5000
    source, target = SpanCorruption(rate=0.15, mean_span=1.0)(text, random.Random(1))
    assert source.count("<extra_id_") == 99
    assert target.count("<extra_id_") == 100
    assert target.count("word") == pytest.approx(750, abs=1)
