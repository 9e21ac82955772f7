"""`make bench`: figures of the background system, on servers of its own. Absolute times depend on the machine.

make bench                            everything, small (about fifteen minutes)
make bench ARGS="publish scale"       some parts; `ledger`, `way`, `sending`, `accounts`, `farms` stand for theirs
make bench ARGS="ledger --long"       the sizes of the promises: 5,000,000 rows, more rounds

What was found is printed and kept in bench/results/. bench/README.md says what the tables mean.
"""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from bench.report import Report, machine
from bench.system import ROOT, prepare, sql

# part: the module that has it
PARTS = {
    "latency": "way",
    "bulk": "way",
    "faults": "way",
    "publish": "publish",
    "many": "publish",
    "throughput": "throughput",
    "idle": "idle",
    "recovery": "recovery",
    "scale": "scale",
    "pruning": "scale",
    "sms": "sending",
    "limit": "sending",
    "urgent": "sending",
    "receipts": "sending",
    "segments": "sending",
    "audit": "audit",
    "sign_in": "accounts",
    "people": "accounts",
    "scores": "farms",
    "places": "farms",
    "intake": "farms",
    "farm_lists": "farms",
    "reminders": "reminders",
}
GROUPS = {
    group: [part for part, module in PARTS.items() if module in modules]
    for group, modules in {
        "way": {"way"},
        "ledger": {"publish", "throughput", "idle", "recovery", "scale"},
        "sending": {"sending"},
        "accounts": {"accounts", "audit"},
        "farms": {"farms", "reminders"},
    }.items()
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="part", help=", ".join([*PARTS, *GROUPS]))
    parser.add_argument("--long", action="store_true", help="the sizes of the promises; takes about an hour")
    asked = parser.parse_args()
    unknown = set(asked.parts) - set(PARTS) - set(GROUPS)
    if unknown:
        sys.exit(f"There is no part {', '.join(sorted(unknown))}. Use: {', '.join([*PARTS, *GROUPS])}.")
    named = {part for name in asked.parts or GROUPS for part in GROUPS.get(name, [name])}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the servers are ended too
    report = Report()
    with tempfile.TemporaryDirectory() as folder:
        system = prepare(Path(folder), long=asked.long)
        with system.postgres, system.redis:
            import django
            from django.core.management import call_command

            django.setup()
            call_command("migrate", verbosity=0)
            today = datetime.now(UTC).date()
            report.say(f"# {today}: {' '.join(asked.parts) or 'everything'}{' --long' if asked.long else ''}")
            report.say()
            report.say(machine(sql("SHOW server_version")[0][0], str(system.client().info()["redis_version"])))
            for part, module in PARTS.items():
                if part in named:
                    run = getattr(importlib.import_module(f"bench.{module}"), part)
                    report.part(part, " ".join(run.__doc__.split()))
                    run(system, report)
    label = "-".join([*(asked.parts or ["all"]), *(["long"] if asked.long else [])])
    report.write(ROOT / "bench" / "results" / f"{today}-{label}.md")


if __name__ == "__main__":
    main()
