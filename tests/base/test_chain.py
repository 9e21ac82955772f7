"""The audit chain: every audited row gets one link, in order, whatever dies, and nobody who writes waits for it."""

from __future__ import annotations

import json
import signal
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import structlog
from django.apps import apps
from django.db import DatabaseError, connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import SecurityEvent
from core import clock
from core.base import chain, chain_check, rules
from core.base.models import AuditChain, AuditLog, AuditPending
from core.base.registries import ChainedTable, Hour, chained_tables
from core.jobs import sweeper
from tests.base.audited import TABLES, a_role_change, a_row, a_security_event, rows, sql, tamper
from tests.delivery.outbox import meanwhile, wait_for
from tests.factories import UserFactory
from tests.system.product import Process

really = pytest.mark.django_db(transaction=True)


def links() -> list[tuple[int, str, uuid.UUID]]:
    return list(AuditChain.objects.order_by("position").values_list("position", "source", "row_id"))


def intact() -> bool:
    found = chain_check.verify()
    assert found.faults == []
    assert [position for position, _, _ in links()] == list(range(1, found.links + 1))
    return True


# --- what gets a link -----------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_rows_of_all_audited_tables_are_chained_in_the_order_in_which_they_were_written() -> None:
    written = [a_row(), a_security_event(), a_role_change(), a_row()]
    chain.sweep()
    assert links() == [(number, row._meta.db_table, row.pk) for number, row in enumerate(written, 1)]
    assert not AuditPending.objects.exists()
    assert intact()


@pytest.mark.django_db
def test_rows_written_together_are_chained_one_by_one_and_a_second_sweep_does_nothing() -> None:
    user = UserFactory.create()
    SecurityEvent.objects.bulk_create(
        SecurityEvent(user=user, kind="password_changed", at=clock.now()) for _ in range(25)
    )
    assert chain.chain() == 25
    assert chain.chain() == 0
    chain.sweep()
    assert len(links()) == 25
    assert intact()


@pytest.mark.django_db
def test_what_is_undone_is_neither_noted_nor_chained() -> None:
    with transaction.atomic():
        a_row()
        transaction.set_rollback(True)
    assert not AuditPending.objects.exists()


@really
def test_much_is_chained_in_slices() -> None:
    """No sweep keeps the others of its worker waiting."""
    sql(
        "INSERT INTO base_auditlog (id, actor_name, action, subject_type, subject_id, reason, at)"
        " SELECT gen_random_uuid(), 'ama', 'x', 'y', n::text, '', now() FROM generate_series(1, 4500) AS n"
    )
    assert chain.chain(100) == 100
    turns = 0
    while AuditPending.objects.exists():
        chain.sweep()
        turns += 1
        assert turns < 6, "at least a batch a turn"
    assert len(links()) == 4500
    assert intact()


@pytest.mark.django_db
def test_an_idle_sweep_is_one_look_and_a_busy_one_says_where_the_chain_ends() -> None:
    with CaptureQueriesContext(
        connection,
    ) as queries:
        chain.sweep()
    assert len(queries) == 1
    a_row()
    with structlog.testing.capture_logs() as said:
        chain.sweep()
    link = AuditChain.objects.get()
    assert said == [
        {"event": "audit_chained", "log_level": "info", "rows": 1, "position": 1, "hash": bytes(link.hash).hex()}
    ]


def test_every_worker_sweeps() -> None:
    assert sweeper._registered["audit"].run == chain.sweep


@pytest.mark.django_db
def test_the_head_is_among_the_hourly_figures() -> None:
    hour = Hour(clock.now() - timedelta(hours=1))
    assert chain.figures(hour) == {"audit_head": None, "audit_pending": 0}
    rows(2)
    chain.chain(1)
    link = AuditChain.objects.get()
    assert chain.figures(hour) == {"audit_head": f"1:{bytes(link.hash).hex()}", "audit_pending": 1}


@pytest.mark.django_db
def test_a_row_that_is_noted_twice_has_one_link_and_one_that_is_gone_has_a_link_that_says_so() -> None:
    row, gone = a_row(), uuid.uuid4()
    for row_id in (row.pk, row.pk, gone):
        AuditPending.objects.create(source="base_auditlog", row_id=row_id, at=clock.now())
    chain.chain()
    AuditPending.objects.create(source="base_auditlog", row_id=row.pk, at=clock.now())
    last = a_row()
    chain.chain()
    assert [row_id for _, _, row_id in links()] == [row.pk, gone, last.pk]
    assert AuditChain.objects.get(row_id=gone).row_hash is None
    assert not AuditPending.objects.exists()


