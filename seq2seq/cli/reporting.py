"""report=DIR: the page that shows a comparison, with the attention of some of its runs."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seq2seq.cli.comparing import fault_of

if TYPE_CHECKING:
    from seq2seq.cli.evaluate import Plan
    from seq2seq.reports.comparison import Comparison
    from seq2seq.search.alignment import AttentionMap

log = logging.getLogger(__name__)

NUM_RUNS = 2  # the best ones; and the baseline
NUM_SENTENCES = 3
MOST_WORDS = 20


def write_report(comparison: Comparison, plans: Mapping[str, Plan], folder: Path) -> Path:
    """The file. plans: by the names of the systems."""
    from seq2seq.reports.page import write_page

    names = [system.name for system in comparison.systems][:NUM_RUNS]
    shown = dict.fromkeys([*names, comparison.baseline or names[0]])
    return write_page(comparison, folder, dict(_maps({name: plans[name] for name in shown})))


def _maps(plans: Mapping[str, Plan]) -> Iterator[tuple[str, Sequence[AttentionMap]]]:
    """Of sentences that are not too long to be looked at; without models that have no attention to a source."""
    from seq2seq.cli.evaluate import load
    from seq2seq.search.alignment import attention_maps

    for name, plan in plans.items():
        lines = [example.source for example in plan.examples]
        short = [line for line in lines if 0 < len(line.split()) <= MOST_WORDS][:NUM_SENTENCES]
        if not plan.config.has_source or not short:
            continue
        try:
            _, choice = load(plan)
            assert choice is not None
            translations = [found[0] for found in choice.translator.translate(short)]
            maps = attention_maps(choice.translator, short, translations)
        except Exception as error:
            fault = fault_of(error)
            if fault is None:
                raise
            log.warning("%s: no attention: %s", name, fault)
            continue
        if maps:
            yield name, maps
