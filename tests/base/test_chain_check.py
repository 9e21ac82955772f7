"""What was tampered with past the triggers is found, and told for what it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from core.base import chain, chain_check, rules
from core.base.chain import Head
from core.base.chain_check import FaultKind
from core.base.models import AuditChain, AuditPending
from core.errors import InvalidInput
from tests.base.audited import a_role_change, a_row, a_security_event, chained, rows, sql, tamper, triggers_off
from tests.delivery.outbox import meanwhile

pytestmark = pytest.mark.django_db

Told = list[tuple[str, int | None]]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the ends of chunks lie everywhere."""
    monkeypatch.setattr(chain_check, "CHUNK", 3)


def told(**about: Any) -> Told:
    return [(fault.kind.value, fault.position) for fault in chain_check.verify(**about).faults]


def row_of(position: int) -> str:
    return str(AuditChain.objects.get(position=position).row_id)


def head_now() -> Head:
    head = chain.head()
    assert head
    return head


# --- what is right --------------------------------------------------------------------------------------------------


def test_an_empty_chain_is_intact() -> None:
    found = chain_check.verify()
    assert (found.intact, found.links, found.head, found.pending) == (True, 0, None, 0)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6, 7])
def test_what_was_chained_is_intact_and_what_waits_is_counted(count: int) -> None:
    chained(count)
    head = head_now()
    rows(2)
    found = chain_check.verify(heads=[head])
    assert (found.intact, found.links, found.head, found.pending) == (True, count, head, 2)
    assert found.oldest_pending is not None


def test_it_goes_on_from_a_link_that_was_checked_before() -> None:
    chained(8)
    tamper("base_auditlog", "UPDATE base_auditlog SET reason = 'x' WHERE id = %s", row_of(2))
    assert told() == [("row_changed", 2)]
    found = chain_check.verify(since=5)
    assert (found.intact, found.links) == (True, 3)
    assert chain_check.verify(since=8).links == 0
    tamper("base_auditlog", "UPDATE base_auditlog SET reason = 'x' WHERE id = %s", row_of(6))
    assert told(since=5) == [("row_changed", 6)]


def test_it_cannot_begin_at_a_link_that_is_not_there() -> None:
    chained(2)
    for since in (3, -1):
        with pytest.raises(InvalidInput, match="There is no link"):
            chain_check.verify(since=since)


# --- rows -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("write", "table", "change"),
    [
        (a_row, "base_auditlog", "reason = 'another'"),
        (a_row, "base_auditlog", "at = at - interval '1 microsecond'"),
        (a_row, "base_auditlog", "at = 'infinity'"),
        (a_row, "base_auditlog", "after = '{}'"),
        (a_row, "base_auditlog", "actor_name = 'Ama'"),
        (a_security_event, "accounts_securityevent", "ip = '2001:db8::2'"),
        (a_security_event, "accounts_securityevent", "ip = NULL"),
        (a_security_event, "accounts_securityevent", "kind = 'unsuspended'"),
        (a_role_change, "accounts_rolechange", "new_role = 'FINANCE_OFFICER'"),
        (a_role_change, "accounts_rolechange", "created_at = created_at + interval '1 day'"),
    ],
)
def test_a_changed_row_is_found(write: Callable[[], Any], table: str, change: str) -> None:
    chained(2)
    row = write()
    chain.chain()
    chained(2)
    tamper(table, f"UPDATE {table} SET {change} WHERE id = %s", row.pk)
    [fault] = chain_check.verify().faults
    assert (fault.kind, fault.position, fault.table, fault.row_id) == ("row_changed", 3, table, str(row.pk))


@pytest.mark.parametrize("position", [1, 3, 5])
def test_a_removed_row_is_found(position: int) -> None:
    chained(5)
    gone = row_of(position)
    tamper("base_auditlog", "DELETE FROM base_auditlog WHERE id = %s", gone)
    [fault] = chain_check.verify().faults
    assert (fault.kind, fault.position, fault.row_id) == ("row_removed", position, gone)


def test_a_row_that_is_put_in_another_s_place_is_found() -> None:
    chained(3)
    one, other = row_of(1), row_of(3)
    swap = "UPDATE base_auditlog SET id = CASE id WHEN %s THEN %s::uuid ELSE %s::uuid END WHERE id IN (%s, %s)"
    with triggers_off("base_auditlog"):
        sql("ALTER TABLE base_auditlog DROP CONSTRAINT base_auditlog_pkey")
        sql(swap, one, other, one, one, other)
        sql("ALTER TABLE base_auditlog ADD PRIMARY KEY (id)")
    assert told() == [("row_changed", 1), ("row_changed", 3)]