@pytest.mark.django_db
def test_rows_of_a_table_that_this_version_does_not_know_are_left_to_one_that_does() -> None:
    AuditPending.objects.create(source="farms_later", row_id=uuid.uuid4(), at=clock.now())
    a_row()
    chain.sweep()
    assert [source for _, source, _ in links()] == ["base_auditlog"]
    assert AuditPending.objects.get().source == "farms_later"
    with CaptureQueriesContext(connection) as queries:
        chain.sweep()
    assert len(queries) == 1


# --- nobody waits, nothing is lost or doubled -----------------------------------------------------------------------


@contextmanager
def impatient() -> Iterator[None]:
    """Whoever waits in this block for a lock that another one keeps fails."""
    with transaction.atomic():
        sql("SET LOCAL lock_timeout = '2s'")
        yield


@really
def test_fifty_writers_wait_neither_for_each_other_nor_for_the_chain() -> None:
    """All fifty have written and none has committed, while a chainer holds its lock; then all commit before it does."""
    rows(10)
    all_written = threading.Barrier(50, timeout=30)

    def write() -> None:
        with impatient():
            a_row()
            all_written.wait()

    with transaction.atomic():
        assert chain.chain() == 10
        with meanwhile(*[write] * 50):
            pass
        assert sql("SELECT count(*) FROM base_auditlog") == [(60,)], "all are there, and this is not committed yet"
    assert chain.chain() == 50
    assert intact()


@really
def test_a_second_chainer_goes_away_at_once_and_what_it_left_is_chained_later() -> None:
    rows(5)
    taken: list[int] = []
    with transaction.atomic():
        assert chain.chain(3) == 3
        with meanwhile(lambda: taken.append(chain.chain())):
            pass
    assert taken == [0]
    assert chain.chain() == 2
    assert intact()


@really
def test_many_sweeps_at_once_leave_no_gap_and_no_double() -> None:
    def write() -> None:
        for number in range(40):
            a_row(number)

    def sweep() -> None:
        for _ in range(60):
            chain.chain(7)

    with meanwhile(write, write, write, sweep, sweep, sweep, seconds=120):
        pass
    while chain.chain():
        pass
    assert len(links()) == 120
    assert intact()


@really
def test_a_row_that_commits_late_is_chained_late() -> None:
    written, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        with transaction.atomic():
            a_row(1)
            written.set()
            assert go_on.wait(30)

    with meanwhile(slow):
        assert written.wait(30)
        a_row(2)
        chain.sweep()
        assert len(links()) == 1
        assert intact()
        go_on.set()
    chain.sweep()
    order = dict(AuditLog.objects.values_list("pk", "subject_id"))
    assert [order[row_id] for _, _, row_id in links()] == ["2", "1"]
    assert intact()


@really
def test_a_sweep_that_is_undone_has_done_nothing() -> None:
    rows(5)
    with transaction.atomic():
        assert chain.chain(3) == 3
        transaction.set_rollback(True)
    assert not AuditChain.objects.exists()
    assert AuditPending.objects.count() == 5
    chain.sweep()
    assert len(links()) == 5
    assert intact()


@really
def test_a_worker_killed_in_mid_sweep_leaves_everything_to_the_next(tmp_path: Path) -> None:
    rows(20)
    chain.chain(5)
    with transaction.atomic():
        sql("LOCK TABLE base_auditchain IN SHARE MODE")  # it has taken its rows and cannot write the links
        worker = Process(tmp_path / "worker.log", "tests.base.sweep_once")
        try:
            stands = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'base_auditchain'::regclass"
            wait_for(lambda: sql(stands) == [(1,)], "it is in the middle", seconds=20)
        finally:
            worker.signal(signal.SIGKILL)
            worker.popen.wait(5)
    wait_for(lambda: sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [(0,)], "its session is gone")
    assert (len(links()), AuditPending.objects.count()) == (5, 15)
    assert intact()
    chain.sweep()
    assert (len(links()), AuditPending.objects.count()) == (20, 0)
    assert intact()


