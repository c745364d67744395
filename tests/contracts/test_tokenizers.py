"""What every registered tokenizer promises."""

import importlib
import json
import os
import pickle
import pkgutil
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

import seq2seq.text
from seq2seq.errors import CheckpointError, DataError
from seq2seq.text.tokenizer import Tokenizer, tokenizers
from seq2seq.text.vocab import Vocab

for module in pkgutil.iter_modules(seq2seq.text.__path__):
    importlib.import_module(f"seq2seq.text.{module.name}")

NAMES = sorted(name for name, component in tokenizers.components.items() if component.learns)
EXACT = {"characters", "bytes"}  # these give back white space too
PLAIN = ["the cat sat on the mat", "a dog sat on the cat", "the dog and the mat", "a cat and a dog"]
ODD = [
    "",
    " ",
    "  leading and trailing  ",
    "several   spaces",
    "\ttabs\there\t",
    "nul \0 inside",
    "\u2581meta\u2581\u2581symbol",
    "\u2585 the private mark of sentencepiece",
    "e\u0301 a\u030a\u0323 combining",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea emoji",
    "\u65e5\u672c\u8a9e\u306e\u6587",
    "\u0627\u0644\u0639\u0631\u0628\u064a\u0629 \u202ertl\u202c",
    "no\u00a0break \u3000wide\u200bzero\ufeff",
    "\u2028 separators \u2029 \x85 \x0b \x0c \x1c",
    "\ufffd \u2047 \uffff \U0010ffff \ue000",
    "<s> </s> <pad> <unk> <0x0A> <0x41>",
    '"quoted", {braces} \\n %s',
]
BREAKS = ["one\ntwo", "one\r\ntwo", "\n", "end\r"]


def random_texts(seed: int, count: int) -> list[str]:
    generator = random.Random(seed)
    ranges = [
        (0, 0x7F),
        (0x20, 0x7E),
        (0x80, 0x24F),
        (0x300, 0x36F),
        (0x2000, 0x2BFF),
        (0x3040, 0x9FFF),
        (0xE000, 0x10FFFF),
    ]

    def text() -> str:
        return "".join(chr(generator.randint(*generator.choice(ranges))) for _ in range(generator.randrange(20)))

    return [text() for _ in range(count)]


SEEN = PLAIN * 5 + ODD + BREAKS + random_texts(seed=1, count=100)
UNSEEN = [*random_texts(seed=2, count=100), "half a pair: \ud83d", "z" * 5000]


def make(name: str, shared: bool = True) -> Tokenizer:
    tokenizer = tokenizers.components[name](shared=shared)  # type: ignore[call-arg]
    tokenizer.train(iter(SEEN))
    return tokenizer


