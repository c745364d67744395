"""What every encoder and every decoder promises, for all that are registered.

Every component is tried with its defaults, and once more for each other choice of each of its options.
"""

import importlib
import inspect
import pkgutil
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
import torch
from torch import Tensor, nn

import seq2seq.models.decoders
import seq2seq.models.encoders
from seq2seq.data.batch import Batch
from seq2seq.models.base import DecoderState, Model, StackDecoder, decoders, encoders
from seq2seq.models.decoder_only import DecoderOnly
from seq2seq.models.encoder_decoder import EncoderDecoder
from seq2seq.nn.attention import CrossAttention, SelfAttention
from seq2seq.nn.recording import recording
from seq2seq.registry import Factory
from seq2seq.text.vocab import Vocab
from seq2seq.training.optimizers import Muon
from seq2seq.training.precision import cpu_has_bf16

for package in (seq2seq.models.encoders, seq2seq.models.decoders):
    for found in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        importlib.import_module(found.name)

SOURCE_VOCAB = Vocab((*Vocab.special, *(f"s{i}" for i in range(15))))
TARGET_VOCAB = Vocab((*Vocab.special, *(f"t{i}" for i in range(19))))

# Small values for options of these names. The decoder is wider than the encoder unless a choice forbids it.
ENCODER_SIZES = {"d_model": 12, "num_layers": 2, "num_heads": 3, "d_ff": 20}
DECODER_SIZES = {"d_model": 16, "num_layers": 3, "num_heads": 4, "d_ff": 28}
NEEDED: dict[Any, dict[str, Any]] = {"dot": {"d_model": ENCODER_SIZES["d_model"]}}

B, BEAM, S, T = 3, 2, 5, 7
LENGTHS = torch.tensor([5, 2, 4])


def choices(component: type, sizes: dict[str, int]) -> list[dict[str, Any]]:
    """The small options, then the same with each other choice of each Literal and bool."""
    signature = inspect.signature(component).parameters
    hints = get_type_hints(component.__init__, include_extras=False)
    base = {name: size for name, size in sizes.items() if name in signature}
    result = [base]
    for name, parameter in signature.items():
        hint = hints[name]
        values = get_args(hint) if get_origin(hint) is Literal else (True, False) if hint is bool else ()
        result += [{**base, name: value, **NEEDED.get(value, {})} for value in values if value != parameter.default]
    return result


@dataclass(frozen=True)
class Pair:
    encoder: str
    encoder_options: dict[str, Any]
    decoder: str
    decoder_options: dict[str, Any]

    def __str__(self) -> str:
        def text(name: str, options: dict[str, Any]) -> str:
            return "_".join([name, *(f"{k}={v}" for k, v in options.items() if k not in ENCODER_SIZES)])

        return f"{text(self.encoder, self.encoder_options)}-{text(self.decoder, self.decoder_options)}"

    def build(self, dropout: float = 0.0, seed: int = 11) -> EncoderDecoder:
        torch.manual_seed(seed)
        encoder = {**self.encoder_options, "dropout": dropout}
        decoder = {**self.decoder_options, "dropout": dropout}
        return EncoderDecoder(
            SOURCE_VOCAB,
            TARGET_VOCAB,
            encoder=Factory(encoders.components[self.encoder], self.encoder, encoder),
            decoder=Factory(decoders.components[self.decoder], self.decoder, decoder),
        )


@dataclass(frozen=True)
class Stack:
    """A decoder-only model."""

    decoder: str
    options: dict[str, Any]

    def __str__(self) -> str:
        options = [f"{k}={v}" for k, v in self.options.items() if k not in DECODER_SIZES and v != "none"]
        return "_".join(["only", self.decoder, *options])

    def build(self, dropout: float = 0.0, seed: int = 11) -> DecoderOnly:
        torch.manual_seed(seed)
        options = {**self.options, "dropout": dropout}
        decoder = Factory(decoders.components[self.decoder], self.decoder, options)
        return DecoderOnly(TARGET_VOCAB, TARGET_VOCAB, decoder=decoder)