def test_a_row_removed_before_it_was_chained_is_found_for_ever() -> None:
    row = a_row()
    tamper("base_auditlog", "DELETE FROM base_auditlog WHERE id = %s", row.pk)
    chain.chain()
    [fault] = chain_check.verify().faults
    assert (fault.kind, fault.words) == ("row_removed", "was removed before it was chained")


def test_a_row_that_neither_has_a_link_nor_waits_is_found() -> None:
    chained(2)
    with triggers_off("base_auditlog"):
        row = a_row()
    [fault] = chain_check.verify().faults
    assert (fault.kind, fault.position, fault.row_id) == ("row_left_out", None, str(row.pk))


def test_a_row_whose_note_was_removed_is_found() -> None:
    row = a_row()
    AuditPending.objects.all().delete()
    [fault] = chain_check.verify().faults
    assert (fault.kind, fault.row_id) == ("row_left_out", str(row.pk))


def test_of_very_many_faults_all_are_counted_and_the_first_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain_check, "MOST_KEPT", 4)
    chained(9)
    tamper("base_auditchain", "DELETE FROM base_auditchain")
    found = chain_check.verify()
    assert (len(found.faults), dict(found.counts)) == (4, {"row_left_out": 9})
    tamper("base_auditlog", "DELETE FROM base_auditlog")
    assert chain_check.verify().intact, "nothing is left to compare with: only a head kept elsewhere tells"


# --- links ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "last"), [(1, 1), (3, 3), (2, 5), (1, 6), (4, 4)])
def test_removed_links_are_found_and_so_are_the_rows_they_stood_for(first: int, last: int) -> None:
    chained(7)
    ids = {row_of(position) for position in range(first, last + 1)}
    tamper("base_auditchain", "DELETE FROM base_auditchain WHERE position BETWEEN %s AND %s", first, last)
    found = chain_check.verify()
    assert found.counts == {"link_removed": last - first + 1, "row_left_out": last - first + 1}
    assert [(fault.position, fault.words) for fault in found.faults if fault.kind == "link_removed"] == [
        (first, "is not there" if first == last else f"and all up to {last} are not there")
    ]
    assert {fault.row_id for fault in found.faults if fault.kind == "row_left_out"} == ids


def test_a_removed_link_whose_place_was_closed_up_is_found() -> None:
    """Also when there are more after it than are looked for one by one."""
    chained(30)
    gone = row_of(3)
    with triggers_off("base_auditchain"):
        sql("DELETE FROM base_auditchain WHERE position = 3")
        sql("UPDATE base_auditchain SET position = position + 100 WHERE position > 3")
        sql("UPDATE base_auditchain SET position = position - 101 WHERE position > 100")
    found = chain_check.verify()
    assert [(fault.kind, fault.position) for fault in found.faults[:-1]] == [("link_moved", n) for n in range(3, 30)]
    assert (found.faults[-1].kind, found.faults[-1].row_id) == ("row_left_out", gone)


@pytest.mark.parametrize(
    "change",
    [
        "chained_at = chained_at - interval '1 day'",
        "row_id = gen_random_uuid()",
        "form = 7",
        "source = 'accounts_rolechange'",
        "row_hash = previous_hash",
        "row_hash = NULL",
        "previous_hash = row_hash",
        "hash = row_hash",
    ],
)
@pytest.mark.parametrize("position", [1, 4, 6])
def test_a_changed_link_is_found(change: str, position: int) -> None:
    chained(6)
    tamper("base_auditchain", f"UPDATE base_auditchain SET {change} WHERE position = %s", position)
    found = chain_check.verify()
    assert [(f.kind, f.position) for f in found.faults if f.kind != "row_left_out"] == [("link_changed", position)]
    assert found.counts[FaultKind.ROW_LEFT_OUT] == ("row_id" in change or "source" in change)


@pytest.mark.parametrize("near", [100, 0])
@pytest.mark.parametrize(("one", "other"), [(1, 2), (3, 4), (2, 6), (5, 6), (1, 7)])
def test_links_in_another_order_are_found(one: int, other: int, near: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain_check, "NEAR", near)
    chained(8)
    with triggers_off("base_auditchain"):
        for before, after in ((one, 100), (other, one), (100, other)):
            sql("UPDATE base_auditchain SET position = %s WHERE position = %s", after, before)
    found = chain_check.verify()
    assert [(fault.kind, fault.position, fault.words) for fault in found.faults] == [
        ("link_moved", one, f"stood at {other} when it was made"),
        ("link_moved", other, f"stood at {one} when it was made"),
    ]


def test_a_link_of_a_table_or_form_that_nobody_knows_is_told() -> None:
    chained(3)
    for about in ({"form": 9}, {"source": "farms_gone"}):
        rewrite(3, **about)
        found = chain_check.verify()
        assert [(f.kind, f.position) for f in found.faults if f.kind != "row_left_out"] == [("link_unknown", 3)]
        rewrite(3, form=1, source="base_auditlog")
    assert told() == []