@really
def test_a_chainer_that_is_frozen_loses_its_session_and_another_one_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "FROZEN_SECONDS", 1.0)
    rows(3)
    frozen = threading.Event()
    woken: list[str] = []

    def freeze() -> None:
        try:
            with transaction.atomic():
                chain.chain()
                frozen.set()
                time.sleep(2)
                sql("SELECT 1")
        except DatabaseError as error:
            woken.append(str(error))

    with meanwhile(freeze):
        assert frozen.wait(30)
        assert chain.chain() == 0
        wait_for(lambda: chain.chain() == 3, "the lock is free again", seconds=10)
    assert len(woken) == 1
    assert intact()


# --- forms ----------------------------------------------------------------------------------------------------------


def columns(table: str) -> set[str]:
    [model] = [model for model in apps.get_models() if model._meta.db_table == table]
    return {str(field.column) for field in model._meta.concrete_fields}


@pytest.mark.parametrize("table", TABLES)
def test_the_newest_form_covers_every_column_and_no_form_one_that_is_not_there(table: str) -> None:
    forms = chained_tables[table].forms
    assert set(forms[-1]) == columns(table), "a new column makes a new form at the end (core/base/registries.py)"
    assert [set(form) - columns(table) for form in forms] == [set()] * len(forms)
    assert all(len(set(form)) == len(form) for form in forms)


def test_no_audited_table_is_forgotten_here() -> None:
    assert set(chained_tables) == set(TABLES)


@pytest.mark.django_db
def test_links_of_an_older_form_stay_good_when_a_column_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    old = a_row()
    chain.chain()
    sql("SET CONSTRAINTS ALL IMMEDIATE")
    sql("ALTER TABLE base_auditlog ADD COLUMN ticket text NOT NULL DEFAULT 'none'")
    [form] = chained_tables["base_auditlog"].forms
    monkeypatch.setitem(chained_tables, "base_auditlog", ChainedTable(forms=(form, (*form, "ticket"))))
    new = a_row()
    chain.chain()
    assert list(AuditChain.objects.order_by("position").values_list("form", flat=True)) == [1, 2]
    assert intact()
    tamper("base_auditlog", "UPDATE base_auditlog SET ticket = '7'")
    assert [(fault.kind, fault.row_id) for fault in chain_check.verify().faults] == [("row_changed", str(new.pk))]
    tamper("base_auditlog", "UPDATE base_auditlog SET ticket = 'none'")
    tamper("base_auditlog", "UPDATE base_auditlog SET reason = 'other' WHERE id = %s", old.pk)
    assert [(fault.kind, fault.row_id) for fault in chain_check.verify().faults] == [("row_changed", str(old.pk))]


# --- the canonical form ---------------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))  # what PostgreSQL can hold
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
anything = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
json_texts = anything.map(lambda value: json.dumps(value, ensure_ascii=False))
stored = st.dictionaries(texts, st.none() | json_texts, max_size=6)


@given(texts, st.integers(1, 9), stored)
def test_a_row_is_valid_json_whatever_the_order_of_its_columns(
    table: str, form: int, row: Mapping[str, str | None]
) -> None:
    text = rules.canonical_row(table, form, row)
    assert text == rules.canonical_row(table, form, dict(reversed(list(row.items()))))
    kept = {name: json.loads(value) for name, value in row.items() if value is not None}
    assert json.loads(text) == {"columns": kept, "form": form, "table": table}


@given(st.tuples(texts, st.integers(1, 9), stored), st.tuples(texts, st.integers(1, 9), stored))
def test_rows_that_differ_do_not_look_the_same(
    one: tuple[str, int, dict[str, str | None]], other: tuple[str, int, dict[str, str | None]]
) -> None:
    def told(table: str, form: int, row: dict[str, str | None]) -> object:
        return table, form, {name: value for name, value in row.items() if value is not None}

    same = told(*one) == told(*other)
    assert (rules.canonical_row(*one) == rules.canonical_row(*other)) is same
    assert (rules.row_hash(*one) == rules.row_hash(*other)) is same


def test_the_sums_are_as_they_were_when_the_first_links_were_made() -> None:
    """Changing them would break every chain there is."""
    row = {"id": '"0193"', "before": None, "after": '{"a": 1.50}', "at": '"2026-11-23T06:00:00+00:00"'}
    assert rules.canonical_row("base_auditlog", 1, row) == (
        '{"columns":{"after":{"a": 1.50},"at":"2026-11-23T06:00:00+00:00","id":"0193"},"form":1,'
        '"table":"base_auditlog"}'
    )
    row_hash = rules.row_hash("base_auditlog", 1, row)
    link = rules.Link(1, "base_auditlog", "0193", 1, row_hash, rules.FIRST, "2026-11-23T06:00:01+00:00")
    assert row_hash.hex() == "5ab41adcdefddb5eb9ca349e75c57bf02823631bb4ba9b61244a1daa6d51576b"
    assert rules.link_hash(link).hex() == "f135d57d6fc8cc3e1d1217acd4e467fe3f80a755be9f64feb25203dc89a8bf05"


