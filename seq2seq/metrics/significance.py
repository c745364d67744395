"""Whether two systems differ by more than chance, by sacrebleu's paired tests."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

from seq2seq.data.workers import available_cores
from seq2seq.errors import UserError
from seq2seq.metrics.sacrebleu import BySacrebleu

FEW = 3000  # hypotheses of all systems; starting other processes for them takes longer than the tests
MOST = 16_000  # hypotheses at a time in all processes; sacrebleu takes 0.2 MB for each


@dataclass(frozen=True)
class PValues:
    """Of a difference between a system's score and the baseline's. bootstrap: paired resampling, 1,000 times (Koehn
    2004, W04-3250). randomisation: approximate, 10,000 trials (Riezler and Maxwell 2005, W05-0908).
    """

    bootstrap: float
    randomisation: float


class PairedTests:
    """Of systems against one baseline, by the scorers that their scores come from.

    references: a line for each of the baseline's. metrics: by any names. language: of all the lines.
    """

    def __init__(
        self, baseline: Sequence[str], references: Sequence[str], metrics: Mapping[str, BySacrebleu], language: str
    ) -> None:
        self.baseline = list(baseline)
        self.references = [list(references)]
        self.scorers = {name: _remembering(metric.scorer(language)) for name, metric in metrics.items()}

    def __call__(self, hypotheses: Sequence[str]) -> dict[str, PValues]:
        """By the names of the metrics; without those whose scores are the same."""
        found = {name: self._of(scorer, list(hypotheses)) for name, scorer in self.scorers.items()}
        return {name: values for name, values in found.items() if values is not None}

    def _of(self, scorer: Any, hypotheses: list[str]) -> PValues | None:
        from sacrebleu.significance import PairedTest

        ours, theirs = (self._score(scorer, lines) for lines in (self.baseline, hypotheses))
        if ours == theirs:  # sacrebleu's p-value of a system and itself is the least there is
            return None
        found = []
        for kind in ("bs", "ar"):
            systems = [("baseline", self.baseline), ("system", hypotheses)]
            _, results = PairedTest(systems, {"metric": scorer}, self.references, test_type=kind)()
            (_, of_system) = next(results[name] for name in results if name != "System")
            found.append(float(of_system.p_value))
        return PValues(*found)

    def _score(self, scorer: Any, hypotheses: list[str]) -> float:
        return float(
            scorer._aggregate_and_compute(scorer._extract_corpus_statistics(hypotheses, self.references)).score
        )


def _remembering(scorer: Any) -> Any:
    """A scorer that counts the n-grams or edits of the same texts once: of the baseline's for all systems, of each
    system's for both tests. Edits take longer than all the rest.
    """
    extract = scorer._extract_corpus_statistics
    known: list[tuple[Sequence[str], Any]] = []

    def remembered(hypotheses: Sequence[str], references: Any) -> Any:
        for texts, statistics in known:
            if texts == hypotheses:
                return statistics
        known[1:] = [(hypotheses, extract(hypotheses, references))]  # the first are the baseline's
        return known[-1][1]

    scorer._extract_corpus_statistics = remembered
    return scorer


def paired_tests(
    baseline: Sequence[str],
    systems: Mapping[str, Sequence[str]],
    references: Sequence[str],
    metrics: Mapping[str, BySacrebleu],
    language: str,
    *,
    num_jobs: int | None = None,
    on_done: Callable[[int], object] = lambda number: None,
) -> dict[str, dict[str, PValues]]:
    """By the names of the systems and of the metrics. num_jobs: processes; None for what the machine has.

    on_done: told after each system, with 1.
    """
    if num_jobs is None:
        several = len(systems) * len(references) > FEW
        num_jobs = min(available_cores(), max(MOST // len(references), 1)) if several else 1
    found = {}
    for name, of_system in _tested((baseline, references, metrics, language), systems, min(num_jobs, len(systems))):
        found[name] = of_system
        on_done(1)
    return {name: found[name] for name in systems}


def _tested(
    job: tuple[Any, ...], systems: Mapping[str, Sequence[str]], num_jobs: int
) -> Iterator[tuple[str, dict[str, PValues]]]:
    if num_jobs <= 1:
        tests = PairedTests(*job)
        yield from ((name, tests(hypotheses)) for name, hypotheses in systems.items())
        return
    context = get_context("spawn")  # as sacrebleu's own processes a fork would copy locks that torch's threads hold
    with ProcessPoolExecutor(num_jobs, context, _begin, job) as pool:
        waiting = {pool.submit(_test, hypotheses): name for name, hypotheses in systems.items()}
        try:
            yield from ((waiting[done], done.result()) for done in as_completed(waiting))
        except BrokenProcessPool as error:
            raise UserError("a process that tests for significance has died: was its memory not enough?") from error
        finally:
            pool.shutdown(cancel_futures=True)


def _begin(*job: Any) -> None:
    """In another process."""
    global _tests
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of Ctrl-C the first process decides
    _tests = PairedTests(*job)


def _test(hypotheses: Sequence[str]) -> dict[str, PValues]:
    return _tests(hypotheses)


_tests: PairedTests
