import pytest
import torch
from torch import Tensor, nn

from seq2seq.models.base import Memory
from seq2seq.models.decoders.convolutional import ConvolutionalDecoder
from seq2seq.models.encoders.convolutional import ConvolutionalEncoder
from seq2seq.nn.convolution import AttendedSource, ConvolutionalEncoderLayer, GatedConvolution, scaled_sum, started
from seq2seq.text.vocab import Vocab

B, S, T, D, CHANNELS = 2, 5, 7, 12, 10
VOCAB = Vocab((*Vocab.special, *"abcdefghijk"))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(3)


def memory(width: int = D) -> Memory:
    return Memory(torch.randn(B, S, width), torch.arange(S) < torch.tensor([[5], [3]]), torch.randn(B, width))


def test_even_kernels_are_refused_by_the_encoder_only() -> None:
    with pytest.raises(ValueError, match="odd kernel_size, for example 5, not 4"):
        ConvolutionalEncoder(VOCAB, d_model=D, kernel_size=4)
    ConvolutionalDecoder(VOCAB, D, d_model=D, kernel_size=4)


@pytest.mark.parametrize("weight_norm", [False, True])
@torch.no_grad()
def test_a_deep_stack_keeps_the_variance_at_first(weight_norm: bool) -> None:
    """Section 3.5 of Gehring et al. (2017): what goes in at a standard deviation of 0.1 comes out at about as much."""
    x, mask = torch.randn(4, 30, 128) * 0.1, torch.ones(4, 30, dtype=torch.bool)
    for _ in range(20):
        x = ConvolutionalEncoderLayer(128, kernel_size=3, weight_norm=weight_norm)(x, mask)
    assert 0.05 < x[:, 5:25].std() < 0.2


def test_weights_start_at_the_scale_of_their_inputs() -> None:
    linear, convolution = started(nn.Linear(400, 300)), started(nn.Conv1d(200, 300, 3), gain=4.0)
    assert linear.weight.std().item() == pytest.approx(400**-0.5, rel=0.02)
    assert convolution.weight.std().item() == pytest.approx(2 * 600**-0.5, rel=0.02)
    assert not linear.bias.any()
    assert not convolution.bias.any()


@torch.no_grad()
def test_embeddings_start_at_a_tenth() -> None:
    encoder = ConvolutionalEncoder(Vocab((*Vocab.special, *map(str, range(500)))), d_model=200)
    assert encoder.embedding(torch.arange(4, 504)).std().item() == pytest.approx(0.1, rel=0.02)
    assert encoder.positions.weight.std().item() == pytest.approx(0.1, rel=0.02)


@torch.no_grad()
def test_scaled_sum_keeps_the_variance() -> None:
    x, y = torch.randn(2, 10_000)
    assert scaled_sum(x, y).var().item() == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize("kernel_size", [1, 2, 3, 5])
@torch.no_grad()
def test_column_by_column_equals_all_at_once(kernel_size: int) -> None:
    layer, x = GatedConvolution(CHANNELS, kernel_size), torch.randn(B, T, CHANNELS)
    padded = torch.cat((torch.zeros(B, kernel_size - 1, CHANNELS), x), dim=1).transpose(1, 2)
    together = layer(x, padded[:, :, : kernel_size - 1])
    for t in range(T):
        column = layer(x[:, t : t + 1], padded[:, :, t : t + kernel_size - 1])
        torch.testing.assert_close(column, together[:, t : t + 1], atol=1e-6, rtol=1e-5)


def test_a_source_without_tokens_gives_a_context_of_zero() -> None:
    given = memory()
    mask = given.mask.clone()
    mask[1] = False
    source = AttendedSource.of(given.states, given.states, mask)
    assert source.values[0].any()
    assert not source.values[1].any()
    assert source.mask[1].all()


@torch.no_grad()
def test_tokens_beyond_the_table_share_the_last_position() -> None:
    """A long line is read and written, rather than refused."""
    given, tokens, mask = memory(), torch.randint(4, len(VOCAB), (B, 9)), torch.ones(B, 9, dtype=torch.bool)

    def lengthened(short: nn.Module, long: nn.Module) -> nn.Module:
        table = short.positions.weight
        long.load_state_dict({**short.state_dict(), "positions.weight": torch.cat((table, table[-1:].expand(28, -1)))})
        return long

    encoder = ConvolutionalEncoder(VOCAB, d_model=D, max_positions=4)
    longer = lengthened(encoder, ConvolutionalEncoder(VOCAB, d_model=D, max_positions=32))
    torch.testing.assert_close(encoder(tokens, mask).states, longer(tokens, mask).states)
    decoder = ConvolutionalDecoder(VOCAB, D, d_model=D, max_positions=4)
    longer = lengthened(decoder, ConvolutionalDecoder(VOCAB, D, d_model=D, max_positions=32))
    torch.testing.assert_close(decoder(tokens, mask, given), longer(tokens, mask, given))


@torch.no_grad()
def test_a_step_keeps_the_window_and_copies_no_memory() -> None:
    decoder = ConvolutionalDecoder(VOCAB, D, d_model=D, channels=CHANNELS, kernel_size=4, num_layers=2).eval()
    state = decoder.start(memory(), max_length=100)
    source = state.source
    state = state.reorder(torch.tensor([0, 0, 0, 1, 1, 1]))
    for _ in range(6):
        _, state = decoder.step(torch.randint(4, len(VOCAB), (B * 3,)), state)
        state = state.reorder(torch.tensor([1, 2, 0, 5, 5, 3]))
        assert state.past.shape == (B * 3, 2, CHANNELS, 3)
        assert state.source is source


@torch.no_grad()
def test_the_key_map_is_there_only_where_widths_differ() -> None:
    names = [
        {name for name, _ in ConvolutionalDecoder(VOCAB, width, d_model=D).named_parameters() if "key" in name}
        for width in (D, 9)
    ]
    assert names == [set(), {"key.weight"}]


def test_weight_norm_learns_lengths_and_directions() -> None:
    encoder = ConvolutionalEncoder(VOCAB, d_model=D, num_layers=2, weight_norm=True)
    plain = ConvolutionalEncoder(VOCAB, d_model=D, num_layers=2)
    assert len(list(encoder.parameters())) == len(list(plain.parameters())) + 2 + 2

    def scale(name: str, factor: float) -> Tensor:
        layer = encoder.layers[1].convolution.convolution
        with torch.no_grad():
            getattr(layer.parametrizations.weight, name).mul_(factor)
        return layer.weight.detach()

    before = scale("original0", 1.0)
    torch.testing.assert_close(scale("original1", 3.0), before)
    torch.testing.assert_close(scale("original0", 3.0), 3 * before)
