# mypy: disable-error-code="import-untyped"
"""Reminding very many farmers: the task's own service beside a bare INSERT ... SELECT of the same rows."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from statistics import median
from typing import Any

from bench.report import Report, ratio, spread
from bench.system import System, sql

MOST, ROUNDS = 2.0, 5
WRITTEN = ("delivery_reminderlog", "delivery_outboundmessage", "delivery_notification")
ALL, FEWER = "bare: all that it writes", "bare: log and messages without notices"


def reminders(system: System, report: Report) -> None:
    """The service of `farms.tasks.send_enrollment_reminders` for one batch whose 7-day reminder is due, to farmers who
    all may apply (nine tenths by SMS, the rest by e-mail): eligibility, consent, words, log, messages and the notices
    in the application, 5,000 farms in a transaction. Beside it the same rows of log and messages, and then of all three
    tables, copied by a bare INSERT ... SELECT in one transaction."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    from farms.services.common import CHUNK

    count = 100_000 if system.long else 20_000
    day = _a_monday()
    _write(count, deadline=day + timedelta(days=7))
    _empty()
    with CaptureQueriesContext(connection) as captured:
        told = _remind(day)
    if told["sent"] != count:
        raise SystemExit(f"{told}, not {count:,} sent")
    parts = -(-count // CHUNK)
    for table in WRITTEN:
        sql(f"DROP TABLE IF EXISTS copied_{table}")
        sql(f"CREATE TABLE copied_{table} AS SELECT * FROM {table}")
    ways: dict[str, Callable[[], Any]] = {
        "task": lambda: _remind(day),
        ALL: lambda: _copy(WRITTEN),
        FEWER: lambda: _copy(WRITTEN[:2]),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(ROUNDS):
        names = list(ways)
        for name in names[number % 3 :] + names[: number % 3]:
            _empty()
            began = time.perf_counter()
            ways[name]()
            taken[name].append(time.perf_counter() - began)
    again = []
    _empty()
    _remind(day)
    for _ in range(3):
        began = time.perf_counter()
        _remind(day)
        again.append(time.perf_counter() - began)
    report.table(
        (f"{count:,} farmers", "s", "task / this", "bound"),
        [
            ("task", spread(taken["task"]), "", ""),
            (ALL, spread(taken[ALL]), *ratio(_times(taken["task"], taken[ALL]), MOST)),
            (FEWER, spread(taken[FEWER]), f"{_times(taken['task'], taken[FEWER]):.2f}", ""),
            ("task, the second time of a day", spread(again), "", "nothing is written"),
        ],
    )
    report.say(f"{len(captured)} queries for {parts} parts, {len(captured) / parts:.1f} each.")


def _times(ours: list[float], theirs: list[float]) -> float:
    return median(a / b for a, b in zip(ours, theirs, strict=True))


def _a_monday() -> date:
    """The Monday of this week: so that no due day is shifted."""
    today = datetime.now(UTC).date()
    return today - timedelta(days=today.weekday())


def _remind(day: date) -> dict[str, int]:
    from core import clock
    from farms.services.reminders import remind_of_batches

    return remind_of_batches(now=clock.now(), today=day)


def _copy(tables: tuple[str, ...]) -> None:
    from django.db import transaction

    with transaction.atomic():
        for table in tables:
            sql(f"INSERT INTO {table} SELECT * FROM copied_{table}")


def _empty() -> None:
    sql(f"TRUNCATE {', '.join(WRITTEN)} CASCADE")
    sql("CHECKPOINT")  # what was written is not still being written to the disk in the next round


def _write(count: int, *, deadline: date) -> None:
    """Farmers, their applications and farms; each farmer may apply to the batch."""
    from django.core.management import call_command

    call_command("demo_data", verbosity=0)
    sql(
        """
        CREATE TABLE someone AS
        SELECT n, gen_random_uuid() AS person, gen_random_uuid() AS application, gen_random_uuid() AS farm,
               home.id AS home, home.region_id AS region, home.district_id AS district,
               '+23324' || lpad(n::text, 7, '0') AS phone, 'GHA-' || lpad(n::text, 9, '0') || '-1' AS card,
               home.region || '-' || home.code || '-' || lpad(n::text, 6, '0') AS number
        FROM generate_series(1, %(count)s::int) AS n
        JOIN (SELECT place.*, region.code AS region, row_number() OVER (ORDER BY place.code) - 1 AS row
              FROM accounts_constituency AS place JOIN accounts_region AS region ON region.id = place.region_id) AS home
          ON home.row = mod(n, (SELECT count(*) FROM accounts_constituency))
        """,
        count=count,
    )
    sql(
        """
        INSERT INTO accounts_user
            (id, created_at, updated_at, password, is_superuser, username, email, phone, first_name, last_name, role,
             region_id, district_id, constituency_id, preferred_contact_method, language, email_verified,
             phone_verified, is_active, activated_at, is_suspended, suspension_reason, token_version,
             failed_login_attempts)
        SELECT person, now(), now(), '!', false, 'farmer' || n,
               CASE WHEN mod(n, 10) = 0 THEN 'farmer' || n || '@bench.example' ELSE '' END, phone, 'Ama', 'Mensah',
               'FARMER', region, district, home, CASE WHEN mod(n, 10) = 0 THEN 'EMAIL' ELSE 'SMS' END, 'en', false,
               true, true, now(), false, '', 0, 0
        FROM someone
        """
    )
    sql(
        """
        INSERT INTO farms_farmapplication
            (id, created_at, updated_at, application_number, application_type, full_name, date_of_birth,
             primary_phone, email, phone_verified, email_verified, ghana_card_number, tin, farm_name,
             number_of_poultry_houses, language, total_bird_capacity, primary_production_type, breed,
             experience_years, has_existing_farm, status, submitted_at, last_movement_at, changes_from_status,
             spam_score, priority_score, region_id, district_id, constituency_id)
        SELECT application, now(), now(), 'APP-2020-' || lpad(n::text, 6, '0'), 'government_program', 'Ama Mensah',
               '1998-03-14', phone, '', true, false, card, '', 'Farm ' || n, 2, 'en', 1000, 'layers', '', 0, false,
               'account_created', now(), now(), '', 0, 0, region, district, home
        FROM someone
        """
    )
    sql(
        """
        INSERT INTO farms_farm
            (id, created_at, updated_at, user_id, application_id, farm_number, farm_name, constituency_id,
             ghana_card_number, tin, primary_phone, number_of_poultry_houses, total_bird_capacity,
             primary_production_type, farm_status, is_government, biosecurity_score, readiness_score, score_version)
        SELECT farm, now() - interval '1 year', now(), person, application, 'YEA-' || number, 'Farm ' || n, home, card,
               '', phone, 2, 1000, 'layers', 'active', false, 0, 0, 0
        FROM someone
        """
    )
    sql(
        """
        INSERT INTO farms_batch
            (id, created_at, updated_at, batch_name, batch_code, start_date, end_date, application_deadline,
             total_slots, slots_filled, allow_overbooking, min_age, max_age, min_bird_capacity, min_farm_age_months,
             support_package_value, support_package_details, approval_sla_days, status)
        VALUES (gen_random_uuid(), now(), now(), 'Layers', 'LAY-1', %(deadline)s::date - 60, %(deadline)s::date + 60,
                %(deadline)s, 1000000, 0, false, 18, 65, 100, 1, 0, '', 30, 'live')
        """,
        deadline=deadline,
    )
    sql("DROP TABLE someone")
    for table in ("accounts_user", "farms_farmapplication", "farms_farm", "farms_batch"):
        sql(f"VACUUM ANALYZE {table}")
