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
    from seq2seq.config import RunConfig
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
    to: Literal["ctranslate2", "huggingface", "safetensors"]
    output: str
    quantization: Quantization = "float32"
    input: str | None = None
    checkpoint: str = "best"
    threads: PositiveInt | None = None
    model: dict[str, Any] | None = None
    plugins: str | list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Made:
    """about: for export.json. table: the comparison. next_step: what can be done with the folder."""

    about: dict[str, Any]
    table: str = ""
    next_step: str = ""


def main() -> None:
    """The entry point."""
    run_command("seq2seq-export", "export", export, EXPORT)


def export(tree: dict[str, Any], command: list[str]) -> None:
    from seq2seq.binding import bind
    from seq2seq.export.choice import use_threads
    from seq2seq.training.console import setup_logging

    options = bind(ExportOptions, tree)
    setup_logging(None)
    use_threads(options.threads)
    output = Path(options.output).expanduser()
    if output.exists():
        raise ConfigError(Problem("output", f"{output} is there already; name another folder"))
    _check(options, tree)
    loaded = _load(options, tree)
    if loaded.config.template is not None:
        told = "the run reads its sources as data.template says: others have to put them so, too: %s"
        log.warning(told, loaded.config.template)
    given_back = options.to == "huggingface" and loaded.config.model.name == "pretrained"
    lines, origin = _lines(loaded, options) if _compares(options) and not given_back else ([], "")
    partial = output.with_name(f".{output.name}.partial")
    make = {"ctranslate2": _ctranslate2, "huggingface": _huggingface, "safetensors": _safetensors}[options.to]
    make = _given_back if given_back else make
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        made = make(loaded, options, lines, origin, partial)
        _describe(loaded, options, made, partial)
        partial.replace(output)
    except OSError as error:
        raise ConfigError(Problem("output", f"{output}: cannot be written ({error.strerror})")) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    if made.table:
        print(made.table)
    print("\n".join(filter(None, (f"written to {output}", made.next_step))), file=sys.stderr)


def _check(options: ExportOptions, tree: dict[str, Any]) -> None:
    """Raises ConfigError for what can be told before anything is loaded."""
    from seq2seq.export import ctranslate2

    if options.to != "ctranslate2" and "quantization" in tree:
        raise ConfigError(Problem("quantization", "has an effect with to=ctranslate2 only"))
    if options.input is not None and not _compares(options):
        told = "needs transformers" if options.to == "huggingface" else f"has no effect with to={options.to}"
        raise ConfigError(Problem("input", f"{told}: nothing is compared"))
    if options.to == "ctranslate2" and not ctranslate2.is_installed():
        raise ConfigError(Problem("to", ctranslate2.NOT_INSTALLED))


def _compares(options: ExportOptions) -> bool:
    from seq2seq.export import huggingface

    return options.to == "ctranslate2" or (options.to == "huggingface" and huggingface.is_installed())


def _load(options: ExportOptions, tree: dict[str, Any]) -> LoadedRun:
    """Raises ConfigError where the run's model has no place in what it is exported to."""
    from seq2seq.export import ctranslate2, huggingface
    from seq2seq.pipeline import load_run
    from seq2seq.search.beam import Beam

    changes = {key: tree[key] for key in ("model", "plugins") if tree.get(key)}
    usual = {"search": {"name": "beam", "beam_size": 5, "nbest": 1} | ctranslate2.without_rules(Beam)}

    def load(**more: Any) -> LoadedRun:
        run = Path(options.run).expanduser()
        return load_run(run, options.checkpoint, changes | more, device="cpu", precision="fp32")

    loaded = load(**(usual if options.to == "ctranslate2" else {}))
    problems = []
    if options.to == "ctranslate2":
        problems = ctranslate2.unsupported_model(loaded.config)
    elif options.to == "huggingface" and loaded.config.model.name != "pretrained":
        problems = huggingface.unsupported_model(loaded.config)
    if problems:
        raise ConfigError(*problems)
    pretrained = loaded.config.model.name == "pretrained"
    if (
        options.to == "huggingface"
        and not pretrained
        and (left_out := ctranslate2.unsupported_search(loaded.config.search))
    ):
        named = f"search={loaded.config.search.name}"
        told = ", ".join(named if problem.path.endswith(".name") else problem.path for problem in left_out)
        log.warning("transformers has no place for %s: beam 5 instead", told)
        return load(**usual)
    return loaded


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


def _ctranslate2(loaded: LoadedRun, options: ExportOptions, lines: list[str], origin: str, folder: Path) -> Made:
    """Fills the folder and compares what is in it with the model, and so in float32."""
    from seq2seq.export import ctranslate2
    from seq2seq.export.agreement import agreement
    from seq2seq.export.choice import MAX_TOKENS
    from seq2seq.export.ctranslate2 import CTranslate2Backend, needed_positions

    num_positions = max(needed_positions(loaded.config), USUAL_POSITIONS)
    translator = loaded.translator(MAX_TOKENS)
    ours = [best_first[0] for best_first in translator.translate(lines)]
    found: dict[str, Agreement] = {}  # by format, and what computes
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
    about = {"ctranslate2": ctranslate2.version(), "quantization": options.quantization}
    title = f"{len(lines)} sentences of {origin} by CTranslate2 and by the model in torch, beam 5"
    return Made(about | _compared(found, len(lines)), _table(title, found))


