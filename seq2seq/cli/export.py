"""seq2seq-export: a run's model for another engine, compared with the model in torch before it is handed over."""

from __future__ import annotations

import json
import logging
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from seq2seq.cli.entry import run_command
from seq2seq.cli.help import EXPORT
from seq2seq.errors import ConfigError, DataError, Problem
from seq2seq.registry import PositiveInt

if TYPE_CHECKING:
    from seq2seq.export.agreement import Agreement
    from seq2seq.pipeline import LoadedRun

log = logging.getLogger(__name__)

Quantization = Literal[
    "float32", "float16", "bfloat16", "int8", "int8_float32", "int8_float16", "int8_bfloat16", "int16"
]
COMPARED = 100  # sentences
USUAL_POSITIONS = 1024  # the least that an exported model takes
ENOUGH = 0.99  # of the tokens, where both compute in float32


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What the command takes."""

    run: str
    to: Literal["ctranslate2"]
    output: str
    quantization: Quantization = "float32"
    input: str | None = None
    checkpoint: str = "best"
    threads: PositiveInt | None = None
    plugins: str | list[str] = field(default_factory=list)


def main() -> None:
    """The entry point."""
    run_command("seq2seq-export", "export", export, EXPORT)


def export(tree: dict[str, Any], command: list[str]) -> None:
    from seq2seq.binding import bind
    from seq2seq.export import ctranslate2
    from seq2seq.export.choice import use_threads
    from seq2seq.pipeline import load_run
    from seq2seq.search.beam import Beam
    from seq2seq.training.console import setup_logging

    options = bind(ExportOptions, tree)
    setup_logging(None)
    use_threads(options.threads)
    output = Path(options.output).expanduser()
    if output.exists():
        raise ConfigError(Problem("output", f"{output} is there already; name another folder"))
    if not ctranslate2.is_installed():
        raise ConfigError(Problem("to", ctranslate2.NOT_INSTALLED))
    changes = {"search": {"name": "beam", "beam_size": 5, "nbest": 1} | ctranslate2.without_rules(Beam)}
    changes |= {"plugins": tree["plugins"]} if tree.get("plugins") else {}
    loaded = load_run(Path(options.run).expanduser(), options.checkpoint, changes, device="cpu", precision="fp32")
    if problems := ctranslate2.unsupported_model(loaded.config):
        raise ConfigError(*problems)
    lines, origin = _lines(loaded, options)
    partial = output.with_name(f".{output.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        found = _make(loaded, options, lines, partial)
        _describe(loaded, options, found, len(lines), partial)
        partial.replace(output)
    except OSError as error:
        raise ConfigError(Problem("output", f"{output}: cannot be written ({error.strerror})")) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    print(_table(found, len(lines), origin))
    print(f"written to {output}", file=sys.stderr)


def _lines(loaded: LoadedRun, options: ExportOptions) -> tuple[list[str], str]:
    """What is translated by both, and where it is from."""
    from seq2seq.data.lines import read_lines, resolve

    if options.input is not None:
        lines = _first(read_lines(resolve(Path(options.input).expanduser())))
        if not lines:
            raise DataError(f"input={options.input}: holds no text")
        return lines, options.input
    corpus = loaded.config.data()
    for name in ("test", "validation"):
        try:
            source = corpus.split(name)
            lines = [] if source is None else _first(example.source for example in source.read())
        except (DataError, ConfigError):
            continue
        if lines:
            return lines, f"the {name} split"
    told = "the run's test and validation data cannot be read here; name a file of lines to translate by both"
    raise ConfigError(Problem("input", told))


def _first(lines: Iterator[str]) -> list[str]:
    return list(islice((line for line in lines if line.strip()), COMPARED))


def _make(loaded: LoadedRun, options: ExportOptions, lines: list[str], folder: Path) -> dict[str, Agreement]:
    """Fills the folder and compares what is in it with the model, and so in float32; by format, and what computes."""
    from seq2seq.export import ctranslate2
    from seq2seq.export.agreement import agreement
    from seq2seq.export.choice import MAX_TOKENS
    from seq2seq.export.ctranslate2 import CTranslate2Backend, needed_positions

    num_positions = max(needed_positions(loaded.config), USUAL_POSITIONS)
    translator = loaded.translator(MAX_TOKENS)
    ours = [best_first[0] for best_first in translator.translate(lines)]
    found: dict[str, Agreement] = {}
    with TemporaryDirectory() as plain:
        for quantization in dict.fromkeys(("float32", options.quantization)):
            place = folder if quantization == options.quantization else Path(plain)
            ctranslate2.save(
                loaded.config,
                loaded.model,
                loaded.tokenizers,
                place,
                num_positions=num_positions,
                quantization=quantization,
            )
            backend = translator.backend = CTranslate2Backend(place, loaded.config, loaded.tokenizers)
            used = "" if backend.compute_type == quantization else f", computed in {backend.compute_type}"
            found[quantization + used] = agreement(ours, [best_first[0] for best_first in translator.translate(lines)])
    loaded.tokenizers.save(folder / "tokenizer")
    if found["float32"].tokens < ENOUGH:
        log.warning("in float32 too the two differ in %.1f%% of the tokens", 100 * (1 - found["float32"].tokens))
    return found


def _describe(
    loaded: LoadedRun, options: ExportOptions, found: dict[str, Agreement], compared: int, folder: Path
) -> None:
    from seq2seq import __version__
    from seq2seq.export import ctranslate2

    about = {
        "seq2seq": __version__,
        "ctranslate2": ctranslate2.version(),
        "checkpoint": options.checkpoint,
        "steps": [checkpoint.step for checkpoint in loaded.checkpoints],
        "quantization": options.quantization,
        "compared": compared,
        "agreement": {name: asdict(figures) for name, figures in found.items()},
    }
    (folder / "export.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def _table(found: dict[str, Agreement], compared: int, origin: str) -> str:
    lines = [
        f"{compared} sentences of {origin} by CTranslate2 and by the model in torch, beam 5",
        "",
        f"{'same tokens':>11}{'same sentences':>17}   format",
    ]
    for name, figures in found.items():
        lines.append(f"{100 * figures.tokens:10.2f}%{100 * figures.sentences:16.2f}%   {name}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
