"""Pretrained models against the transformers library itself: loss, greedy and beam search, in float32."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from seq2seq.data.batch import Batch, make_batch
from seq2seq.data.corpus import Example
from seq2seq.data.demo import Demo
from seq2seq.models.architecture import read_architecture
from seq2seq.models.encoders.pretrained import PretrainedEncoder
from seq2seq.models.pretrained import Pretrained
from seq2seq.search.beam import Beam
from seq2seq.text.huggingface import HuggingFaceTokenizer
from seq2seq.text.vocab import Vocab

from ..pretrained_models import FAMILIES, make, multilingual

MODELS = [name for name in FAMILIES if name != "bert"]
CAUSAL = ("gpt2", "llama")
LANGUAGES = {"m2m100": {"source_language": "en", "target_language": "de"}}
TABLES = ("shared.weight", "embed_tokens.weight", "wte.weight", "lm_head.weight")
NUM_STEPS = 90


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    read = Demo(train=300).split("train")
    assert read is not None
    examples = list(read.read())
    examples[3] = Example("a dog", examples[3].target, 3)  # much shorter than its neighbours
    return examples


class Case:
    """One family, its tokenizer, our model and theirs with the same weights."""

    def __init__(self, family: str, folder: Path, examples: list[Example]) -> None:
        self.family = family
        self.examples = examples
        make(family, folder, [text for example in examples for text in (example.source, example.target)])
        self.tokenizer = HuggingFaceTokenizer(path=str(folder))
        self.tokenizer.train([])
        vocab = self.tokenizer.vocab
        self.model = Pretrained(vocab, vocab, path=str(folder), **LANGUAGES.get(family, {}))
        self.model.load_outside_weights()
        self.model.eval()  # without any dropout, in training, too
        auto = transformers.AutoModelForCausalLM if family in CAUSAL else transformers.AutoModelForSeq2SeqLM
        self.theirs = auto.from_pretrained(folder).eval()
        self.library = transformers.AutoTokenizer.from_pretrained(folder)
        if family == "m2m100":
            self.library.src_lang, self.library.tgt_lang = "en", "de"

    def batch(self, examples: list[Example]) -> Batch:
        sources = self.tokenizer.encode_batch([example.source for example in examples])
        targets = self.tokenizer.as_target().encode_batch([example.target for example in examples])
        return make_batch(sources, targets, range(len(examples)))

    def losses(self, examples: list[Example]) -> torch.Tensor:
        """Of each example the sum over its tokens and eos, by our model."""
        batch = self.batch(examples)
        logits = self.model.head(self.model.features(batch))
        labels = batch.labels
        found = torch.nn.functional.cross_entropy(
            logits.transpose(1, 2), labels, ignore_index=Vocab.pad, reduction="none"
        )
        return found.sum(dim=1)

    def their_loss(self, example: Example) -> torch.Tensor:
        inputs, labels, start = self.their_inputs(example)
        logits = self.theirs(**inputs).logits.log_softmax(-1)[0, start : start + len(labels)]
        return -logits.gather(1, torch.tensor(labels)[:, None]).sum()

    def their_inputs(self, example: Example) -> tuple[dict[str, Any], list[int], int]:
        """The model's arguments, the ids it has to say, and the place where the first is said."""
        told = self.library(text_target=example.target, add_special_tokens=False).input_ids
        labels = [*told, self.library.eos_token_id]
        if self.family in CAUSAL:
            prompt = self.prompt(example)
            return {"input_ids": torch.tensor([prompt + labels])}, labels, len(prompt) - 1
        first = self.first()
        inputs = {**self.library(example.source, return_tensors="pt")}
        return {**inputs, "decoder_input_ids": torch.tensor([first + labels[:-1]])}, labels, len(first) - 1

    def prompt(self, example: Example) -> list[int]:
        newline: list[int] = self.library("\n", add_special_tokens=False).input_ids
        return [*self.library(example.source).input_ids, *newline]

    def first(self) -> list[int]:
        start = self.theirs.config.decoder_start_token_id
        return {
            "bart": [start, 0],
            "m2m100": [start, self.library.get_lang_id("de") if self.family == "m2m100" else 0],
        }.get(self.family, [start])

    def generated(self, example: Example, beam_size: int, length: int) -> list[int]:
        never = {self.library.pad_token_id, self.library.bos_token_id} - {self.library.eos_token_id, None}
        given: dict[str, Any] = {
            "num_beams": beam_size,
            "max_new_tokens": length,
            "do_sample": False,
            "early_stopping": True,
            "length_penalty": 1.0,
            "bad_words_ids": [[token] for token in never] or None,
            "pad_token_id": self.library.eos_token_id,
        }
        self.theirs.generation_config.forced_eos_token_id = None
        self.theirs.generation_config.forced_bos_token_id = None
        if self.family in CAUSAL:
            prompt = self.prompt(example)
            found = self.theirs.generate(
                input_ids=torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), **given
            )
            return [int(token) for token in found[0, len(prompt) :]]
        inputs = self.library(example.source, return_tensors="pt")
        first = self.first()
        found = self.theirs.generate(**inputs, decoder_input_ids=torch.tensor([first]), **given)
        return [int(token) for token in found[0, len(first) :]]


