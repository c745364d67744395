"""A run of a pretrained model given back to transformers: the same architecture, with what was learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seq2seq.config import RunConfig
from seq2seq.models.architecture import make_config
from seq2seq.models.pretrained import Pretrained
from seq2seq.models.tables import token_embeddings
from seq2seq.pipeline import LoadedRun
from seq2seq.text.huggingface import HuggingFaceTokenizer
from seq2seq.text.pretrained import library, writing


def save(loaded: LoadedRun, folder: Path) -> str:
    """Model and tokenizer, as from_pretrained reads them; of adapters, added to what they were trained beside. Returns
    the name of the class.
    """
    model, tokenizer = loaded.model, loaded.tokenizers.target
    assert isinstance(model, Pretrained)
    assert isinstance(tokenizer, HuggingFaceTokenizer)
    transformers = library()
    auto = transformers.AutoModelForSeq2SeqLM if model.has_encoder else transformers.AutoModelForCausalLM
    theirs = auto.from_config(make_config(loaded.config.model.options["architecture"], None))
    rows = torch.tensor(model.numbers.rows)
    if int(rows.max()) >= theirs.get_input_embeddings().num_embeddings:  # tokens that were added for the run
        theirs.resize_token_embeddings(int(rows.max()) + 1)
    tables = {id(embedding.weight) for embedding in token_embeddings(theirs)}
    learned = _merged(model.body)
    head = theirs.get_output_embeddings()
    known = rows >= 0
    with torch.no_grad():
        for name, tensor in theirs.state_dict(keep_vars=True).items():
            if name not in learned or name == "final_logits_bias":  # the head follows
                continue
            if id(tensor) in tables:
                tensor.data[rows[known]] = learned[name][known]
            else:
                tensor.data.copy_(learned[name])
        head.weight[rows[known]] = model.head.weight[known]
        if head.bias is not None:
            head.bias[rows[known]] = model.head.bias[known]
        elif (offsets := getattr(theirs, "final_logits_bias", None)) is not None:
            offsets[0, rows[known]] = model.head.bias[known]
    with writing(folder):
        theirs.save_pretrained(folder)
    tokenizer.save_as_theirs(folder)
    return type(theirs).__name__


def next_step(config: RunConfig, folder: str) -> str:
    """Python that reads a line as the run does, and writes what follows."""
    options = config.model.options
    theirs, first = options["architecture"]["config"], options["architecture"]["first"]
    has_encoder = bool(theirs.get("is_encoder_decoder"))
    auto = "AutoModelForSeq2SeqLM" if has_encoder else "AutoModelForCausalLM"
    line = (config.template or "{source}").replace("{source}", "A line.")
    if not has_encoder and config.has_source:
        line += options["separator"]
    language = "" if options["source_language"] is None else f", src_lang={options['source_language']!r}"
    given = ""
    if has_encoder and first[0] != theirs.get("decoder_start_token_id"):
        given += f", decoder_start_token_id={first[0]}"
    if len(first) > 1:
        given += f", forced_bos_token_id={first[1]}"
    written = "output[0]" if has_encoder or not config.has_source else 'output[0, read["input_ids"].size(1):]'
    return "\n".join([
        f"from transformers import {auto}, AutoTokenizer",
        f"model = {auto}.from_pretrained({folder!r})",
        f"tokenizer = AutoTokenizer.from_pretrained({folder!r}{language})",
        f'read = tokenizer([{line!r}], return_tensors="pt")',
        f"output = model.generate(**read, max_new_tokens=100{given})",
        f"print(tokenizer.decode({written}, skip_special_tokens=True))",
    ])  # fmt: skip


def _merged(body: nn.Module) -> dict[str, Tensor]:
    """The weights by the names that they have without adapters."""
    found = {name.replace(".base_layer.", "."): tensor for name, tensor in body.state_dict().items()}
    modules: list[tuple[str, Any]] = list(body.named_modules())
    for name, module in modules:
        if hasattr(module, "get_delta_weight"):
            found[f"{name}.weight"] = found[f"{name}.weight"] + module.get_delta_weight("default")
    return found
