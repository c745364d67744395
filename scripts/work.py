"""The work of the benchmarks: a corpus in sentencepiece pieces, and the batches that our own loader makes of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from presets import compose_run

if TYPE_CHECKING:
    from seq2seq.data.encoded import EncodedCorpus

MAX_LENGTH = 256
DEMO_VOCABULARY = 2000  # the most pieces that the demo's sentences have


def usual_modes(device: str) -> list[str]:
    """Number formats worth a measurement: in bf16, a CPU without instructions for it is several times slower."""
    from seq2seq.training.precision import cpu_has_bf16

    if device != "cpu" or cpu_has_bf16():
        return ["fp32", "bf16", "auto"]
    print("bf16 is left out, which this processor has no instructions for", file=sys.stderr)
    return ["fp32"]


def corpus_arguments(train: Sequence[str] | None, source: str, target: str, vocabulary: int) -> list[str]:
    """Of seq2seq-train, for the data and its tokenizer; without files the sentences of the demo."""
    if not train:
        return ["data=demo", f"tokenizer.vocab_size={min(vocabulary, DEMO_VOCABULARY)}"]
    return [
        "data=text_files",
        f"data.train=[{','.join(train)}]",
        f"data.source={source}",
        f"data.target={target}",
        f"tokenizer.vocab_size={vocabulary}",
    ]


def encode_corpus(arguments: Sequence[str]) -> EncodedCorpus:
    """Trains the tokenizer too."""
    from seq2seq.data.encoded import encode_source
    from seq2seq.text.pair import train_pair

    config = compose_run(*arguments)
    source = config.data().split("train")
    assert source is not None
    tokenizers = train_pair(
        config.tokenizer, lambda: (e.source for e in source.read()), lambda: (e.target for e in source.read())
    )
    return encode_source(source, tokenizers.source, tokenizers.target, max_length=MAX_LENGTH)


def store_corpus(corpus: EncodedCorpus, folder: Path) -> None:
    """A corpus in memory, which has one part."""
    assert corpus.sources is not None
    (source, source_offsets), (target, target_offsets) = corpus.sources.parts[0], corpus.targets.parts[0]
    np.savez(
        folder / "corpus.npz",
        source=source,
        source_offsets=source_offsets,
        target=target,
        target_offsets=target_offsets,
        numbers=corpus.numbers,
    )


def load_corpus(folder: Path) -> EncodedCorpus:
    from seq2seq.data.encoded import EncodedCorpus, Rows

    with np.load(folder / "corpus.npz") as stored:
        sources = Rows((stored["source"], stored["source_offsets"]))
        targets = Rows((stored["target"], stored["target_offsets"]))
        return EncodedCorpus(sources, targets, stored["numbers"])


def store_batches(corpus: EncodedCorpus, folder: Path, *, max_tokens: int, seed: int, number: int) -> None:
    """batches.jsonl: the first batches of a run, a line each: [sources, targets], rows of ids without bos and eos."""
    from seq2seq.data.loader import Loader

    loader = Loader(corpus, max_tokens=max_tokens, seed=seed)
    with (folder / "batches.jsonl").open("w", encoding="utf-8") as file:
        for _ in range(number):
            batch = loader.next_batch()
            sides = ((batch.source, batch.source_mask), (batch.labels, batch.target_mask))
            rows = [[row[real][:-1].tolist() for row, real in zip(*side, strict=True)] for side in sides]
            file.write(json.dumps(rows) + "\n")
