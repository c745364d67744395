"""Transformer encoder-decoders for CTranslate2, a C++ engine that translates."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from seq2seq.binding import options_of
from seq2seq.config import RunConfig
from seq2seq.errors import Problem
from seq2seq.export.ctranslate2_int8 import SEVEN_BITS, quantize
from seq2seq.models.base import Model
from seq2seq.models.decoders.transformer import TransformerDecoder
from seq2seq.models.encoder_decoder import EncoderDecoder
from seq2seq.models.encoders.transformer import TransformerEncoder
from seq2seq.nn.attention import CrossAttention, SelfAttention
from seq2seq.nn.positions import BucketedPositions
from seq2seq.nn.transformer import FeedForward, TransformerDecoderLayer, TransformerEncoderLayer
from seq2seq.registry import Factory
from seq2seq.search.backend import Backend, Rows
from seq2seq.search.base import Hypothesis, Search, usual_limit
from seq2seq.search.beam import Beam
from seq2seq.search.greedy import Greedy
from seq2seq.text.pair import TokenizerPair
from seq2seq.text.vocab import Vocab

NOT_INSTALLED = "CTranslate2 is not installed: pip install 'seq2seq[ctranslate2]'"
MAX_DISTANCE = 128  # of relative positions; farther ones count as this one
NEVER = {Vocab.pad, Vocab.bos}  # in an output
CPU = torch.device("cpu")
SEARCH_OPTIONS = {"beam_size", "length_penalty", "max_length", "nbest"}  # what the engine is given
AHEAD = 2  # batches for each worker, under way or waiting


def is_installed() -> bool:
    return find_spec("ctranslate2") is not None


def version() -> str:
    import ctranslate2

    return str(ctranslate2.__version__)


def compute_types(device: torch.device) -> set[str]:
    """The number formats that the engine computes in there."""
    import ctranslate2

    return set(ctranslate2.get_supported_compute_types(device.type, device.index or 0))


def unsupported_model(config: RunConfig) -> list[Problem]:
    """The options of the model that CTranslate2 has no place for."""
    if config.model.component is not EncoderDecoder:
        return [Problem("model.name", f"CTranslate2 has no place for {config.model.name}")]
    return [
        problem
        for part, component in (("encoder", TransformerEncoder), ("decoder", TransformerDecoder))
        for problem in _unsupported_part(config.model.options[part], component)
    ]


def _unsupported_part(part: Factory[Any], component: type) -> Iterator[Problem]:
    if part.component is not component:
        yield Problem(f"{part.path}.name", f"CTranslate2 has no place for {part.name}")
        return
    refused: dict[str, Any] = {"d_ff": 0}
    if component is TransformerEncoder:
        refused |= {"positions": "alibi"}
    else:
        refused |= {"qk_norm": True, "cross_attention": "parallel"}  # its attention to the source has no such norms
    for option, value in refused.items():
        if part.options[option] == value:
            yield Problem(f"{part.path}.{option}", f"CTranslate2 has no place for {str(value).lower()}")


def unsupported_search(search: Factory[Search]) -> list[Problem]:
    """What CTranslate2Backend does not do."""
    if search.component not in (Beam, Greedy):
        return [Problem(f"{search.path}.name", f"CTranslate2 has no place for {search.name}")]
    usual = without_rules(search.component)
    return [
        Problem(f"{search.path}.{option}", "CTranslate2 is not given it")
        for option, value in search.options.items()
        if option in usual and value and value != usual[option]
    ]


def without_rules(search: type[Search]) -> dict[str, Any]:
    """The options that the engine is not given, as what changes nothing."""
    return {name: option.default for name, option in options_of(search).items() if name not in SEARCH_OPTIONS}


class CTranslate2Backend(Backend):
    """Searches as Beam and Greedy do, with CTranslate2's own beam search on a converted model.

    Batches are shared out among the threads, each of which works on one at a time: what a row gives does not depend on
    their number.
    """

    def __init__(
        self,
        folder: Path,
        config: RunConfig,
        tokenizers: TokenizerPair,
        *,
        compute_type: str = "default",
        device: torch.device = CPU,
        num_threads: int = 1,
    ) -> None:
        """folder: holds what `save` wrote; not needed any longer afterwards. Nothing in the config may be unsupported.

        compute_type: one of `compute_types` for the device, or default: as the model was stored, or near to that.
        """
        from ctranslate2 import Translator, set_log_level

        set_log_level(logging.ERROR)  # else it warns where it computes in another format than that of the weights
        options = config.search.options
        self.max_length: int | None = options["max_length"]
        self.beam_size: int = options.get("beam_size", 1)
        self.length_penalty: float = options.get("length_penalty", 1.0)
        self.nbest: int = options.get("nbest", 1)
        self.sources, self.targets = (distinct(vocab) for vocab in tokenizers.vocabs)
        self.never = {self.targets[token] for token in NEVER}
        self.target_ids = {token: number for number, token in enumerate(self.targets)}
        self.num_ahead = AHEAD * num_threads
        torch_threads = torch.get_num_threads()
        self._translator = Translator(
            str(folder),
            device=device.type,
            device_index=device.index or 0,
            compute_type=compute_type,
            inter_threads=num_threads,
            intra_threads=1,
            max_queued_batches=-1,  # this class sees to it that there are few
        )
        torch.set_num_threads(torch_threads)  # the engine sets the number of the thread that loads a model, too
        self.compute_type: str = self._translator.compute_type

    def __call__(self, batches: Iterable[Rows]) -> Generator[list[list[Hypothesis]], None, None]:
        waiting: deque[tuple[Rows, list[Any]]] = deque()
        for rows in batches:
            waiting.append((rows, self._submit(rows, max(map(self._limit, rows)) + 1)))
            if len(waiting) > self.num_ahead:
                yield self._collect(*waiting.popleft())
        while waiting:
            yield self._collect(*waiting.popleft())

    def _limit(self, row: Sequence[int]) -> int:
        return self.max_length or usual_limit(len(row))

    def _submit(self, rows: Rows, max_tokens: int, suppress: Sequence[int] = ()) -> list[Any]:
        """Starts the search; max_tokens: of an output, with eos; suppress: never generated."""
        results: list[Any] = self._translator.translate_batch(
            self._names(rows),
            beam_size=self.beam_size,
            num_hypotheses=self.beam_size,
            length_penalty=self.length_penalty,
            max_input_length=0,
            max_decoding_length=max_tokens,
            min_decoding_length=0,
            suppress_sequences=[[self.targets[token]] for token in suppress],
            return_scores=True,
            return_end_token=True,  # which counts as a token in the length, as it does in our searches
            asynchronous=True,
        )
        return results

    def _names(self, rows: Rows) -> list[list[str]]:
        return [[self.sources[token] for token in row] for row in rows]

    def _collect(self, rows: Rows, results: list[Any]) -> list[list[Hypothesis]]:
        """Searches some rows again: a batch has one limit in CTranslate2, beyond which a row's own may lie, and
        suppressing tokens gives their share of the probability to others, so that it is done where needed only.
        """
        found = [self._usual(row, result.result()) for row, result in zip(rows, results, strict=True)]
        again = [row for row, hypotheses in zip(rows, found, strict=True) if hypotheses is None]
        ended = iter(self._at_limits(again))
        return [next(ended) if hypotheses is None else hypotheses for hypotheses in found]

    def _usual(self, row: Sequence[int], result: Any) -> list[Hypothesis] | None:
        """None where the row has to be searched again."""
        limit = self._limit(row)
        found = []
        for tokens, score in zip(result.hypotheses, result.scores, strict=True):
            ids = [self.target_ids[token] for token in tokens]
            if ids[-1:] != [Vocab.eos] or len(ids) - 1 > limit or not NEVER.isdisjoint(ids):
                return None
            found.append(Hypothesis(ids[:-1], score * len(ids) ** self.length_penalty, score))
        return found[: self.nbest]

    def _at_limits(self, rows: Rows) -> list[list[Hypothesis]]:
        """As our search does, ends what is still open at the limit: measured with the eos that has to follow."""
        outputs = self._outputs(rows)
        unclean = [n for n, of_row in enumerate(outputs) if any(self.never & set(tokens) for tokens in of_row)]
        for n, of_row in zip(unclean, self._outputs([rows[n] for n in unclean], sorted(NEVER)), strict=True):
            outputs[n] = of_row
        if not rows:
            return []
        sources = self._names([row for row, of_row in zip(rows, outputs, strict=True) for _ in of_row])
        targets = [tokens for of_row in outputs for tokens in of_row]
        measured = iter(self._translator.score_batch(sources, targets, max_input_length=0))
        found = [[self._ended(tokens, next(measured).log_probs) for tokens in of_row] for of_row in outputs]
        return [sorted(of_row, key=lambda hypothesis: -hypothesis.score)[: self.nbest] for of_row in found]

    def _ended(self, tokens: Sequence[str], log_probabilities: Sequence[float]) -> Hypothesis:
        """log_probabilities: of the tokens and eos."""
        total = float(sum(log_probabilities))
        score = total / len(log_probabilities) ** self.length_penalty
        return Hypothesis([self.target_ids[token] for token in tokens], total, score)

    def _outputs(self, rows: Rows, suppress: Sequence[int] = ()) -> list[list[list[str]]]:
        """What a search of rows up to their limits finds, without eos; those of equal limits together."""
        by_limit: dict[int, list[int]] = {}
        for place, row in enumerate(rows):
            by_limit.setdefault(self._limit(row), []).append(place)
        searched = [
            (places, self._submit([rows[place] for place in places], limit, suppress))
            for limit, places in by_limit.items()
        ]
        eos = self.targets[Vocab.eos]
        outputs: list[list[list[str]]] = [[] for _ in rows]
        for places, results in searched:
            for place, result in zip(places, results, strict=True):
                hypotheses = result.result().hypotheses
                outputs[place] = [tokens[:-1] if tokens[-1] == eos else tokens for tokens in hypotheses]
        return outputs


def save(
    config: RunConfig,
    model: Model,
    tokenizers: TokenizerPair,
    folder: Path,
    *,
    num_positions: int,
    quantization: str = "float32",
) -> None:
    """Writes model.bin, config.json and the vocabularies into an existing folder.

    In int8 and int8_float32, the formats for CPUs, the weights have 7 bits.

    num_positions: how long a source and an output can be, with eos; `needed_positions` at least. Nothing in the config
    may be unsupported.
    """
    from ctranslate2.specs import TransformerDecoderSpec, TransformerEncoderSpec, TransformerSpec

    assert isinstance(model, EncoderDecoder)
    encoder, decoder = cast(TransformerEncoder, model.encoder), cast(TransformerDecoder, model.decoder)
    options = [config.model.options[part].options for part in ("encoder", "decoder")]
    encoder_spec = TransformerEncoderSpec(**_stack_options(options[0]))
    decoder_spec = TransformerDecoderSpec(**_stack_options(options[1]), alibi=options[1]["positions"] == "alibi")
    _fill_stack(encoder_spec, encoder_spec.embeddings[0], encoder, num_positions)
    _fill_stack(decoder_spec, decoder_spec.embeddings, decoder, num_positions)
    _fill_linear(decoder_spec.projection, decoder.head.weight)
    spec = TransformerSpec(encoder_spec, decoder_spec)
    spec.register_source_vocabulary(distinct(tokenizers.vocabs[0]))
    spec.register_target_vocabulary(distinct(tokenizers.vocabs[1]))
    spec.config.add_source_eos = True
    spec.validate()
    if quantization in SEVEN_BITS:
        spec.optimize()
        quantize(spec)
    else:
        spec.optimize(quantization=quantization)
    spec.save(str(folder))


def needed_positions(config: RunConfig) -> int:
    """What a Translator of the run asks for at most."""
    longest = config.reading.limits(config.trainer.max_length)[0] or config.trainer.max_length
    limit: int = config.search.options["max_length"] or usual_limit(longest)
    return max(longest, limit) + 2


def distinct(vocab: Vocab) -> list[str]:
    """The tokens as the engine knows them: by their text, so that one that is there twice gets a mark."""
    tokens: dict[str, None] = {}
    for token in vocab.tokens:
        while token in tokens:
            token += "\u2581"
        tokens[token] = None
    return list(tokens)


def _stack_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """From the options of our encoder or decoder to those of theirs."""
    from ctranslate2.specs import Activation

    activations = {"relu": Activation.RELU, "gelu": Activation.GELU, "silu": Activation.SWISH}
    gated = options["activation"] == "swiglu"
    grouped = (options["num_kv_heads"] or options["num_heads"]) < options["num_heads"]
    return {
        "num_layers": options["num_layers"],
        "num_heads": options["num_heads"],
        "num_heads_kv": options["num_kv_heads"] if grouped else None,
        "pre_norm": options["norm"] == "pre",
        "rms_norm": options["norm_type"] == "rms",
        "activation": activations["silu" if gated else options["activation"]],
        "ffn_glu": gated,
        "rotary_dim": 0 if options["positions"] == "rotary" else None,  # 0: all columns
        "rotary_interleave": False,
        "relative_attention_bias": options["positions"] == "relative",
        "qk_norm": options["qk_norm"],
    }


def _fill_stack(spec: Any, embeddings: Any, stack: TransformerEncoder | TransformerDecoder, num_positions: int) -> None:
    embeddings.weight = _array(stack.embedding.weight)
    if hasattr(spec, "position_encodings"):
        spec.position_encodings.encodings = _array(_position_table(stack, num_positions))
    if isinstance(stack.norm, nn.LayerNorm | nn.RMSNorm):
        _fill_norm(spec.layer_norm, stack.norm)
    for layer_spec, layer in zip(spec.layer, stack.layers, strict=True):
        assert isinstance(layer, TransformerEncoderLayer | TransformerDecoderLayer)
        _fill_self_attention(layer_spec.self_attention, layer.attention)
        _fill_norm(layer_spec.self_attention.layer_norm, layer.attention_residual.norm)
        if isinstance(layer, TransformerDecoderLayer):
            assert layer.cross_attention is not None
            assert layer.cross_attention_residual is not None
            _fill_cross_attention(layer_spec.attention, layer.cross_attention)
            _fill_norm(layer_spec.attention.layer_norm, layer.cross_attention_residual.norm)
        assert layer.feed_forward is not None
        assert layer.feed_forward_residual is not None
        _fill_feed_forward(layer_spec.ffn, layer.feed_forward)
        _fill_norm(layer_spec.ffn.layer_norm, layer.feed_forward_residual.norm)
    positions = stack.attention_positions
    if isinstance(positions, BucketedPositions):
        for layer_spec in spec.layer:
            layer_spec.self_attention.relative_attention_bias = _array(positions.table.weight)
            layer_spec.self_attention.relative_attention_max_distance = np.int32(MAX_DISTANCE)


def _position_table(stack: TransformerEncoder | TransformerDecoder, num_positions: int) -> Tensor:
    """What is added to the embeddings, (num_positions,D): 0 where nothing is, since without a table sines would be."""
    nothing = torch.zeros(1, num_positions, stack.embedding.embedding_dim)
    table: Tensor = stack.positions.to("cpu")(nothing)
    return table[0]


def _fill_self_attention(spec: Any, attention: SelfAttention) -> None:
    _fill_linear(spec.linear[0], attention.qkv.weight, attention.qkv.bias)
    _fill_attention(spec, attention)


def _fill_cross_attention(spec: Any, attention: CrossAttention) -> None:
    """The engine has no grouped heads here: the keys and values of a group are repeated."""
    key_value = attention.key_value
    group = attention.query.out_features // attention.head_dim // attention.num_kv_heads
    weight, bias = (
        x.reshape(-1, attention.head_dim, *x.shape[1:]).repeat_interleave(group, dim=0).flatten(0, 1)
        for x in (key_value.weight, key_value.bias)
    )
    _fill_linear(spec.linear[0], attention.query.weight, attention.query.bias)
    _fill_linear(spec.linear[1], weight, bias)
    if hasattr(spec, "num_heads_kv"):
        del spec.num_heads_kv
    _fill_attention(spec, attention)


def _fill_attention(spec: Any, attention: SelfAttention | CrossAttention) -> None:
    _fill_linear(spec.linear[-1], attention.out.weight, attention.out.bias)
    if attention.norms is not None:
        _fill_norm(spec.q_norm, attention.norms.query)
        _fill_norm(spec.k_norm, attention.norms.key)


def _fill_feed_forward(spec: Any, feed_forward: FeedForward) -> None:
    inner, outer = feed_forward.inner, feed_forward.outer
    if feed_forward.gated:
        (gate, passing), (gate_bias, passing_bias) = inner.weight.chunk(2), inner.bias.chunk(2)
        _fill_linear(spec.linear_0, gate, gate_bias)
        _fill_linear(spec.linear_0_noact, passing, passing_bias)
    else:
        _fill_linear(spec.linear_0, inner.weight, inner.bias)
    _fill_linear(spec.linear_1, outer.weight, outer.bias)


def _fill_norm(spec: Any, norm: nn.Module) -> None:
    assert isinstance(norm, nn.LayerNorm | nn.RMSNorm)
    spec.gamma = _array(norm.weight)
    if isinstance(norm, nn.LayerNorm):
        spec.beta = _array(norm.bias)


def _fill_linear(spec: Any, weight: Tensor, bias: Tensor | None = None) -> None:
    spec.weight = _array(weight)
    if bias is not None:
        spec.bias = _array(bias)


def _array(tensor: Tensor) -> np.ndarray:
    """A copy, because quantizing changes it in place."""
    return tensor.detach().float().cpu().numpy().copy()
