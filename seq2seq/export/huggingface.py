"""Transformer encoder-decoders as models of Hugging Face's `transformers`.

Three of its families have our layers, and differ in what is around them: Marian normalises after each sublayer and has
sinusoidal positions; Pegasus normalises before, and so does Blenderbot, whose positions are learned.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from seq2seq.config import RunConfig
from seq2seq.errors import Problem
from seq2seq.models.base import Model
from seq2seq.models.decoders.transformer import TransformerDecoder
from seq2seq.models.encoder_decoder import EncoderDecoder
from seq2seq.models.encoders.transformer import TransformerEncoder
from seq2seq.nn.attention import CrossAttention, SelfAttention
from seq2seq.nn.transformer import FeedForward, TransformerDecoderLayer, TransformerEncoderLayer
from seq2seq.registry import Factory
from seq2seq.search.backend import Backend, Rows
from seq2seq.search.base import Hypothesis, Search, usual_limit
from seq2seq.text.vocab import Vocab

ACTIVATIONS = ("relu", "gelu", "silu")
ADDED_POSITIONS = ("sinusoidal", "learned", "none")
Stack = TransformerEncoder | TransformerDecoder
Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Layout:
    """A family of models. sines_apart: its sinusoidal positions have all sines before all cosines."""

    name: str
    model_type: str
    architecture: str
    sines_apart: bool
    stores_positions: bool


MARIAN = Layout("Marian", "marian", "MarianMTModel", True, False)
PEGASUS = Layout("Pegasus", "pegasus", "PegasusForConditionalGeneration", True, True)
BLENDERBOT = Layout("Blenderbot", "blenderbot", "BlenderbotForConditionalGeneration", False, True)


def is_installed() -> bool:
    return find_spec("transformers") is not None


def version() -> str:
    import transformers

    return str(transformers.__version__)


def unsupported_model(config: RunConfig) -> list[Problem]:
    """The options of the model that no family has a place for, with what would have one."""
    if config.model.component is not EncoderDecoder:
        told = f"{config.model.name} has no place among Hugging Face's encoder-decoders; encoder_decoder has"
        return [Problem("model.name", told)]
    encoder, decoder = (config.model.options[part] for part in ("encoder", "decoder"))
    problems = [*_unsupported_part(encoder, TransformerEncoder), *_unsupported_part(decoder, TransformerDecoder)]
    if problems:
        return problems
    for option in ("d_model", "activation", "norm", "positions"):
        one, other = encoder.options[option], decoder.options[option]
        if one != other:
            told = f"is {other}, and the encoder's is {one}: Hugging Face has a place only for two that are the same"
            problems.append(Problem(f"{decoder.path}.{option}", told))
    if encoder.options["norm"] == "post" and encoder.options["positions"] != "sinusoidal":
        told = f"Hugging Face has no place for {encoder.options['positions']} with norm=post, only for sinusoidal"
        problems.append(Problem(f"{encoder.path}.positions", told))
    return problems


def _unsupported_part(part: Factory[Any], component: type) -> Iterator[Problem]:
    if part.component is not component:
        yield Problem(f"{part.path}.name", f"Hugging Face has no place for {part.name}, only for transformer")
        return
    places: dict[str, tuple[Any, ...]] = {
        "norm_type": ("layer",),
        "activation": ACTIVATIONS,
        "positions": ADDED_POSITIONS,
        "qk_norm": (False,),
    }
    if component is TransformerDecoder:
        places["cross_attention"] = ("sequential",)
    for option, known in places.items():
        if part.options[option] not in known:
            told = f"Hugging Face has no place for {part.options[option]}, only for {', '.join(map(str, known))}"
            yield Problem(f"{part.path}.{option}", told.replace("True", "true").replace("False", "false"))
    if part.options["d_ff"] == 0:
        yield Problem(f"{part.path}.d_ff", "Hugging Face has no place for layers without a feed-forward sublayer")


def layout(config: RunConfig) -> Layout:
    """The family that the model belongs to; nothing in the config may be unsupported."""
    options = config.model.options["encoder"].options
    if options["norm"] == "post":
        return MARIAN
    return PEGASUS if options["positions"] == "sinusoidal" else BLENDERBOT


def save(config: RunConfig, model: Model, folder: Path, *, num_positions: int) -> None:
    """Writes config.json, generation_config.json and model.safetensors. Nothing in the config may be unsupported.

    num_positions: the longest source and output, with bos and eos.
    """
    assert isinstance(model, EncoderDecoder)
    chosen = layout(config)
    tie: str = config.model.options["tie_embeddings"]
    written = {
        "config.json": _config(config, model, chosen, num_positions),
        "generation_config.json": _generation_config(config, num_positions),
    }
    for name, content in written.items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    tensors = _embeddings(model, chosen, tie)
    for name, stack in (("encoder", model.encoder), ("decoder", model.decoder)):
        tensors |= _stack(cast(Stack, stack), f"model.{name}", chosen, num_positions)
    stored = {
        name: tensor.detach().float().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    (folder / "model.safetensors").write_bytes(save_tensors(stored, metadata={"format": "pt"}))


def _config(config: RunConfig, model: EncoderDecoder, chosen: Layout, num_positions: int) -> dict[str, Any]:
    options = {part: config.model.options[part].options for part in ("encoder", "decoder")}
    both, tie = options["decoder"], config.model.options["tie_embeddings"]
    sizes = [cast(Stack, stack).embedding.num_embeddings for stack in (model.encoder, model.decoder)]
    content: dict[str, Any] = {
        "architectures": [chosen.architecture],
        "model_type": chosen.model_type,
        "is_encoder_decoder": True,
        "dtype": "float32",
        "vocab_size": max(sizes),
        "d_model": both["d_model"],
        "activation_function": both["activation"],
        "max_position_embeddings": num_positions,
        "scale_embedding": True,
        "tie_word_embeddings": tie == "all",
        "pad_token_id": Vocab.pad,
        "bos_token_id": Vocab.bos,
        "eos_token_id": Vocab.eos,
        "forced_eos_token_id": Vocab.eos,
        "decoder_start_token_id": Vocab.bos,
        **{name: both[name] for name in ("dropout", "attention_dropout", "activation_dropout")},
    }
    for part, of_part in options.items():
        content[f"{part}_layers"] = of_part["num_layers"]
        content[f"{part}_attention_heads"] = of_part["num_heads"]
        content[f"{part}_ffn_dim"] = of_part["d_ff"]
        content[f"{part}_layerdrop"] = of_part["layer_drop"]
    if chosen is MARIAN:
        content |= {"vocab_size": sizes[0], "decoder_vocab_size": sizes[1]}
        content |= {"share_encoder_decoder_embeddings": tie == "all", "tie_word_embeddings": tie != "none"}
    if chosen is BLENDERBOT:
        content["encoder_no_repeat_ngram_size"] = 0
    return content


def _generation_config(config: RunConfig, num_positions: int) -> dict[str, Any]:
    """As the run's search; its limit is one for all, since none here grows with the source."""
    options = config.search.options
    limit: int = options["max_length"] or usual_limit(config.trainer.max_length)
    content: dict[str, Any] = {
        "pad_token_id": Vocab.pad,
        "bos_token_id": Vocab.bos,
        "eos_token_id": Vocab.eos,
        "decoder_start_token_id": Vocab.bos,
        "forced_eos_token_id": Vocab.eos,
        "suppress_tokens": [Vocab.pad, Vocab.bos],
        "max_length": min(limit + 2, num_positions),  # with bos and eos
        "num_beams": options.get("beam_size", 1),
    }
    if content["num_beams"] > 1:
        content |= {"length_penalty": options["length_penalty"], "early_stopping": True}
        content |= {"num_return_sequences": options["nbest"]} if options["nbest"] > 1 else {}
    return content