# --- a chain that was written anew, by somebody who can do the sums -------------------------------------------------


def rewrite(position: int, **about: Any) -> None:
    """One link with other content and the hash that belongs to it."""
    [parts] = sql(
        "SELECT position, source, row_id::text, form, row_hash, previous_hash, to_jsonb(chained_at) #>> '{}'"
        " FROM base_auditchain WHERE position = %s",
        position,
    )
    link = replace(rules.Link(*parts), **about)
    tamper(
        "base_auditchain",
        "UPDATE base_auditchain SET source = %s, form = %s, row_hash = %s, previous_hash = %s, hash = %s"
        " WHERE position = %s",
        *(link.source, link.form, link.row_hash, link.previous_hash, rules.link_hash(link), position),
    )


def falsify(position: int) -> None:
    """Another reason for what was done, and a link that agrees with it."""
    row_id = row_of(position)
    tamper("base_auditlog", "UPDATE base_auditlog SET reason = 'a lie' WHERE id = %s", row_id)
    [now] = chain.row_hashes("base_auditlog", 1, [row_id]).values()
    rewrite(position, row_hash=now)


@pytest.mark.parametrize("position", [1, 3, 5])
def test_one_link_written_anew_does_not_fit_the_next(position: int) -> None:
    chained(6)
    falsify(position)
    found = chain_check.verify()
    words = "was written anew: the next link follows another one"
    assert [(f.kind, f.position, f.words) for f in found.faults] == [("link_changed", position, words)]


def test_a_chain_written_anew_to_its_end_is_found_by_a_head_kept_elsewhere() -> None:
    chained(6)
    early, late = Head(2, bytes(AuditChain.objects.get(position=2).hash)), head_now()
    falsify(4)
    for position in (5, 6):
        rewrite(position, previous_hash=bytes(AuditChain.objects.get(position=position - 1).hash))
    assert told() == [], "by itself it is in order"
    assert told(heads=[early]) == []
    assert told(heads=[early, late]) == [("head_changed", 6)]


def test_a_chain_that_was_cut_off_and_went_on_is_found_by_a_head_kept_elsewhere() -> None:
    chained(6)
    kept = head_now()
    lost = [row_of(position) for position in (5, 6)]
    tamper("base_auditchain", "DELETE FROM base_auditchain WHERE position > 4")
    assert {fault.row_id for fault in chain_check.verify().faults} == set(lost)
    tamper("base_auditlog", "DELETE FROM base_auditlog WHERE id = ANY (%s::uuid[])", lost)
    assert told() == []
    [fault] = chain_check.verify(heads=[kept]).faults
    assert (fault.kind, fault.position) == ("head_cut_off", 6)
    assert "the chain ends with 4" in fault.words
    chained(5)
    assert told() == []
    assert told(heads=[kept]) == [("head_changed", 6)]


def test_a_chain_whose_beginning_was_cut_off_is_found() -> None:
    chained(4)
    with triggers_off("base_auditchain"):
        sql("DELETE FROM base_auditchain WHERE position = 1")
        sql("UPDATE base_auditchain SET position = position - 1 WHERE position = 2")
    rewrite(1)
    found = chain_check.verify()
    assert (found.faults[0].kind, found.faults[0].position) == ("link_changed", 1)
    assert "is not the first" in found.faults[0].words


# --- the triggers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "trigger"),
    [
        ("base_auditlog", "rows_stay"),
        ("base_auditlog", "noted"),
        ("accounts_rolechange", "table_stays"),
        ("accounts_securityevent", "noted"),
        ("base_auditchain", "rows_stay"),
        ("base_auditchain", "table_stays"),
    ],
)
def test_a_trigger_that_is_off_or_gone_is_told(table: str, trigger: str) -> None:
    for statement in (
        f"ALTER TABLE {table} DISABLE TRIGGER {table}_{trigger}",
        f"DROP TRIGGER {table}_{trigger} ON {table}",
    ):
        sql(statement)
        [fault] = chain_check.verify().faults
        assert (fault.kind, fault.table) == ("guard_off", table)
        assert f"{table}_{trigger}" in fault.words


# --- while others write ---------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_what_is_written_and_chained_meanwhile_is_no_fault() -> None:
    over: list[bool] = []

    def write() -> None:
        for number in range(60):
            a_row(number)

    def sweep() -> None:
        while not over:
            chain.chain(5)

    def look() -> None:
        try:
            for _ in range(15):
                found = chain_check.verify()
                assert found.faults == []
        finally:
            over.append(True)

    with meanwhile(write, write, sweep, look, seconds=120):
        pass
