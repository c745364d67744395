"""What a command imports before it works: each of the libraries below costs a part of a second or more."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]

PROGRAM = """
import sys
from seq2seq.cli import {module}
try:
    {module}.main()
except SystemExit as ended:
    assert not ended.code, ended.code
found = set(sys.modules) & {{{heavy}}}
assert not found, found
"""


def run(module: str, heavy: set[str], *given: str) -> None:
    program = PROGRAM.format(module=module, heavy=", ".join(map(repr, sorted(heavy))))
    done = subprocess.run([sys.executable, "-c", program, *given], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", ["train", "evaluate", "translate", "export"])
def test_help_is_there_at_once(module: str) -> None:
    run(module, {"torch", "hydra", "omegaconf", "pydantic", "numpy", "rich"}, "--help")


@pytest.mark.parametrize("backend", ["torch", "auto"])
def test_translate_imports_what_it_uses(command: Command, transformer: Path, backend: str) -> None:
    Path("in.txt").write_text("a\n", encoding="utf-8")
    heavy = {"datasets", "pandas", "pyarrow", "tensorboard", "sacrebleu", "transformers", "PIL", "torch._dynamo"}
    heavy |= {"ctranslate2.converters"} | ({"ctranslate2"} if backend == "torch" else set())
    run("translate", heavy, f"run={transformer}", "input=in.txt", "output=out.txt", f"backend={backend}")