def _embeddings(model: EncoderDecoder, chosen: Layout, tie: str) -> Tensors:
    """With the head. Marian has a place for two vocabularies; elsewhere the smaller one gets rows never generated."""
    source, target = cast(Stack, model.encoder).embedding.weight, cast(Stack, model.decoder).embedding.weight
    head = model.head.weight
    order = _column_order(source.size(1), chosen)
    if tie == "all":
        return {"model.shared.weight": source[:, order]}
    tensors = {"model.encoder.embed_tokens.weight": source, "model.decoder.embed_tokens.weight": target}
    if tie == "none" or chosen is not MARIAN:
        tensors["lm_head.weight"] = head
    if chosen is not MARIAN:
        rows, num_targets = max(source.size(0), target.size(0)), target.size(0)
        tensors["model.shared.weight"] = source  # not read, but looked for
        tensors = {name: nn.functional.pad(x, (0, 0, 0, rows - x.size(0))) for name, x in tensors.items()}
        bias = torch.zeros(1, rows)
        bias[:, num_targets:] = float("-inf")
        return {name: x[:, order] for name, x in tensors.items()} | {"final_logits_bias": bias}
    return {name: x[:, order] for name, x in tensors.items()}


def _column_order(d_model: int, chosen: Layout) -> Tensor:
    """Which of our columns stands in each of theirs: all even ones first, where their positions want that."""
    columns = torch.arange(d_model)
    return torch.cat((columns[::2], columns[1::2])) if chosen.sines_apart else columns


