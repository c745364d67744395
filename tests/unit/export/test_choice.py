"""How it is told that another engine cannot be taken."""

import pytest

from seq2seq.errors import Problem
from seq2seq.export.choice import _in_short

LSTM = "CTranslate2 has no place for gru"


@pytest.mark.parametrize(
    ("problems", "told"),
    [
        ([("model.encoder.name", LSTM), ("model.decoder.name", LSTM)], f"model.encoder.name: {LSTM}"),
        ([("a", "one"), ("b", "other")], "a: one; b: other"),
        (
            [("model.encoder.name", LSTM), ("search.name", "CTranslate2 has no place for sampling"), ("a", "one")],
            f"model.encoder.name: {LSTM} and 2 more",
        ),
    ],
)
def test_several_reasons_fit_a_line(problems: list[tuple[str, str]], told: str) -> None:
    assert _in_short([Problem(*problem) for problem in problems]) == told
    assert len(f"backend: torch ({told})") <= 80
