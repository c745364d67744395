"""A pretrained model's tables of tokens in our order, so that its head and its embedding work with our ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from seq2seq.text.huggingface import NO_ROW, NumberedVocab
from seq2seq.text.vocab import Vocab

PLACES = ("embed_positions", "wpe", "position_embeddings")  # what the library's models call tables of places
TABLES = (  # and all their tables
    *("shared", "embed_tokens", "wte", "word_embeddings", "embed_in"),
    *(*PLACES, "relative_attention_bias", "token_type_embeddings"),
)
NEVER = -1e9  # the logit of a token that the model does not have: its probability is 0, and so is its gradient


class Numbers(nn.Module):
    """Our ids and the model's, by lookup. to_theirs (V), to_ours (their rows)."""

    to_theirs: Tensor
    to_ours: Tensor

    def __init__(self, vocab: Vocab) -> None:
        super().__init__()
        theirs = vocab.theirs if isinstance(vocab, NumberedVocab) else tuple(range(len(vocab)))
        self.rows = theirs
        self.num_rows = max(theirs) + 1
        ours = [Vocab.unk] * self.num_rows
        for number, row in enumerate(theirs):
            if row != NO_ROW:
                ours[row] = number
        end = theirs[Vocab.eos]  # stands for special tokens that the model lacks, where nothing is read of them
        self.register_buffer("to_theirs", torch.tensor([end if r == NO_ROW else r for r in theirs]), persistent=False)
        self.register_buffer("to_ours", torch.tensor(ours), persistent=False)

    def renumber(self, embeddings: Iterable[nn.Embedding]) -> dict[int, nn.Parameter]:
        """Gives them rows in our order; they are still called with the model's ids. What was tied stays tied.

        Returns the new tables, by the identities of the old ones.
        """
        tables: dict[int, nn.Parameter] = {}
        for embedding in embeddings:
            old = embedding.weight
            if id(old) not in tables:
                tables[id(old)] = nn.Parameter(self.ordered(old.detach()))
            embedding.weight = tables[id(old)]
            embedding.num_embeddings = len(self.rows)
            embedding.padding_idx = Vocab.pad if embedding.padding_idx is not None else None
            embedding.register_forward_pre_hook(lambda module, inputs: (self.to_ours[inputs[0]], *inputs[1:]))
        return tables

    def ordered(self, table: Tensor) -> Tensor:
        """table (rows, ...) -> (V, ...): new tokens as the mean of all, those that the model lacks as zeros."""
        known = torch.tensor([row if 0 <= row < table.size(0) else 0 for row in self.rows], device=table.device)
        result = table[known].clone()
        for number, row in enumerate(self.rows):
            if row == NO_ROW:
                result[number] = 0
            elif row >= table.size(0):
                result[number] = table.mean(dim=0)
        return result

    def head(self, old: nn.Linear, tables: Mapping[int, nn.Parameter], offsets: Tensor | None) -> nn.Linear:
        """Features to logits of our tokens. offsets: what the model adds to its logits, (1, rows)."""
        head = nn.Linear(old.in_features, len(self.rows), bias=True, device=old.weight.device)
        tied = tables.get(id(old.weight))
        head.weight = nn.Parameter(self.ordered(old.weight.detach())) if tied is None else tied
        bias = self.bias(old.bias, offsets, old.weight)
        if old.bias is None:
            del head.bias
            head.register_buffer("bias", bias)
        else:
            head.bias = nn.Parameter(bias)
        absent = torch.tensor([row == NO_ROW for row in self.rows], device=old.weight.device)
        head.register_buffer("absent", absent, persistent=False)  # for the loss: nothing of it is spread over these
        return head

    def bias(self, bias: Tensor | None, offsets: Tensor | None, like: Tensor) -> Tensor:
        """(V,)"""
        total = torch.zeros(like.size(0), device=like.device)
        for part in (bias, offsets):
            if part is not None and part.numel() == total.numel():
                total = total + part.detach().flatten()
        result = self.ordered(total)
        result[[number for number, row in enumerate(self.rows) if row == NO_ROW]] = NEVER
        return result


def token_embeddings(body: Any) -> Sequence[nn.Embedding]:
    """Those that read tokens, of the model and of its halves, and all that are tied to them."""
    parts = [body, *(getattr(body, name)() for name in ("get_encoder", "get_decoder") if hasattr(body, name))]
    tables = {
        id(part.get_input_embeddings().weight)
        for part in parts
        if isinstance(getattr(part, "get_input_embeddings", lambda: None)(), nn.Embedding)
    }
    return [module for module in body.modules() if isinstance(module, nn.Embedding) and id(module.weight) in tables]


def places_of(body: Any, has_encoder: bool) -> tuple[int | None, int | None]:
    """How many tokens the encoder and the decoder can read, where each place has a row of a table; None where there is
    no such limit.
    """
    if has_encoder:
        return _num_places(body.get_encoder()), _num_places(body.get_decoder())
    found = _num_places(body)
    return found, found


def _num_places(body: nn.Module) -> int | None:
    limits = []
    for name, module in body.named_modules():
        if isinstance(module, nn.Embedding) and name.rpartition(".")[2] in PLACES:
            before_first = 0 if module.padding_idx is None else module.padding_idx + 1
            limits.append(module.num_embeddings - getattr(module, "offset", before_first))
    return min(limits, default=None)


def copy_weights(body: nn.Module, given: Mapping[str, Tensor], numbers: Numbers) -> None:
    """Fills it with the weights of the same names; a table of tokens in our order. Those beside them stay as they are:
    of an adapter, or what was put in the place of a head.
    """
    tables = {id(embedding.weight) for embedding in token_embeddings(body)}
    with torch.no_grad():
        for name, tensor in body.state_dict(keep_vars=True).items():
            found = given.get(name.replace(".base_layer.", "."))
            if found is not None and "lora_" not in name and name != "final_logits_bias":
                tensor.data.copy_(numbers.ordered(found) if id(tensor) in tables else found)
