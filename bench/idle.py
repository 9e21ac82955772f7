"""What the sweeps cost when there is nothing to do."""

from __future__ import annotations

import re
import statistics
import time
from collections import Counter
from contextlib import ExitStack

from bench.report import Report, spread
from bench.system import System, cpu, sql, wait_for_worker

WORKERS = 4
BOUND_CPU = 1.0  # per cent of one core
BOUND_QUERIES = 10.0  # a second
_KIND = re.compile(r"(?:statement|execute [^:]+):")  # prepared ones are executed by name
_ENTRY = re.compile(r"^\d{4}-\d\d-\d\d [\d:.]+ \w+ ", re.MULTILINE)  # log_line_prefix of stack/servers.py


def idle(system: System, report: Report) -> None:
    """Four idle workers with the sweeps on and off, in turns: per cent of one core, of all worker processes and of
    PostgreSQL, and statements a second as PostgreSQL logs them (BEGIN and COMMIT count)."""
    rounds, seconds = (5, 60) if system.long else (3, 15)
    sql("ALTER SYSTEM SET log_statement = 'all'")
    found: dict[str, list[tuple[float, float, float]]] = {"bench.without_sweeps": [], "core": []}
    seen: Counter[str] = Counter()
    for _ in range(rounds):
        for app, figures in found.items():
            system.empty()
            with ExitStack() as stack:
                workers = [
                    stack.enter_context(system.worker(f"idle{number}", "-c", "1", app=app)) for number in range(WORKERS)
                ]
                wait_for_worker(system, WORKERS)
                time.sleep(3)
                sql("SELECT pg_reload_conf()")
                time.sleep(0.5)
                log = system.postgres.folder.with_suffix(".log")
                start = log.stat().st_size
                before = [sum(map(cpu, workers)), system.postgres_cpu()]
                time.sleep(seconds)
                after = [sum(map(cpu, workers)), system.postgres_cpu()]
                with log.open(errors="replace") as lines:
                    lines.seek(start)
                    said = [part for part in _ENTRY.split(lines.read())[1:] if part.startswith("LOG:  ")]
                shares = [(b - a) / seconds * 100 for a, b in zip(before, after, strict=True)]
                figures.append((shares[0], shares[1], len(said) / seconds))
                seen.update(_words(line) for line in said)
    sql("ALTER SYSTEM RESET log_statement")
    sql("SELECT pg_reload_conf()")
    on, off = (list(zip(*found[app], strict=True)) for app in ("core", "bench.without_sweeps"))
    medians = [statistics.median(a) - statistics.median(b) for a, b in zip(on, off, strict=True)]
    total = medians[0] + medians[1]
    bound = f"CPU together {total:.2f} %, < {BOUND_CPU:.0f}: {'yes' if total < BOUND_CPU else 'NO'}; "
    bound += f"statements < {BOUND_QUERIES:.0f}: {'yes' if medians[2] < BOUND_QUERIES else 'NO'}"
    rows = [
        ("sweeps on", *(spread(column) for column in on), ""),
        ("sweeps off", *(spread(column) for column in off), ""),
        (
            "the sweeps",
            *(f"{median:.2f}" for median in medians),
            bound,
        ),
    ]
    report.say(f"{rounds} rounds of {seconds} s, four workers -c 1.")
    report.table(("four workers", "CPU % workers", "CPU % PostgreSQL", "statements/s", "bound"), rows)
    report.table(
        ("statement", "a second"),
        [(f"`{words}`", f"{count / seconds / rounds:.2f}") for words, count in seen.most_common(12)],
    )


def _words(entry: str) -> str:
    """The beginning of a logged statement, on one line."""
    return " ".join(_KIND.split(entry, maxsplit=1)[-1].split())[:110]
