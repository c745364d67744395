"""tag=TAG: what is put before each line, to say which target is wanted."""

from seq2seq.data.corpus import Corpus
from seq2seq.errors import ConfigError, Problem, suggest


def check_tag(tag: str, corpus: Corpus) -> None:
    """corpus: of the run, as in training. Raises ConfigError for a tag that it does not know."""
    if not corpus.tags:
        raise ConfigError(Problem("tag", "the run was trained without tags"))
    if tag not in corpus.tags:
        raise ConfigError(Problem("tag", f"the run was trained without '{tag}'; {suggest(tag, corpus.tags)}"))