def _stack(stack: Stack, name: str, chosen: Layout, num_positions: int) -> Tensors:
    d_model = stack.embedding.embedding_dim
    order = _column_order(d_model, chosen)
    tensors: Tensors = {}
    if chosen.stores_positions:
        table: Tensor = stack.positions.to("cpu")(torch.zeros(1, num_positions, d_model))
        tensors[f"{name}.embed_positions.weight"] = table[0][:, order]
    if isinstance(stack.norm, nn.LayerNorm):
        tensors |= _norm(stack.norm, f"{name}.layer_norm", order)
    for number, layer in enumerate(stack.layers):
        assert isinstance(layer, TransformerEncoderLayer | TransformerDecoderLayer)
        of_layer = f"{name}.layers.{number}"
        tensors |= _self_attention(layer.attention, f"{of_layer}.self_attn", order)
        tensors |= _norm(layer.attention_residual.norm, f"{of_layer}.self_attn_layer_norm", order)
        if isinstance(layer, TransformerDecoderLayer):
            assert layer.cross_attention is not None
            assert layer.cross_attention_residual is not None
            tensors |= _cross_attention(layer.cross_attention, f"{of_layer}.encoder_attn", order)
            tensors |= _norm(layer.cross_attention_residual.norm, f"{of_layer}.encoder_attn_layer_norm", order)
        assert layer.feed_forward is not None
        assert layer.feed_forward_residual is not None
        tensors |= _feed_forward(layer.feed_forward, of_layer, order)
        tensors |= _norm(layer.feed_forward_residual.norm, f"{of_layer}.final_layer_norm", order)
    return tensors


def _self_attention(attention: SelfAttention, name: str, order: Tensor) -> Tensors:
    group = attention.num_heads // attention.num_kv_heads
    ends = [n * attention.head_dim for n in (attention.num_heads, attention.num_heads + attention.num_kv_heads)]
    weights, biases = (x.tensor_split(ends) for x in (attention.qkv.weight, attention.qkv.bias))
    return _projections(weights, biases, attention.out, attention.head_dim, group, name, order)


def _cross_attention(attention: CrossAttention, name: str, order: Tensor) -> Tensors:
    group = attention.query.out_features // attention.head_dim // attention.num_kv_heads
    query, key_value = attention.query, attention.key_value
    weights = (query.weight, *key_value.weight.chunk(2))
    biases = (query.bias, *key_value.bias.chunk(2))
    return _projections(weights, biases, attention.out, attention.head_dim, group, name, order)


