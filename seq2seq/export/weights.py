"""A run's weights alone, for programs of the user's own."""

from __future__ import annotations

import shutil
from pathlib import Path

from safetensors.torch import save as save_tensors

from seq2seq.pipeline import LoadedRun
from seq2seq.training.checkpoint import unique_tensors


def save(loaded: LoadedRun, folder: Path) -> None:
    """Writes model.safetensors, config.yaml and tokenizer/ into an existing folder.

    The tensors are those of the run's model, on the CPU and as they were stored, tied ones once, by the first of their
    names; so they are also those of a checkpoint, except that of an average there is no checkpoint.
    """
    tensors = {name: tensor.cpu().contiguous() for name, tensor in unique_tensors(loaded.model).items()}
    (folder / "model.safetensors").write_bytes(save_tensors(tensors, metadata={"format": "pt"}))
    shutil.copyfile(loaded.run.config, folder / "config.yaml")
    loaded.tokenizers.save(folder / "tokenizer")
