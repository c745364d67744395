import math
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from seq2seq.data.corpus import Example, ListSource
from seq2seq.data.encoded import encode_source
from seq2seq.metrics.distinct import Distinct
from seq2seq.metrics.sacrebleu import BLEU
from seq2seq.search.beam import Beam
from seq2seq.search.translator import Interrupted, Translator
from seq2seq.text.plain import WordTokenizer
from seq2seq.training.evaluator import TeacherForced, TextSize, ValidationPart, Validator, teacher_forced, text_size

# Nine words, as in the vocabulary of the tiny models.
PAIRS = [("a b c", "d e"), ("b", "f g h i"), ("c c a b a", "e"), ("f", "a b"), ("h i", "g g g")]
EXAMPLES = [Example(source, target, number) for number, (source, target) in enumerate(PAIRS)]


@pytest.fixture
def validator(make_model) -> Validator:
    model = make_model("transformer", dropout=0.5)
    tokenizer = WordTokenizer()
    tokenizer.train([text for pair in PAIRS for text in pair])
    assert len(tokenizer.vocab) == 13
    encoded = encode_source(ListSource(EXAMPLES), tokenizer, tokenizer, max_length=None)
    return Validator(
        model=model,
        parts={"": ValidationPart(encoded, EXAMPLES, "de")},
        translator=Translator(
            model, tokenizer, tokenizer, Beam(beam_size=1), max_tokens=12, max_length=9, device=torch.device("cpu")
        ),
        max_tokens=12,
        device=torch.device("cpu"),
        autocast=nullcontext,
        metrics={"bleu": BLEU(), "distinct": Distinct()},
    )


def test_the_loss_is_the_mean_over_label_tokens_without_dropout(validator: Validator) -> None:
    model, tokenizer = validator.model.eval(), validator.translator.target_tokenizer
    total, count, hits = 0.0, 0, 0
    for source, target in PAIRS:  # word by word, as a search would do it
        ids = torch.tensor([[*tokenizer.encode(source), 3]])
        labels = [*tokenizer.encode(target), 3]
        state = model.start(ids, ids > 0, max_length=9)
        for token, label in zip([2, *labels], labels, strict=False):
            logits, state = model.step(torch.tensor([token]), state)
            total -= logits.log_softmax(dim=-1)[0, label].item()
            count += 1
            hits += int(logits[0].argmax().item() == label)
    model.train()
    metrics, _ = validator(lambda: False)
    assert metrics["loss"] == pytest.approx(total / count, rel=1e-5)
    assert metrics["perplexity"] == pytest.approx(math.exp(total / count), rel=1e-5)
    assert metrics["token_accuracy"] == pytest.approx(100 * hits / count)


def test_it_translates_in_the_order_of_the_split(validator: Validator) -> None:
    metrics, translations = validator(lambda: False)
    assert translations == [found[0] for found in validator.translator.translate([s for s, _ in PAIRS])]
    assert set(metrics) == {"loss", "perplexity", "token_accuracy", "bleu", "distinct-1", "distinct-2"}


def test_it_shows_where_the_first_translations_come_from(validator: Validator) -> None:
    _, translations = validator(lambda: False)
    maps = validator.attention_maps(translations[:3])
    names = validator.translator.target_tokenizer.vocab.tokens
    assert [attention.source for attention in maps] == [[*source.split(), "</s>"] for source, _ in PAIRS[:3]]
    assert [attention.target for attention in maps] == [
        [*(names[i] for i in t.parts[0][1]), "</s>"] for t in translations[:3]
    ]
    for attention in maps:
        assert attention.weights().shape == (len(attention.target), len(attention.source))
        assert attention.weights().sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_training_goes_on_as_if_it_had_not_been(validator: Validator) -> None:
    model = validator.model
    model.train()
    frozen = next(module for module in model.modules() if isinstance(module, nn.Dropout))
    frozen.eval()
    modes = [module.training for module in model.modules()]
    torch.manual_seed(5)
    before = torch.get_rng_state()
    validator.attention_maps(validator(lambda: False)[1])
    assert torch.equal(torch.get_rng_state(), before)
    assert [module.training for module in model.modules()] == modes
    assert all(weight.requires_grad and not weight.is_inference() for weight in model.parameters())


@pytest.mark.parametrize("moment", [1, 2, 3, 4])
def test_it_can_be_interrupted_between_batches(validator: Validator, moment: int) -> None:
    asked: list[int] = []

    def should_stop() -> bool:
        asked.append(1)
        return len(asked) == moment

    validator.model.train()
    with pytest.raises(Interrupted):
        validator(should_stop)
    assert len(asked) == moment
    assert all(module.training for module in validator.model.modules())


def test_an_empty_side_does_not_count(validator: Validator) -> None:
    arguments = {"max_tokens": 12, "device": torch.device("cpu"), "autocast": nullcontext}
    tokenizer = validator.translator.target_tokenizer
    more = ListSource([*EXAMPLES, Example("", "a b", 5), Example("a", "", 6)])
    corpus = encode_source(more, tokenizer, tokenizer, max_length=None)
    found = teacher_forced(validator.model, corpus, **arguments)
    assert found == teacher_forced(validator.model, validator.parts[""].corpus, **arguments)
    assert isinstance(found, TeacherForced)
    assert found.num_tokens == sum(len(target.split()) + 1 for _, target in PAIRS)


def test_perplexities_of_words_and_bytes() -> None:
    size = TextSize(num_words=20, num_bytes=80)
    found = TeacherForced(loss=2.0, token_accuracy=50.0, num_tokens=40).per_text(size)
    assert found == pytest.approx(
        {"word_perplexity": math.exp(4), "byte_perplexity": math.e, "bits_per_byte": 1 / math.log(2)}
    )
    bad = TeacherForced(1e4, 0.0, 40).per_text(TextSize(1, 10**5))
    assert bad == pytest.approx(
        {"word_perplexity": math.inf, "byte_perplexity": math.exp(4), "bits_per_byte": 4 / math.log(2)}
    )
    assert TeacherForced(2.0, 50.0, 40).per_text(None) == {}


def test_the_size_of_what_is_in_the_corpus(validator: Validator) -> None:
    tokenizer = validator.translator.target_tokenizer
    lines = [("a", "a b"), ("a", ""), ("", "c"), ("b", "d  e f")]
    examples = [Example(source, target, 2 * number) for number, (source, target) in enumerate(lines)]
    corpus = encode_source(ListSource(examples), tokenizer, tokenizer, max_length=None)
    assert text_size(corpus, examples, tokenizer.vocab.unk) == TextSize(2 + 1 + 3 + 1, 3 + 1 + 6 + 1)
    unknown = [Example("a", "a xyz", 0)]
    corpus = encode_source(ListSource(unknown), tokenizer, tokenizer, max_length=None)
    assert text_size(corpus, unknown, tokenizer.vocab.unk) is None
