"""What people decide of a campaign, who may, and that it holds at once and for each message."""

from __future__ import annotations

import itertools
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.conf import LazySettings
from django.db import IntegrityError, connection, transaction

from accounts.rules import Role
from core.base.models import AuditLog
from core.delivery import audiences, campaign_life, campaigns, dispatch, holds
from core.delivery.campaign_progress import OUTCOMES, progress
from core.delivery.models import Campaign, CampaignRecipient, MessageEvent, OutboundMessage
from core.delivery.rules import CAMPAIGN_TRANSITIONS, CampaignStatus
from core.errors import Conflict, InvalidInput, NotAllowed, NotFound
from core.jobs.models import TaskRun
from tests.delivery.campaign import (
    TERMINAL,
    TEXT,
    admin,
    begun,
    carried_out,
    declines,
    draft,
    farmers,
    figure,
    states,
    status,
)
from tests.delivery.outbox import meanwhile, phones
from tests.sandbox.process import Sandbox

pytestmark = pytest.mark.django_db


def send(seconds: float = 20) -> None:
    dispatch.dispatch_bulk(seconds=seconds)


def arrived(sandbox: Sandbox) -> list[str]:
    return sorted(message["to"] for message in sandbox.messages(limit=1000))


# --- planning ------------------------------------------------------------------------------------------------------


def test_a_plan_says_what_would_go_to_whom_and_what_it_would_cost() -> None:
    numbers = [*phones(5), "0240000001", "0302123456", "nonsense"]
    declines(phones(5)[4])
    plan = campaign_life.plan(text="Ɛyɛ " + "a" * 70, audience=audiences.listed(numbers), seeds=["0209999999"])
    assert (plan.recipients, plan.duplicates, plan.invalid, plan.opted_out, plan.suppressed) == (5, 1, 2, 1, 0)
    assert (plan.to_be_sent, plan.seeds, plan.examined) == (5, 1, 8)
    assert (plan.encoding, plan.parts, plan.forced_by) == ("ucs2", 2, ("Ɛ", "ɛ"))
    assert plan.cost == 10 * Decimal("0.0300")
    assert plan.previews == ("+233*****0000", "+233*****0001", "+233*****0002")
    assert plan.approval == ""
    assert plan.ends is None, "no rate is set"
    assert not Campaign.objects.exists()
    assert not OutboundMessage.objects.exists()


