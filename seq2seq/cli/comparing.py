"""seq2seq-evaluate on several runs: each is measured, where it is not yet, and all are told beside each other."""

from __future__ import annotations

import glob
import json
import logging
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2seq.errors import CheckpointError, ConfigError, DataError, Problem, UserError, listed

if TYPE_CHECKING:
    from seq2seq.cli.evaluate import EvaluateOptions, Plan, Read
    from seq2seq.config import RunConfig
    from seq2seq.data.corpus import Example, Source
    from seq2seq.reports.comparison import Comparison, System

log = logging.getLogger(__name__)

GLOB = "*?["
MOST_TOLD = 8


def of_several(run: Any) -> bool:
    """Whether it names runs in the plural: a list, or a pattern."""
    return isinstance(run, list) or _is_pattern(run)


def _is_pattern(run: Any) -> bool:
    """Not what stands for a missing value."""
    if not isinstance(run, str) or run == "???" or not any(mark in run for mark in GLOB):
        return False
    return not Path(run).expanduser().exists()


def problems_of_several(options: EvaluateOptions, several: bool) -> list[Problem]:
    """What is wrong with the options that several runs alone have."""
    from seq2seq.reports.written import FORMATS, format_of

    if not several:
        given = {
            "baseline": options.baseline,
            "table": options.table,
            "report": options.report,
            "again": options.again,
        }
        told = "is for several runs: run=[runs/a,runs/b] or run='runs/*'"
        return [Problem(key, told) for key, value in given.items() if value not in (None, False)]
    problems = [Problem("run", "is an empty list")] if options.run == [] else []
    for path in _tables(options):
        if format_of(path) is None:
            problems.append(Problem("table", f"{path}: the ending should be one of {', '.join(FORMATS)}"))
    return problems


def _tables(options: EvaluateOptions) -> list[Path]:
    given = options.table or []
    return [Path(path).expanduser() for path in ([given] if isinstance(given, str) else given)]


def compare_runs(options: EvaluateOptions, tree: Mapping[str, Any]) -> None:
    """Raises UserError at the end, with the exit status of the first fault, where a run could not be measured."""
    from seq2seq.cli.evaluate import make_plan
    from seq2seq.cli.reporting import write_report
    from seq2seq.reports.runs import name_runs
    from seq2seq.reports.tables import text
    from seq2seq.reports.written import format_of
    from seq2seq.training.checkpoint import write_replaced

    names = name_runs(find_runs(options.run if isinstance(options.run, list) else [options.run]))
    baseline = _baseline(options.baseline, names)
    tables = _tables(options)
    for table in tables:
        _check_writable(table)
    if options.report is not None:
        _check_report(Path(options.report).expanduser())
    faults: dict[str, UserError] = {}
    plan = partial(make_plan, options=options, tree=tree, read=_reader())
    plans = _plans(names, plan, faults)
    _leave_out_other_data(plans, baseline, faults)
    systems = _measured(plans, plan, options, faults)
    if not systems:
        raise _refusal(faults, len(names))
    comparison = _compared(systems, plans, baseline, faults)
    print(text(comparison))
    for table in tables:
        form = format_of(table)
        assert form is not None
        write_replaced(table, form(comparison))
    written = [*tables]
    if options.report is not None:
        written.append(write_report(comparison, plans, Path(options.report).expanduser()))
    if written:
        print(f"written to {', '.join(map(str, written))}", file=sys.stderr)
    if faults:
        sys.stdout.flush()
        raise _refusal(faults, len(names))


def find_runs(given: list[str]) -> list[Path]:
    """Each once. Patterns pass over what is no run. Raises CheckpointError for a pattern that matches none."""
    found: dict[Path, Path] = {}
    for name in given:
        path = Path(name).expanduser()
        for run in _matches(path) if _is_pattern(name) else [path]:
            found.setdefault(run.resolve(), run)
    return list(found.values())


def _matches(pattern: Path) -> list[Path]:
    matched = [Path(path) for path in sorted(glob.glob(str(pattern), recursive=True))]
    if runs := [path for path in matched if (path / "config.yaml").exists()]:
        met = {*runs, *(run.parent for run in runs)}
        if others := [path for path in matched if path not in met and glob.glob("*/config.yaml", root_dir=path)]:
            log.warning("without the runs in %s: name them, too", listed([f"{path}/*" for path in others], MOST_TOLD))
        return runs
    if matched:
        names = listed([path.name for path in matched], MOST_TOLD)
        raise CheckpointError(f"run={pattern}: matches no run directory, which has a config.yaml, but: {names}")
    folder = next(folder for folder in pattern.parents if not any(mark in str(folder) for mark in GLOB))
    if not folder.is_dir():
        raise CheckpointError(f"run={pattern}: matches nothing; there is no folder {folder}")
    there = sorted(entry.name for entry in folder.iterdir() if entry.name[0] != ".")
    told = f"in {folder} there are: {listed(there, MOST_TOLD)}" if there else f"{folder} is empty"
    raise CheckpointError(f"run={pattern}: matches nothing; {told}")


def refuse_folder_of_runs(path: Path) -> None:
    """Raises CheckpointError for what is no run, but holds some."""
    from seq2seq.reports.formats import number_of

    runs = [] if (path / "config.yaml").exists() else glob.glob("*/config.yaml", root_dir=path)
    if runs:
        told = f"a folder of {number_of(len(runs), 'run')}: run='{path}/*'"
        raise CheckpointError(f"{path}: not a run directory (it has no config.yaml); {told}")


