"""Faults that a user can cause, each with the exit status of the command that meets it."""

import difflib
import errno
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

FULL = (errno.ENOSPC, errno.EDQUOT)


class UserError(Exception):
    """A fault to be told in a line or a few, without a traceback; of the machine, unless it is one of those below."""

    exit_status = 1


@dataclass(frozen=True)
class Problem:
    """One mistake in a config: where it is, and what would be right."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message

    def inside(self, group: str) -> "Problem":
        """The same, where the path was told by an option of the group."""
        return Problem(".".join(filter(None, (group, self.path))), self.message)


class ConfigError(UserError):
    """A wrong config or argument. Carries every mistake that was found, not only the first."""

    exit_status = 2

    def __init__(self, *problems: Problem | str) -> None:
        self.problems = [p if isinstance(p, Problem) else Problem("", p) for p in problems]
        super().__init__("\n".join(map(str, self.problems)))


class DataError(UserError):
    """Data that cannot be read or does not fit together."""

    exit_status = 3


class CheckpointError(UserError):
    """A checkpoint or a run directory that cannot be used."""

    exit_status = 4


def listed(names: Sequence[str], most: int, joint: str = ", ") -> str:
    """The first of them, and how many more there are."""
    left_out = len(names) - most
    return joint.join(names[:most]) + (f" and {left_out} more" if left_out > 0 else "")


def suggest(word: str, choices: Iterable[str]) -> str:
    """A did-you-mean, or what there is to choose from; empty where there is nothing."""
    choices = sorted(choices)
    close = difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"there are: {', '.join(choices)}" if choices else ""
