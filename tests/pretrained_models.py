"""Tiny models of the families of the transformers library, with random weights and tokenizers trained on given lines.

Saved as from_pretrained wants them, in folders.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import sentencepiece
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

SIZES = {
    "d_model": 64,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 128,
    "decoder_ffn_dim": 128,
    "max_position_embeddings": 600,
}
VOCABULARY = 500


def save(folder: Path, model: Any, tokenizer: Any) -> Path:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def byte_level(lines: Sequence[str], special: list[str], around: tuple[list[str], list[str]], **named: str) -> Any:
    """GPT-2's and BART's kind."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=special, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())  # fmt: skip
    tokenizer.train_from_iterator(lines, trainer)
    before, after = around
    if before or after:
        tokens = [(token, tokenizer.token_to_id(token)) for token in {*before, *after}]
        tokenizer.post_processor = processors.TemplateProcessing(single=[*before, "$A", *after], special_tokens=tokens)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named)


def pieces(folder: Path, lines: Sequence[str], name: str, **options: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_prefix=str(folder / name), minloglevel=2,
        **{"vocab_size": VOCABULARY, "hard_vocab_limit": False, "character_coverage": 1.0, **options},
    )  # fmt: skip
    return folder / f"{name}.model"


def t5(folder: Path, lines: Sequence[str]) -> Path:
    file = pieces(folder, lines, "spiece", pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    reader = sentencepiece.SentencePieceProcessor(model_file=str(file))
    scores = [(reader.id_to_piece(i), reader.get_score(i)) for i in range(len(reader))]
    tokenizer = transformers.T5Tokenizer(vocab=[*scores, *((f"<extra_id_{i}>", 0.0) for i in range(5))], extra_ids=5)
    config = transformers.T5Config(
        vocab_size=len(tokenizer) + 7,
        d_model=64,
        d_kv=16,
        d_ff=128,
        num_layers=2,
        num_heads=4,
        decoder_start_token_id=0,
    )  # some rows more than tokens, as T5 has
    return save(folder, transformers.T5ForConditionalGeneration(config), tokenizer)


def bart(folder: Path, lines: Sequence[str]) -> Path:
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer = byte_level(lines, special, (["<s>"], ["</s>"]), bos_token="<s>", pad_token="<pad>", eos_token="</s>",
                           unk_token="<unk>")  # fmt: skip
    config = transformers.BartConfig(vocab_size=len(tokenizer), **SIZES, scale_embedding=True)
    model = transformers.BartForConditionalGeneration(config)
    model.final_logits_bias = torch.randn(1, len(tokenizer)) * 0.1
    return save(folder, model, tokenizer)


def marian(folder: Path, lines: Sequence[str]) -> Path:
    """Two sentencepiece models, of one vocabulary."""
    halves = lines[::2], lines[1::2]
    files = [pieces(folder, half, name) for half, name in zip(halves, ("source", "target"), strict=True)]
    tokens = ["</s>", "<unk>"]
    for file in files:
        reader = sentencepiece.SentencePieceProcessor(model_file=str(file))
        tokens += [reader.id_to_piece(i) for i in range(3, len(reader))]
    tokens = [*dict.fromkeys(tokens), "<pad>"]
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    tokenizer = transformers.MarianTokenizer(*map(str, files), str(folder / "vocab.json"))
    config = transformers.MarianConfig(
        vocab_size=len(tokens), **SIZES, pad_token_id=len(tokens) - 1, decoder_start_token_id=len(tokens) - 1,
        eos_token_id=0, forced_eos_token_id=0, scale_embedding=True, decoder_vocab_size=len(tokens),
    )  # fmt: skip
    return save(folder, transformers.MarianMTModel(config), tokenizer)


def m2m100(folder: Path, lines: Sequence[str]) -> Path:
    file = pieces(folder, lines, "spm")
    reader = sentencepiece.SentencePieceProcessor(model_file=str(file))
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *(reader.id_to_piece(i) for i in range(3, len(reader)))]
    (folder / "vocab_m2m.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    tokenizer = transformers.M2M100Tokenizer(str(folder / "vocab_m2m.json"), str(file))
    config = transformers.M2M100Config(vocab_size=len(tokens) + len(tokenizer.lang_code_to_id) + 8, **SIZES)
    return save(folder, transformers.M2M100ForConditionalGeneration(config), tokenizer)


def gpt2(folder: Path, lines: Sequence[str], width: int = 64, depth: int = 2) -> Path:
    end = "<|endoftext|>"
    tokenizer = byte_level(lines, [end], ([], []), bos_token=end, eos_token=end, unk_token=end)
    number = tokenizer.eos_token_id
    config = transformers.GPT2Config(vocab_size=len(tokenizer), n_positions=600, n_embd=width,
                                     n_layer=depth, n_head=4, bos_token_id=number,
                                     eos_token_id=number)  # fmt: skip
    return save(folder, transformers.GPT2LMHeadModel(config), tokenizer)


def llama(folder: Path, lines: Sequence[str], width: int = 64, depth: int = 2) -> Path:
    tokenizer = byte_level(lines, ["<unk>", "<s>", "</s>"], (["<s>"], []), bos_token="<s>", eos_token="</s>",
                           unk_token="<unk>")  # fmt: skip
    config = transformers.LlamaConfig(vocab_size=len(tokenizer), hidden_size=width, intermediate_size=2 * width,
                                      num_hidden_layers=depth, num_attention_heads=4, num_key_value_heads=2,
                                      max_position_embeddings=600, bos_token_id=1, eos_token_id=2)  # fmt: skip
    return save(folder, transformers.LlamaForCausalLM(config), tokenizer)


def bert(folder: Path, lines: Sequence[str]) -> Path:
    """An encoder alone."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.train_from_iterator(
        lines, trainers.WordPieceTrainer(vocab_size=VOCABULARY, special_tokens=special, show_progress=False)
    )
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    library = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    config = transformers.BertConfig(
        vocab_size=len(library), hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128,
        max_position_embeddings=600,
    )  # fmt: skip
    return save(folder, transformers.BertModel(config), library)


def multilingual(folder: Path, lines: Sequence[str], kind: str) -> Path:
    """mbart, whose languages stand behind a text, or mbart50 or nllb, where they stand before it."""
    file = pieces(folder, lines, "spm")
    reader = sentencepiece.SentencePieceProcessor(model_file=str(file))
    scores = [(token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>")]
    scores += [(reader.id_to_piece(i), reader.get_score(i)) for i in range(3, len(reader))]
    library: Any = transformers
    if kind == "nllb":
        tokenizer = library.NllbTokenizer(vocab={token: number for number, (token, _) in enumerate(scores)})
        config = library.M2M100Config(vocab_size=len(tokenizer) + 3, **SIZES)
        return save(folder, library.M2M100ForConditionalGeneration(config), tokenizer)
    tokenizer = (library.MBartTokenizer if kind == "mbart" else library.MBart50Tokenizer)(vocab=scores)
    start = {} if kind == "mbart" else {"decoder_start_token_id": 2}
    config = library.MBartConfig(vocab_size=len(tokenizer) + 3, **SIZES, **start)
    return save(folder, library.MBartForConditionalGeneration(config), tokenizer)


FAMILIES: dict[str, Callable[..., Path]] = {
    "t5": t5, "bart": bart, "marian": marian, "m2m100": m2m100, "gpt2": gpt2, "llama": llama, "bert": bert,
}  # fmt: skip


def make(family: str, folder: Path, lines: Sequence[str], seed: int = 1, **sizes: int) -> Path:
    """sizes: width and depth, of gpt2 and llama."""
    torch.manual_seed(seed)
    return FAMILIES[family](folder, lines, **sizes)