def stacks() -> list[Stack]:
    """Each decoder that can do without a source, with each choice that does not speak of one."""
    result = []
    for name, component in sorted(decoders.components.items()):
        if not issubclass(component, StackDecoder):
            continue
        no_source = {"attention": "none"} if "attention" in inspect.signature(component).parameters else {}
        own = [
            options
            for options in choices(component, DECODER_SIZES)
            if not options.keys() & {"attention", "context_input", "cross_attention"}
        ]
        result += [Stack(name, {**options, **no_source}) for options in own]
    return result


def pairs() -> list[Pair]:
    """All encoders with all decoders as they are; the other choices with the first of the other kind."""
    all_encoders = [
        (name, choices(c, ENCODER_SIZES)) for name, c in sorted(encoders.components.items()) if not c.own_tokenizer
    ]
    all_decoders = [(name, choices(c, DECODER_SIZES)) for name, c in sorted(decoders.components.items())]
    result = [Pair(e, e_all[0], d, d_all[0]) for e, e_all in all_encoders for d, d_all in all_decoders]
    first_encoder, first_decoder = ((name, variants[0]) for name, variants in (all_encoders[0], all_decoders[0]))
    for name, variants in all_encoders:
        result += [Pair(name, options, *first_decoder) for options in variants[1:]]
    for name, variants in all_decoders:
        result += [Pair(*first_encoder, name, options) for options in variants[1:]]
    return result


every_model = pytest.mark.parametrize("pair", [*pairs(), *stacks()], ids=str)


@pytest.fixture
def source() -> tuple[Tensor, Tensor]:
    """Ids (B,S) and mask, padded at the right."""
    mask = torch.arange(S) < LENGTHS[:, None]
    generator = torch.Generator().manual_seed(5)
    return torch.randint(4, len(SOURCE_VOCAB), (B, S), generator=generator) * mask, mask


@pytest.fixture
def target() -> Tensor:
    """Ids (B,T), beginning with bos, without padding."""
    tokens = torch.randint(4, len(TARGET_VOCAB), (B, T), generator=torch.Generator().manual_seed(6))
    tokens[:, 0] = Vocab.bos
    return tokens


def make_batch(source: tuple[Tensor, Tensor], target: Tensor, mask: Tensor | None = None) -> Batch:
    mask = torch.ones_like(target, dtype=torch.bool) if mask is None else mask
    labels = target.roll(-1, dims=1)
    return Batch(*source, target, mask, labels, tuple(range(len(target))), int(mask.sum()), int(source[1].sum()))


def forced(model: Model, source: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
    """Log-probabilities (B,T,V) under teacher forcing."""
    return model.head(model.features(make_batch(source, target))).log_softmax(dim=2)


def loss(model: Model, batch: Batch) -> Tensor:
    return nn.functional.cross_entropy(model.head(model.features(batch)).flatten(0, 1).float(), batch.labels.flatten())


def assert_close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=0)


@every_model
@torch.no_grad()
def test_step_by_step_equals_teacher_forcing(pair: Pair | Stack, source: tuple[Tensor, Tensor], target: Tensor) -> None:
    model = pair.build().eval()
    target = torch.cat((target, target[:, 1:].flip(1), target[:, 1:]), dim=1)  # longer than a cache is at first
    state: DecoderState = model.start(*source, max_length=target.size(1))
    expected = forced(model, source, target)
    for t in range(target.size(1)):
        logits, state = model.step(target[:, t], state)
        assert_close(logits.log_softmax(dim=1), expected[:, t])


@every_model
@torch.no_grad()
def test_reordered_beams_equal_teacher_forcing(
    pair: Pair | Stack, source: tuple[Tensor, Tensor], target: Tensor
) -> None:
    model = pair.build().eval()
    generator = torch.Generator().manual_seed(7)
    prefixes, rows = target[:, :1], torch.arange(B)
    state = model.start(*source, max_length=T)
    beams = torch.arange(B).repeat_interleave(BEAM)
    swapped = torch.tensor([1, 0, 2, 2, 5, 4])  # swap, keep the first twice, swap
    for index in (None, beams, swapped, torch.arange(B * BEAM), torch.tensor([0, 2, 4]), beams, swapped):
        if index is not None:
            state, rows, prefixes = state.reorder(index), rows[index], prefixes[index]
            tokens = torch.randint(4, len(TARGET_VOCAB), (len(rows), 1), generator=generator)
            prefixes = torch.cat((prefixes, tokens), dim=1)
        logits, state = model.step(prefixes[:, -1], state)
        expected = forced(model, (source[0][rows], source[1][rows]), prefixes)[:, -1]
        assert_close(logits.log_softmax(dim=1), expected)