def _baseline(given: str | None, names: Mapping[Path, str]) -> str | None:
    """The name of the run that is given by its path, or by its name as it is told here."""
    from seq2seq.reports.names import shortener

    if given is None:
        return None
    shorten = shortener([*names.values()])
    path = Path(given).expanduser().resolve()
    for run, name in names.items():
        if run.resolve() == path or given in (name, shorten(name)):
            return name
    choices = [*map(shorten, names.values())]
    close = get_close_matches(given, [*map(str, names), *choices], n=1)
    told = f"did you mean '{close[0]}'?" if close else f"there are: {listed(choices, MOST_TOLD)}"
    raise ConfigError(Problem("baseline", f"'{given}' is none of the runs; {told}"))


def _check_writable(table: Path) -> None:
    """Before any work."""
    try:
        table.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=table.parent).close()
    except OSError as error:
        raise UserError(f"{table}: cannot be written ({error.strerror})") from error
    if table.is_dir():
        raise UserError(f"{table}: cannot be written (it is a folder)")


def _check_report(folder: Path) -> None:
    from seq2seq.reports.page import FILE, check_plotly

    check_plotly()
    _check_writable(folder / FILE)


@contextmanager
def _told(faults: dict[str, UserError], name: str) -> Iterator[None]:
    """A fault of one run, by its name, does not stop the others."""
    try:
        yield
    except Exception as error:
        fault = fault_of(error)
        if fault is None or (isinstance(error, OSError) and error.filename is None):
            raise
        faults[name] = fault
        log.error("%s is not measured: %s", name, fault)


def fault_of(error: Exception) -> UserError | None:
    """What a user is told; None for a mistake of the program, and where nobody reads stdout any more."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
        return UserError(str(error) if error.filename is None else f"{error.filename}: {error.strerror}")
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's
        return ConfigError("out of memory: lower max_tokens")
    return None


def _plans(names: Mapping[Path, str], plan: Callable[[Path], Plan], faults: dict[str, UserError]) -> dict[str, Plan]:
    """By the names of the runs."""
    plans = {}
    for run, name in names.items():
        with _told(faults, name):
            plans[name] = plan(run)
    return plans


def _reader() -> Read:
    """Data that several runs share is read once."""
    from seq2seq.binding import to_plain

    known: dict[str, list[Example]] = {}

    def read(config: RunConfig, source: Source) -> list[Example]:
        key = json.dumps([config.has_source, to_plain(config.data)], sort_keys=True)
        if key not in known:
            known[key] = [*source.read()]
        return known[key]

    return read


def _leave_out_other_data(plans: dict[str, Plan], baseline: str | None, faults: dict[str, UserError]) -> None:
    """Takes away those with other references than the baseline has, or most of them have."""
    from seq2seq.reports.runs import digest

    if not plans:
        return
    found = {name: digest([e.target for e in plan.examples]) for name, plan in plans.items()}
    most = Counter(found.values()).most_common(1)[0][0]
    usual = baseline if baseline in found else next(name for name in found if found[name] == most)
    for name, references in found.items():
        if references != found[usual]:
            with _told(faults, name):
                number, others = len(plans[name].examples), len(plans[usual].examples)
                told = f"({number:,} and {others:,} sentences)" if number != others else f"({number:,} sentences each)"
                raise DataError(f"its data has other references than that of {usual} {told}")
            del plans[name]


def _measured(
    plans: dict[str, Plan], make: Callable[[Path], Plan], options: EvaluateOptions, faults: dict[str, UserError]
) -> list[System]:
    """Of what is not known the plans are made anew: while others are measured, training may replace checkpoints."""
    from seq2seq.cli.evaluate import load, measure
    from seq2seq.cli.known import known_scores
    from seq2seq.reports.runs import read_system

    known = {name for name, plan in plans.items() if not options.again and known_scores(plan) is not None}
    if known:
        told = "%d of %d were measured already; again=true measures them again"
        log.info(told.replace("were", "was") if len(known) == 1 else told, len(known), len(plans))
    systems = []
    missing = [name for name in plans if name not in known]
    for name in [*plans]:
        with _told(faults, name):
            if name not in known:
                log.info("measuring %s, %d of %d", name, missing.index(name) + 1, len(missing))
                plans[name] = make(plans[name].run.path)
                measure(plans[name], *load(plans[name]))
            systems.append(read_system(plans[name].run.path, plans[name].folder, name))
    return systems


def _compared(
    systems: list[System], plans: Mapping[str, Plan], baseline: str | None, faults: Mapping[str, UserError]
) -> Comparison:
    from seq2seq.reports.comparison import compare
    from seq2seq.training.console import progress_bar

    plan = plans[systems[0].name]
    if baseline in faults:
        log.warning("the baseline %s is not measured, so there are no p-values", baseline)
    tests = progress_bar("testing for significance", len(systems) - 1) if baseline else nullcontext(lambda number: None)
    with tests as advance:
        return compare(
            systems,
            [example.target for example in plan.examples],
            plan.plain_sources if plan.config.has_source else None,
            baseline=baseline,
            faults={name: str(fault).splitlines()[0] for name, fault in faults.items()},
            on_done=advance,
        )


def _refusal(faults: Mapping[str, UserError], number: int) -> UserError:
    runs = f"{number} run{'s' if number > 1 else ''}"
    refusal = UserError(f"{len(faults)} of {runs} {'was' if len(faults) == 1 else 'were'} not measured")
    refusal.exit_status = next(iter(faults.values())).exit_status
    return refusal
