"""A randomised fault test of the ledger: thousands of small tasks and a fast schedule, while everything that can die
does. Then it is judged from the effects: lost 0, doubled 0, occurrences missed 0, doubled 0.

    make chaos                                          about five minutes with a new seed
    make chaos ARGS="--seed 7 --minutes 20"             the faults of seed 7, for twenty minutes
    .venv/bin/python -m tests.chaos --short             what the system tests run

The seed decides which faults come when, whom they meet and what is asked for. What it cannot repeat is the machine's
timing: which statement is under way when a process dies.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

from stack.processes import Guard
from stack.testrun import ROOT
from tests.chaos.house import House
from tests.chaos.plan import Fault, faults

TABLE = """
faults      {faults}
            {without_target}
asked       {asked} committed asks and {undone} undone ones; {runs} runs: {by_kind}
effects     {effects}: lost {lost}, doubled {doubled}
            bodies repeated {repeats} (allowed), runs taken again {taken_again}, under a wrong clock {wrong_clock}
occurrences expected {expected}: run {run}, skipped by policy {skipped}, late {late}
            missed {missed}, doubled {occurrences_doubled}
time        half done within {half:.2f} s of being due, 99 % within {most:.1f} s
            slowest {slowest:.1f} s ({slowest_run})
            slowest ask {slowest_ask:.2f} s
            all done {settled:.1f} s after the last fault; unacknowledged messages {unacknowledged}
            load of the machine {load:.1f} on {cores} cores
"""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("tests.chaos", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))
    parser.add_argument("--minutes", type=float, default=5.0, help="of faults")
    parser.add_argument("--seconds", type=float, help="of faults, instead of minutes")
    parser.add_argument("--every", type=float, help="seconds from fault to fault, about")
    parser.add_argument("--asks", type=float, default=14.0, help="a second; one may ask for up to 40 runs")
    parser.add_argument("--settle", type=float, default=150.0, help="seconds until all must be done after the faults")
    parser.add_argument("--short", action="store_true", help="half a minute of the faults that need no long wait")
    parser.add_argument("--keep", action="store_true", help="keep the logs also when all is well")
    chosen = parser.parse_args()
    chosen.seconds = chosen.seconds or (30 if chosen.short else chosen.minutes * 60)
    chosen.every = chosen.every or (2.5 if chosen.short else 5.0)
    return chosen


def harm(house: House, plan: list[Fault], seconds: float) -> None:
    began = time.monotonic()
    threads = []
    for fault in plan:
        time.sleep(max(0.0, began + fault.at - time.monotonic()))
        print(f"  {fault}", flush=True)
        threads.append(threading.Thread(target=house.suffer, args=(fault,), daemon=True))
        threads[-1].start()
    time.sleep(max(0.0, began + seconds - time.monotonic()))
    for thread in threads:
        thread.join(90)
        assert not thread.is_alive(), "a fault does not end"


def operators_entries() -> list[str]:
    """Two entries as an operator makes them in the administration."""
    from django_celery_beat.models import IntervalSchedule, PeriodicTask

    every, _ = IntervalSchedule.objects.get_or_create(every=2, period=IntervalSchedule.SECONDS)
    tasks = {"operators-tick": "tests.chaos.tasks.tick", "operators-keyed": "tests.chaos.tasks.keyed_tick"}
    for name, task in tasks.items():
        PeriodicTask.objects.create(name=name, task=task, interval=every)
    return list(tasks)


def settle(seconds: float) -> float:
    from tests.chaos import judge

    began = time.monotonic()
    while time.monotonic() - began < seconds:
        if not judge.open_runs() and not judge.on_redis():
            break
        time.sleep(0.5)
    return time.monotonic() - began


def said(folder: Path, pattern: str) -> list[str]:
    """What the askers have printed."""
    texts = [log.read_text(errors="replace") for log in folder.glob("asker*.log")]
    return [match for text in texts for match in re.findall(pattern, text, re.MULTILINE)]


def run(chosen: argparse.Namespace, folder: Path) -> bool:
    house = House(folder, chosen.seed, asks_a_second=chosen.asks, long=not chosen.short)
    with Guard(str(folder)):
        os.environ.update(house.start_servers())
        import django

        django.setup()
        from django.core.management import call_command
        from django.db import connection

        from tests.chaos import asker, judge, tables, tasks

        call_command("migrate", verbosity=0)
        tables.create(asker.TOPICS)
        begun = dict.fromkeys(tasks.FAST, judge.now())
        names = [*tasks.FAST, *operators_entries()]
        plan = faults(chosen.seed, chosen.seconds, every=chosen.every, long=not chosen.short)
        house.start()
        house.wait_for_workers()
        harm(house, plan, chosen.seconds)
        house.stop_asking()
        connection.close()  # cut by a fault
        ends = judge.end_of_schedule(names)
        settled = settle(chosen.settle)
        found, schedule = judge.findings(), judge.schedule(begun, ends)
        left = judge.on_redis()
        if left:
            found.append(judge.Finding("messages left on Redis", [str(left)]))
        figures = judge.figures()
        history = judge.history([*found, *schedule.findings])
        counts = schedule.counts
        table = TABLE.format(
            faults=", ".join(f"{kind} {times}" for kind, times in house.done.most_common()),
            without_target=f"met nobody: {dict(house.without_target)}" if house.without_target else "",
            undone=len(said(folder, "^undone")),
            lost=sum(len(one.keys) for one in found if one.what.startswith("lost")),
            doubled=sum(len(one.keys) for one in found if one.what.startswith("doubled")),
            occurrences_doubled=counts["doubled"],
            slowest_ask=max(map(float, said(folder, "^asked in ([0-9.]+)")), default=0),
            settled=settled,
            load=os.getloadavg()[1],
            cores=os.cpu_count(),
            unacknowledged=judge.unacknowledged(),
            **{name: counts[name] for name in ("expected", "run", "skipped", "late", "missed")},
            **figures,
        )
        print(table, flush=True)
        house.stop()
        return told(folder, [*found, *schedule.findings], history)


def told(folder: Path, found: list[Any], history: list[dict[str, Any]]) -> bool:
    """Whether all is well; if not, what is wrong."""
    for what in dict.fromkeys(one.what for one in found):
        names = [name for one in found if one.what == what for name in (*one.keys, *one.run_ids)]
        print(f"WRONG: {what}: {', '.join(names[:12])}{f' and {len(names) - 12} more' if len(names) > 12 else ''}")
    if found:
        (folder / "rows.json").write_text(json.dumps(history, default=str, indent=1))
        print(f"The rows are in {folder / 'rows.json'}, the logs beside it.", flush=True)
    return not found


def main() -> int:
    chosen = arguments()
    print(f"seed {chosen.seed}: {chosen.seconds:.0f} s of faults", flush=True)
    folder = ROOT / "var" / "chaos" / f"{chosen.seed}-{os.getpid()}"
    well = False
    try:
        well = run(chosen, folder)
    finally:
        for data in ("postgres", "redis"):
            shutil.rmtree(folder / data, ignore_errors=True)
        if well and not chosen.keep:
            shutil.rmtree(folder, ignore_errors=True)
    print("All is well." if well else f"Again with: --seed {chosen.seed}", flush=True)
    return 0 if well else 1


def _leave(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _leave)
    sys.exit(main())