@every_model
@torch.no_grad()
def test_select_keeps_the_right_sources(pair: Pair | Stack, source: tuple[Tensor, Tensor], target: Tensor) -> None:
    model = pair.build().eval()
    state = model.start(*source, max_length=T)
    _, state = model.step(target[:, 0], state)
    state = state.reorder(torch.arange(B).repeat_interleave(BEAM))
    seconds = torch.tensor([4, 5, 6, 7, 8, 9])
    _, state = model.step(seconds, state)
    state = state.select(torch.tensor([2, 0]))
    logits, state = model.step(torch.tensor([10, 11, 12, 13]), state)
    prefixes = torch.tensor([[Vocab.bos, 8, 10], [Vocab.bos, 9, 11], [Vocab.bos, 4, 12], [Vocab.bos, 5, 13]])
    rows = torch.tensor([2, 2, 0, 0])
    assert_close(logits.log_softmax(dim=1), forced(model, (source[0][rows], source[1][rows]), prefixes)[:, -1])
    state = state.select(torch.tensor([1])).reorder(torch.tensor([1, 0]))
    logits, state = model.step(torch.tensor([14, 15]), state)
    prefixes = torch.tensor([[Vocab.bos, 5, 13, 14], [Vocab.bos, 4, 12, 15]])
    first = torch.tensor([0, 0])
    assert_close(logits.log_softmax(dim=1), forced(model, (source[0][first], source[1][first]), prefixes)[:, -1])


@every_model
@torch.no_grad()
def test_padding_changes_nothing(pair: Pair | Stack, source: tuple[Tensor, Tensor], target: Tensor) -> None:
    model = pair.build().eval()
    tokens, mask = source
    expected = forced(model, source, target)
    wider = torch.cat((tokens.where(mask, torch.tensor(9)), torch.full((B, 3), 8)), dim=1)
    wider_mask = torch.cat((mask, torch.zeros(B, 3, dtype=torch.bool)), dim=1)
    longer = torch.cat((target, torch.full((B, 2), 7)), dim=1)
    longer_mask = torch.arange(T + 2).expand(B, -1) < T
    features = model.features(make_batch((wider, wider_mask), longer, longer_mask))
    assert_close(model.head(features).log_softmax(dim=2)[:, :T], expected)
    if isinstance(model, EncoderDecoder):
        memory, same = model.encoder(tokens, mask), model.encoder(wider, wider_mask)
        assert_close(same.states[:, :S][mask], memory.states[mask])
        assert_close(same.final, memory.final)


@every_model
@torch.no_grad()
def test_neighbours_change_nothing(pair: Pair | Stack, source: tuple[Tensor, Tensor], target: Tensor) -> None:
    model = pair.build().eval()
    expected = forced(model, source, target)
    for i, length in enumerate(LENGTHS.tolist()):
        alone = (source[0][i : i + 1, :length], source[1][i : i + 1, :length])
        assert_close(forced(model, alone, target[i : i + 1])[0], expected[i])


@every_model
@torch.no_grad()
def test_source_matters(pair: Pair | Stack, source: tuple[Tensor, Tensor], target: Tensor) -> None:
    """Each source token, the first and the last too; else the tests of padding would pass without looking."""
    model = pair.build().eval()
    expected = forced(model, source, target)
    for column in range(S):
        changed = source[0].clone()
        changed[:, column] = 4 + (changed[:, column] - 3) % 15
        difference = (forced(model, (changed, source[1]), target) - expected).abs().amax(dim=(1, 2))
        assert torch.equal(difference > 1e-6, source[1][:, column])


@every_model
def test_every_parameter_gets_a_gradient(pair: Pair | Stack, source: tuple[Tensor, Tensor], target: Tensor) -> None:
    model = pair.build()
    before = loss(model, make_batch(source, target))
    before.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 1e-2 * parameter.grad  # type: ignore[operator]
    assert loss(model, make_batch(source, target)) < before


