"""Our tokenizers as the tokenizer.json that Hugging Face's `tokenizers` and `transformers` load.

Written by hand, so that neither library is needed. Both find `<s>` and the like in a text by themselves; ours take them
for text like any other, and so do these files.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from seq2seq.errors import ConfigError, Problem
from seq2seq.text.decoding import UNKNOWN
from seq2seq.text.plain import ByteTokenizer, CharacterTokenizer, WordTokenizer
from seq2seq.text.sentencepiece import SentencePieceTokenizer
from seq2seq.text.tokenizer import Tokenizer
from seq2seq.text.vocab import Vocab

SPACE = "\u2581"  # begins each word in SentencePiece's pieces
BYTE_NAME = r"<(?=0x[0-9A-F]{2}>)"
# where str.split() cuts
PYTHON_SPACES = r"\t-\r\u001C-\u0020\u0085\u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000"
SYMBOL_COST = 0.1  # in a unigram model, beside that of the likeliest piece for each byte, as in SentencePiece
Steps = list[dict[str, Any]]


def save_tokenizer(tokenizer: Tokenizer, folder: Path, max_length: int) -> None:
    """Writes tokenizer.json and tokenizer_config.json. Raises ConfigError where the ids would not be the same.

    max_length: tokens that the model takes, with eos.
    """
    parts = _parts(tokenizer)
    eos = Vocab.special[Vocab.eos]
    template = [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": eos, "type_id": 0}}]
    pair = [*template[:1], {"Sequence": {"id": "B", "type_id": 0}}, template[1]]
    special_tokens = {eos: {"id": eos, "ids": [Vocab.eos], "tokens": [eos]}}
    described = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added(number) for number in (Vocab.pad, Vocab.bos, Vocab.eos)],
        **parts,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": template,
            "pair": pair,
            "special_tokens": special_tokens,
        },
    }
    used = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **{f"{name}_token": Vocab.special[getattr(Vocab, name)] for name in ("pad", "bos", "eos")},
        # no unk_token: transformers would leave it out of texts, and take it for unk where a text holds these letters
        "split_special_tokens": True,
        "clean_up_tokenization_spaces": False,
        "padding_side": "right",
        "model_max_length": max_length,
        "model_input_names": ["input_ids", "attention_mask"],
    }
    for name, content in (("tokenizer.json", described), ("tokenizer_config.json", used)):
        (folder / name).write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _added(number: int) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": number, "content": Vocab.special[number], **flags}


def _parts(tokenizer: Tokenizer) -> dict[str, Any]:
    """What comes before the eos, and back."""
    makers: dict[type[Tokenizer], Callable[[Any], dict[str, Any]]] = {
        SentencePieceTokenizer: _sentencepiece,
        CharacterTokenizer: _characters,
        WordTokenizer: _words,
        ByteTokenizer: _bytes,
    }
    maker = makers.get(type(tokenizer))
    if maker is None:
        told = f"Hugging Face has no place for {type(tokenizer).__name__}, only for "
        raise ConfigError(Problem("tokenizer.name", f"{told}sentencepiece, words, characters and bytes"))
    return maker(tokenizer)


def _characters(tokenizer: CharacterTokenizer) -> dict[str, Any]:
    return {
        "normalizer": None,
        "pre_tokenizer": _split(r"[\s\S]", "Isolated"),
        "model": _word_level(tokenizer.vocab),
        "decoder": _sequence("decoders", [_unknown(), {"type": "Fuse"}, *_one_line()]),
    }


def _words(tokenizer: WordTokenizer) -> dict[str, Any]:
    tokens = tokenizer.vocab.tokens
    if doubles := sorted(set(tokens[: len(Vocab.special)]) & set(tokens[len(Vocab.special) :])):
        told = f"has the words {', '.join(doubles)}, which are the special tokens' names in Hugging Face's files"
        raise ConfigError(Problem("tokenizer", f"{told}: take them out of the training data, or use another tokenizer"))
    names = "|".join(map(re.escape, Vocab.special))
    whole = rf"(?<![^{PYTHON_SPACES}])(?:{names})(?![^{PYTHON_SPACES}])"
    return {
        "normalizer": _replace(whole, Vocab.special[Vocab.unk]),
        "pre_tokenizer": _split(f"[{PYTHON_SPACES}]+", "Removed"),
        "model": _word_level(tokenizer.vocab),
        # the only decoder that puts spaces between tokens; none of them begins with one, the mark of a continuation
        "decoder": _sequence("decoders", [_unknown(), {"type": "WordPiece", "prefix": " ", "cleanup": False}]),
    }


def _bytes(tokenizer: ByteTokenizer) -> dict[str, Any]:
    return {
        "normalizer": None,
        "pre_tokenizer": None,
        "model": _bpe(tokenizer.vocab, [], has_bytes=True),
        "decoder": _sequence("decoders", [_unknown(), {"type": "ByteFallback"}, {"type": "Fuse"}, *_one_line()]),
    }


def _sentencepiece(tokenizer: SentencePieceTokenizer) -> dict[str, Any]:
    back = [_unknown(), {"type": "Replace", "pattern": {"String": SPACE}, "content": " "}]
    back += [{"type": "ByteFallback"}, {"type": "Fuse"}, _replace(r"\A +", ""), *_one_line()]
    apart = [_split(_places_in_names(tokenizer.vocab), "MergedWithPrevious")]
    if tokenizer.symbols and tokenizer.model_type == "bpe":
        longest_first = sorted(tokenizer.symbols, key=len, reverse=True)
        apart.insert(0, _split("|".join(map(re.escape, longest_first)), "Isolated"))
    return {
        "normalizer": _sequence("normalizers", _spm_normalizers(tokenizer)),
        "pre_tokenizer": _sequence("pretokenizers", apart),
        "model": _unigram_pieces(tokenizer) if tokenizer.model_type == "unigram" else _bpe_pieces(tokenizer),
        "decoder": _sequence("decoders", back),
    }


def _unigram_pieces(tokenizer: SentencePieceTokenizer) -> dict[str, Any]:
    """A symbol costs what the library takes: a little more than the likeliest piece for each of its bytes."""
    scores, has_bytes = _plain_pieces(tokenizer)
    highest = max((score for piece, score in scores.items() if piece not in tokenizer.symbols), default=0.0)
    scores |= {symbol: len(symbol.encode()) * highest - SYMBOL_COST for symbol in tokenizer.symbols}
    vocab = [[token, scores.get(token, 0.0)] for token in tokenizer.vocab.tokens]
    return {"type": "Unigram", "unk_id": Vocab.unk, "vocab": vocab, "byte_fallback": has_bytes}


def _bpe_pieces(tokenizer: SentencePieceTokenizer) -> dict[str, Any]:
    scores, has_bytes = _plain_pieces(tokenizer)
    mergeable = {piece: score for piece, score in scores.items() if piece not in tokenizer.symbols}
    return _bpe(tokenizer.vocab, list(_merges(mergeable)), has_bytes, whole=bool(tokenizer.symbols))


def _plain_pieces(tokenizer: SentencePieceTokenizer) -> tuple[dict[str, float], bool]:
    """The scores of the pieces that texts are cut into, and whether there are bytes, too."""
    processor = tokenizer.processor
    numbers = range(len(Vocab.special), len(tokenizer.vocab))
    plain = [number for number in numbers if not processor.is_byte(number)]
    scores = {tokenizer.vocab.tokens[number]: float(processor.get_score(number)) for number in plain}
    return scores, len(plain) < len(numbers)


def _places_in_names(vocab: Vocab) -> str:
    """Where texts are cut so that none is taken for a special token or byte that is called so: after these letters.

    Beside a letter that has a piece, since several without one in a row are one unk together.
    """
    known = {token for token in vocab.tokens if len(token) == 1}
    patterns = [BYTE_NAME]
    for name in Vocab.special:
        place = next((place for place in range(1, len(name)) if known & {*name[place - 1 : place + 1]}), 1)
        before = f"(?<={re.escape(name[: place - 1])})" if place > 1 else ""
        patterns.append(f"{before}{re.escape(name[place - 1])}(?={re.escape(name[place:])})")
    return "|".join(patterns)


def _merges(scores: dict[str, float]) -> Iterator[list[str]]:
    """All pairs of pieces that are a piece together, the best first."""
    for piece in sorted(scores, key=lambda piece: -scores[piece]):
        for place in range(1, len(piece)):
            if piece[:place] in scores and piece[place:] in scores:
                yield [piece[:place], piece[place:]]


def _spm_normalizers(tokenizer: SentencePieceTokenizer) -> Steps:
    """One space for several, none at the ends, a mark for each and one at the beginning."""
    charsmap = _charsmap(tokenizer.processor.serialized_model_proto())
    steps: Steps = [{"type": "NFC"}] if tokenizer.normalization == "nfc" else []
    steps.append({"type": "Replace", "pattern": {"String": SPACE}, "content": " "})
    if charsmap:  # after NFKC, since of a letter with its marks `tokenizers` looks up the beginning and drops the rest
        steps.append({"type": "NFKC"})
        steps.append({"type": "Precompiled", "precompiled_charsmap": base64.b64encode(charsmap).decode("ascii")})
    steps += [_replace(r"\A +| +\z", ""), _replace(" {2,}", " ")]
    return [*steps, {"type": "Prepend", "prepend": SPACE}, _replace(" ", SPACE)]


def _charsmap(model: bytes) -> bytes:
    """From the proto of a SentencePiece model: its field 3, the normalizer's, and in there field 2."""
    for number, value in _fields(model):
        if number == 3 and isinstance(value, bytes):
            for inner, content in _fields(value):
                if inner == 2 and isinstance(content, bytes):
                    return content
    return b""


