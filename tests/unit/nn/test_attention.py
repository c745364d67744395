import pytest
import torch

from seq2seq.nn.attention import (
    CrossAttention,
    SelfAttention,
    attend,
    attendable,
)

B, T, S, D, HEADS = 2, 7, 5, 12, 3


def test_rows_without_real_tokens_are_attendable() -> None:
    mask = torch.tensor([[True, True, False], [False, False, False]])
    assert attendable(mask).tolist() == [[[[True, True, False]]], [[[True, True, True]]]]


def test_d_model_must_be_a_multiple_of_num_heads() -> None:
    message = "d_model must be a multiple of num_heads, which is 5: for example 10, not 12"
    with pytest.raises(ValueError, match=message):
        SelfAttention(12, 5)
    with pytest.raises(ValueError, match=message):
        CrossAttention(12, 9, 5)


def test_attention_dropout_drops_in_training_only() -> None:
    layers = [SelfAttention(D, HEADS, dropout=0.5), CrossAttention(D, D, HEADS, dropout=0.5)]
    x, mask = torch.randn(B, T, D), torch.ones(B, 1, 1, T, dtype=torch.bool)
    for layer in layers:
        inputs = (x, mask) if isinstance(layer, SelfAttention) else (x, layer.heads(x), mask)
        assert not torch.equal(layer(*inputs), layer(*inputs))
        layer.eval()
        assert torch.equal(layer(*inputs), layer(*inputs))


def test_hypotheses_share_the_memory_of_their_source() -> None:
    beam = 3
    layer = CrossAttention(D, 10, HEADS)
    x, memory = torch.randn(B * beam, 1, D), torch.randn(B, S, 10)
    mask = torch.arange(S) < torch.tensor([[5], [2]])
    shared = layer(x, layer.heads(memory), attendable(mask))
    copied = layer(x, layer.heads(memory.repeat_interleave(beam, 0)), attendable(mask.repeat_interleave(beam, 0)))
    torch.testing.assert_close(shared, copied)


def test_num_kv_heads_must_divide_num_heads() -> None:
    for layer in (
        lambda: SelfAttention(D, 6, num_kv_heads=4),
        lambda: CrossAttention(D, 9, 6, num_kv_heads=4),
    ):
        with pytest.raises(ValueError, match="must divide num_heads, which is 6: 1, 2, 3, 6, not 4"):
            layer()


@pytest.mark.parametrize("kind", ["none", "mask", "bias", "row", "causal"])
def test_grouped_heads_equal_repeated_heads(kind: str) -> None:
    torch.manual_seed(1)
    num_heads, groups = 6, 2
    length = {"row": 1, "causal": S}.get(kind, T)
    query, key, value = (torch.randn(B, h, t, 4) for h, t in ((num_heads, length), (groups, S), (groups, S)))
    mask = {
        "mask": attendable(torch.arange(S) < torch.tensor([[5], [2]])),
        "bias": torch.randn(1, num_heads, length, S),
        "row": torch.randn(1, num_heads, 1, S),
    }.get(kind)
    expected = torch.empty(query.shape)
    for head in range(num_heads):
        scores = query[:, head] @ key[:, head // 3].transpose(1, 2) / 2  # the root of 4
        if kind == "mask":
            scores = scores.masked_fill(~mask[:, 0], float("-inf"))
        elif kind == "causal":
            scores = scores.masked_fill(torch.ones(S, S, dtype=torch.bool).triu(1), float("-inf"))
        elif mask is not None:
            scores = scores + mask[:, head]
        expected[:, head] = scores.softmax(dim=2) @ value[:, head // 3]
    torch.testing.assert_close(attend(query, key, value, mask, causal=kind == "causal"), expected)


@pytest.mark.parametrize("kind", ["none", "mask", "bias", "causal"])
def test_plain_steps_equal_the_fused_attention(kind: str) -> None:
    """Forward and backward, in bf16, where training on a CPU takes the plain steps."""
    torch.manual_seed(1)
    length = S if kind == "causal" else T
    mask = {
        "mask": attendable(torch.arange(S) < torch.tensor([[5], [2]])),
        "bias": torch.randn(1, HEADS, length, S),
    }.get(kind)
    heads = [torch.randn(B, HEADS, t, 4) for t in (length, S, S)]
    wanted = torch.randn(B, HEADS, length, 4)
    results = []
    for dtype in (torch.float32, torch.bfloat16):
        inputs = [x.to(dtype).requires_grad_() for x in heads]
        bias = mask.to(dtype) if kind == "bias" else mask
        output = attend(*inputs, bias, causal=kind == "causal")
        assert ("Bmm" in type(output.grad_fn.next_functions[0][0]).__name__) is (dtype == torch.bfloat16)
        results.append((output, *torch.autograd.grad(output, inputs, wanted.to(dtype))))
    for exact, rounded in zip(*results, strict=True):
        torch.testing.assert_close(rounded.float(), exact, atol=0.05, rtol=0.03)


@torch.no_grad()
def test_query_key_norm_forgets_their_lengths() -> None:
    torch.manual_seed(1)
    x, memory = torch.randn(B, T, D), torch.randn(B, S, 10)
    mask = torch.ones(B, 1, 1, S, dtype=torch.bool)
    layer, cross = SelfAttention(D, HEADS, qk_norm=True), CrossAttention(D, 10, HEADS, qk_norm=True)
    expected, cross_expected = layer(x), cross(x, cross.heads(memory), mask)
    layer.qkv.weight[: 2 * D] *= 3
    cross.query.weight *= 5
    cross.key_value.weight[:D] *= 7
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(cross(x, cross.heads(memory), mask), cross_expected, atol=1e-5, rtol=1e-4)
    layer.norms.key.weight *= 2
    assert not torch.allclose(layer(x), expected, atol=1e-3)
