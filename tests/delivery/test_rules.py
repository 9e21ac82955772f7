"""The pure decisions, held against domain.md 4.6.2 and 4.6.3."""

from __future__ import annotations

from datetime import datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.clock import ACCRA
from core.delivery import rules
from core.delivery.rules import Channel, Purpose, Status, Verdict, Windows, after_answer, opening
from tests.delivery.spec import ALLOWED, MAY_BECOME

SAT, SUN, MON = "2026-10-31", "2026-11-01", "2026-11-02"
HELD = [Purpose.SERVICE, Purpose.ADMIN]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ACCRA)


def test_the_states_and_what_each_may_become_are_those_of_the_specification() -> None:
    assert {status.value for status in Status} == set(MAY_BECOME)
    code = {(str(before), str(after)) for before, line in rules.TRANSITIONS.items() for after in line}
    assert code == ALLOWED


@pytest.mark.parametrize("purpose", Purpose)
@pytest.mark.parametrize("channel", Channel)
def test_each_message_has_its_lane(purpose: Purpose, channel: Channel) -> None:
    urgent = purpose in (Purpose.OTP, Purpose.SECURITY)
    bulk = (purpose, channel) == (Purpose.BULK, Channel.SMS)
    assert rules.lane(purpose, channel) == ("urgent" if urgent else "bulk" if bulk else "default")


@pytest.mark.parametrize("purpose", HELD)
@pytest.mark.parametrize(
    ("asked", "leaves"),
    [
        ("2026-11-25 00:00", "2026-11-25 07:00"),
        ("2026-11-25 06:59:59.999", "2026-11-25 07:00"),
        ("2026-11-25 07:00", "2026-11-25 07:00"),
        ("2026-11-25 12:34:56.789", "2026-11-25 12:34:56.789"),
        ("2026-11-25 19:59:59.999", "2026-11-25 19:59:59.999"),
        ("2026-11-25 20:00", "2026-11-26 07:00"),
        (f"{SAT} 20:00", f"{SUN} 07:00"),
        (f"{SUN} 12:00", f"{SUN} 12:00"),
        ("2026-11-30 23:59", "2026-12-01 07:00"),
        ("2026-12-31 20:00", "2027-01-01 07:00"),
        ("2028-02-28 20:30", "2028-02-29 07:00"),
    ],
)
def test_an_sms_to_a_person_leaves_between_7_and_20(purpose: Purpose, asked: str, leaves: str) -> None:
    assert opening(purpose, Channel.SMS, at(asked), Windows()) == at(leaves)


@pytest.mark.parametrize(
    ("asked", "leaves"),
    [
        ("2026-11-25 07:59:59", "2026-11-25 08:00"),
        ("2026-11-25 08:00", "2026-11-25 08:00"),
        ("2026-11-25 18:59:59", "2026-11-25 18:59:59"),
        ("2026-11-25 19:00", "2026-11-26 08:00"),
        (f"{SAT} 18:59", f"{SAT} 18:59"),
        (f"{SAT} 19:00", f"{MON} 08:00"),
        (f"{SUN} 00:00", f"{MON} 08:00"),
        (f"{SUN} 12:00", f"{MON} 08:00"),
        (f"{SUN} 23:59", f"{MON} 08:00"),
        (f"{MON} 00:00", f"{MON} 08:00"),
        ("2027-01-30 19:00", "2027-02-01 08:00"),
    ],
)
def test_a_bulk_sms_leaves_between_8_and_19_but_not_on_sunday(asked: str, leaves: str) -> None:
    assert opening(Purpose.BULK, Channel.SMS, at(asked), Windows()) == at(leaves)


@pytest.mark.parametrize(
    ("purpose", "channel"),
    [(Purpose.OTP, Channel.SMS), (Purpose.SECURITY, Channel.SMS)] + [(purpose, Channel.EMAIL) for purpose in Purpose],
)
def test_codes_warnings_and_email_leave_at_any_hour(purpose: Purpose, channel: Channel) -> None:
    assert opening(purpose, channel, at(f"{SUN} 03:00"), Windows()) == at(f"{SUN} 03:00")


moments = st.datetimes(datetime(2026, 1, 1), datetime(2029, 1, 1)).map(lambda m: m.replace(tzinfo=ACCRA))  # noqa: DTZ001
minutes = st.tuples(st.integers(0, 1439), st.integers(0, 1439)).filter(lambda pair: pair[0] != pair[1])


@given(moments, minutes, st.sampled_from([*HELD, Purpose.BULK]))
def test_the_opening_is_the_first_moment_in_the_window_that_is_not_past(
    moment: datetime, pair: tuple[int, int], purpose: Purpose
) -> None:
    start, end = (time(m // 60, m % 60) for m in sorted(pair))
    windows = Windows(start, end, start, end)
    leaves = opening(purpose, Channel.SMS, moment, windows)
    assert leaves >= moment
    assert start <= leaves.time() < end
    assert not (purpose == Purpose.BULK and leaves.weekday() == 6)
    assert opening(purpose, Channel.SMS, leaves, windows) == leaves
    if leaves > moment:  # nothing between could have been earlier
        assert (leaves.time(), leaves.second) == (start, 0)
        assert leaves - moment <= timedelta(days=2)
        half_way = moment + (leaves - moment) / 2
        assert opening(purpose, Channel.SMS, half_way, windows) == leaves


@pytest.mark.parametrize(
    ("verdict", "tries", "status", "then", "least", "most"),
    [
        (Verdict.ACCEPTED, 0, "accepted", 1, None, None),
        (Verdict.REFUSED, 0, "rejected", 1, None, None),
        (Verdict.IN_DOUBT, 0, "in_doubt", 1, None, None),
        (Verdict.IN_DOUBT, 3, "in_doubt", 4, None, None),
        (Verdict.TRY_LATER, 0, "queued", 1, 54, 66),
        (Verdict.TRY_LATER, 1, "queued", 2, 108, 132),
        (Verdict.TRY_LATER, 2, "queued", 3, 216, 264),
        (Verdict.TRY_LATER, 3, "dead", 4, None, None),
        (Verdict.TRY_LATER, 9, "dead", 10, None, None),
        (Verdict.PROVIDER_AWAY, 0, "queued", 0, 15, 40),
        (Verdict.PROVIDER_AWAY, 3, "queued", 3, 15, 40),
        (Verdict.NOT_CONFIGURED, 0, "queued", 0, 15, 40),
        (Verdict.NOT_CONFIGURED, 3, "queued", 3, 15, 40),
    ],
)
def test_what_an_answer_leads_to(
    verdict: Verdict, tries: int, status: str, then: int, least: float | None, most: float | None
) -> None:
    for chance in (0.0, 0.5, 1.0, None):
        after = after_answer(verdict, tries, chance=chance)
        assert (after.status, after.tries) == (status, then)
        if least is None or most is None:
            assert after.again_in is None
        else:
            assert after.again_in is not None
            assert least <= after.again_in <= most


def test_every_verdict_leads_to_a_state_that_follows_submitting() -> None:
    for verdict in Verdict:
        for tries in range(6):
            assert after_answer(verdict, tries).status in rules.TRANSITIONS[Status.SUBMITTING]


def test_the_lease_outlives_a_call_with_its_usual_timeouts() -> None:
    from core import settings as product

    assert rules.LEASE_SECONDS > 3 * product.HUBTEL_TIMEOUT_SECONDS, "connect, write and read each may take as long"
