"""tag=TAG: what is put before each line, to say which target is wanted."""

import logging

from seq2seq.data.corpus import Corpus
from seq2seq.errors import ConfigError, Problem, suggest

log = logging.getLogger(__name__)


def asked_for(tag: str | None, corpus: Corpus) -> Corpus:
    """The part of the run's corpus whose target the tag asks for, one of those that are alike in it; or all of it."""
    parts = [part for part in corpus.parts.values() if tag in part.tags]
    alike = len({part.target for part in parts}) == 1 and all(part.context == parts[0].context for part in parts)
    return parts[0] if alike else corpus


def check_tag(tag: str | None, corpus: Corpus, reads_lines: bool) -> None:
    """corpus: of the run, as in training. reads_lines: whether the sources are lines that nobody has tagged yet.

    Raises ConfigError for a tag that the run does not know; tells where lines get none and always had one in training.
    """
    if tag is None:
        if reads_lines and all(part.tags for part in corpus.parts.values()):
            told = "in training every source began with a tag; tag=... puts one of these before each line: %s"
            log.warning(told, ", ".join(corpus.tags))
    elif not corpus.tags:
        raise ConfigError(Problem("tag", "the run was trained without tags"))
    elif tag not in corpus.tags:
        raise ConfigError(Problem("tag", f"the run was trained without '{tag}'; {suggest(tag, corpus.tags)}"))
