"""Which runs a pattern names."""

import os
from pathlib import Path

import pytest

from seq2seq.cli.comparing import find_runs


@pytest.mark.parametrize(
    ("pattern", "found", "told"),
    [
        ("*", ["a", "b"], ["without the runs in sweep/*: name them, too"]),
        ("**", ["a", "b", "sweep/lr=1", "sweep/lr=2"], []),
        ("sweep/*", ["sweep/lr=1", "sweep/lr=2"], []),
    ],
)
def test_runs_in_a_folder_that_a_pattern_matches(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    pattern: str,
    found: list[str],
    told: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("b", "sweep/lr=2", "a", "sweep/lr=1"):
        os.makedirs(name)
        Path(name, "config.yaml").touch()
    Path("notes").mkdir()
    assert [str(run) for run in find_runs([pattern])] == found
    assert caplog.messages == told
