"""The end, judged from the effects: what was lost, what was doubled, which scheduled times were missed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import redis
from django.conf import settings
from django.db import connection, transaction

from core.jobs import occurrences
from core.jobs.models import Occurrence, ScheduleEntry, TaskRun
from core.jobs.rules import FINAL, Late, OccurrenceState
from core.jobs.timetable import parse

OURS = "tests.chaos.tasks."


@dataclass
class Finding:
    """What is wrong, with the keys and ids of the rows that show it."""

    what: str
    keys: list[str]
    run_ids: list[str] = field(default_factory=list)


def rows(sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return list(cursor.fetchall())


def now() -> datetime:
    ((moment,),) = rows("SELECT clock_timestamp()")
    return moment  # type: ignore[no-any-return]


def end_of_schedule(names: list[str]) -> dict[str, datetime]:
    """Nothing is due from now on. Returns the end of each entry, up to which its times must have been decided."""
    ends = {}
    for name in names:
        with transaction.atomic():
            entry, now = occurrences.locked(name)
            assert entry, f"the entry {name} is not followed"
            occurrences.settle_locked(entry, now)
            occurrences.pause(entry, now, by="chaos", reason="the test is over")
            ends[name] = now
    return ends


def open_runs() -> int:
    final = [state.value for state in FINAL]
    return TaskRun.objects.filter(task__startswith=OURS).exclude(state__in=final).count()


def on_redis() -> int:
    with redis.Redis.from_url(settings.CELERY_BROKER_URL, socket_timeout=5) as client:
        return sum(int(client.llen(name)) for name in ("urgent", "default", "bulk"))


def unacknowledged() -> int:
    """Messages that died with a worker. Redis delivers them again by the clock of whoever took them, in a minute or,
    when that was a day ahead, in a day; the rows of their runs are over by then.
    """
    with redis.Redis.from_url(settings.CELERY_BROKER_URL, socket_timeout=5) as client:
        return int(client.hlen("unacked"))


_KEPT_ONCE = "kind NOT IN ('coalesced', 'cancelled')"
_FINDINGS = {
    "lost": f"SELECT key, run_id FROM chaos_ask AS ask WHERE {_KEPT_ONCE}"
    " AND NOT EXISTS (SELECT 1 FROM chaos_effect WHERE key = ask.key)",
    "lost (joined a run that did not see it)": "SELECT key, run_id FROM chaos_ask AS ask WHERE kind = 'coalesced'"
    " AND NOT EXISTS (SELECT 1 FROM chaos_effect AS e WHERE e.run_id = ask.run_id AND e.version >= ask.version)",
    "lost (its row)": "SELECT key, run_id FROM chaos_ask AS ask WHERE run_id IS NOT NULL"
    " AND NOT EXISTS (SELECT 1 FROM jobs_taskrun WHERE id = ask.run_id)",
    "doubled": "SELECT key, unnest(array_agg(run_id)) FROM chaos_effect WHERE version IS NULL"
    " GROUP BY key HAVING count(*) > 1",
    "effect of an ask that was not committed": "SELECT key, run_id FROM chaos_effect AS e WHERE version IS NULL"
    " AND key NOT LIKE '%% %%' AND NOT EXISTS (SELECT 1 FROM chaos_ask WHERE key = e.key)",
    "run of an ask that was not committed": "SELECT args->>0, id FROM jobs_taskrun AS run WHERE task LIKE %(ours)s"
    " AND task NOT LIKE '%%tick' AND task NOT LIKE '%%.topic'"
    " AND NOT EXISTS (SELECT 1 FROM chaos_ask WHERE key = run.args->>0)",
    "before its time": "SELECT key, e.run_id FROM chaos_effect AS e JOIN chaos_ask USING (key) WHERE at < not_before",
    "cancelled, and yet": "SELECT key, run.id FROM chaos_ask AS ask JOIN jobs_taskrun AS run ON run.id = ask.run_id"
    " CROSS JOIN LATERAL (SELECT count(*) AS n FROM chaos_effect WHERE key = ask.key) AS effects"
    " WHERE kind = 'cancelled' AND NOT (state = 'succeeded' AND n = 1 OR state = 'cancelled' AND n <= sign(fence))",
    "not over": "SELECT task || ' ' || state, id FROM jobs_taskrun WHERE state IN ('pending', 'running', 'retrying')"
    " AND task LIKE %(ours)s",
    "failed": "SELECT task, id FROM jobs_taskrun AS run WHERE task LIKE %(ours)s AND (state IN ('failed', 'skipped')"
    " OR state = 'cancelled' AND NOT EXISTS (SELECT 1 FROM chaos_ask WHERE run_id = run.id AND kind = 'cancelled'))",
    "one occurrence, many runs": "SELECT schedule_entry, unnest(array_agg(id)) FROM jobs_taskrun"
    " WHERE occurrence IS NOT NULL GROUP BY schedule_entry, occurrence HAVING count(*) > 1",
}


def findings() -> list[Finding]:
    found = []
    for what, sql in _FINDINGS.items():
        wrong = rows(sql, {"ours": f"{OURS}%"})
        if wrong:
            found.append(Finding(what, [str(key) for key, _ in wrong], [str(run) for _, run in wrong if run]))
    return found


@dataclass
class Schedule:
    counts: Counter[str]
    findings: list[Finding]


def schedule(begun: dict[str, datetime], ends: dict[str, datetime]) -> Schedule:
    """Every due time of every entry to its end: since it was followed, or since the first one that was written where
    nobody can say when it was noticed.
    """
    counts: Counter[str] = Counter()
    found: list[Finding] = []
    effects = Counter(key for (key,) in rows("SELECT key FROM chaos_effect WHERE key LIKE '% %'"))
    for name, end in ends.items():
        entry = ScheduleEntry.objects.get(name=name)
        known = {one.due_at: one for one in Occurrence.objects.filter(entry=entry, due_at__lte=end)}
        first = min(known, default=end) - timedelta(seconds=1)
        for due in parse(entry.spec).between(min(first, begun.get(name, first)), end):
            key, one = f"{name} {due.isoformat()}", known.pop(due, None)
            counts["expected"] += 1
            state = one.state if one else "not written"
            run_ids = [str(one.run)] if one and one.run else []
            if state in (OccurrenceState.RUN, OccurrenceState.SKIPPED):
                counts[state] += 1
            counts["late"] += bool(one and one.late)
            wanted = state == OccurrenceState.RUN
            if not wanted and (entry.late == Late.RUN_EACH or state != OccurrenceState.SKIPPED):
                counts["missed"] += 1
                found.append(Finding(f"missed: {state}, {one.reason if one else ''}", [key]))
            times = effects.pop(key, 0)
            if times != wanted:
                what = "occurrence doubled" if times > wanted else "occurrence without an effect"
                counts["doubled" if times > wanted else "missed"] += 1
                found.append(Finding(what, [key], run_ids))
        found += [Finding("occurrence at a time that is none", [f"{name} {due}"]) for due in known]
    late = [key for key in effects if key.partition(" ")[0] in ends]
    found += [Finding("effect of no occurrence", late)] if late else []
    return Schedule(counts, found)


def figures() -> dict[str, Any]:
    """For the table: what there was."""
    (asks, bodies, repeats, wrong_clock), *_ = rows(
        "SELECT (SELECT count(*) FROM chaos_ask), count(*), count(*) - count(DISTINCT run_id),"
        " count(*) FILTER (WHERE abs(clock_wrong_by) > 60) FROM chaos_body"
        " WHERE run_id NOT IN (SELECT id FROM jobs_taskrun WHERE task LIKE '%.slices' OR task LIKE '%_once')"
    )
    (runs, taken_again, slowest, half, most), *_ = rows(
        "SELECT count(*), count(*) FILTER (WHERE fence > 1 AND task NOT LIKE '%%.slices' AND task NOT LIKE '%%_once'),"
        " extract(epoch FROM max(took)), extract(epoch FROM percentile_disc(0.5) WITHIN GROUP (ORDER BY took)),"
        " extract(epoch FROM percentile_disc(0.99) WITHIN GROUP (ORDER BY took))"
        " FROM jobs_taskrun CROSS JOIN LATERAL (SELECT finished_at - greatest(asked_at, due_at) AS took) AS t"
        " WHERE task LIKE %s AND task NOT LIKE '%%.stumbles_once'",
        [f"{OURS}%"],
    )
    (effects,), *_ = rows("SELECT count(*) FROM chaos_effect")
    slow = rows(
        "SELECT task, id, fence FROM jobs_taskrun WHERE task LIKE %s AND task NOT LIKE '%%.stumbles_once'"
        " ORDER BY finished_at - greatest(asked_at, due_at) DESC NULLS LAST LIMIT 1",
        [f"{OURS}%"],
    )
    return {
        "asked": asks,
        "runs": runs,
        "effects": effects,
        "bodies": bodies,
        "repeats": repeats,
        "wrong_clock": wrong_clock,
        "taken_again": taken_again,
        "slowest": float(slowest or 0),
        "slowest_run": ", ".join(f"{task.removeprefix(OURS)} {run}, taken {fence} times" for task, run, fence in slow),
        "half": float(half or 0),
        "most": float(most or 0),
        "by_kind": dict(rows("SELECT kind, count(*) FROM chaos_ask GROUP BY kind ORDER BY 2 DESC")),
    }


def history(found: list[Finding]) -> list[dict[str, Any]]:
    """The rows that the findings name, as they are now, with every effect and every run of the body."""
    ids = [run_id for finding in found for run_id in finding.run_ids]
    keys = [key for finding in found for key in finding.keys]
    told: list[dict[str, Any]] = [dict(row) for row in TaskRun.objects.filter(pk__in=ids).values()]
    told += [{"ask": row} for row in rows("SELECT * FROM chaos_ask WHERE key = ANY (%s)", [keys])]
    told += [
        {table: row}
        for table in ("chaos_effect", "chaos_body")
        for row in rows(f"SELECT * FROM {table} WHERE run_id::text = ANY (%s) OR key = ANY (%s)", [ids, keys])
    ]
    for key in keys:
        name, _, due = key.partition(" ")
        if due and ScheduleEntry.objects.filter(name=name).exists():
            told += [dict(row) for row in ScheduleEntry.objects.filter(name=name).values()]
            told += [dict(row) for row in Occurrence.objects.filter(entry=name, due_at=due).values()]
    return told