@every_model
@torch.no_grad()
def test_no_feature_sees_the_future(pair: Pair | Stack, source: tuple[Tensor, Tensor], target: Tensor) -> None:
    model = pair.build().eval()
    features = model.features(make_batch(source, target))
    for t in range(T):
        changed = target.clone()
        changed[:, t] = 4 + (changed[:, t] + 3) % 19
        difference = (model.features(make_batch(source, changed)) - features).abs().amax(dim=(0, 2))
        assert (difference[:t] == 0).all()
        assert (difference[t:] > 1e-6).all()


@every_model
def test_source_without_any_token_gives_numbers(
    pair: Pair | Stack, source: tuple[Tensor, Tensor], target: Tensor
) -> None:
    model = pair.build()
    tokens, mask = source
    mask = mask.clone()
    mask[1] = False
    features = model.features(make_batch((tokens, mask), target))
    assert features.isfinite().all()
    features.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    with torch.no_grad():
        changed = tokens.clone()
        changed[1] += 1
        assert_close(model.features(make_batch((changed, mask), target)), features.detach())
        logits, _ = model.step(target[:, 0], model.start(tokens, mask, max_length=T))
        assert logits.isfinite().all()


@every_model
def test_bfloat16_autocast(pair: Pair | Stack, source: tuple[Tensor, Tensor], target: Tensor) -> None:
    model = pair.build()
    if not cpu_has_bf16() and any(isinstance(module, nn.LSTM) for module in model.modules()):
        pytest.skip("torch has no LSTM in bf16 on such a CPU, on which precision=bf16 is refused")
    batch = make_batch(source, target)
    exact = model.features(batch).detach()
    with torch.autocast("cpu", torch.bfloat16):
        features = model.features(batch)
        value = loss(model, batch)
    value.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert 0 < (features.float() - exact).abs().mean() < 0.05 * exact.abs().max()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        state = model.eval().start(*source, max_length=T)
        for t in range(T):
            logits, state = model.step(target[:, t], state)
            expected = model.head(model.features(make_batch(source, target[:, : t + 1])))[:, -1]
            torch.testing.assert_close(logits, expected, atol=0.1, rtol=0.05)


@every_model
@torch.no_grad()
def test_bfloat16_weights(pair: Pair | Stack, source: tuple[Tensor, Tensor], target: Tensor) -> None:
    model = pair.build().eval().bfloat16()
    assert model.features(make_batch(source, target)).dtype == torch.bfloat16
    logits, _ = model.step(target[:, 0], model.start(*source, max_length=T))
    assert logits.dtype == torch.bfloat16


@every_model
@torch.no_grad()
def test_dropout_only_in_training(pair: Pair | Stack, source: tuple[Tensor, Tensor], target: Tensor) -> None:
    model, without = pair.build(dropout=0.4), pair.build()
    batch = make_batch(source, target)
    assert not torch.equal(model.features(batch), model.features(batch))
    assert_close(model.eval().features(batch), without.features(batch))


@every_model
@torch.no_grad()
def test_state_dict_round_trip(pair: Pair | Stack, source: tuple[Tensor, Tensor], target: Tensor) -> None:
    model = pair.build()
    features = model.features(make_batch(source, target))
    assert list(model.state_dict()) == [name for name, _ in model.named_parameters()]
    other = pair.build()
    for parameter in other.parameters():
        parameter.zero_()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.features(make_batch(source, target)), features)


@every_model
def test_builds_on_the_meta_device(pair: Pair | Stack) -> None:
    with torch.device("meta"):
        model = pair.build()
    assert all(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))
    assert {n: p.shape for n, p in model.named_parameters()} == {n: p.shape for n, p in pair.build().named_parameters()}


@every_model
def test_weights_come_from_the_global_generator(pair: Pair | Stack) -> None:
    first, second, other = pair.build(), pair.build(), pair.build(seed=12)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    random = [(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True) if a.dim() > 1]
    assert not any(torch.equal(a, b) for a, b in random)
    assert not any(
        e.weight[Vocab.pad].any() for e in first.modules() if isinstance(e, nn.Embedding) and e.padding_idx == 0
    )


def attends(pair: Pair | Stack) -> bool:
    return pair.decoder == "transformer" if isinstance(pair, Stack) else pair.decoder_options.get("attention") != "none"