@pytest.mark.django_db
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=anything, after=anything, reason=texts.map(lambda text: text[:500]), unlike=anything)
def test_whatever_a_row_holds_it_is_found_unchanged_and_any_change_is_found(
    before: Any, after: Any, reason: str, unlike: Any
) -> None:
    with transaction.atomic():
        row = a_row(before=before, after=after, reason=reason)
        chain.chain()
        assert intact()
        assert chain_check.verify().links == 1
        tamper("base_auditlog", "UPDATE base_auditlog SET before = %s::jsonb", json.dumps(unlike))
        [(same,)] = sql("SELECT before IS NOT DISTINCT FROM %s::jsonb FROM base_auditlog", _stored(before))
        kinds = [fault.kind for fault in chain_check.verify().faults]
        # 1 and 1.0 are equal to PostgreSQL, and yet not what was written
        assert kinds == ["row_changed"] or (kinds == [] and same)
        assert AuditLog.objects.get().pk == row.pk
        transaction.set_rollback(True)


def _stored(value: Any) -> str | None:
    return None if value is None else json.dumps(value)


@pytest.mark.django_db
def test_numbers_are_compared_to_the_last_digit_and_null_is_not_json_s_null() -> None:
    a_row(after={"ghs": 0.1})
    a_row(before=None)
    chain.chain()
    changes = (
        "after = '{\"ghs\": 0.10000000000000000000000001}'::jsonb WHERE after IS NOT NULL",
        "before = 'null'::jsonb WHERE after IS NULL",
    )
    for change in changes:
        with transaction.atomic():
            tamper("base_auditlog", f"UPDATE base_auditlog SET {change}")
            assert [fault.kind for fault in chain_check.verify().faults] == ["row_changed"]
            transaction.set_rollback(True)


@pytest.mark.django_db
def test_the_time_zone_of_a_session_makes_no_difference() -> None:
    sql("SET LOCAL TimeZone = 'Asia/Tokyo'")
    a_row()
    a_security_event()
    chain.chain()
    for zone in ("America/Lima", "UTC"):
        sql(f"SET LOCAL TimeZone = '{zone}'")
        assert intact()


# --- the database keeps it ------------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("statement", ["UPDATE base_auditchain SET form = 2", "DELETE FROM base_auditchain"])
def test_the_database_refuses_to_change_a_link(statement: str) -> None:
    a_row()
    chain.chain()
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        sql(statement)
    assert len(links()) == 1


def test_the_database_refuses_to_empty_the_chain_except_where_tests_run() -> None:
    """The statement of the migration; tests/base/test_audit.py shows it at work in a database of another name."""
    ours, other = (import_module(f"core.base.migrations.{name}") for name in ("0004_audit_chain", "0003_audit_log"))
    same = ours.APPEND_ONLY.replace(ours.CHAIN, other.TABLE).replace("audit chain", "audit log")
    assert same == other.APPEND_ONLY


@really
def test_the_chain_goes_and_comes_back_with_every_row_waiting_once() -> None:
    leaves = MigrationExecutor(connection).loader.graph.leaf_nodes()
    event = a_security_event()
    first = a_row()
    chain.chain()
    MigrationExecutor(connection).migrate([("accounts", "0006_sign_in")])
    unnoted = a_security_event()
    MigrationExecutor(connection).migrate(leaves)
    assert [(note.source, note.row_id) for note in AuditPending.objects.all()] == [
        ("accounts_securityevent", unnoted.pk)
    ], "those with a link keep it"
    chain.chain()
    assert intact()

    MigrationExecutor(connection).migrate([("accounts", "0006_sign_in"), ("base", "0003_audit_log")])
    assert not {"base_auditchain", "base_auditpending"} & set(connection.introspection.table_names())
    second = a_row()
    MigrationExecutor(connection).migrate(leaves)
    noted = list(AuditPending.objects.order_by("number").values_list("row_id", flat=True))
    assert noted == [first.pk, second.pk, event.pk, unnoted.pk]
    chain.chain()
    assert len(links()) == 4
    assert intact()
