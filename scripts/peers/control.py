"""The control: a plain loop over torch.nn.Transformer, as a textbook has it, with torch's own fused AdamW.

Normalised before each sublayer; in bf16 the forward pass runs under autocast.
"""

from __future__ import annotations

import math

import torch
from peers.measuring import PAD, Recorder, Work
from torch import Tensor, nn
from torch.nn import functional as F

MAX_POSITIONS = 1024


class Control(nn.Module):
    """Source (B,S) and target (B,T) to logits (B,T,V); one matrix for both embeddings and the output layer."""

    positions: Tensor

    def __init__(self, *, d_model: int, d_ff: int, num_layers: int, num_heads: int, vocabulary: int, dropout: float):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, d_model, padding_idx=PAD)
        nn.init.normal_(self.embedding.weight, std=d_model**-0.5)
        self.dropout = nn.Dropout(dropout)
        self.transformer = nn.Transformer(
            d_model, num_heads, num_layers, num_layers, d_ff, dropout, batch_first=True, norm_first=True
        )
        self.register_buffer("positions", sinusoids(MAX_POSITIONS, d_model))

    def embed(self, tokens: Tensor) -> Tensor:
        scaled = self.embedding(tokens) * math.sqrt(self.embedding.embedding_dim)
        return self.dropout(scaled + self.positions[: tokens.size(1)])

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        padding = source == PAD
        causal = torch.ones(target.size(1), target.size(1), dtype=torch.bool, device=target.device).triu(1)
        features = self.transformer(
            self.embed(source),
            self.embed(target),
            tgt_mask=causal,
            src_key_padding_mask=padding,
            memory_key_padding_mask=padding,
            tgt_is_causal=True,
        )
        return F.linear(features, self.embedding.weight)


def sinusoids(length: int, width: int) -> Tensor:
    angles = torch.arange(length)[:, None] * 10_000.0 ** (-torch.arange(0, width, 2) / width)
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)  # (L,D/2,2) -> (L,D)


def main() -> None:
    work = Work.from_arguments()
    recorder = Recorder(work)
    device = torch.device(work.device)
    model = Control(**work.sizes, dropout=work.dropout).to(device).train()
    called = torch.compile(model, dynamic=True) if work.compile else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=work.lr, betas=(0.9, 0.98), fused=True)

    def loss(source: Tensor, target: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=work.precision == "bf16"):
            logits = called(source, target[:, :-1])
        return F.cross_entropy(
            logits.flatten(0, 1).float(),
            target[:, 1:].flatten(),
            ignore_index=PAD,
            label_smoothing=work.label_smoothing,
        )

    losses, label_tokens = [], 0
    for _, *sides in recorder.batches():
        source, target = (side.to(device) for side in sides)
        optimizer.zero_grad()
        step_loss = loss(source, target)
        step_loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), work.clip_norm)
        optimizer.step()
        losses.append(step_loss.detach())
        label_tokens += int((sides[1][:, 1:] != PAD).sum())
    recorder.finish(
        model,
        lambda: loss(source, target).item(),
        losses=[step_loss.item() for step_loss in losses],
        label_tokens=label_tokens,
        precision=work.precision,
        versions={},
    )


if __name__ == "__main__":
    main()
