"""Models that others have trained, by the transformers library.

B sources, N hypotheses (B x W), S source length with what stands around a source, T target length, P prompt length,
V vocabulary, D width. `theirs` are tokens in the model's own numbers.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from seq2seq.data.batch import Batch
from seq2seq.errors import ConfigError, DataError, Problem, listed
from seq2seq.models.agreement import check_agreement
from seq2seq.models.architecture import complete, make_config, read_architecture, read_weights
from seq2seq.models.base import DecoderState, Model, models
from seq2seq.models.decoder_only import joined
from seq2seq.models.framing import Framing
from seq2seq.models.pretrained_state import PretrainedState
from seq2seq.models.tables import Numbers, copy_weights, places_of, token_embeddings
from seq2seq.registry import PositiveInt, Probability
from seq2seq.text.pretrained import library
from seq2seq.text.vocab import Vocab

MOVED = "; the run holds the adapter alone and needs that model: model.path=... says where it is now"
SHORTEN = "data.max_source_tokens and data.max_target_tokens shorten them"


@models.register("pretrained")
class Pretrained(Model):
    """A model of the transformers library: an encoder and a decoder (T5, BART, Marian, M2M100, ...), or a language
    model (GPT-2, Llama, ...), which reads a source as its prompt.

    Options:
        path: a hub id, or a folder with config.json, model.safetensors and the tokenizer
        source_language: the code of a multilingual model for what it reads, as eng_Latn
        target_language: its code for what it writes
        separator: between source and target of a model without an encoder
        dropout: another share of values that is dropped in training than the model's own
        adapter: train a few new weights beside the old ones, which stay as they are: LoRA (Hu et al. 2021)
        lora_rank: of the two matrices beside each adapted one
        lora_alpha: what they make is multiplied by lora_alpha / lora_rank
        lora_dropout: before them
        lora_modules: names of the adapted layers; null = what is usual for the model
        freeze: parts that are not trained, as [encoder] or ['*.embed_tokens']
        architecture: filled in when a run begins, so that it is complete
    """

    needs_source = False
    own_tokenizer = "huggingface"
    usual_beside: ClassVar = {"tokenizer": "pretrained"}

    def __init__(
        self,
        source_vocab: Vocab,
        target_vocab: Vocab,
        *,
        path: str,
        source_language: str | None = None,
        target_language: str | None = None,
        separator: str = "\n",
        dropout: Probability | None = None,
        adapter: Literal["none", "lora"] = "none",
        lora_rank: PositiveInt = 8,
        lora_alpha: PositiveInt = 16,
        lora_dropout: Probability = 0.0,
        lora_modules: list[str] | None = None,
        freeze: str | list[str] | None = None,
        architecture: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if source_vocab != target_vocab:
            raise ValueError("a pretrained model reads and writes with one vocabulary: set tokenizer=pretrained")
        architecture = architecture or read_architecture(path, source_language, target_language, separator)
        transformers = library()
        config = make_config(architecture, dropout)
        self.path = path
        self.has_encoder = bool(config.is_encoder_decoder)
        auto = transformers.AutoModelForSeq2SeqLM if self.has_encoder else transformers.AutoModelForCausalLM
        self.numbers = Numbers(target_vocab)
        self._tokens = target_vocab.tokens
        self.body = auto.from_config(config)
        self._make_ours()
        self.framed = Framing(self.numbers, architecture, ends=self.has_encoder)
        self.first: list[int] = architecture["first"]
        self._identity: str | None = architecture.get("identity")
        self.places = places_of(self.body, self.has_encoder)
        self._takes_positions = "position_ids" in inspect.signature(self.body.forward).parameters
        self.keeps_outside_weights = adapter == "lora"
        if adapter == "lora":
            self._refuse_new_tokens("adapter=lora")
            _add_lora(self.body, lora_rank, lora_alpha, lora_dropout, lora_modules or None)
            self._head.requires_grad_(False)
        elif (lora_rank, lora_alpha, lora_dropout, lora_modules) != (8, 16, 0.0, None):
            raise ValueError("lora_rank, lora_alpha, lora_dropout and lora_modules have no effect without adapter=lora")
        _freeze(self, [freeze] if isinstance(freeze, str) else freeze or [])
        if not self._head.weight.requires_grad and adapter == "none":
            self._refuse_new_tokens("freeze")

    def _refuse_new_tokens(self, option: str) -> None:
        new = [token for token, row in zip(self._tokens, self.numbers.rows, strict=True) if row >= self._num_rows]
        if new:
            told = f"{option}: {listed(new, 3)} would not be learned, since the tables of tokens stay as they are"
            raise ValueError(told)

    @staticmethod
    def complete(options: Mapping[str, Any]) -> dict[str, Any]:
        """The options with the architecture of the model at path. Raises ConfigError where it cannot be read."""
        return complete(options, needs_same_weights=options["adapter"] != "none")

    def _make_ours(self) -> None:
        old_head = self.body.get_output_embeddings()
        embeddings = token_embeddings(self.body)
        if not isinstance(old_head, nn.Linear) or not embeddings:
            raise ValueError(f"path: models of the type {self.body.config.model_type} are not supported")
        self._check_sizes(embeddings, old_head)
        self._num_rows = old_head.out_features
        tables = self.numbers.renumber(embeddings)
        offsets = getattr(self.body, "final_logits_bias", None)
        self._head = self.numbers.head(old_head, tables, offsets)
        self.body.set_output_embeddings(nn.Identity())  # what it calls logits are the features from here on
        if offsets is not None:
            self.body.final_logits_bias = torch.zeros(1, 1, device=offsets.device)

    def _check_sizes(self, embeddings: Any, head: nn.Linear) -> None:
        sizes = {embedding.num_embeddings for embedding in embeddings} | {head.out_features}
        if len(sizes) > 1:
            raise ValueError("path: models with other tokens for the source than for the target are not supported")

    def too_long(self, source_tokens: int, target_tokens: int) -> str | None:
        """What is wrong with texts of so many tokens, without eos; None where there is a place for each."""
        around = self.framed.num_before + len(self.framed.after) + 1
        needed = [(source_tokens + around, self.places[0]), (target_tokens + len(self.first), self.places[1])]
        if not self.has_encoder:
            needed = [(source_tokens + around + target_tokens, self.places[0])]
        for tokens, places in needed:
            if places is not None and tokens > places:
                return f"take {tokens} places, but the model has {places}"
        return None

    def longest_output(self, source_tokens: int) -> int | None:
        if self.has_encoder:
            return None if self.places[1] is None else self.places[1] - len(self.first)
        around = self.framed.num_before + len(self.framed.after) + 1
        return None if self.places[0] is None else max(self.places[0] - source_tokens - around, 1)

    @property
    def head(self) -> nn.Linear:
        return self._head

    def load_outside_weights(self) -> None:
        """Those of the model at path. Raises ConfigError where they cannot be read, or do not fit."""
        try:
            other = read_weights("seq2seq" if self.has_encoder else "causal", self.path, self._identity)
        except ConfigError as error:
            if not self.keeps_outside_weights:
                raise
            raise ConfigError(*(replace(fault, message=fault.message + MOVED) for fault in error.problems)) from error
        with torch.no_grad():
            copy_weights(self.body, other.state_dict(), self.numbers)
            old_head = other.get_output_embeddings()
            self._head.weight.copy_(self.numbers.ordered(old_head.weight))
            offsets = getattr(other, "final_logits_bias", None)
            self._head.bias.copy_(self.numbers.bias(old_head.bias, offsets, old_head.weight))
        check_agreement(self, other, self.path)

    def recompute(self) -> None:
        """Activation checkpointing, by the library."""
        self.body.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})

    def features(self, batch: Batch) -> Tensor:
        features: Tensor
        if wrong := self.too_long(batch.source.size(1) - 1, batch.target.size(1) - 1):
            raise DataError(f"texts of {batch.source.size(1)} and {batch.target.size(1)} tokens {wrong}; {SHORTEN}")
        if self.has_encoder:
            source, mask = self.framed(batch.source, batch.source_mask)
            target = self._behind_first(batch.target)
            features = self.body(
                input_ids=source, attention_mask=mask.long(), decoder_input_ids=target, use_cache=False
            ).logits
            return features[:, len(self.first) - 1 :]
        prompt, prompt_mask = self.framed(batch.source, batch.source_mask)
        told = self.numbers.to_theirs[batch.target[:, 1:]]
        tokens, mask = joined(prompt, prompt_mask, told, batch.target_mask[:, 1:])
        features = self.body(input_ids=tokens, attention_mask=mask.long(), use_cache=False).logits
        last = prompt_mask.sum(dim=1, keepdim=True) - 1  # (B,1), the token that the first of the target follows
        places = last + torch.arange(batch.target.size(1), device=last.device)  # (B,T)
        places = places.clamp(max=features.size(1) - 1)
        return features.gather(1, places[:, :, None].expand(-1, -1, features.size(2)))

    def _behind_first(self, target: Tensor) -> Tensor:
        """target (B,T) from bos on -> theirs, with the model's own beginning in its place."""
        first = target.new_tensor(self.first).expand(target.size(0), -1)
        return torch.cat((first, self.numbers.to_theirs[target[:, 1:]]), dim=1)

    def start(self, source: Tensor, mask: Tensor, max_length: int) -> DecoderState:
        if wrong := self.too_long(source.size(1) - 1, max_length - 1):
            raise ConfigError(Problem("search.max_length", f"sources and outputs of these lengths {wrong}"))
        tokens, mask = self.framed(source, mask)
        cache = library().DynamicCache
        if not self.has_encoder:
            return self._after_prompts(tokens, mask, cache(config=self.body.config))
        states = self.body.get_encoder()(input_ids=tokens, attention_mask=mask.long()).last_hidden_state
        caches = library().EncoderDecoderCache(cache(config=self.body.config), cache(config=self.body.config))
        first = source.new_tensor(self.first).expand(source.size(0), -1)
        state = PretrainedState(caches, first[:, -1], 1, mask.long(), states)
        for token in first[:, :-1].unbind(dim=1):
            _, state = self._next(token, state)
        return state

    def _after_prompts(self, tokens: Tensor, mask: Tensor, cache: Any) -> DecoderState:
        """Prompts end at the right, so that all go on in one column."""
        lengths = mask.sum(dim=1, keepdim=True)  # (B,1)
        columns = torch.arange(tokens.size(1), device=tokens.device)
        places = (columns - (tokens.size(1) - lengths)) % tokens.size(1)
        tokens, mask = tokens.gather(1, places), mask.gather(1, places)
        state = PretrainedState(cache, tokens[:, -1], 1, mask[:, :-1].long(), None, lengths[:, 0] - 1)
        if tokens.size(1) > 1:
            positions = (mask.long().cumsum(dim=1) - 1).clamp(min=0)[:, :-1]
            self.body(input_ids=tokens[:, :-1], **self._of_prompt(state, positions), logits_to_keep=1)
        return state

    def _of_prompt(self, state: PretrainedState, positions: Tensor) -> dict[str, Any]:
        given = {"attention_mask": state.mask, "past_key_values": state.cache, "use_cache": True}
        return {**given, "position_ids": positions} if self._takes_positions else given

    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        assert isinstance(state, PretrainedState)
        theirs = torch.where(tokens == Vocab.bos, state.first, self.numbers.to_theirs[tokens])
        features, state = self._next(theirs, state)
        return self._head(features), state

    def _next(self, theirs: Tensor, state: PretrainedState) -> tuple[Tensor, PretrainedState]:
        """theirs (N,) -> features (N,D)."""
        if state.memory is None:
            positions = state.positions
            assert positions is not None
            state = replace(state, mask=torch.cat((state.mask, state.mask.new_ones(len(theirs), 1)), dim=1))
            output = self.body(input_ids=theirs[:, None], **self._of_prompt(state, positions[:, None]))
            return output.logits[:, -1], state.advanced()
        output = self.body(
            decoder_input_ids=theirs[:, None],
            encoder_outputs=library().modeling_outputs.BaseModelOutput(last_hidden_state=state.memory),
            attention_mask=state.mask,
            past_key_values=state.cache,
            use_cache=True,
        )
        return output.logits[:, -1], state.advanced()

    def attention_weights(self, batch: Batch) -> Tensor | None:
        """The mean over layers and heads of the attention to the source, without what stands around it."""
        if not self.has_encoder or not batch.source.size(1):
            return None
        source, mask = self.framed(batch.source, batch.source_mask)
        usual = self.body.config._attn_implementation
        self.body.set_attn_implementation("eager")  # the one that tells its weights
        try:
            found = self.body(
                input_ids=source,
                attention_mask=mask.long(),
                decoder_input_ids=self._behind_first(batch.target),
                use_cache=False,
                output_attentions=True,
            ).cross_attentions
        finally:
            self.body.set_attn_implementation(usual)
        weights = torch.stack([layer.float().mean(dim=1) for layer in found]).mean(dim=0)  # (B,P+T,S)
        start = self.framed.num_before
        weights = weights[:, len(self.first) - 1 :, start : start + batch.source.size(1)] * batch.source_mask[:, None]
        return weights / weights.sum(dim=2, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)


