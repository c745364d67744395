from collections.abc import Callable

import pytest
import torch
from torch import nn

from seq2seq.errors import ConfigError
from seq2seq.models.pretrained import Pretrained
from seq2seq.text.huggingface import NO_ROW, HuggingFaceTokenizer
from seq2seq.text.vocab import Vocab
from seq2seq.training.optimizers import Muon

from ...pretrained_models import FAMILIES, make

LINES = [
    f"the {size} dog {verb} number {n}" for n in range(40) for size in ("small", "old") for verb in ("sings", "eats")
]
LANGUAGES = {"m2m100": {"source_language": "en", "target_language": "de"}}
Build = Callable[..., Pretrained]


@pytest.fixture(scope="module", params=[name for name in FAMILIES if name != "bert"])
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def build(family: str, tmp_path_factory: pytest.TempPathFactory) -> Build:
    folder = make(family, tmp_path_factory.mktemp(family), LINES)

    def build(*symbols: str, **options: object) -> Pretrained:
        tokenizer = HuggingFaceTokenizer(path=str(folder))
        tokenizer.train([], symbols)
        given = {**LANGUAGES.get(family, {}), **options}
        return Pretrained(tokenizer.vocab, tokenizer.vocab, path=str(folder), **given)  # type: ignore[arg-type]

    return build


def test_each_table_of_tokens_is_there_once(build: Build, family: str) -> None:
    """What the library ties stays tied, to the head too."""
    model = build()
    size = len(model.numbers.rows)
    tables = [name for name, weight in model.named_parameters() if weight.dim() == 2 and size in weight.shape]
    assert len(tables) == (2 if family == "llama" else 1)


def test_every_weight_is_trained(build: Build) -> None:
    """A step of Muon, which has to tell tables from matrices, changes every one, and no table is orthogonalized."""
    model = build()
    before = {name: weight.detach().clone() for name, weight in model.named_parameters() if weight.requires_grad}
    optimizer = Muon(model.named_parameters(), lr=1e-2)
    (matrices,) = [group["params"] for group in optimizer.param_groups if "rows" in group]
    tables = {id(module.weight) for module in model.body.modules() if isinstance(module, nn.Embedding)} | {
        id(model.head.weight)
    }
    assert not tables & {id(weight) for weight in matrices}
    for weight in model.parameters():
        weight.grad = torch.randn_like(weight) if weight.requires_grad else None
    optimizer.step()
    assert all(not torch.equal(weight, before[name]) for name, weight in model.named_parameters() if name in before)


def test_new_tokens_and_absent_ones(build: Build) -> None:
    model = build("<2de>", "<2fr>")
    model.load_outside_weights()
    rows = torch.tensor(model.numbers.rows)
    weight, bias = model.head.weight.detach(), model.head.bias.detach()
    absent = rows == NO_ROW
    assert (bias[absent] < -1e8).all()
    assert not weight[absent].any()
    added = rows >= model.body.config.vocab_size
    known = ~absent & ~added
    if added.any():  # T5 and M2M100 have rows to spare
        torch.testing.assert_close(weight[added], weight[known].mean(dim=0).expand_as(weight[added]))


def test_lora_leaves_what_it_is_added_to(build: Build) -> None:
    plain, adapted = build(), build(adapter="lora", lora_rank=2)
    for model in (plain, adapted):
        model.load_outside_weights()
    trained = {name for name, weight in adapted.named_parameters() if weight.requires_grad}
    assert trained
    assert all("lora_" in name for name in trained)
    old = dict(plain.named_parameters())
    for name, weight in adapted.named_parameters():
        if "lora_" not in name:
            torch.testing.assert_close(weight, old[name.replace(".base_layer", "")])


def test_frozen_parts(build: Build) -> None:
    model = build(freeze="*")
    assert not [name for name, weight in model.body.named_parameters() if weight.requires_grad]
    with pytest.raises(ValueError, match="freeze: nothing is called 'nothing'; there are: "):
        build(freeze=["nothing"])


def test_another_vocabulary_is_refused(build: Build) -> None:
    other = Vocab((*Vocab.special, "a"))
    with pytest.raises(ValueError, match="one vocabulary"):
        Pretrained(other, Vocab((*Vocab.special, "b")), path="")


def test_places(build: Build, family: str) -> None:
    model = build().eval()
    source = torch.full((1, 5), 7)
    mask = torch.ones_like(source, dtype=torch.bool)
    if family in ("t5", "llama", "m2m100"):
        assert model.places == (None, None)
        assert model.longest_output(5) is None
        model.start(source, mask, 700)
        return
    assert model.places == (600, 600)
    longest = model.longest_output(4)
    assert longest is not None
    model.start(source, mask, longest + 1)
    with pytest.raises(ConfigError, match=r"search\.max_length: sources and outputs of these lengths take 601 places"):
        model.start(source, mask, longest + 2)


def test_a_model_that_differs_is_refused(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build()
    model.load_outside_weights()
    monkeypatch.setattr(
        model, "step", lambda tokens, state: (model.head(torch.zeros(1, model.head.in_features)), state)
    )
    with pytest.raises(ConfigError, match="do not work here as in their library"):
        model.load_outside_weights()