def _huggingface(loaded: LoadedRun, options: ExportOptions, lines: list[str], origin: str, folder: Path) -> Made:
    """Fills the folder and, where transformers is installed, compares what is in it with the run."""
    from seq2seq.export import huggingface
    from seq2seq.export.ctranslate2 import needed_positions
    from seq2seq.export.huggingface_tokenizer import save_tokenizer

    config, (source, target) = loaded.config, (loaded.tokenizers.source, loaded.tokenizers.target)
    assert source is not None
    num_positions = max(needed_positions(config), USUAL_POSITIONS)
    save_tokenizer(source, folder, num_positions)
    if source is not target:
        (folder / "target").mkdir()
        save_tokenizer(target, folder / "target", num_positions)
    huggingface.save(config, loaded.model, folder, num_positions=num_positions)
    chosen = huggingface.layout(config)
    about: dict[str, Any] = {"architecture": chosen.architecture}
    told = f"as a {chosen.name} model, for transformers 5 and newer:"
    next_step = f"{told}\n{huggingface.next_step(options.output, None if source is target else 'target')}"
    if not huggingface.is_installed():
        return Made(about, next_step=f"not compared, since transformers is not installed\n{next_step}")
    found, same_ids = _compare_huggingface(loaded, lines, folder)
    about |= {"transformers": huggingface.version(), "same_ids": same_ids, **_compared(found, len(lines))}
    title = f"{len(lines)} sentences of {origin} by transformers and by the model in torch, {_searched(config)}"
    return Made(about, _table(title, found), next_step)


def _compare_huggingface(loaded: LoadedRun, lines: list[str], folder: Path) -> tuple[dict[str, Agreement], float]:
    """How far the models agree, and the share of lines that both tokenizers read alike."""
    from seq2seq.export.agreement import agreement
    from seq2seq.export.choice import MAX_TOKENS
    from seq2seq.export.huggingface import HuggingFaceBackend, encode
    from seq2seq.text.vocab import Vocab

    assert loaded.tokenizers.source is not None
    translator = loaded.translator(MAX_TOKENS)
    ours = [best_first[0] for best_first in translator.translate(lines)]
    translator.backend = HuggingFaceBackend(folder, loaded.config.search)
    found = {"float32": agreement(ours, [best_first[0] for best_first in translator.translate(lines)])}
    read = [[*ids, Vocab.eos] for ids in loaded.tokenizers.source.encode_batch(lines)]
    same = sum(one == other for one, other in zip(read, encode(folder, lines), strict=True))
    if same < len(lines):
        log.warning("the tokenizer in the folder reads %d of %d lines in another way", len(lines) - same, len(lines))
    return found, same / len(lines)


def _searched(config: RunConfig) -> str:
    size = config.search.options.get("beam_size", 1)
    return "greedy" if size == 1 else f"beam {size}"


def _given_back(loaded: LoadedRun, options: ExportOptions, lines: list[str], origin: str, folder: Path) -> Made:
    """A pretrained model, as the same kind of model."""
    from seq2seq.export import pretrained

    name = pretrained.save(loaded, folder)
    next_step = f"as a {name}, for transformers 5 and newer:\n{pretrained.next_step(loaded.config, options.output)}"
    return Made({"architecture": name}, next_step=next_step)


def _safetensors(loaded: LoadedRun, options: ExportOptions, lines: list[str], origin: str, folder: Path) -> Made:
    from seq2seq.export import weights

    weights.save(loaded, folder)
    return Made({"parameters": sum(parameter.numel() for parameter in loaded.model.parameters())})


def _compared(found: dict[str, Agreement], compared: int) -> dict[str, Any]:
    if found["float32"].tokens < ENOUGH:
        log.warning("in float32 too the two differ in %.1f%% of the tokens", 100 * (1 - found["float32"].tokens))
    return {"compared": compared, "agreement": {name: asdict(figures) for name, figures in found.items()}}


def _describe(loaded: LoadedRun, options: ExportOptions, made: Made, folder: Path) -> None:
    from seq2seq import __version__

    about = {
        "seq2seq": __version__,
        "checkpoint": options.checkpoint,
        "steps": [checkpoint.step for checkpoint in loaded.checkpoints],
        "template": loaded.config.template,
        **made.about,
    }
    (folder / "export.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def _table(title: str, found: dict[str, Agreement]) -> str:
    lines = [title, "", f"{'same tokens':>11}{'same sentences':>17}   format"]
    for name, figures in found.items():
        lines.append(f"{100 * figures.tokens:10.2f}%{100 * figures.sentences:16.2f}%   {name}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
