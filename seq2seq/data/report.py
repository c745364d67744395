"""What training data holds and what is wrong with it: data_report.json, and the lines that tell it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2seq.data.corpus import Example, Source
from seq2seq.data.encoded import EncodedCorpus, Rows
from seq2seq.data.filters import ALL, EVERY
from seq2seq.data.scripts import has_spaces
from seq2seq.data.shifts import shifted
from seq2seq.text.pair import TokenizerPair

SAMPLE = 20_000  # examples, the first ones, whose words are counted
SHOWN_CHARACTERS = 200


def data_report(
    corpus: EncodedCorpus,
    source: Source,
    tokenizers: TokenizerPair,
    plain: Callable[[Example], Example] = lambda example: example,
) -> dict[str, Any]:
    """Plain values, ready for JSON; lines count from 1. plain: makes of an example what filters have seen."""
    counts = corpus.counts
    sides = {"target": (corpus.targets, tokenizers.target)}
    if corpus.sources is not None and tokenizers.source is not None:
        sides = {"source": (corpus.sources, tokenizers.source), **sides}
    sample = list(islice(source.read(), SAMPLE))
    texts = _texts(
        map(plain, source.read()), {number for finding in corpus.findings.values() for number in finding.first}
    )
    return {
        "examples": {
            "read": counts.read,
            "used": len(corpus),
            "with an empty side": counts.empty,
            "with too many tokens": counts.long,
            "found by filters": counts.filtered,
            "shortened": counts.shortened,
        },
        "faults": {
            name: {
                "fault": finding.fault,
                "action": finding.action,
                "count": finding.count,
                "examined": counts.read if finding.of_all else _examined(counts.read),
                "examples": [texts[number] for number in finding.first if number in texts],
            }
            for name, finding in corpus.findings.items()
        },
        "shifted": [{**part, "first": part["first"] + 1, "last": part["last"] + 1} for part in shifted(corpus)],
        **{
            side: {
                **_lengths(rows.lengths),
                "unknown": _share_of(rows, tokenizer.vocab.unk),
                **_fertility([getattr(example, side) for example in sample], tokenizer),
            }
            for side, (rows, tokenizer) in sides.items()
        },
    }


def told(report: Mapping[str, Any]) -> Iterator[str]:
    """Lines of at most 79 characters, but for names and texts."""
    examples = report["examples"]
    yield f"examples: {examples['used']:,} of {examples['read']:,} can be used"
    for name, count in examples.items():
        if name not in ("read", "used") and count:
            yield f"  {count:,} {name}, left out" if name != "shortened" else f"  {count:,} shortened"
    for side in ("source", "target"):
        if side in report:
            found = report[side]
            yield (
                f"{side}: {found['mean']:.1f} tokens, 99% up to {found['p99']:.0f}, longest {found['longest']:,}; "
                f"{_fertility_told(found)}, {found['unknown']:.2%} unknown"
            )
    for name, finding in report["faults"].items():
        if finding["count"]:
            action = "left out" if finding["action"] == "drop" else "kept"
            of = "" if finding["examined"] == examples["read"] else f" of {finding['examined']:,} looked at"
            yield f"{name}: {finding['count']:,}{of} {finding['fault']}, {action}"
            for example in finding["examples"]:
                yield f"  {example['line']:,}: {_short(example)}"
    for part in report["shifted"]:
        lines = "1 line" if abs(part["by"]) == 1 else f"{abs(part['by'])} lines"
        where = "later" if part["by"] > 0 else "earlier"
        yield f"shifted: about {part['first']:,} to {part['last']:,}, targets {lines} {where} than sources"


def _examined(read: int) -> int:
    return read if read <= ALL else ALL + -(-(read - ALL) // EVERY)


def _texts(examples: Iterator[Example], numbers: set[int]) -> dict[int, dict[str, Any]]:
    """Reads no further than the last of them."""
    found: dict[int, dict[str, Any]] = {}
    for example in examples if numbers else ():
        if example.number in numbers:
            found[example.number] = _shown(example)
            if len(found) == len(numbers):
                break
    return found


def _shown(example: Example) -> dict[str, Any]:
    texts = {"source": example.source, "target": example.target}
    return {"line": example.number + 1, **{side: text[:SHOWN_CHARACTERS] for side, text in texts.items() if text}}


def _short(example: Mapping[str, Any]) -> str:
    """What a terminal might obey is spelt out."""
    texts = [str(example[side]) for side in ("source", "target") if side in example]
    joined = " | ".join(text[:32] + ("..." if len(text) > 32 else "") for text in texts)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in joined)


def _lengths(lengths: NDArray[np.int32]) -> dict[str, Any]:
    median, p95, p99 = np.percentile(lengths, [50, 95, 99])
    counts, edges = np.histogram(lengths, bins=min(50, int(lengths.max())))
    return {
        "mean": float(lengths.mean()),
        "median": float(median),
        "p95": float(p95),
        "p99": float(p99),
        "longest": int(lengths.max()),
        "histogram": {"counts": counts.tolist(), "edges": [round(float(edge), 2) for edge in edges]},
    }


def _share_of(rows: Rows, token: int) -> float:
    found = sum(int((flat == token).sum()) for flat, _ in rows.parts)
    return found / max(1, sum(len(flat) for flat, _ in rows.parts))


def _fertility(texts: list[str], tokenizer: Any) -> dict[str, float | None]:
    """Tokens of a word, where words are what has spaces between, and of a character."""
    tokens = sum(map(len, tokenizer.encode_batch(texts)))
    words = sum(len(text.split()) for text in texts) if has_spaces("".join(texts)) else None
    return {
        "tokens per word": None if words is None else tokens / max(1, words),
        "tokens per character": tokens / max(1, sum(map(len, texts))),
    }


def _fertility_told(found: Mapping[str, Any]) -> str:
    of_word = found["tokens per word"]
    return f"{found['tokens per character']:.2f} a character" if of_word is None else f"{of_word:.2f} a word"
