"""Combinations of options that the contract tests, which change one option at a time, do not meet."""

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seq2seq.models.base import Memory
from seq2seq.models.decoders.gru import GRUDecoder
from seq2seq.models.decoders.lstm import LSTMDecoder
from seq2seq.models.decoders.recurrent import RecurrentDecoderState
from seq2seq.models.decoders.rnn import RNNDecoder
from seq2seq.models.encoders.gru import GRUEncoder
from seq2seq.models.encoders.lstm import LSTMEncoder
from seq2seq.models.encoders.rnn import RNNEncoder
from seq2seq.text.vocab import Vocab

B, BEAM, S, T, D, MEMORY, EMBEDDING = 2, 3, 5, 7, 12, 10, 9
VOCAB = Vocab((*Vocab.special, *"abcdefghijk"))
DECODERS = [RNNDecoder, LSTMDecoder, GRUDecoder]
CHOICES: dict[str, tuple[Any, ...]] = {
    "attention": ("none", "additive", "multi_head"),
    "context_input": (False, True),
    "input_feeding": (False, True),
    "readout": ("tanh", "maxout"),
}
every_combination = pytest.mark.parametrize(
    "options", [dict(zip(CHOICES, values, strict=True)) for values in product(*CHOICES.values())], ids=str
)


def memory() -> Memory:
    mask = torch.arange(S) < torch.tensor([[5], [3]])
    return Memory(torch.randn(B, S, MEMORY) * mask[:, :, None], mask, torch.randn(B, MEMORY))


def build(decoder: type[Any], **options: Any) -> Any:
    torch.manual_seed(4)
    return decoder(VOCAB, MEMORY, d_model=D, embedding_dim=EMBEDDING, num_layers=2, num_heads=3, **options)


@every_combination
@pytest.mark.parametrize("decoder", DECODERS)
@torch.no_grad()
def test_step_by_step_equals_teacher_forcing(decoder: type[Any], options: dict[str, Any]) -> None:
    model, source = build(decoder, **options), memory()
    tokens = torch.randint(4, len(VOCAB), (B, T))
    expected = model.head(model(tokens, torch.ones_like(tokens, dtype=torch.bool), source))
    state = model.start(source, max_length=T).reorder(torch.arange(B).repeat_interleave(BEAM))
    for t in range(T):
        logits, state = model.step(tokens[:, t].repeat_interleave(BEAM), state)
        torch.testing.assert_close(logits, expected[:, t].repeat_interleave(BEAM, dim=0), atol=1e-5, rtol=0)
    assert isinstance(state, RecurrentDecoderState)
    assert state.memory is source  # nothing of it is copied for the hypotheses


@every_combination
def test_every_parameter_gets_a_gradient(options: dict[str, Any]) -> None:
    model = build(LSTMDecoder, residual=True, **options)
    tokens = torch.randint(4, len(VOCAB), (B, T))
    model.head(model(tokens, torch.ones_like(tokens, dtype=torch.bool), memory())).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def calls(model: nn.Module, tokens: Tensor) -> int:
    """How often the recurrence is called for one pass over the target."""
    count = 0

    def add(*_: Any) -> None:
        nonlocal count
        count += 1

    handle = model.recurrence.register_forward_hook(add)
    model(tokens, torch.ones_like(tokens, dtype=torch.bool), memory())
    handle.remove()
    return count


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"attention": "general"}, 1),
        ({"attention": "additive"}, 1),
        ({"attention": "none", "context_input": True}, 1),
        ({"attention": "none", "input_feeding": True}, T),
        ({"attention": "additive", "context_input": True}, T),
    ],
    ids=str,
)
def test_the_whole_target_is_one_call_where_it_can_be(options: dict[str, Any], expected: int) -> None:
    assert calls(build(GRUDecoder, **options), torch.randint(4, len(VOCAB), (B, T))) == expected


@torch.no_grad()
def test_select_keeps_all_hypotheses_of_a_source() -> None:
    model = build(LSTMDecoder, attention="additive", input_feeding=True)
    source = memory()
    state = model.start(source, max_length=T).reorder(torch.tensor([0, 0, 1, 1]))
    _, state = model.step(torch.tensor([4, 5, 6, 7]), state)
    selected = state.select(torch.tensor([1]))
    assert all(torch.equal(kept, x[2:]) for kept, x in zip(selected.cell, state.cell, strict=True))
    assert torch.equal(selected.fed, state.fed[2:])
    assert torch.equal(selected.keys, state.keys[1:])
    assert torch.equal(selected.memory.final, source.final[1:])


def test_maxout_needs_pairs() -> None:
    with pytest.raises(ValueError, match="readout=maxout needs an even d_model, for example 14, not 13"):
        GRUDecoder(VOCAB, MEMORY, d_model=13, readout="maxout")


@pytest.mark.parametrize("encoder", [RNNEncoder, LSTMEncoder, GRUEncoder])
def test_encoders_check_what_does_not_fit(encoder: type[Any]) -> None:
    with pytest.raises(ValueError, match="direction=both needs an even d_model, for example 14, not 13"):
        encoder(VOCAB, d_model=13)
    with pytest.raises(ValueError, match="set num_layers=2"):
        encoder(VOCAB, d_model=12, residual=True)


def test_embeddings_may_have_a_width_of_their_own() -> None:
    encoder = GRUEncoder(VOCAB, d_model=D, embedding_dim=EMBEDDING)
    assert encoder.embedding.weight.shape == (len(VOCAB), EMBEDDING)
    assert encoder(torch.full((B, S), 5), torch.ones(B, S, dtype=torch.bool)).states.shape == (B, S, D)
    assert GRUEncoder(VOCAB, d_model=D).embedding.weight.shape == (len(VOCAB), D)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("encoder", [RNNEncoder, LSTMEncoder, GRUEncoder])
@torch.no_grad()
def test_backward_is_forward_over_the_reversed_source(encoder: type[Any], residual: bool) -> None:
    torch.manual_seed(4)
    options: dict[str, Any] = {"d_model": D, "embedding_dim": EMBEDDING, "num_layers": 3, "residual": residual}
    backward, forward = (encoder(VOCAB, direction=way, **options) for way in ("backward", "forward"))
    weights = {name.replace(".back.", ".ahead."): value for name, value in backward.state_dict().items()}
    forward.load_state_dict(weights)
    lengths, tokens = (5, 3, 0), torch.randint(4, len(VOCAB), (3, S))
    mask = torch.arange(S) < torch.tensor(lengths)[:, None]
    memory = backward(tokens, mask)
    for b, length in enumerate(lengths[:2]):
        expected = forward(tokens[b, :length].flip(0)[None], torch.ones(1, length, dtype=torch.bool))
        torch.testing.assert_close(memory.states[b, :length], expected.states[0].flip(0))
        torch.testing.assert_close(memory.final[b], expected.final[0])
    assert torch.equal(memory.final, memory.states[:, 0])  # what stands at the first token was read last
    assert not memory.states[~mask].any()