@pytest.mark.parametrize(
    ("at", "begins", "ends"),
    [
        ("2026-11-23T10:00", "2026-11-23T10:00", "2026-11-23T10:20"),
        ("2026-11-23T05:00", "2026-11-23T08:00", "2026-11-23T08:20"),
        ("2026-11-23T18:50", "2026-11-23T18:50", "2026-11-24T08:10"),
        ("2026-11-21T18:50", "2026-11-21T18:50", "2026-11-23T08:10"),
        ("2026-11-22T12:00", "2026-11-23T08:00", "2026-11-23T08:20"),
    ],
)
def test_a_plan_says_when_it_would_begin_and_end_at_the_rate_that_is_set(
    settings: LazySettings, at: str, begins: str, ends: str
) -> None:
    """1,200 texts of one part at 1 a second, on a Monday, a Saturday and a Sunday."""
    settings.SENDING_WINDOWS = True
    figure("sms.parts_per_second", 1)
    with time_machine.travel(datetime.fromisoformat(at).replace(tzinfo=UTC), tick=False):
        plan = campaign_life.plan(text=TEXT, audience=audiences.listed(phones(1_200)))
    assert plan.ends is not None
    assert (plan.begins, plan.ends) == (
        datetime.fromisoformat(begins).replace(tzinfo=UTC),
        datetime.fromisoformat(ends).replace(tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"text": ""}, "is empty"),
        ({"text": None}, "must be text"),
        ({"text": "a" * 2_000}, "parts"),
        ({"seeds": ["nonsense"]}, "phone number"),
        ({"seeds": "0244123456"}, "seeds must be a list"),
        ({"seeds": phones(21)}, "21 seeds"),
        ({"wait_after_seeds": True}, "nothing to wait for"),
        ({"ceiling": Decimal(-1)}, "ceiling"),
        ({"ceiling": Decimal("NaN")}, "ceiling"),
    ],
)
def test_what_cannot_be_sent_is_no_campaign(about: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        draft(admin(), **about)
    assert not Campaign.objects.exists()


def test_no_campaign_has_more_recipients_than_the_cap() -> None:
    figure("campaign.max_recipients", 3)
    with pytest.raises(InvalidInput, match=r"4 recipients are more than one campaign may have \(3\)"):
        draft(admin(), phones(4))
    farmers(4)
    with pytest.raises(InvalidInput, match="4 recipients are more"):
        draft(admin(), where={"region": "AH", "role": "FARMER"})


# --- the way of a campaign -----------------------------------------------------------------------------------------


def test_a_draft_sends_nothing_and_a_started_one_everything_once(sandbox: Sandbox) -> None:
    sender = admin()
    campaign = draft(sender, [*phones(3), phones(3)[0], "nonsense"], name="Vaccination")
    assert (campaign.status, campaign.expected, campaign.accepted, campaign.duplicates, campaign.invalid) == (
        *("draft", 3, 3, 1, 1),
    )
    assert carried_out(campaign)["status"] == "held"
    send()
    assert sandbox.total() == 0
    campaign_life.start(campaign_id=campaign.pk, actor=sender)
    assert Campaign.objects.get().status == "queued"
    run = TaskRun.objects.get()
    assert (run.task, run.queue, run.kwargs["campaign_id"]) == ("core.tasks.process_bulk_sms", "bulk", str(campaign.pk))
    assert run.requested_by_id == sender.user_id
    assert carried_out(campaign)["status"] == "ok"
    send()
    assert arrived(sandbox) == phones(3)
    assert status(campaign) == "done"
    again = Campaign.objects.get()
    assert again.started_at is not None
    assert again.finished_at is not None
    assert again.finished_at > again.started_at
    assert [row.action for row in AuditLog.objects.order_by("at")] == ["campaign.created", "campaign.started"]
    assert "+233" not in str([(row.before, row.after) for row in AuditLog.objects.all()])


@pytest.mark.parametrize(
    ("before", "act"), list(itertools.product(CampaignStatus, ("start", "pause", "resume", "cancel")))
)
def test_each_decision_is_taken_in_its_states_only(before: CampaignStatus, act: str) -> None:
    wanted = {"start": "queued", "pause": "paused", "resume": "running", "cancel": "cancelled"}[act]
    campaign = Campaign.objects.create(message=TEXT, status=before.value, expected=1)
    allowed = CampaignStatus(wanted) in CAMPAIGN_TRANSITIONS[before] and (before, act) != ("queued", "resume")
    decide: Callable[..., Campaign] = getattr(campaign_life, act)
    if allowed:
        decide(campaign_id=campaign.pk, actor=TERMINAL, reason="test")
        assert Campaign.objects.get().status == wanted
        assert AuditLog.objects.get().reason == "test"
        return
    with pytest.raises(Conflict, match=f"(this one is {before}|has not begun)"):
        decide(campaign_id=campaign.pk, actor=TERMINAL, reason="test")
    assert Campaign.objects.get().status == before
    assert not AuditLog.objects.exists()
    assert not TaskRun.objects.exists()


@pytest.mark.parametrize("act", ["pause", "cancel"])
def test_stopping_needs_a_reason(act: str) -> None:
    campaign = Campaign.objects.create(message=TEXT, status="running")
    with pytest.raises(InvalidInput, match="Say why"):
        getattr(campaign_life, act)(campaign_id=campaign.pk, actor=TERMINAL, reason="  ")
    assert Campaign.objects.get().status == "running"


def test_the_database_refuses_what_the_rules_do_not_know() -> None:
    campaign = Campaign.objects.create(message=TEXT, status="done")
    with pytest.raises(IntegrityError, match="may not go from done to running"), transaction.atomic():
        Campaign.objects.filter(pk=campaign.pk).update(status="running")


@pytest.mark.parametrize("campaign_id", [uuid.uuid4(), "nonsense", "", None, "\0"])
def test_a_campaign_that_there_is_not(campaign_id: object) -> None:
    with pytest.raises(NotFound, match="no campaign"):
        campaign_life.start(campaign_id=campaign_id, actor=TERMINAL)


# --- a second person -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["campaign.approval_recipients", "campaign.approval_ghs"])
def test_a_large_or_dear_campaign_waits_for_another_person(sandbox: Sandbox, key: str) -> None:
    figure(key, 2 if key.endswith("recipients") else "0.05")
    asking, another = admin(), admin()
    campaign = draft(asking, phones(3))
    assert campaign.needs_approval
    for actor in (asking, another):
        with pytest.raises(Conflict, match="A second person must approve"):
            campaign_life.start(campaign_id=campaign.pk, actor=actor)
    with pytest.raises(NotAllowed, match="cannot approve it"):
        campaign_life.approve(campaign_id=campaign.pk, actor=asking)
    with pytest.raises(Conflict, match="person with an account"):
        campaign_life.approve(campaign_id=campaign.pk, actor=TERMINAL)
    campaign_life.approve(campaign_id=campaign.pk, actor=another, reason="looked at it")
    with pytest.raises(Conflict, match="approved already"):
        campaign_life.approve(campaign_id=campaign.pk, actor=another)
    campaign_life.start(campaign_id=campaign.pk, actor=asking)
    carried_out(campaign)
    send()
    assert arrived(sandbox) == phones(3)
    approval = AuditLog.objects.get(action="campaign.approved")
    assert (approval.actor_id, approval.reason) == (another.user_id, "looked at it")


def test_the_database_too_wants_another_person() -> None:
    asking = admin()
    figure("campaign.approval_recipients", 0)
    campaign = draft(asking, phones(1))
    with pytest.raises(IntegrityError, match="campaign_approved_before_it_runs"), transaction.atomic():
        Campaign.objects.filter(pk=campaign.pk).update(status="queued")
    with pytest.raises(IntegrityError, match="campaign_approved_by_another"), transaction.atomic():
        Campaign.objects.filter(pk=campaign.pk).update(approved_by=asking.user_id)


def test_who_asks_for_a_large_campaign_must_be_known() -> None:
    figure("campaign.approval_recipients", 0)
    with pytest.raises(Conflict, match="--as"):
        draft(TERMINAL, phones(1))


def test_a_figure_lowered_after_planning_asks_for_approval_at_the_start() -> None:
    sender = admin()
    campaign = draft(sender, phones(3))
    figure("campaign.approval_recipients", 2)
    with pytest.raises(Conflict, match="more than 2 recipients"):
        campaign_life.start(campaign_id=campaign.pk, actor=sender)


# --- who may -------------------------------------------------------------------------------------------------------


def test_a_regional_admin_writes_to_the_own_region_only() -> None:
    [*_, ashanti] = farmers(2)
    farmers(1, "AA")
    actor = admin(Role.REGIONAL_ADMIN, region=ashanti.region)
    campaign = draft(actor, where={"region": "AH"})
    assert campaign.audience == "users: region AH"
    refused: dict[str, Any]
    for refused in ({"where": {"region": "AA"}}, {"where": {}}, {"numbers": phones(1)}):
        with pytest.raises(NotAllowed, match="may not send bulk SMS"):
            draft(actor, **refused)
    other = admin(Role.REGIONAL_ADMIN, region=farmers(1, "AA")[0].region)
    for act in (campaign_life.start, campaign_life.cancel, campaign_life.approve):
        with pytest.raises(NotAllowed, match="may not send bulk SMS there"):
            act(campaign_id=campaign.pk, actor=other, reason="no business of theirs")
    national = admin()
    of_the_nation = draft(national, phones(1))
    assert list(campaign_life.visible(actor)) == [campaign]
    assert list(campaign_life.visible(other)) == []
    assert set(campaign_life.visible(national)) == {campaign, of_the_nation}


@pytest.mark.parametrize("role", [Role.FARMER, Role.NATIONAL_STAFF, Role.FINANCE_OFFICER, Role.EXTENSION_OFFICER])
def test_others_may_not_send_bulk_sms(role: str) -> None:
    home = farmers(1)[0]
    actor = admin(role, region=home.region, constituency=home.constituency)
    with pytest.raises(NotAllowed):
        draft(actor, where={"region": "AH"})
    assert not Campaign.objects.exists()


# --- pause, resume, cancel -----------------------------------------------------------------------------------------


def test_a_pause_holds_what_has_not_left_and_resuming_lets_it_go(sandbox: Sandbox) -> None:
    sender = admin()
    campaign, other = begun(sender, phones(250)), begun(sender, phones(5, first=5_000), text="Another text")
    carried_out(campaign)
    carried_out(other)
    dispatch._one_batch(float("inf"))
    gone = sandbox.total()
    assert 0 < gone < 255
    campaign_life.pause(campaign_id=campaign.pk, actor=sender, reason="wrong day")
    send()
    assert sandbox.total() == sum(states(each).get("accepted", 0) for each in (campaign, other))
    assert states(other) == {"accepted": 5}, "another campaign goes on"
    held = states(campaign)["held: campaign paused"]
    assert held == 250 - states(campaign).get("accepted", 0)
    assert status(campaign) == "paused"
    campaign_life.resume(campaign_id=campaign.pk, actor=sender, reason="right day")
    assert carried_out(campaign)["status"] == "ok"
    assert set(states(campaign)) == {"queued", "accepted"}
    send()
    assert arrived(sandbox) == sorted([*phones(250), *phones(5, first=5_000)])
    assert status(campaign) == status(other) == "done"


def test_a_paused_campaign_is_held_also_without_being_picked(sandbox: Sandbox) -> None:
    sender = admin()
    campaign = begun(sender, phones(30))
    carried_out(campaign)
    campaign_life.pause(campaign_id=campaign.pk, actor=sender, reason="wrong day")
    told = carried_out(campaign)
    assert (told["status"], told["reason"], told["accepted_for_sending"]) == ("held", "campaign paused", 30)
    assert states(campaign) == {"held: campaign paused": 30}
    events = MessageEvent.objects.values_list("from_status", "to_status", "reason")
    assert set(events) == {("queued", "held", "campaign paused")}
    assert len(events) == 30
    dispatch.dispatch_due()
    send()
    assert sandbox.total() == 0, "no sweep lets it go"


def test_what_a_pause_holds_is_due_in_no_foreseeable_time() -> None:
    campaign = begun(admin(), phones(1))
    carried_out(campaign)
    campaign_life.pause(campaign_id=campaign.pk, actor=TERMINAL, reason="test")
    carried_out(campaign)
    assert OutboundMessage.objects.get().due_at == holds.UNTIL_RESUMED


def test_resuming_at_night_waits_for_the_window(settings: LazySettings) -> None:
    campaign = begun(admin(), phones(3))
    carried_out(campaign)
    campaign_life.pause(campaign_id=campaign.pk, actor=TERMINAL, reason="test")
    carried_out(campaign)
    settings.SENDING_WINDOWS = True
    night = datetime(2026, 11, 23, 22, tzinfo=UTC)
    with time_machine.travel(night, tick=False):
        campaign_life.resume(campaign_id=campaign.pk, actor=TERMINAL)
        carried_out(campaign)
    assert states(campaign) == {"held: outside the sending window": 3}
    assert {m.due_at for m in OutboundMessage.objects.all()} == {night + timedelta(hours=10)}


def test_a_cancelled_campaign_suppresses_the_rest_for_good(sandbox: Sandbox) -> None:
    sender = admin()
    campaign = begun(sender, phones(250))
    carried_out(campaign)
    dispatch._one_batch(float("inf"))
    campaign_life.cancel(campaign_id=campaign.pk, actor=sender, reason="wrong text")
    assert carried_out(campaign)["status"] == "skipped"
    assert states(campaign) == {"accepted": 100, "suppressed: campaign cancelled": 150}
    send()
    assert sandbox.total() == 100
    with pytest.raises(Conflict, match="over is not cancelled"):
        campaign_life.cancel(campaign_id=campaign.pk, actor=sender, reason="again")


@pytest.mark.parametrize("first", ["pause", ""])
def test_the_pick_alone_suppresses_what_is_cancelled(sandbox: Sandbox, first: str) -> None:
    """The run that follows up has not come yet."""
    campaign = begun(admin(), phones(3))
    carried_out(campaign)
    if first:
        campaign_life.pause(campaign_id=campaign.pk, actor=TERMINAL, reason="test")
        send()
        assert states(campaign) == {"held: campaign paused": 3}
    campaign_life.cancel(campaign_id=campaign.pk, actor=TERMINAL, reason="test")
    send()
    if first:
        carried_out(campaign)
    assert states(campaign) == {"suppressed: campaign cancelled": 3}
    assert sandbox.total() == 0


@pytest.mark.django_db(transaction=True)
def test_when_a_pause_has_committed_no_further_batch_leaves(sandbox: Sandbox) -> None:
    """Dispatchers at full speed; what arrives after the pause are the calls that had begun."""
    sandbox.faults(latency_ms=20)
    campaign = begun(admin(), phones(1_000))
    carried_out(campaign)
    over = threading.Event()

    def sending() -> None:
        while not over.is_set():
            dispatch.dispatch_bulk(seconds=0.2)

    with meanwhile(sending, sending, sending):
        while sandbox.total() < 300:
            pass
        campaign_life.pause(campaign_id=campaign.pk, actor=TERMINAL, reason="test")
        fences = set(OutboundMessage.objects.filter(fence__gt=0).values_list("pk", flat=True))
        carried_out(campaign)
        over.set()
    begun_later = OutboundMessage.objects.filter(fence__gt=0).exclude(pk__in=fences)
    assert not begun_later.exists()
    assert states(campaign) == {"accepted": len(fences), "held: campaign paused": 1_000 - len(fences)}
    assert sandbox.total() == len(fences)


@pytest.mark.django_db(transaction=True)
def test_pause_and_resume_in_quick_turns_leave_nothing_behind(sandbox: Sandbox) -> None:
    campaign = begun(admin(), phones(600))
    over = threading.Event()

    def working() -> None:
        while not over.is_set():
            carried_out(campaign)

    with meanwhile(working, working, lambda: dispatch.dispatch_bulk(seconds=3)):
        for _ in range(6):
            Campaign.objects.filter(status="queued").update(status="running")
            campaign_life.pause(campaign_id=campaign.pk, actor=TERMINAL, reason="test")
            campaign_life.resume(campaign_id=campaign.pk, actor=TERMINAL)
        over.set()
    carried_out(campaign)
    send()
    assert states(campaign) == {"accepted": 600}
    assert sorted(m["to"] for m in sandbox.messages(limit=1000)) == phones(600)
    assert status(campaign) == "done"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("act", ["approve", "start", "cancel"])
def test_of_two_people_who_decide_at_once_one_is_told(act: str) -> None:
    if act != "cancel":
        figure("campaign.approval_recipients", 0 if act == "approve" else 10)
    campaign = draft(admin(), phones(2))
    told: list[str] = []

    def decide() -> None:
        try:
            getattr(campaign_life, act)(campaign_id=campaign.pk, actor=actors.pop(), reason="test")
            told.append("done")
        except Conflict:
            told.append("refused")

    actors = [admin(), admin(), admin()]
    with meanwhile(decide, decide, decide):
        pass
    assert sorted(told) == ["done", "refused", "refused"]
    assert AuditLog.objects.exclude(action="campaign.created").exclude(action__startswith="setting").count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_used_up_ceiling_pauses_it_and_whoever_goes_on_gives_a_higher_one(sandbox: Sandbox) -> None:
    sender = admin()
    campaign = begun(sender, phones(5), ceiling=Decimal("0.06"))
    carried_out(campaign)
    send()
    assert status(campaign) == "paused"
    follow_up = TaskRun.objects.filter(kwargs__campaign_id=str(campaign.pk)).latest("asked_at")
    assert follow_up.coalesce_key == f"core.tasks.process_bulk_sms:{campaign.pk}:paused"
    carried_out(campaign)
    assert states(campaign) == {"accepted": 2, "held: campaign paused": 3}
    for ceiling in (None, Decimal("0.06"), Decimal("0.05"), Decimal("NaN")):
        with pytest.raises((Conflict, InvalidInput), match="ceiling"):
            campaign_life.resume(campaign_id=campaign.pk, actor=sender, ceiling=ceiling)
    figure("campaign.approval_ghs", "0.10")
    with pytest.raises(NotAllowed, match="second person"):
        campaign_life.resume(campaign_id=campaign.pk, actor=sender, ceiling=Decimal("0.20"))
    campaign_life.resume(campaign_id=campaign.pk, actor=admin(), ceiling=Decimal("0.20"))
    carried_out(campaign)
    send()
    assert arrived(sandbox) == phones(5)
    [told] = AuditLog.objects.filter(action="campaign.resumed").values_list("after__ceiling", flat=True)
    assert told == "0.20"


# --- seeds ---------------------------------------------------------------------------------------------------------


def test_seeds_get_the_text_first_and_the_others_when_a_person_goes_on(sandbox: Sandbox) -> None:
    own = ["+233209999991", "+233209999992"]
    sender = admin()
    campaign = begun(sender, [*phones(5), own[0]], seeds=["0209999991", own[1], own[1]], wait_after_seeds=True)
    told = carried_out(campaign)
    assert (told["status"], told["reason"]) == ("held", campaigns.WAITS_AFTER_SEEDS)
    assert (told["accepted_for_sending"], told["duplicates"]) == (5, 1)
    send()
    assert arrived(sandbox) == own
    assert status(campaign) == "running"
    standing = progress(campaign)
    assert (standing.not_written, standing.seeds) == (5, {"accepted": 2})
    campaign_life.resume(campaign_id=campaign.pk, actor=sender, reason="it reads well")
    assert carried_out(campaign)["status"] == "ok"
    send()
    assert arrived(sandbox) == sorted([*phones(5), *own])
    assert status(campaign) == "done"
    assert progress(campaign).seeds == {"accepted": 2}


def test_a_selection_is_read_after_its_seeds(sandbox: Sandbox) -> None:
    people = farmers(3)
    campaign = begun(admin(), where={"region": "AH", "role": "FARMER"}, seeds=["0209999991"], wait_after_seeds=True)
    carried_out(campaign)
    assert CampaignRecipient.objects.count() == 1
    late = farmers(1)
    campaign_life.resume(campaign_id=campaign.pk, actor=TERMINAL)
    carried_out(campaign)
    send()
    assert arrived(sandbox) == sorted(["+233209999991", *(p.phone for p in [*people, *late])])


def test_without_waiting_seeds_are_merely_the_first() -> None:
    campaign = begun(admin(), phones(3), seeds=["0209999991"])
    assert carried_out(campaign)["status"] == "ok"
    first = CampaignRecipient.objects.order_by("id").first()
    assert first is not None
    assert (first.phone, first.seed) == ("+233209999991", True)
    assert CampaignRecipient.objects.filter(seed=True).count() == 1


# --- progress ------------------------------------------------------------------------------------------------------


def test_progress_tells_of_every_recipient_what_became_of_them(
    sandbox: Sandbox, django_assert_num_queries: Any
) -> None:
    campaign = begun(admin(), phones(13))
    assert progress(campaign).not_written == 13
    carried_out(campaign)
    outcomes = "held accepted delivered undelivered_temporary undelivered_permanent outcome_unknown in_doubt rejected"
    ways = {
        "held": ["held"],
        "accepted": ["submitting", "accepted"],
        "in_doubt": ["submitting", "in_doubt"],
        "rejected": ["submitting", "rejected"],
        "dead": ["submitting", "dead"],
        "suppressed": ["suppressed"],
        "expired": ["expired"],
    }
    for message, end in zip(
        OutboundMessage.objects.order_by("recipient"),
        [*outcomes.split(), "suppressed", "expired", "dead"],
        strict=False,
    ):
        for step in ways.get(end, ["submitting", "accepted", end]):
            row = OutboundMessage.objects.filter(pk=message.pk)
            taken = step == "submitting"
            waits = {} if step == "held" else {"due_at": None, "ring_at": None}
            row.update(status=step, lease_until=datetime.now(UTC) if taken else None, **waits)
    with django_assert_num_queries(4):
        standing = progress(campaign)
    twice = {"queued": 2, "sending": 0, "undelivered": 2}
    assert standing.outcomes == {name: twice.get(name, 1) for name in OUTCOMES}
    assert (standing.messages, standing.left, standing.to_come, standing.not_written) == (13, 10, 3, 0)
    assert standing.parts == 13


def test_the_rate_counts_open_hours_since_it_last_went_on(settings: LazySettings) -> None:
    settings.SENDING_WINDOWS = True
    campaign = begun(admin(), phones(100))
    carried_out(campaign)
    OutboundMessage.objects.filter(recipient__in=phones(40)).update(status="suppressed", due_at=None, ring_at=None)
    evening, morning = datetime(2026, 11, 23, 18, 59, 40, tzinfo=UTC), datetime(2026, 11, 24, 8, 0, 20, tzinfo=UTC)
    Campaign.objects.update(running_since=evening)
    with time_machine.travel(morning, tick=False):
        standing = progress(campaign)
    assert standing.per_second == pytest.approx(1.0)
    assert standing.ends == morning + timedelta(seconds=60)
    Campaign.objects.update(gone_before=40)
    with time_machine.travel(morning, tick=False):
        assert progress(campaign).per_second is None, "nothing has left since it went on"


def test_the_count_of_progress_reads_an_index_alone() -> None:
    campaign = begun(admin(), phones(1_000))
    carried_out(campaign)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE delivery_outboundmessage")
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(
            "EXPLAIN SELECT status, count(*) FROM delivery_outboundmessage WHERE campaign_id = %s GROUP BY 1",
            [campaign.pk],
        )
        assert "Index Only Scan using message_campaign" in str(cursor.fetchall())


# --- once more to the unreached ------------------------------------------------------------------------------------


def ended(**outcomes: int) -> Campaign:
    """A campaign that is done, with so many messages that ended so."""
    campaign = begun(admin(), phones(sum(outcomes.values())))
    carried_out(campaign)
    messages = iter(OutboundMessage.objects.filter(campaign=campaign).order_by("recipient"))
    for end, count in outcomes.items():
        for message in itertools.islice(messages, count):
            error = "campaign cancelled" if end == "cancelled" else "opted out" if end == "suppressed" else ""
            steps = {
                "cancelled": ["suppressed"],
                "suppressed": ["suppressed"],
                "expired": ["expired"],
                "accepted": ["submitting", "accepted"],
                "rejected": ["submitting", "rejected"],
                "dead": ["submitting", "dead"],
                "in_doubt": ["submitting", "in_doubt"],
            }.get(end, ["submitting", "accepted", end])
            for step in steps:
                OutboundMessage.objects.filter(pk=message.pk).update(
                    status=step,
                    error=error,
                    due_at=None,
                    ring_at=None,
                    lease_until=datetime.now(UTC) if step == "submitting" else None,
                )
    assert status(campaign) == "done"
    return campaign


def test_only_the_unreached_get_it_again(sandbox: Sandbox) -> None:
    old = ended(
        delivered=5, accepted=2, in_doubt=2, outcome_unknown=1, suppressed=1, rejected=1, expired=1, dead=2,
        undelivered_temporary=2, undelivered_permanent=1, cancelled=1,
    )  # fmt: skip
    counts = campaign_life.unreached(campaign_id=old.pk, actor=admin())
    assert (counts.recipients, counts.delivered, counts.perhaps, counts.again, counts.left_out) == (19, 5, 5, 8, 1)
    assert campaign_life.said_of(counts) == (
        "19 in campaign, 5 delivered, 5 may have it, 1 cannot or do not want to get it, 8 will be sent"
    )
    sender = admin()
    retry, told = campaign_life.retry_unreached(campaign_id=old.pk, actor=sender, reason="network was down")
    assert told == counts
    assert (retry.status, retry.expected, retry.accepted, retry.retry_of_id) == ("draft", 8, 8, old.pk)
    assert retry.estimate == 8 * Decimal("0.0300")
    campaign_life.start(campaign_id=retry.pk, actor=sender)
    carried_out(retry)
    send()
    assert arrived(sandbox) == phones(8, first=11)


def test_there_is_one_retry_of_a_campaign() -> None:
    old = ended(delivered=1, expired=2)
    retry, _ = campaign_life.retry_unreached(campaign_id=old.pk, actor=TERMINAL)
    with pytest.raises(Conflict, match=str(retry.pk)):
        campaign_life.retry_unreached(campaign_id=old.pk, actor=TERMINAL)
    with pytest.raises(Conflict, match="is draft: it must have ended"):
        campaign_life.retry_unreached(campaign_id=retry.pk, actor=TERMINAL)
    campaign_life.cancel(campaign_id=retry.pk, actor=TERMINAL, reason="not now")
    another, counts = campaign_life.retry_unreached(campaign_id=old.pk, actor=TERMINAL)
    assert (another.accepted, counts.again) == (2, 2)


def test_nobody_is_left_to_be_written_to() -> None:
    old = ended(delivered=2, accepted=1)
    with pytest.raises(
        Conflict, match="Nobody is left to be written to again: 3 in campaign, 2 delivered, 1 may have it"
    ):
        campaign_life.retry_unreached(campaign_id=old.pk, actor=TERMINAL)


def test_of_a_cancelled_campaign_those_without_a_message_are_unreached_too() -> None:
    campaign = begun(admin(), phones(4))
    campaign_life.cancel(campaign_id=campaign.pk, actor=TERMINAL, reason="wrong day")
    assert campaign_life.unreached(campaign_id=campaign.pk, actor=TERMINAL).again == 4


def test_who_has_opted_out_since_gets_it_no_more() -> None:
    old = ended(expired=3)
    declines(phones(1)[0])
    retry, counts = campaign_life.retry_unreached(campaign_id=old.pk, actor=TERMINAL)
    assert (counts.again, counts.left_out) == (2, 1)
    assert set(retry.recipients.values_list("phone", flat=True)) == set(phones(2, first=1))


@pytest.mark.django_db(transaction=True)
def test_two_who_retry_at_once_make_one_retry() -> None:
    old = ended(expired=3)
    told: list[str] = []

    def again() -> None:
        try:
            campaign_life.retry_unreached(campaign_id=old.pk, actor=TERMINAL)
            told.append("made")
        except Conflict:
            told.append("refused")

    with meanwhile(again, again, again):
        pass
    assert sorted(told) == ["made", "refused", "refused"]
    assert Campaign.objects.filter(retry_of=old).count() == 1
