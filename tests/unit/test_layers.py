"""The order of the layers, read off the syntax trees: lower never imports higher, Hydra stays at the top, heavy
libraries are imported where they are used.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import seq2seq

ROOT = Path(seq2seq.__file__).parent
LAYERS = (
    ("errors",),
    ("registry",),
    ("binding", "plugins"),
    ("text",),
    ("nn",),
    ("data",),
    ("models",),
    ("search",),
    ("metrics",),
    ("training",),
    ("config",),
    ("preparation",),
    ("pipeline",),
    ("training_run",),
    ("export",),
    ("reports", "sweeps"),
    ("cli",),
)
ORDER = {name: place for place, names in enumerate(LAYERS) for name in names}
FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")
CONFIG_LIBRARIES = {"hydra", "omegaconf"}
HEAVY = {
    *("datasets", "sentencepiece", "sacrebleu", "tensorboard", "pandas", "pyarrow", "transformers", "ctranslate2"),
    *("rouge_score", "bert_score", "comet", "plotly", "optuna", "joblib", "submitit", "ray", "wandb", "mlflow"),
}
FORBIDDEN_NAMES = {"utils", "helpers", "common", "misc"}


def layer(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or ""


def at_module_level(tree: ast.Module) -> ast.Module:
    """Without the bodies of functions, and without what is imported for type checkers only."""

    class Strip(ast.NodeTransformer):
        def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
            return None

        def visit_If(self, node: ast.If) -> ast.If | None:
            return None if ast.unparse(node.test) == "TYPE_CHECKING" else node

    return Strip().visit(tree)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_lower_layers_never_import_higher_ones(path: Path) -> None:
    own = layer(path)
    assert own in ORDER, f"{own} has no place in the order"
    for module in imports(ast.parse(path.read_text(encoding="utf-8"))):
        parts = module.split(".")
        if parts[0] == "seq2seq" and len(parts) > 1:
            assert ORDER[parts[1]] <= ORDER[own], f"{path} imports {module}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_hydra_stays_at_the_top(path: Path) -> None:
    used = {module.split(".")[0] for module in imports(ast.parse(path.read_text(encoding="utf-8")))}
    assert layer(path) in ("config", "pipeline", "cli") or not used & CONFIG_LIBRARIES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_heavy_libraries_are_imported_inside_functions(path: Path) -> None:
    tree = at_module_level(ast.parse(path.read_text(encoding="utf-8")))
    assert not {module.split(".")[0] for module in imports(tree)} & HEAVY


def test_no_module_without_a_purpose_in_its_name() -> None:
    assert not [path for path in FILES if FORBIDDEN_NAMES & set(path.with_suffix("").relative_to(ROOT).parts)]


def test_no_import_paths_in_the_configs() -> None:
    configs = ROOT.parent / "configs"
    assert not [path for path in configs.rglob("*.yaml") if re.search(r"\b_target_", path.read_text(encoding="utf-8"))]