def _add_lora(body: Any, rank: int, alpha: int, dropout: float, modules: list[str] | None) -> None:
    """Beside the layers of these names; the old weights are frozen."""
    try:
        from peft import LoraConfig, inject_adapter_in_model
        from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as USUAL
    except ImportError as error:
        raise ConfigError(Problem("model.adapter", "lora needs peft: pip install 'seq2seq[pretrained]'")) from error
    body.requires_grad_(False)
    kind = body.config.model_type
    modules = modules or list(USUAL.get(kind) or ("q_proj", "v_proj"))  # what most families without an entry have
    transposed = any(type(module).__name__ == "Conv1D" for module in body.modules())  # as GPT-2 stores its matrices
    config = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=modules, fan_in_fan_out=transposed
    )
    try:
        inject_adapter_in_model(config, body)
    except ValueError as error:
        raise ValueError(f"lora_modules: {' '.join(str(error).split())}") from error


def _freeze(model: Pretrained, patterns: list[str]) -> None:
    """Raises ValueError for a pattern that is the name of nothing."""
    for pattern in patterns:
        found = False
        for name, parameter in model.body.named_parameters():
            parts = name.split(".")
            prefixes = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
            if any(
                fnmatchcase(prefix, pattern) or fnmatchcase(prefix.removeprefix("model."), pattern)
                for prefix in prefixes
            ):
                parameter.requires_grad = False
                found = True
        if not found:
            names = (name.removeprefix("model.") for name, _ in model.body.named_parameters())
            known = dict.fromkeys(name.split(".")[0] for name in names)
            raise ValueError(f"freeze: nothing is called {pattern!r}; there are: {listed(list(known), 8)}")