@pytest.fixture(scope="module", params=MODELS)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, examples: list[Example]) -> Case:
    return Case(request.param, tmp_path_factory.mktemp(request.param), examples)


def test_losses(case: Case) -> None:
    with torch.no_grad():
        ours = case.losses(case.examples[:6])
        theirs = torch.stack([case.their_loss(example) for example in case.examples[:6]])
    torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=5e-5)


def test_gradients(case: Case) -> None:
    """One update by each; then the losses are the same again."""
    for model, loss in (
        (case.model, lambda: case.losses(case.examples[:3]).sum()),
        (case.theirs, lambda: sum(case.their_loss(example) for example in case.examples[:3])),
    ):
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-2)
        loss().backward()
        optimizer.step()
        optimizer.zero_grad()
    test_losses(case)


def test_search(case: Case) -> None:
    """Of a model that has learned to end: at the limit of the length the library gives eos for nothing, so that what
    does not end there may not be the best.
    """
    optimizer = torch.optim.AdamW([p for p in case.model.parameters() if p.requires_grad], lr=5e-3)
    for step in range(NUM_STEPS):
        batch = case.examples[step % 4 * 10 : step % 4 * 10 + 10]
        (case.losses(batch).sum() / case.batch(batch).num_tokens).backward()
        optimizer.step()
        optimizer.zero_grad()
    give_weights(case.model, case.theirs)
    test_losses(case)
    batch = case.batch(case.examples[:8])
    for beam_size in (1, 4):
        found = Beam(beam_size=beam_size, max_length=40, length_penalty=1.0)(
            case.model, batch.source, batch.source_mask
        )
        compared = 0
        for example, hypotheses in zip(case.examples[:8], found, strict=True):
            ours = [case.tokenizer.vocab.theirs[token] for token in hypotheses[0].tokens]
            theirs = case.generated(example, beam_size, 41)
            if theirs[-1] == case.library.eos_token_id:
                assert [*ours, case.library.eos_token_id] == theirs
                compared += 1
        assert compared >= 5


def give_weights(ours: Pretrained, theirs: Any) -> None:
    """Ours to theirs, in their order of tokens."""
    rows = torch.tensor(ours.numbers.rows)
    known = rows >= 0
    with torch.no_grad():
        for name, tensor in theirs.state_dict(keep_vars=True).items():
            table = (
                ours.head.weight
                if tensor is theirs.get_output_embeddings().weight
                else ours.body.state_dict().get(name)
            )
            if table is None or name == "final_logits_bias":
                continue
            if name.endswith(TABLES):
                tensor.data[rows[known]] = table[known]
            else:
                tensor.data.copy_(table)


