"""Environments of the benchmarks' peers: each has one of its own, built once from the package index.

A peer is installed without what it asks for, as it would bring an old torch, or one with CUDA, and much that training
does not need; what it does need is named here. pip's own settings hold (PIP_INDEX_URL, PIP_FIND_LINKS, ...): where the
index has torch with CUDA only, they can name the index of the CPU builds.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TORCH = "torch==2.13.0"


@dataclass(frozen=True)
class Recipe:
    """What to install: torch first, then `needs`, then `packages` without their own requirements."""

    packages: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    torch: str = TORCH

    def __str__(self) -> str:
        return "\n".join([self.torch, *self.needs, *self.packages]) + "\n"


RECIPES: dict[str, Recipe] = {
    "opennmt_py": Recipe(
        packages=("OpenNMT-py==3.5.1",),
        needs=(
            "configargparse",
            "fasttext-wheel",
            "numpy",
            "pyahocorasick",
            "pyonmttok",
            "pyyaml",
            "rapidfuzz",
            "sacrebleu",
            "spacy",
        ),
    ),
    "eole": Recipe(
        packages=("eole==0.6.4",),
        needs=("huggingface_hub", "numpy", "pydantic", "pyonmttok", "pyyaml", "sacrebleu", "safetensors", "tokenizers"),
    ),
    "transformers": Recipe(needs=("transformers==5.24.0", "accelerate==1.15.0")),
    "ctranslate2": Recipe(needs=("ctranslate2==4.8.5", "numpy", "sentencepiece")),
    "joeynmt": Recipe(
        packages=("joeynmt==2.3.0",),
        needs=(
            *("importlib_metadata", "matplotlib", "numpy", "packaging", "pyyaml", "sacrebleu", "sentencepiece"),
            *("subword-nmt", "tensorboard"),
        ),
    ),
}


def pythons_of(peers: Iterable[str], folder: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """The Python of each peer, our own where it needs no other, and why there is none."""
    pythons, failed = {}, {}
    for peer in dict.fromkeys(peers):
        try:
            pythons[peer] = python_of(peer, folder.absolute()) if peer in RECIPES else Path(sys.executable)
        except RuntimeError as error:
            failed[peer] = f"not installed: {error}"
    return pythons, failed


def python_of(name: str, folder: Path) -> Path:
    """The Python of an environment; built where it is not there yet, or is of another recipe.

    Raises RuntimeError with pip's last line where it cannot be built.
    """
    recipe = RECIPES[name]
    home = folder / name
    python = home / "bin" / "python"
    stamp = home / "recipe.txt"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == str(recipe):
        return python
    print(f"{name}: installing into {home}", file=sys.stderr, flush=True)
    venv.create(home, clear=True, with_pip=True)
    for packages in ([recipe.torch], [*recipe.needs], ["--no-deps", *recipe.packages]):
        if set(packages) - {"--no-deps"}:
            install(python, packages)
    stamp.write_text(str(recipe), encoding="utf-8")
    return python


def install(python: Path, packages: list[str]) -> None:
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["pip failed"])[-1])
