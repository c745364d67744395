import pytest

from seq2seq.errors import listed, suggest


@pytest.mark.parametrize(
    ("names", "told"),
    [([], ""), (["a"], "a"), (["a", "b", "c"], "a, b, c"), (["a", "b", "c", "d", "e"], "a, b, c and 2 more")],
)
def test_a_list_that_is_cut_says_so(names: list[str], told: str) -> None:
    assert listed(names, 3) == told


def test_suggest() -> None:
    assert suggest("lstmm", ["gru", "lstm"]) == "did you mean 'lstm'?"
    assert suggest("zzz", ["lstm", "gru"]) == "there are: gru, lstm"
    assert suggest("zzz", []) == ""
