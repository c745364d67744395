"""Where the numbers of a run go: metrics.jsonl and TensorBoard. The console has a file of its own."""

import json
import logging
import math
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from seq2seq.data.encoded import EncodedCorpus
from seq2seq.search.alignment import AttentionMap
from seq2seq.training.attention_image import draw
from seq2seq.training.run_dir import is_free

log = logging.getLogger(__name__)

Sample = tuple[str, str, str]
Option = str | int | float | bool
MOST_BARS = 200  # of a histogram


class Reporter(ABC):
    """Told what happens in a run. Steps never decrease; names are `train/loss`, `validation/bleu` and so on."""

    @abstractmethod
    def scalars(self, step: int, seconds: float, values: Mapping[str, float]) -> None:
        """`seconds`: how long the run has been training."""

    @abstractmethod
    def samples(self, step: int, rows: Sequence[Sample]) -> None:
        """Some validation examples: (source, reference, hypothesis) each."""

    @abstractmethod
    def attention(self, step: int, maps: Sequence[AttentionMap]) -> None:
        """Where the hypotheses of the samples come from; empty where the model has no attention to the source."""

    @abstractmethod
    def finish(self, options: Mapping[str, Option], values: Mapping[str, float]) -> None:
        """The hyperparameters of a run that is done, with its final scores."""

    @abstractmethod
    def close(self) -> None: ...


class JsonLines(Reporter):
    """metrics.jsonl: one object a line, {"step": .., "seconds": .., "train/loss": ..}, readable while it grows.

    A killed run may have reported steps that its resumption trains again: those after `resume_step` are dropped first,
    with a last line that was cut off. JSON has no nan and no inf; both become null.
    """

    def __init__(self, path: Path, resume_step: int) -> None:
        if path.exists():
            _keep_lines(path, resume_step)
        self.file = path.open("a", encoding="utf-8")

    def scalars(self, step: int, seconds: float, values: Mapping[str, float]) -> None:
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        line = {"step": step, "seconds": round(seconds, 3), **finite}
        self.file.write(json.dumps(line, allow_nan=False) + "\n")
        self.file.flush()

    def samples(self, step: int, rows: Sequence[Sample]) -> None:
        """Left out: the file holds numbers only."""

    def attention(self, step: int, maps: Sequence[AttentionMap]) -> None:
        """Left out, too."""

    def finish(self, options: Mapping[str, Option], values: Mapping[str, float]) -> None:
        """Left out: config.yaml and the evaluation's scores.json hold these."""

    def close(self) -> None:
        self.file.close()


class TensorBoard(Reporter):
    """Event files for `tensorboard --logdir`; what a killed run reported after `resume_step` is hidden there."""

    def __init__(self, folder: Path, resume_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder), purge_step=resume_step + 1)
        self.step = resume_step
        self.name = folder.resolve().parent.name

    def lengths(self, corpus: EncodedCorpus, part: str = "") -> None:
        """Histograms of the tokens of training examples. part: of a mixture."""
        sides = {"target": corpus.target_lengths}
        if corpus.sources is not None:
            sides["source"] = corpus.source_lengths
        for side, lengths in sides.items():
            first, last = int(lengths.min()), int(lengths.max())
            bars = min(MOST_BARS, last - first + 1)
            counts, edges = np.histogram(lengths, bins=bars, range=(first - 0.5, last + 0.5))
            total, squares = float(lengths.sum(dtype=np.int64)), float(np.square(lengths, dtype=np.int64).sum())
            name = f"data/{side}_length{part and f'/{part}'}"
            self.writer.add_histogram_raw(
                name, first, last, len(lengths), total, squares, edges[1:].tolist(), counts.tolist(), 0
            )

    def scalars(self, step: int, seconds: float, values: Mapping[str, float]) -> None:
        self.step = step
        for name, value in values.items():
            if not name.endswith("/best"):  # a mark, not a curve
                self.writer.add_scalar(name, value, step)
        self.writer.flush()  # a killed run's curves end where its metrics.jsonl ends

    def samples(self, step: int, rows: Sequence[Sample]) -> None:
        lines = ["| source | reference | hypothesis |", "| --- | --- | --- |"]
        lines += ["| " + " | ".join(map(_plain_markdown, row)) + " |" for row in rows]
        self.writer.add_text("samples", "\n".join(lines), step)

    def attention(self, step: int, maps: Sequence[AttentionMap]) -> None:
        for number, attention in enumerate(maps, start=1):
            if not attention.target:  # a line without text has none
                continue
            try:
                image = draw(attention)
            except (OSError, RuntimeError, ValueError) as error:  # of fonts and layouts: no reason to stop training
                log.warning("no picture of attention/%d: %s", number, error)
                continue
            self.writer.add_image(f"attention/{number}", image, step, dataformats="HWC")

    def finish(self, options: Mapping[str, Option], values: Mapping[str, float]) -> None:
        """Fills a row of the HPARAMS tab, which is named as the run directory. Not by add_hparams, which would make a
        second run in a folder with a time stamp; and without a list of hyperparameters, so that TensorBoard finds out
        itself which differ, and shows those first.
        """
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb
        from torch.utils.tensorboard.summary import hparams

        kept = {key: value for key, value in options.items() if not is_free(key)}
        _, _, end = hparams({}, {})  # type: ignore[no-untyped-call]
        assert self.writer.file_writer is not None
        for summary in (hparams_pb(kept, trial_id=self.name), end):
            self.writer.file_writer.add_summary(summary)
        for name, value in values.items():
            self.writer.add_scalar(name, value, self.step)

    def close(self) -> None:
        self.writer.close()


def _keep_lines(path: Path, last_step: int) -> None:
    """Drops what comes after last_step and what is not whole, at once or not at all."""
    kept = []
    for line in path.read_bytes().splitlines():
        try:
            step = json.loads(line)["step"]
        except (ValueError, KeyError, TypeError):
            continue
        if step <= last_step:
            kept.append(line + b"\n")
    new = path.with_name(path.name + ".new")
    with new.open("wb") as file:
        file.writelines(kept)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def _plain_markdown(text: str) -> str:
    """One table cell that shows the text as it is: nothing in it is read as markdown or HTML."""
    return re.sub(r"[\\`*_{}\[\]()<>#+\-!|&~]", lambda match: f"&#{ord(match[0])};", " ".join(text.split()))
