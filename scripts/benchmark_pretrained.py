"""A pretrained model in this project beside transformers itself: training and beam search, as a Markdown table.

    python scripts/benchmark_pretrained.py --train data/train --source en --target de --threads 2 --rounds 3

The model has the sizes of t5-small (60 million weights) and random values; both read the same batches of ids, of the
same length, in fp32, with AdamW and dropout 0.1. Trained by the trainer's own update here, and by Seq2SeqTrainer there;
searched with a beam of 4 by our search and by generate. Outputs of random weights do not end: all are as long as the
limit. They run in turn, each in a process of its own, and the medians are printed.

tokens/s: target tokens, padding not counted, in the median update after the first two. sentences/s: of one batch.
memory: the most that the process held. Needs `pip install 'seq2seq[pretrained]'` and accelerate.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import torch
from processes import processor

ROLES = ("train ours", "train transformers", "search ours", "search transformers")
UNTIMED = 2


def main() -> None:
    options = parse()
    if options.role is not None:
        torch.set_num_threads(options.threads)
        found = ROLE_FUNCTIONS[options.role](options)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(json.dumps({"rate": found, "memory": peak}))
        return
    with tempfile.TemporaryDirectory() as name:
        options.folder = Path(name)
        make_model(options)
        found_by: dict[str, list[dict[str, float]]] = {role: [] for role in ROLES}
        for _ in range(options.rounds):
            for role in ROLES:
                found_by[role].append(measure(role, options))
    print(table(found_by, options))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", help="PREFIX of a corpus of pairs; default: the embedded demo's")
    parser.add_argument("--source", default="en")
    parser.add_argument("--target", default="de")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=8, help="updates, timed ones")
    parser.add_argument("--max-tokens", type=int, default=2048, help="of a batch, on either side")
    parser.add_argument("--sentences", type=int, default=32, help="that are searched")
    parser.add_argument("--length", type=int, default=32, help="of the outputs, in tokens")
    parser.add_argument("--role", choices=ROLES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(role: str, options: argparse.Namespace) -> dict[str, float]:
    given = [f"--{name.replace('_', '-')}={value}" for name, value in vars(options).items() if value is not None]
    done = subprocess.run(
        [sys.executable, __file__, *given, "--role", role], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{role}: {done.stderr.strip().splitlines()[-1]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def table(found_by: dict[str, list[dict[str, float]]], options: argparse.Namespace) -> str:
    medians = {role: {key: median(one[key] for one in found) for key in found[0]} for role, found in found_by.items()}
    lines = [
        f"{processor()}, {options.threads} threads, {options.rounds} rounds; torch {torch.__version__}, "
        f"transformers {version('transformers')}",
        "",
        "| | | x transformers | memory |",
        "|---|--:|--:|--:|",
    ]
    for role, found in medians.items():
        kind, name = role.split()
        unit = "target tokens/s" if kind == "train" else "sentences/s"
        ratio = found["rate"] / medians[f"{kind} transformers"]["rate"]
        lines.append(f"| {kind}, {name} | {found['rate']:,.1f} {unit} | {ratio:.2f} | {found['memory']:,.0f} MB |")
    return "\n".join(lines)


def examples(options: argparse.Namespace) -> list[Any]:
    from seq2seq.data.corpus import corpora
    from seq2seq.plugins import load_components

    load_components()
    if options.train is None:
        corpus = corpora.components["demo"]()
    else:
        given = {"source": options.source, "target": options.target, "train": options.train}
        corpus = corpora.components["text_files"](**given)
    return [example for _, example in zip(range(4000), corpus.split("train").read(), strict=False)]


def make_model(options: argparse.Namespace) -> None:
    """T5 with the sizes of t5-small, and a tokenizer of 4,000 pieces of its 32,128 rows."""
    import sentencepiece
    import transformers

    lines = [text for example in examples(options) for text in (example.source, example.target)]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_prefix=str(options.folder / "spiece"), vocab_size=4000,
        hard_vocab_limit=False, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, minloglevel=2,
    )  # fmt: skip
    reader = sentencepiece.SentencePieceProcessor(model_file=str(options.folder / "spiece.model"))
    tokenizer = transformers.T5Tokenizer(
        vocab=[(reader.id_to_piece(i), reader.get_score(i)) for i in range(len(reader))]
    )
    config = transformers.T5Config(
        vocab_size=32128, d_model=512, d_kv=64, d_ff=2048, num_layers=6, num_heads=8, decoder_start_token_id=0
    )
    torch.manual_seed(1)
    transformers.T5ForConditionalGeneration(config).save_pretrained(options.folder)
    tokenizer.save_pretrained(options.folder)


def our_model(options: argparse.Namespace) -> tuple[Any, Any]:
    from seq2seq.models.pretrained import Pretrained
    from seq2seq.text.huggingface import HuggingFaceTokenizer

    tokenizer = HuggingFaceTokenizer(path=str(options.folder))
    tokenizer.train([])
    model = Pretrained(tokenizer.vocab, tokenizer.vocab, path=str(options.folder))
    model.load_outside_weights()
    return model, tokenizer


def batches(options: argparse.Namespace, tokenizer: Any) -> Iterator[Any]:
    """The same for both, in our ids."""
    from seq2seq.data.corpus import ListSource
    from seq2seq.data.encoded import encode_source
    from seq2seq.data.loader import Loader

    encoded = encode_source(ListSource(examples(options)), tokenizer, tokenizer, max_length=200)
    loader = Loader(encoded, max_tokens=options.max_tokens, seed=1)
    while True:
        yield loader.next_batch()


def train_ours(options: argparse.Namespace) -> float:
    from contextlib import nullcontext

    from seq2seq.training.loss import CrossEntropy
    from seq2seq.training.optimizers import AdamW
    from seq2seq.training.step import update

    model, tokenizer = our_model(options)
    model.train()
    optimizer = AdamW(model.named_parameters(), lr=1e-4)
    rates = []
    for number, batch in zip(range(UNTIMED + options.steps), batches(options, tokenizer), strict=False):
        start = time.perf_counter()
        update(model, CrossEntropy(), optimizer, [batch], clip_norm=1.0, autocast=nullcontext)
        rates += [batch.num_tokens / (time.perf_counter() - start)] if number >= UNTIMED else []
    return median(rates)


def train_transformers(options: argparse.Namespace) -> float:
    import transformers
    from torch.optim.optimizer import register_optimizer_step_post_hook

    _, tokenizer = our_model(options)
    theirs = torch.tensor([max(row, 0) for row in tokenizer.vocab.theirs])
    counts: list[int] = []
    times: list[float] = []
    register_optimizer_step_post_hook(lambda *_: times.append(time.perf_counter()))

    class Batches(torch.utils.data.IterableDataset[dict[str, torch.Tensor]]):
        def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
            for batch in batches(options, tokenizer):
                counts.append(batch.num_tokens)
                labels = theirs[batch.labels].masked_fill(~batch.target_mask, -100)
                mask = batch.source_mask.long()
                yield {"input_ids": theirs[batch.source] * mask, "attention_mask": mask, "labels": labels}

    arguments = transformers.Seq2SeqTrainingArguments(
        output_dir=str(options.folder / "out"), use_cpu=True, max_steps=UNTIMED + options.steps + 1, learning_rate=1e-4,
        lr_scheduler_type="constant", max_grad_norm=1.0, save_strategy="no", report_to=[], disable_tqdm=True,
        per_device_train_batch_size=1,
    )  # fmt: skip
    trainer = transformers.Seq2SeqTrainer(
        model=transformers.T5ForConditionalGeneration.from_pretrained(options.folder),
        args=arguments,
        train_dataset=Batches(),
        data_collator=lambda rows: rows[0],
    )
    trainer.train()
    return median(counts[i] / (times[i] - times[i - 1]) for i in range(UNTIMED, UNTIMED + options.steps))


def search_batch(options: argparse.Namespace, tokenizer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    from seq2seq.data.batch import make_batch

    sources = tokenizer.encode_batch([example.source for example in examples(options)[: options.sentences]])
    batch = make_batch(sources, [[5]] * len(sources), range(len(sources)))
    return batch.source, batch.source_mask


def search_ours(options: argparse.Namespace) -> float:
    from seq2seq.search.beam import Beam

    model, tokenizer = our_model(options)
    source, mask = search_batch(options, tokenizer)
    search = Beam(beam_size=4, min_length=options.length, max_length=options.length, length_penalty=1.0)
    return timed(options, lambda: search(model.eval(), source, mask))


def search_transformers(options: argparse.Namespace) -> float:
    import transformers

    _, tokenizer = our_model(options)
    source, mask = search_batch(options, tokenizer)
    theirs = torch.tensor([max(row, 0) for row in tokenizer.vocab.theirs])
    model = transformers.T5ForConditionalGeneration.from_pretrained(options.folder).eval()
    given = {
        "num_beams": 4,
        "max_new_tokens": options.length + 1,
        "min_new_tokens": options.length,
        "early_stopping": True,
    }
    inputs = {"input_ids": theirs[source] * mask, "attention_mask": mask.long()}
    return timed(options, lambda: model.generate(**inputs, **given))


def timed(options: argparse.Namespace, search: Any) -> float:
    search()
    start = time.perf_counter()
    search()
    return float(options.sentences / (time.perf_counter() - start))


ROLE_FUNCTIONS = dict(zip(ROLES, (train_ours, train_transformers, search_ours, search_transformers), strict=True))

if __name__ == "__main__":
    main()
