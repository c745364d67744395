"""Checkpoints: written so that a kill at any moment leaves every finished one whole, and read without trusting them.

checkpoints/step_00001000/model.safetensors   the weights, each tied tensor once
                          training.pt         optimizer, data position, random generators: tensors and plain values
                          meta.json           step, metrics, size and SHA-256 of the other two
checkpoints/best, last                        the name of a checkpoint, as text, for people and their scripts

Beside them, until the next start or save: .step_00001000.tmp, which is not finished or being removed, and
.step_00001000.old, which makes way for another one of its step. A broken one becomes step_00001000.broken at resume.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
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

from seq2seq.errors import CheckpointError, UserError, listed, suggest
from seq2seq.text.storage import flush
from seq2seq.training.strategies import ONE_PROCESS, Strategy

log = logging.getLogger(__name__)

FORMAT = 1
WEIGHTS, TRAINING, META = "model.safetensors", "training.pt", "meta.json"


@dataclass(frozen=True)
class Checkpoint:
    """A finished checkpoint; metrics are those of the validation at its step, empty where there was none.

    stopgap: saved only because training was stopped; goes with the next save, so that the newest ones are those of a
    run that was never stopped.
    """

    folder: Path
    step: int
    metrics: Mapping[str, float]
    stopgap: bool
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
        stored_format = meta["format"]
        files = {name: dict(facts) for name, facts in meta["files"].items()}
        stopgap = bool(meta.get("stopgap", False))
        checkpoint = Checkpoint(folder, int(meta["step"]), dict(meta["metrics"]), stopgap, files)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}; not a checkpoint of seq2seq") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: broken ({error}); not a checkpoint of seq2seq") from error
    if stored_format != FORMAT:
        raise CheckpointError(f"{path}: format {stored_format}, but this version reads format {FORMAT}")
    # What begins with a dot is left by file managers and network drives.
    strangers = {entry.name for entry in folder.iterdir() if entry.name[0] != "."} - {META, WEIGHTS, TRAINING}
    if strangers:
        raise CheckpointError(
            f"{folder}: holds {', '.join(sorted(strangers))}, which is no part of a checkpoint; only {WEIGHTS}, "
            f"{TRAINING} and {META} are accepted, so that nothing can run code when it is loaded"
        )
    return checkpoint


def load_weights(model: nn.Module, *checkpoints: Checkpoint, strategy: Strategy = ONE_PROCESS) -> None:
    """Fills the model with the weights of a checkpoint, or with the mean of several. Raises CheckpointError."""
    total: dict[str, Tensor] = {}
    for checkpoint in checkpoints:
        weights = _read_weights(checkpoint)
        _check_fit(model, weights, checkpoint.folder / WEIGHTS)
        for name, tensor in weights.items():
            share = tensor.double() / len(checkpoints) if len(checkpoints) > 1 else tensor
            total[name] = total[name] + share if name in total else share
    with torch.no_grad():
        for name, tensor in unique_tensors(model).items():
            tensor.copy_(strategy.part(total[name], tensor))


def load_fitting(model: nn.Module, checkpoint: Checkpoint, *, strategy: Strategy = ONE_PROCESS) -> list[str]:
    """Fills the model with those weights that have a name and a shape of its own; the others stay as they are.

    Returns what stayed, and why. Raises CheckpointError where nothing fits.
    """
    weights = _read_weights(checkpoint)
    stayed = []
    with torch.no_grad():
        for name, tensor in unique_tensors(model).items():
            found = weights.get(name)
            if found is None:
                stayed.append(f"{name} is not there")
            elif found.shape != tensor.shape:
                stayed.append(f"{name} is {_sizes(found)} there, {_sizes(tensor)} here")
            else:
                tensor.copy_(strategy.part(found, tensor))
    if len(stayed) == len(unique_tensors(model)):
        raise CheckpointError(f"{checkpoint.folder / WEIGHTS}: nothing fits this model; for example {stayed[0]}")
    return stayed


def _sizes(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape))


def load_training(checkpoint: Checkpoint) -> dict[str, Any]:
    """The training state, read without unpickling anything but tensors and plain values. Raises CheckpointError."""
    path = checkpoint.folder / TRAINING
    content = checkpoint.read(TRAINING)
    try:
        return dict(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))
    except Exception as error:  # a file made by a stranger can make torch raise anything
        raise CheckpointError(
            f"{path}: holds something else than tensors and plain values; refused, since loading it could run code"
        ) from error


def _read_weights(checkpoint: Checkpoint) -> dict[str, Tensor]:
    try:
        return load_tensors(checkpoint.read(WEIGHTS))
    except SafetensorError as error:
        raise CheckpointError(f"{checkpoint.folder / WEIGHTS}: not a safetensors file ({error})") from error


def unique_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and stored buffers, tied ones once, by the first of their names; where most are kept outside, those
    that are trained.
    """
    if getattr(model, "keeps_outside_weights", False):
        return {name: tensor.data for name, tensor in model.named_parameters() if tensor.requires_grad}
    stored = model.state_dict(keep_vars=True)
    names = dict(model.named_parameters()) | {n: b for n, b in model.named_buffers() if n in stored}
    return {name: tensor.data for name, tensor in names.items()}