def _fields(proto: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Numbers and values of a protobuf message (https://protobuf.dev/programming-guides/encoding)."""
    place = 0

    def varint() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = proto[place]
            place += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while place < len(proto):
        number, kind = divmod(varint(), 8)
        if kind == 0:
            yield number, varint()
            continue
        size = varint() if kind == 2 else {1: 8, 5: 4}[kind]
        yield number, proto[place : place + size]
        place += size


def _word_level(vocab: Vocab) -> dict[str, Any]:
    ids = {token: number for number, token in enumerate(vocab.tokens)}
    return {"type": "WordLevel", "vocab": ids, "unk_token": Vocab.special[Vocab.unk]}


def _bpe(vocab: Vocab, merges: list[list[str]], has_bytes: bool, whole: bool = False) -> dict[str, Any]:
    """whole: whether what is a token as it stands needs no merges, which symbols have not."""
    nothing = dict.fromkeys(("dropout", "continuing_subword_prefix", "end_of_word_suffix"))
    flags = {
        "unk_token": Vocab.special[Vocab.unk],
        "fuse_unk": True,
        "byte_fallback": has_bytes,
        "ignore_merges": whole,
    }
    ids = {token: number for number, token in enumerate(vocab.tokens)}
    return {"type": "BPE", **nothing, **flags, "vocab": ids, "merges": merges}


def _unknown() -> dict[str, Any]:
    return _replace(rf"\A{re.escape(Vocab.special[Vocab.unk])}\z", UNKNOWN)


def _one_line() -> Steps:
    return [_replace(r"[\n\r]", " ")]


def _replace(pattern: str, content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"Regex": pattern}, "content": content}


def _split(pattern: str, behavior: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": False}


def _sequence(name: str, steps: Steps) -> dict[str, Any]:
    return {"type": "Sequence", name: steps}