def test_text_alone(tmp_path: Path, examples: list[Example]) -> None:
    """Without a source the first token follows the token for an end."""
    case = Case("gpt2", tmp_path, examples)
    target = case.tokenizer.encode(examples[0].target)
    batch = make_batch(None, [target], [0])
    with torch.no_grad():
        logits = case.model.eval().head(case.model.features(batch)).log_softmax(-1)
        ours = logits[0].gather(1, batch.labels[0][:, None]).sum()
        end = case.library.eos_token_id
        ids = [end, *case.library(examples[0].target).input_ids, end]
        theirs = case.theirs(input_ids=torch.tensor([ids])).logits.log_softmax(-1)[0, :-1]
    torch.testing.assert_close(ours, theirs.gather(1, torch.tensor(ids[1:])[:, None]).sum(), atol=1e-3, rtol=1e-5)


def test_an_encoder_alone(tmp_path: Path, examples: list[Example]) -> None:
    make("bert", tmp_path, [example.source for example in examples])
    tokenizer = HuggingFaceTokenizer(path=str(tmp_path))
    tokenizer.train([])
    encoder = PretrainedEncoder(tokenizer.vocab, path=str(tmp_path)).eval()
    encoder.load_outside_weights()
    theirs = transformers.AutoModel.from_pretrained(tmp_path).eval()
    library = transformers.AutoTokenizer.from_pretrained(tmp_path)
    sources = [example.source for example in examples[:4]]
    batch = make_batch(tokenizer.encode_batch(sources), [[5]] * 4, range(4))
    with torch.no_grad():
        memory = encoder(batch.source, batch.source_mask)
        for row, source in enumerate(sources):
            expected = theirs(**library(source, return_tensors="pt")).last_hidden_state[0, 1:]
            torch.testing.assert_close(memory.states[row, : len(expected)], expected, atol=1e-5, rtol=1e-4)
            assert int(memory.mask[row].sum()) == len(expected)


def test_what_a_run_has_to_know(tmp_path: Path, examples: list[Example]) -> None:
    lines = [example.source for example in examples]
    found = read_architecture(str(make("m2m100", tmp_path / "m2m100", lines)), "en", "de")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "m2m100")
    assert found["before"] == [tokenizer.get_lang_id("en")]
    assert found["after"] == [tokenizer.eos_token_id]
    assert found["first"] == [tokenizer.eos_token_id, tokenizer.get_lang_id("de")]
    found = read_architecture(str(make("t5", tmp_path / "t5", lines)))
    assert (found["before"], found["after"], found["first"]) == ([], [1], [0])


@pytest.mark.parametrize("kind", ["mbart", "mbart50", "nllb"])
def test_models_of_several_languages(tmp_path: Path, examples: list[Example], kind: str) -> None:
    """What stands around sources and before targets is what the model was trained with."""
    multilingual(tmp_path, [text for example in examples for text in (example.source, example.target)], kind)
    languages = ("eng_Latn", "deu_Latn") if kind == "nllb" else ("en_XX", "de_DE")
    tokenizer = HuggingFaceTokenizer(path=str(tmp_path))
    tokenizer.train([])
    model = Pretrained(tokenizer.vocab, tokenizer.vocab, path=str(tmp_path), source_language=languages[0],
                       target_language=languages[1])  # fmt: skip
    model.load_outside_weights()
    sources = tokenizer.encode_batch([example.source for example in examples[:4]])
    batch = make_batch(sources, tokenizer.encode_batch([example.target for example in examples[:4]]), range(4))
    library = transformers.AutoTokenizer.from_pretrained(tmp_path)
    library.src_lang, library.tgt_lang = languages
    source, target = (library.convert_tokens_to_ids(language) for language in languages)
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        logits = model.eval().head(model.features(batch)).log_softmax(-1)
        ours = logits.gather(2, batch.labels[:, :, None])[:, :, 0]
        for row, example in enumerate(examples[:4]):
            told = [*library(example.target, add_special_tokens=False).input_ids, library.eos_token_id]
            read = library(example.source, return_tensors="pt").input_ids
            assert source in read[0]
            first = [target] if kind == "mbart" else [library.eos_token_id, target]
            given = torch.tensor([[*first, *told[:-1]]])
            found = theirs(input_ids=read, decoder_input_ids=given).logits.log_softmax(-1)[0, len(first) - 1 :]
            expected = found.gather(1, torch.tensor(told)[:, None])[:, 0]
            torch.testing.assert_close(ours[row, : len(told)], expected, atol=1e-4, rtol=1e-4)