def _projections(
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    out: nn.Linear,
    head_dim: int,
    group: int,
    name: str,
    order: Tensor,
) -> Tensors:
    """weights, biases: of query, key and value. There are no grouped heads: the keys and values of a group repeat."""
    tensors = _out(out, f"{name}.out_proj", order)
    for part, repeats, weight, bias in zip("qkv", (1, group, group), weights, biases, strict=True):
        by_head = weight[:, order].reshape(-1, head_dim, order.numel()), bias.reshape(-1, head_dim)
        repeated = [x.repeat_interleave(repeats, dim=0).flatten(0, 1) for x in by_head]
        tensors[f"{name}.{part}_proj.weight"], tensors[f"{name}.{part}_proj.bias"] = repeated
    return tensors


def _feed_forward(feed_forward: FeedForward, name: str, order: Tensor) -> Tensors:
    inner = feed_forward.inner
    into = {f"{name}.fc1.weight": inner.weight[:, order], f"{name}.fc1.bias": inner.bias}
    return into | _out(feed_forward.outer, f"{name}.fc2", order)


def _out(linear: nn.Linear, name: str, order: Tensor) -> Tensors:
    return {f"{name}.weight": linear.weight[order], f"{name}.bias": linear.bias[order]}


def _norm(norm: nn.Module, name: str, order: Tensor) -> Tensors:
    assert isinstance(norm, nn.LayerNorm)
    return {f"{name}.weight": norm.weight[order], f"{name}.bias": norm.bias[order]}


class HuggingFaceBackend(Backend):
    """Searches with `generate` on an exported model: on the CPU, to see how far the two agree.

    Sources of one length go together, since a batch has one limit there.
    """

    def __init__(self, folder: Path, search: Factory[Search]) -> None:
        from transformers import AutoModelForSeq2SeqLM

        _be_quiet()
        self.max_length: int | None = search.options["max_length"]
        self._model: Any = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32).eval()

    def __call__(self, batches: Iterable[Rows]) -> Generator[list[list[Hypothesis]], None, None]:
        for rows in batches:
            found: list[list[Hypothesis]] = [[] for _ in rows]
            places = sorted(enumerate(rows), key=lambda place: len(place[1]))
            for _, of_length in groupby(places, key=lambda place: len(place[1])):
                numbers, together = zip(*of_length, strict=True)
                for number, hypothesis in zip(numbers, self._search(together), strict=True):
                    found[number] = [hypothesis]
            yield found

    @torch.no_grad()
    def _search(self, rows: Rows) -> list[Hypothesis]:
        """The best of each of some sources of the same length."""
        limit = self.max_length or usual_limit(len(rows[0]))
        source = torch.tensor([[*row, Vocab.eos] for row in rows])
        output = self._model.generate(
            input_ids=source,
            attention_mask=torch.ones_like(source),
            max_length=limit + 2,
            num_return_sequences=1,
        )
        hypotheses = []
        for ids in output[:, 1:].tolist():
            end = ids.index(Vocab.eos) if Vocab.eos in ids else len(ids)
            hypotheses.append(Hypothesis(ids[:end], 0.0, 0.0))
        return hypotheses


def _be_quiet() -> None:
    """Else it draws progress bars, and tells what its next version will do."""
    from transformers.utils import logging

    level: Any = logging
    level.set_verbosity_error()
    level.disable_progress_bar()


def encode(folder: Path, lines: list[str]) -> list[list[int]]:
    """The ids of each line, with eos, by the tokenizer in the folder."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    return [cast("list[int]", tokenizer(line)["input_ids"]) for line in lines]


def next_step(folder: str, target: str | None) -> str:
    """Python that translates a line. target: the folder inside with the tokenizer of the outputs, if it is another."""
    load = "AutoTokenizer.from_pretrained({!r})"
    reader, writer = ("tokenizer", "tokenizer") if target is None else ("source", "target")
    loads = [f"{reader} = {load.format(folder)}"]
    loads += [] if target is None else [f"{writer} = {load.format(f'{folder}/{target}')}"]
    return "\n".join([
        "from transformers import AutoModelForSeq2SeqLM, AutoTokenizer",
        f"model = AutoModelForSeq2SeqLM.from_pretrained({folder!r})",
        *loads,
        f'output = model.generate(**{reader}(["A line."], padding=True, return_tensors="pt"))',
        f"print({writer}.batch_decode(output, skip_special_tokens=True))",
    ])  # fmt: skip
