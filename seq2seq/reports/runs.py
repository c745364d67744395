"""What a run directory tells of a run that was measured; read without torch."""

from __future__ import annotations

import hashlib
import json
import os
import statistics
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

from seq2seq.errors import CheckpointError
from seq2seq.reports.comparison import Curve, System
from seq2seq.training.run_dir import RunDir, flatten

Line = Mapping[str, Any]


def read_system(run: Path, evaluation: Path, name: str | None = None) -> System:
    """A run with its scores in a folder of its `evaluation`. name: that of the folder by itself.

    Raises CheckpointError for a run or scores that cannot be read.
    """
    directory = RunDir(run)
    config = flatten(directory.read_config())
    scores = read_scores(evaluation)
    end = directory.read_end() or {}
    whole = end.get("parameters")
    lines = _read_lines(directory.metrics)
    speeds = [line["train/tokens_per_second"] for line in lines if _is_number(line.get("train/tokens_per_second"))]
    return System(
        name=name or run.absolute().name,
        run=run,
        config=config,
        scores=scores,
        hypotheses=read_hypotheses(evaluation, scores),
        num_parameters=whole
        if _is_number(whole)
        else _count_parameters(directory.checkpoints, scores.get("steps", [])),
        seconds=lines[-1]["seconds"] if lines else None,
        tokens_per_second=statistics.median(speeds) if speeds else None,
        curves=dict(_curves(lines)),
        ended_early=bool(end.get("pruned")),
    )


def read_scores(evaluation: Path) -> dict[str, Any]:
    """Raises CheckpointError where there are none, or broken ones."""
    path = evaluation / "scores.json"
    try:
        scores = json.loads(path.read_bytes())
        if not isinstance(scores, dict):
            raise ValueError("not an object")
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise CheckpointError(f"{path}: broken ({error})") from error
    return scores


def name_runs(runs: Sequence[Path]) -> dict[Path, str]:
    """Of each the path below the folder that all share."""
    whole = {run: Path(os.path.abspath(run)) for run in runs}
    shared = os.path.commonpath([path.parent for path in whole.values()])
    return {run: path.relative_to(shared).as_posix() for run, path in whole.items()}


def read_hypotheses(evaluation: Path, scores: Mapping[str, Any]) -> list[str] | None:
    """None of a language model."""
    if "search" not in scores:
        return None
    path = evaluation / "hypotheses.txt"
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path}: not UTF-8") from error
    lines = text.split("\n")[:-1]
    if len(lines) != scores.get("sentences"):
        raise CheckpointError(f"{path}: {len(lines):,} lines, but {scores.get('sentences')} sentences were measured")
    if digest(lines) != scores.get("hypotheses"):
        raise CheckpointError(
            f"{path}: not what {evaluation / 'scores.json'} was measured of; again=true measures both"
        )
    return lines


def digest(lines: Sequence[str]) -> str:
    """SHA-256 of lines, whatever they hold."""
    return hashlib.sha256(json.dumps([*lines]).encode()).hexdigest()


def _count_parameters(checkpoints: Path, steps: Sequence[int]) -> int | None:
    """By the header of a file of weights, of the first of these steps that is still there, or another one.

    None where there is no file that can be read.
    """
    folders = [checkpoints / f"step_{step:08d}" for step in steps] + sorted(checkpoints.glob("step_*"), reverse=True)
    for folder in folders:
        try:
            with (folder / "model.safetensors").open("rb") as file:
                size = int.from_bytes(file.read(8), "little")
                if size > os.fstat(file.fileno()).st_size:
                    continue
                header = json.loads(file.read(size))
            shapes = [tensor["shape"] for name, tensor in header.items() if name != "__metadata__"]
            return sum(int(prod(shape)) for shape in shapes)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return None


def _read_lines(metrics: Path) -> list[Line]:
    """Of metrics.jsonl, those that are whole; none where it is gone."""
    found: list[Line] = []
    try:
        content = metrics.read_bytes()
    except OSError:
        return found
    for text in content.splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and _is_number(line.get("step")) and _is_number(line.get("seconds")):
            found.append(line)
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _curves(lines: Sequence[Line]) -> Iterator[tuple[str, Curve]]:
    known = [(line["step"], line["train/tokens"]) for line in lines if _is_number(line.get("train/tokens"))]
    names = dict.fromkeys(name for line in lines for name in line if "/" in name and name != "validation/best")
    for name in names:
        having = [line for line in lines if _is_number(line.get(name))]
        yield (
            name,
            Curve(
                steps=[line["step"] for line in having],
                seconds=[line["seconds"] for line in having],
                tokens=[_tokens_at(line["step"], known) for line in having],
                values=[line[name] for line in having],
            ),
        )


def _tokens_at(step: int, known: Sequence[tuple[int, float]]) -> int | None:
    """By what is known at other steps; in between in proportion."""
    place = bisect_left(known, (step, 0.0))
    if place == len(known):
        return None
    (after, tokens) = known[place]
    (before, fewer) = known[place - 1] if place else (0, 0.0)
    return round(tokens if after == step else fewer + (tokens - fewer) * (step - before) / (after - before))
