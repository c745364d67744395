"""What a pretrained model is, as plain values that a run can store: read once from where it lies, never needed there
again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xxhash

from seq2seq.errors import ConfigError, Problem, listed, suggest
from seq2seq.text.huggingface import languages
from seq2seq.text.pretrained import Kind, library, read_from

# Their logits are not a linear function of the features.
CURVED = ("final_logit_softcapping", "logits_soft_cap", "logit_scale")
# Keys that say nothing of what the model is, or choose code that computes it.
OF_NO_USE = {
    *("transformers_version", "id2label", "label2id", "auto_map", "architectures", "_name_or_path", "dtype"),
    *("problem_type", "torchscript", "return_dict", "output_attentions", "output_hidden_states"),
}
# What the families call the share of values that is dropped in training.
DROPOUTS = (
    "dropout",
    "dropout_rate",
    "resid_pdrop",
    "embd_pdrop",
    "hidden_dropout",
    "hidden_dropout_prob",
    "resid_dropout",
)


def read_architecture(
    path: str,
    source_language: str | None = None,
    target_language: str | None = None,
    separator: str = "",
    *,
    encoder_only: bool = False,
) -> dict[str, Any]:
    """config: as transformers' config.json.  before, after: the ids in the model's own numbers that stand before and
    after a source; first: those with which a target begins, and which are not said.

    separator: of a model without an encoder, what stands between source and target.

    Raises ConfigError with the option that is wrong.
    """
    config = read_from("config", path)
    plain = {key: value for key, value in config.to_dict().items() if not _is_of_no_use(key)}
    tokenizer = read_from("tokenizer", path)
    for option, language, attribute in (
        ("source_language", source_language, "src_lang"),
        ("target_language", target_language, "tgt_lang"),
    ):
        _set_language(tokenizer, option, language, attribute)
    before, after = _around(tokenizer, target=False)
    first: list[int] = []
    if encoder_only:
        pass
    elif config.is_encoder_decoder:
        first = _first_of_targets(path, config, tokenizer)
    else:
        if config.model_type in library().models.auto.modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES:
            told = f"{path}: {config.model_type} is an encoder: model/encoder=pretrained takes it"
            raise ConfigError(Problem("path", told))
        if faults := [name for name in CURVED if getattr(config.get_text_config(), name, None)]:
            raise ConfigError(
                Problem(
                    "path", f"{path}: models of the type {config.model_type} have {faults[0]}, which is not supported"
                )
            )
        after = tokenizer(separator, add_special_tokens=False).input_ids if separator else []
    return {"config": plain, "before": before, "after": after, "first": first}


def _set_language(tokenizer: Any, option: str, language: str | None, attribute: str) -> None:
    """Raises ConfigError where it is needed and not given, or does not exist."""
    if not hasattr(tokenizer, attribute):
        if language is not None:
            raise ConfigError(Problem(option, "the model at path knows no languages: leave it out"))
        return
    known = languages(tokenizer)
    if language is None or (known and language not in known):
        hint = suggest(language or "", known)
        if not hint.startswith("did"):
            hint = f"there are: {listed(known, 8)}"
        told = "has to be given for this model" if language is None else f"there is no language {language!r}"
        raise ConfigError(Problem(option, f"{told}; {hint}" if hint else told))
    setattr(tokenizer, attribute, language)


def _around(tokenizer: Any, target: bool) -> tuple[list[int], list[int]]:
    """The ids that the tokenizer puts before and after a text."""
    side = "text_target" if target else "text"
    bare = tokenizer(**{side: "a"}, add_special_tokens=False).input_ids
    whole = tokenizer(**{side: "a"}).input_ids
    for start in range(len(whole) - len(bare) + 1):
        if whole[start : start + len(bare)] == bare:
            return whole[:start], whole[start + len(bare) :]
    raise ConfigError(Problem("path", f"{tokenizer.name_or_path}: its tokenizer changes texts that it adds tokens to"))


def _first_of_targets(path: str, config: Any, tokenizer: Any) -> list[int]:
    before, after = _around(tokenizer, target=True)
    if len(after) > 1:  # mBART: the language stands behind the end, and in the next text's beginning
        return [after[-1], *before]
    start = getattr(config, "decoder_start_token_id", None)
    if start is None:
        start = _generation(path).get("decoder_start_token_id", config.bos_token_id)
    if start is None:
        raise ConfigError(Problem("path", f"{path}: its config has no decoder_start_token_id"))
    return [start, *before]


def _generation(path: str) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = library().GenerationConfig.from_pretrained(path).to_dict()
    except OSError:
        return {}
    return found


def _is_of_no_use(key: str) -> bool:
    return key in OF_NO_USE or "implementation" in key or "kernel" in key


def complete(
    options: Mapping[str, Any], *, encoder_only: bool = False, needs_same_weights: bool = False
) -> dict[str, Any]:
    """The options of a component with the architecture that it needs, and with a path that is the same from
    everywhere.

    needs_same_weights: whether the weights at the path are read at each use, and so must not change.
    """
    path = str(options["path"])
    folder = Path(path).expanduser()
    if folder.is_dir():
        path = str(folder.resolve())
    if options["architecture"]:  # the model of a run with an adapter may have moved
        return {**options, "path": path} if needs_same_weights else dict(options)
    given = {name: options[name] for name in ("source_language", "target_language", "separator") if name in options}
    architecture = read_architecture(path, **given, encoder_only=encoder_only)
    if needs_same_weights:
        architecture["identity"] = _identity(path)
    return {**options, "path": path, "architecture": architecture}


def _identity(path: str) -> str:
    """Of the weights in a folder; of a hub id, the commit."""
    if not Path(path).is_dir():
        return str(read_from("config", path)._commit_hash)
    found = xxhash.xxh3_128()
    for file in sorted(Path(path).glob("*.safetensors")):
        with file.open("rb") as stream:
            while part := stream.read(1 << 24):
                found.update(part)
    return str(found.hexdigest())


def read_weights(kind: Kind, path: str, identity: str | None = None, group: str = "model") -> Any:
    """The library's model at path, in float32. group: whose option path is.

    Raises ConfigError where it cannot be read, lacks weights, or is not the one of that identity.
    """
    revision = {}
    if identity is not None and Path(path).is_dir() and _identity(path) != identity:
        told = f"{path}: holds other weights than those that the run was trained with"
        raise ConfigError(Problem(f"{group}.path", told))
    if identity is not None and not Path(path).is_dir():
        revision = {"revision": identity}
    try:
        model, report = read_from(
            kind, path, use_safetensors=True, dtype="float32", output_loading_info=True, **revision
        )
    except ConfigError as error:
        raise ConfigError(*(problem.inside(group) for problem in error.problems)) from error
    missing = sorted(name for name in report["missing_keys"] if "pooler" not in name)
    if missing:
        told = f"{path}: model.safetensors lacks {len(missing)} weights of the model, the first: {missing[0]}"
        raise ConfigError(Problem(f"{group}.path", told))
    return model


def make_config(architecture: Mapping[str, Any], dropout: float | None) -> Any:
    """transformers' config object. Raises ValueError where this version of the library does not know the type."""
    plain = {key: value for key, value in architecture["config"].items() if not _is_of_no_use(key)}
    kind = plain.pop("model_type")
    try:
        config = library().AutoConfig.for_model(kind, **plain)
    except ValueError as error:
        raise ValueError(f"path: the installed transformers library knows no model type {kind!r}") from error
    config.dtype = "float32"
    if dropout is not None:
        named = [name for name in DROPOUTS if hasattr(config, name)]
        if not named:
            raise ValueError(f"dropout: models of the type {kind} have none to set")
        for name in named:
            setattr(config, name, dropout)
    return config