def _check_fit(model: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    wanted = {name: tuple(tensor.shape) for name, tensor in unique_tensors(model).items()}
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

    def __init__(
        self, folder: Path, *, metric: str, keep_last: int, keep_best: int, lower_is_better: bool = False
    ) -> None:
        self.folder = folder
        self.metric = metric
        self.sign = -1 if lower_is_better else 1
        self.keep_last = keep_last
        self.keep_best = keep_best

    def save(
        self,
        step: int,
        model: nn.Module,
        training: Mapping[str, Any],
        metrics: Mapping[str, float],
        *,
        stopgap: bool = False,
        strategy: Strategy = ONE_PROCESS,
    ) -> None:
        """Writes beside its place, syncs, renames; then points `last` and `best`, and removes what is not kept.

        Called by all ranks; the first writes. Raises UserError where the disk does not take it; the earlier ones are
        whole then.
        """
        tensors: dict[str, Tensor] = {}
        for name, tensor in unique_tensors(model).items():
            whole = strategy.whole(tensor)
            if strategy.parallel.first:
                tensors[name] = whole.cpu().contiguous()
        if not strategy.parallel.first:
            return
        buffer = io.BytesIO()
        torch.save(dict(training), buffer)
        contents = {WEIGHTS: save_tensors(tensors), TRAINING: buffer.getvalue()}
        files = {n: {"size": len(c), "sha256": hashlib.sha256(c).hexdigest()} for n, c in contents.items()}
        meta = {"format": FORMAT, "step": step, "metrics": dict(metrics), "stopgap": stopgap, "files": files}
        contents[META] = (json.dumps(meta, indent=1) + "\n").encode()
        target = self.folder / _name(step)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._clear_up()
            self._put(target, contents)
            self._point_and_prune()
        except OSError as error:
            shutil.rmtree(_aside(target, "tmp"), ignore_errors=True)  # it may fill the disk
            raise UserError(
                f"{target}: cannot be written ({error.strerror}); the checkpoints before it are whole, and the same "
                "command continues from the newest"
            ) from error

    def _put(self, target: Path, contents: Mapping[str, bytes]) -> None:
        temporary, old = _aside(target, "tmp"), _aside(target, "old")
        temporary.mkdir()
        for name, content in contents.items():
            write_synced(temporary / name, content)
        flush(temporary)
        if target.exists():  # the same step, saved at a signal, and now again with the metrics of its validation
            target.rename(old)
        temporary.rename(target)
        flush(self.folder)
        shutil.rmtree(old, ignore_errors=True)

    def _clear_up(self) -> None:
        """What a kill left behind."""
        for old in self.folder.glob(".step_*.old"):
            target = old.with_name(old.name[1:].removesuffix(".old"))
            if target.exists():
                shutil.rmtree(old, ignore_errors=True)
            else:  # killed between the two renames of _put
                old.rename(target)
        for temporary in self.folder.glob(".step_*.tmp"):
            shutil.rmtree(temporary, ignore_errors=True)

    def _folders(self) -> list[Path]:
        """Of all checkpoints, whole or not, oldest first."""
        found = [folder for folder in self.folder.glob("step_*") if _is_name(folder.name)]
        return sorted(found, key=lambda folder: int(folder.name.removeprefix("step_")))

    def all(self) -> list[Checkpoint]:
        """Every finished checkpoint with a readable meta.json, oldest first."""
        found = []
        for folder in self._folders():
            try:
                found.append(open_checkpoint(folder))
            except CheckpointError as error:
                log.warning("broken checkpoint passed over: %s", error)
        return found

    def newest(self, report: Callable[[str], None]) -> tuple[Checkpoint, dict[str, Any]] | None:
        """The newest whole checkpoint with its training state, to go on from.

        Broken ones are reported, passed over and renamed, since later saves count on all that are there. Raises
        CheckpointError where there are some and none is whole.
        """
        self._clear_up()
        faults: dict[Path, CheckpointError] = {}
        for folder in reversed(self._folders()):
            try:
                checkpoint = open_checkpoint(folder)
                checkpoint.read(WEIGHTS)
                training = load_training(checkpoint)
            except CheckpointError as error:
                faults[folder] = error
                continue
            for broken, fault in faults.items():
                renamed = broken.with_name(f"{broken.name}.broken")
                shutil.rmtree(renamed, ignore_errors=True)
                broken.rename(renamed)
                report(f"broken checkpoint passed over, and renamed to {renamed.name}: {fault}")
            self._point_and_prune()
            return checkpoint, training
        if faults:
            first = listed([f"  {fault}" for fault in faults.values()], 3, "\n")
            raise CheckpointError(
                f"{self.folder}: no checkpoint is whole; remove the folder to train from the beginning\n{first}"
            )
        return None

    def best(self, count: int) -> list[Checkpoint]:
        """The best by the metric, best first; the earlier one where they are equal."""
        scored = [c for c in self.all() if self.metric in c.metrics and not c.stopgap]
        return sorted(scored, key=lambda c: (-self.sign * c.metrics[self.metric], c.step))[:count]

    def last(self, count: int) -> list[Checkpoint]:
        """The newest, oldest of them first."""
        return self.all()[-count:]

    def choose(self, checkpoint: str, *, average: int, average_of: str) -> list[Checkpoint]:
        """best, last, average (the mean of several), a name such as step_00001000, or a path.

        Raises CheckpointError where there is none such.
        """
        named = [folder for folder in (self.folder / checkpoint, Path(checkpoint)) if folder.is_dir()]
        if checkpoint == "best":
            chosen = self.best(1) or self.last(1)  # the last of a run without validation data
        elif checkpoint == "last":
            chosen = self.last(1)
        elif checkpoint == "average":
            lasting = [checkpoint for checkpoint in self.all() if not checkpoint.stopgap] or self.last(1)
            chosen = lasting[-average:] if average_of == "last" else self.best(average)
        elif named:
            return [open_checkpoint(named[0])]
        else:
            choices = ["best", "last", "average", *(c.folder.name for c in self.all())]
            raise CheckpointError(f"{self.folder}: no checkpoint '{checkpoint}'; {suggest(checkpoint, choices)}")
        if not chosen:
            scored = " with a validation score" if self.all() and average_of == "best" else ""
            raise CheckpointError(f"{self.folder}: holds no whole checkpoint{scored} yet")
        return chosen

    def _point_and_prune(self) -> None:
        checkpoints, best = self.all(), self.best(self.keep_best)
        _point(self.folder / "last", checkpoints[-1])
        if best:
            _point(self.folder / "best", best[0])
        lasting = [checkpoint for checkpoint in checkpoints if not checkpoint.stopgap]
        kept = {checkpoint.step for checkpoint in [*lasting[-self.keep_last :], checkpoints[-1], *best]}
        for checkpoint in checkpoints:
            if checkpoint.step not in kept:
                removed = _aside(checkpoint.folder, "tmp")
                checkpoint.folder.rename(removed)  # at once: what is half removed must not look whole
                shutil.rmtree(removed, ignore_errors=True)


def _name(step: int) -> str:
    return f"step_{step:08d}"


def _is_name(name: str) -> bool:
    return re.fullmatch(r"step_\d{8,}", name) is not None


def _aside(folder: Path, kind: str) -> Path:
    return folder.with_name(f".{folder.name}.{kind}")


def _point(pointer: Path, checkpoint: Checkpoint) -> None:
    text = checkpoint.folder.name + "\n"
    if not pointer.is_file() or pointer.read_bytes() != text.encode():
        write_replaced(pointer, text)


def write_synced(path: Path, content: bytes) -> None:
    """Raises OSError with the file's name."""
    try:
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def write_replaced(path: Path, text: str) -> None:
    """A small text file, whole at every moment, by whichever process. Raises OSError with the file's name."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write_synced(temporary, text.encode())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error
    flush(path.parent)