@every_model
@torch.no_grad()
def test_attention_weights(pair: Pair | Stack, source: tuple[Tensor, Tensor], target: Tensor) -> None:
    model = pair.build().eval()
    weights = model.attention_weights(make_batch(source, target))
    assert (weights is not None) == attends(pair)
    if weights is None:
        return
    assert weights.shape == (B, T, S)
    assert_close(weights.sum(dim=2), torch.ones(B, T))
    assert (weights >= 0).all()
    assert not weights[~source[1][:, None].expand_as(weights)].any()
    assert (weights.std(dim=1)[source[1]] > 0).all()  # each target token has its own

    longer = torch.cat((target, torch.full((B, 2), 7)), dim=1)
    longer_mask = torch.arange(T + 2).expand(B, -1) < T
    wider = tuple(torch.cat((part, part.new_zeros(B, 3)), dim=1) for part in source)
    padded = model.attention_weights(make_batch((wider[0], wider[1]), longer, longer_mask))
    assert padded is not None
    assert_close(padded[:, :T, :S], weights)
    for i, length in enumerate(LENGTHS.tolist()):
        alone = model.attention_weights(
            make_batch((source[0][i : i + 1, :length], source[1][i : i + 1, :length]), target[i : i + 1])
        )
        assert alone is not None
        assert_close(alone[0], weights[i, :, :length])


@every_model
@torch.no_grad()
def test_attention_is_that_of_the_search(pair: Pair | Stack, source: tuple[Tensor, Tensor], target: Tensor) -> None:
    """Layer by layer; and to look at it changes no bit of what the model says."""
    model = pair.build().eval()
    batch = make_batch(source, target)
    features = model.features(batch)
    with recording(model.decoder) as forced_layers:
        assert torch.equal(model.features(batch), features)
    assert torch.equal(model.features(batch), features)
    with recording(model.decoder) as stepped_layers:
        state = model.start(*source, max_length=T)
        for t in range(T):
            _, state = model.step(target[:, t], state)
    assert len(forced_layers) == len(stepped_layers)
    assert (len(forced_layers) > 0) == (attends(pair) and isinstance(pair, Pair))
    for forced_layer, stepped in zip(forced_layers, stepped_layers, strict=True):
        assert stepped.shape == (B, T, S)
        assert_close(stepped, forced_layer)


@every_model
@torch.no_grad()
def test_attention_to_a_source_without_any_token(
    pair: Pair | Stack, source: tuple[Tensor, Tensor], target: Tensor
) -> None:
    mask = source[1].clone()
    mask[1] = False
    weights = pair.build().eval().attention_weights(make_batch((source[0], mask), target))
    if weights is not None:
        assert not weights[1].any()
        assert_close(weights[::2].sum(dim=2), torch.ones(2, T))


@every_model
def test_muon_finds_the_matrices(pair: Pair | Stack) -> None:
    """By their names: all but tables, heads and vectors, and those that are stored in one each for itself."""
    model = pair.build()
    expected = {}
    for path, module in model.named_modules():
        for name, weight in module.named_parameters(recurse=False):
            is_table = isinstance(module, nn.Embedding) or module is model.head
            if not is_table and weight.dim() > 1 and weight.size(0) > 1 and weight[0].numel() > 1:
                expected[f"{path}.{name}"] = [weight.size(0)]
    for path, module in model.named_modules():
        if isinstance(module, SelfAttention):
            heads = (module.num_heads, module.num_kv_heads, module.num_kv_heads)
            expected[f"{path}.qkv.weight"] = [number * module.head_dim for number in heads]
        elif isinstance(module, CrossAttention):
            expected[f"{path}.key_value.weight"] = [module.num_kv_heads * module.head_dim] * 2
        elif isinstance(module, nn.RNNBase):
            gates = {"LSTM": 4, "GRU": 3}.get(module.mode, 1)
            names = [name for name, weight in module.named_parameters() if weight.dim() > 1]
            expected |= {f"{path}.{name}": [module.hidden_size] * gates for name in names}
    groups = [group for group in Muon(model.named_parameters()).param_groups if "rows" in group]
    found = {name: rows for group in groups for name, rows in zip(group["param_names"], group["rows"], strict=True)}
    assert found == expected
