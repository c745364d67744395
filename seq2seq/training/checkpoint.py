"""Checkpoints: written so that a kill at any moment leaves every finished one whole, and read without trusting them.

checkpoints/step_00001000/model.safetensors   the weights, each tied tensor once
                          training.pt         optimizer, data position, random generators: tensors and plain values
                          meta.json           step, metrics, size and SHA-256 of the other two
checkpoints/best, last                        the name of a checkpoint, as text
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from seq2seq.errors import CheckpointError

FORMAT = 1
WEIGHTS, TRAINING, META = "model.safetensors", "training.pt", "meta.json"
LOWER_IS_BETTER = {"loss", "perplexity"}


@dataclass(frozen=True)
class Checkpoint:
    """A finished checkpoint; metrics are those of the validation at its step, empty where there was none."""

    folder: Path
    step: int
    metrics: Mapping[str, float]
    files: Mapping[str, Mapping[str, Any]]

    def read(self, name: str) -> bytes:
        """The file's bytes. Raises CheckpointError where it is missing or not what was written."""
        path = self.folder / name
        try:
            content = path.read_bytes()
        except OSError as error:
            raise CheckpointError(f"{path}: {error.strerror}") from error
        wanted = self.files.get(name, {})
        if len(content) != wanted.get("size"):
            raise CheckpointError(f"{path}: {len(content):,} bytes, but {wanted.get('size', 0):,} were written")
        if hashlib.sha256(content).hexdigest() != wanted.get("sha256"):
            raise CheckpointError(f"{path}: not the bytes that were written (SHA-256 differs)")
        return content


def open_checkpoint(folder: Path) -> Checkpoint:
    """Reads meta.json. Raises CheckpointError where it is missing or wrong, or where other files lie beside it."""
    path = folder / META
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
        checkpoint = Checkpoint(folder, int(meta["step"]), dict(meta["metrics"]), dict(meta["files"]))
        stored_format = meta["format"]
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}; not a checkpoint of seq2seq") from error
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: broken ({error}); not a checkpoint of seq2seq") from error
    if stored_format != FORMAT:
        raise CheckpointError(f"{path}: format {stored_format}, but this version reads format {FORMAT}")
    strangers = {entry.name for entry in folder.iterdir()} - {META, WEIGHTS, TRAINING}
    if strangers:
        raise CheckpointError(
            f"{folder}: holds {', '.join(sorted(strangers))}, which is no part of a checkpoint; only {WEIGHTS}, "
            f"{TRAINING} and {META} are accepted, so that nothing can run code when it is loaded"
        )
    return checkpoint


def load_weights(model: nn.Module, *checkpoints: Checkpoint) -> None:
    """Fills the model with the weights of a checkpoint, or with the mean of several. Raises CheckpointError."""
    total: dict[str, Tensor] = {}
    for checkpoint in checkpoints:
        weights = _read_weights(checkpoint)
        _check_fit(model, weights, checkpoint.folder / WEIGHTS)
        for name, tensor in weights.items():
            share = tensor.double() / len(checkpoints) if len(checkpoints) > 1 else tensor
            total[name] = total[name] + share if name in total else share
    with torch.no_grad():
        for name, tensor in _unique_tensors(model).items():
            tensor.copy_(total[name])


def load_training(checkpoint: Checkpoint) -> dict[str, Any]:
    """The training state, read without unpickling anything but tensors and plain values. Raises CheckpointError."""

    path = checkpoint.folder / TRAINING
    try:
        state = torch.load(io.BytesIO(checkpoint.read(TRAINING)), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{path}: holds something else than tensors and plain values; refused, since loading it could run code"
        ) from error
    return dict(state)


def _read_weights(checkpoint: Checkpoint) -> dict[str, Tensor]:
    try:
        return load_tensors(checkpoint.read(WEIGHTS))
    except SafetensorError as error:
        raise CheckpointError(f"{checkpoint.folder / WEIGHTS}: not a safetensors file ({error})") from error