@pytest.fixture(scope="module", params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def tokenizer(name: str) -> Tokenizer:
    return make(name)


def expected(name: str, text: str) -> str:
    return text.replace("\n", " ").replace("\r", " ") if name in EXACT else squeeze(text)


def squeeze(text: str) -> str:
    return " ".join(text.replace("\u2581", " ").split())


def test_the_four_of_this_package_are_registered() -> None:
    assert {"bytes", "characters", "sentencepiece", "words"} <= set(NAMES)


def test_text_comes_back(tokenizer: Tokenizer, name: str) -> None:
    for text in SEEN:
        decoded = tokenizer.decode(tokenizer.encode(text))
        assert (decoded if name in EXACT else squeeze(decoded)) == expected(name, text)


def test_ids_are_in_range_and_never_special(tokenizer: Tokenizer) -> None:
    assert tokenizer.vocab.tokens[:4] == Vocab.special
    for text in SEEN + UNSEEN:
        ids = tokenizer.encode(text)
        assert all(type(token) is int for token in ids)
        assert all(token == Vocab.unk or len(Vocab.special) <= token < len(tokenizer.vocab) for token in ids)


def test_text_gives_ids(tokenizer: Tokenizer) -> None:
    assert all(tokenizer.encode(text) for text in SEEN + UNSEEN if squeeze(text))
    assert tokenizer.encode("") == []


def test_a_batch_is_encoded_as_each_line_alone(tokenizer: Tokenizer) -> None:
    texts = SEEN + UNSEEN
    assert tokenizer.encode_batch(texts) == [tokenizer.encode(text) for text in texts]
    assert tokenizer.encode_batch(tuple(PLAIN)) == tokenizer.encode_batch(PLAIN)
    assert tokenizer.encode_batch([]) == []


def test_one_line_out_whatever_the_ids(tokenizer: Tokenizer) -> None:
    generator = random.Random(3)
    size = len(tokenizer.vocab)
    sequences = [[token] for token in range(size)]
    sequences += [[generator.randrange(size) for _ in range(generator.randrange(30))] for _ in range(300)]
    for ids in sequences:
        decoded = tokenizer.decode(ids)
        assert "\n" not in decoded
        assert "\r" not in decoded


def test_pad_bos_and_eos_are_not_decoded(tokenizer: Tokenizer) -> None:
    for text in PLAIN + ODD:
        ids = tokenizer.encode(text)
        middle = len(ids) // 2
        noisy = [Vocab.bos, *ids[:middle], Vocab.pad, Vocab.eos, *ids[middle:], Vocab.eos, Vocab.pad]
        assert tokenizer.decode(noisy) == tokenizer.decode(ids)
    assert tokenizer.decode([Vocab.bos, Vocab.eos, Vocab.pad]) == tokenizer.decode([]) == ""


def test_unk_can_be_seen(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("the cat")
    assert tokenizer.decode([*ids, Vocab.unk]).replace(" ", "") == "thecat\u2047"


def test_saving_and_loading_changes_nothing(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    loaded = type(tokenizer).load(tmp_path)
    assert loaded.vocab == tokenizer.vocab
    assert loaded.shared is True
    for text in SEEN + UNSEEN:
        ids = tokenizer.encode(text)
        assert loaded.encode(text) == ids
        assert loaded.decode(ids) == tokenizer.decode(ids)
    assert loaded.decode([Vocab.unk]) == tokenizer.decode([Vocab.unk])


def test_loading_restores_that_it_is_not_shared(name: str, tmp_path: Path) -> None:
    separate = make(name, shared=False)
    separate.save(tmp_path)
    assert type(separate).load(tmp_path).shared is False


def test_pickling_for_a_loader_process(tokenizer: Tokenizer) -> None:
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert copy.encode_batch(PLAIN) == tokenizer.encode_batch(PLAIN)


def test_training_is_deterministic_over_processes(name: str) -> None:
    program = (
        "import importlib, json, sys\n"
        "cls = getattr(importlib.import_module(sys.argv[1]), sys.argv[2])\n"
        "tokenizer = cls()\n"
        "tokenizer.train(json.load(sys.stdin))\n"
        "print(json.dumps(tokenizer.vocab.tokens))"
    )
    cls = tokenizers.components[name]
    vocabularies = []
    for seed in ("1", "2"):
        result = subprocess.run(
            [sys.executable, "-c", program, cls.__module__, cls.__qualname__],
            input=json.dumps(SEEN),
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        vocabularies.append(json.loads(result.stdout))
    assert vocabularies[0] == vocabularies[1] == list(make(name).vocab.tokens)


@pytest.mark.parametrize("lines", [[], [""], [" ", "\t", "\u3000"]])
def test_no_text_is_a_data_error(name: str, lines: list[str]) -> None:
    with pytest.raises(DataError, match=r"^the training lines hold no text$"):
        tokenizers.components[name]().train(lines)


def test_an_empty_folder_cannot_be_loaded(name: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=re.escape(str(tmp_path))):
        tokenizers.components[name].load(tmp_path)


def test_a_damaged_file_is_named(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    for file in list(tmp_path.iterdir()):
        whole = file.read_bytes()
        for kept in (0, 1, len(whole) // 2, len(whole) - 2):
            file.write_bytes(whole[:kept])
            with pytest.raises(CheckpointError, match=re.escape(f"{file}: ")):
                type(tokenizer).load(tmp_path)
        file.unlink()
        with pytest.raises(CheckpointError, match=re.escape(f"{file}: the file is missing")):
            type(tokenizer).load(tmp_path)
        file.write_bytes(whole)
    assert type(tokenizer).load(tmp_path).vocab == tokenizer.vocab
