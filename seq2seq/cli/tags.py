"""tag=TAG: what is put before each line, to say which target is wanted."""

from seq2seq.data.corpus import Corpus
from seq2seq.errors import ConfigError, Problem, suggest


def asked_for(tag: str | None, corpus: Corpus) -> Corpus:
    """The part of the run's corpus whose target the tag asks for, one of those that are alike in it; or all of it."""
    parts = [part for part in corpus.parts.values() if tag in part.tags]
    alike = len({part.target for part in parts}) == 1 and all(part.context == parts[0].context for part in parts)
    return parts[0] if alike else corpus


def check_tag(tag: str, corpus: Corpus) -> None:
    """corpus: of the run, as in training. Raises ConfigError for a tag that it does not know."""
    if not corpus.tags:
        raise ConfigError(Problem("tag", "the run was trained without tags"))
    if tag not in corpus.tags:
        raise ConfigError(Problem("tag", f"the run was trained without '{tag}'; {suggest(tag, corpus.tags)}"))