def _unique_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and stored buffers, tied ones once, by the first of their names."""
    stored = model.state_dict(keep_vars=True)
    names = dict(model.named_parameters()) | {n: b for n, b in model.named_buffers() if n in stored}
    return {name: tensor.data for name, tensor in names.items()}


def _check_fit(model: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    wanted = {name: tuple(tensor.shape) for name, tensor in _unique_tensors(model).items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    differing = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    if differing:
        name = differing[0]
        raise CheckpointError(
            f"{path}: does not fit the run's model in {len(differing)} tensors, the first: {name} should be "
            f"{wanted.get(name, 'absent')}, but is {found.get(name, 'absent')}"
        )


class CheckpointStore:
    """The checkpoints of a run. `metric` tells which is the best."""

    def __init__(self, folder: Path, *, metric: str, keep_last: int, keep_best: int) -> None:
        self.folder = folder
        self.metric = metric
        self.keep_last = keep_last
        self.keep_best = keep_best

    def save(self, step: int, model: nn.Module, training: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Writes beside its place, syncs, renames; then points `last` and `best`, and removes what is not kept."""

        buffer = io.BytesIO()
        torch.save(dict(training), buffer)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in _unique_tensors(model).items()}
        contents = {WEIGHTS: save_tensors(tensors), TRAINING: buffer.getvalue()}
        files = {n: {"size": len(c), "sha256": hashlib.sha256(c).hexdigest()} for n, c in contents.items()}
        meta = {"format": FORMAT, "step": step, "metrics": dict(metrics), "files": files}
        contents[META] = (json.dumps(meta, indent=1) + "\n").encode()

        self.folder.mkdir(parents=True, exist_ok=True)
        target = self.folder / _name(step)
        temporary = self.folder / f".{target.name}.tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            temporary.mkdir()
            for name, content in contents.items():
                write_synced(temporary / name, content)
            sync_folder(temporary)
        except OSError as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise CheckpointError(
                f"{target}: cannot be written ({error.strerror}); the checkpoints before it are whole, and the same "
                "command continues from the newest"
            ) from error
        if target.exists():  # a broken one, or the same step trained again after a broken one
            shutil.rmtree(target)
        temporary.rename(target)
        sync_folder(self.folder)
        self._point_and_prune()

    def all(self) -> list[Checkpoint]:
        """Every finished checkpoint with a readable meta.json, oldest first."""
        found = []
        for folder in sorted(self.folder.glob("step_*")):
            if re.fullmatch(r"step_\d{8,}", folder.name):
                try:
                    found.append(open_checkpoint(folder))
                except CheckpointError:
                    continue  # told by newest(), which is asked before anything is trained
        return sorted(found, key=lambda checkpoint: checkpoint.step)

    def newest(self, report: Callable[[str], None]) -> tuple[Checkpoint, dict[str, Any]] | None:
        """The newest whole checkpoint with its training state; broken ones are reported and passed over.

        Raises CheckpointError where there are some and none is whole.
        """
        for leftover in self.folder.glob(".step_*.tmp"):
            shutil.rmtree(leftover, ignore_errors=True)
        folders = sorted(self.folder.glob("step_*"), key=lambda folder: (len(folder.name), folder.name), reverse=True)
        fault = ""
        for folder in folders:
            try:
                checkpoint = open_checkpoint(folder)
                checkpoint.read(WEIGHTS)
                return checkpoint, load_training(checkpoint)
            except CheckpointError as error:
                fault = str(error)
                report(f"broken checkpoint passed over: {fault}")
        if folders:
            raise CheckpointError(f"no whole checkpoint to continue from; {fault}")
        return None

    def best(self, count: int) -> list[Checkpoint]:
        """The best by the metric, best first; the earlier one where they are equal."""
        sign = 1 if self.metric in LOWER_IS_BETTER else -1
        scored = [checkpoint for checkpoint in self.all() if self.metric in checkpoint.metrics]
        return sorted(scored, key=lambda checkpoint: (sign * checkpoint.metrics[self.metric], checkpoint.step))[:count]

    def last(self, count: int) -> list[Checkpoint]:
        """The newest, oldest of them first."""
        return self.all()[-count:]

    def choose(self, checkpoint: str, *, average: int, average_of: str) -> list[Checkpoint]:
        """best, last, average (the mean of several) or a path. Raises CheckpointError where there is none such."""
        if checkpoint in ("best", "last"):
            pointer = self.folder / checkpoint
            if not self.all():
                raise CheckpointError(f"{self.folder}: holds no whole checkpoint yet")
            if checkpoint == "best" and not pointer.exists():  # a run without validation data
                return self.last(1)
            return [open_checkpoint(self.folder / _read_pointer(pointer))]
        if checkpoint == "average":
            chosen = self.last(average) if average_of == "last" else self.best(average)
            if not chosen:
                raise CheckpointError(f"{self.folder}: holds no checkpoint to average")
            return chosen
        named = self.folder / checkpoint
        return [open_checkpoint(named if named.is_dir() else Path(checkpoint))]

    def _point_and_prune(self) -> None:
        checkpoints, best = self.all(), self.best(self.keep_best)
        write_replaced(self.folder / "last", checkpoints[-1].folder.name + "\n")
        if best:
            write_replaced(self.folder / "best", best[0].folder.name + "\n")
        kept = {checkpoint.step for checkpoint in [*checkpoints[-self.keep_last :], *best]}
        for checkpoint in checkpoints:
            if checkpoint.step not in kept:
                shutil.rmtree(checkpoint.folder, ignore_errors=True)


def _name(step: int) -> str:
    return f"step_{step:08d}"


def _read_pointer(path: Path) -> str:
    try:
        name = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error})") from error
    if not re.fullmatch(r"step_\d{8,}", name):
        raise CheckpointError(f"{path}: should hold the name of a checkpoint such as {_name(1000)}, not {name!r}")
    return name


def write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_replaced(path: Path, text: str) -> None:
    """A small text file, whole at every moment."""
    temporary = path.with_name(f".{path.name}.tmp")
    write_synced(temporary, text.encode())
    temporary.replace(path)
    sync_folder(path.parent)
