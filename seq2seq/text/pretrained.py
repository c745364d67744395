"""What others have trained, read by the transformers library: nothing that runs code of the folder or hub."""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal

from seq2seq.errors import ConfigError, Problem

Kind = Literal["tokenizer", "config", "seq2seq", "causal", "encoder"]

OF_THE_SYSTEM = re.compile(r"\(os error (\d+)\)")
EXTRA = "the library `transformers` is missing: pip install 'seq2seq[pretrained]'"


@cache
def library() -> Any:
    """The transformers library, quiet. Raises ConfigError where it is missing."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        import transformers
    except ImportError as error:
        raise ConfigError(Problem("", EXTRA)) from error
    warnings.filterwarnings("ignore", module="transformers")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers


def read_from(kind: Kind, path: str, **options: Any) -> Any:
    """A hub id or a local folder. Raises ConfigError that says what is wrong with it."""
    transformers = library()
    classes = {
        "tokenizer": transformers.AutoTokenizer,
        "config": transformers.AutoConfig,
        "seq2seq": transformers.AutoModelForSeq2SeqLM,
        "causal": transformers.AutoModelForCausalLM,
        "encoder": transformers.AutoModel,
    }
    folder = Path(path).expanduser()
    is_folder = folder.is_dir()
    if not is_folder and (folder.is_absolute() or path.startswith((".", "~")) or path.count("/") > 1):
        raise ConfigError(Problem("path", f"{path}: there is no such folder"))
    if is_folder and _is_run(folder):
        told = f"{path}: is a run of seq2seq: run={path} uses it, and a new run begins with it by init_from={path}"
        raise ConfigError(Problem("path", told))
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        return classes[kind].from_pretrained(
            str(folder) if is_folder else path, local_files_only=is_folder, trust_remote_code=False, **options
        )
    except Exception as error:  # the library raises whatever its parts do
        raise ConfigError(Problem("path", _told(path, is_folder, error))) from error


def _is_run(folder: Path) -> bool:
    try:
        with (folder / "config.yaml").open("rb") as file:
            return file.readline().strip() == b"format: 1" and not (folder / "config.json").exists()
    except OSError:
        return False


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Raises OSError for what the system refuses, which the library's parts in Rust tell as faults of their own."""
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) or (found := OF_THE_SYSTEM.search(str(error))) is None:
            raise
        number = int(found[1])
        raise OSError(number, os.strerror(number), str(folder)) from error


def _told(path: str, is_folder: bool, error: Exception) -> str:
    reason = " ".join(str(error).split("\n")[0].split())[:300] or type(error).__name__
    if "trust_remote_code" in str(error):
        return f"{path}: needs code of its own to be run, which is not done here"
    if is_folder:
        return f"{path}: cannot be read ({reason}); it should hold config.json, model.safetensors and the tokenizer"
    return (
        f"{path}: cannot be had from the hub ({reason}); without a network take a local folder with config.json, "
        "model.safetensors and the tokenizer"
    )
