"""What people are told about the safety of their account: by which channel, once, and in words that help."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from allauth.mfa.models import Authenticator

from accounts import rules
from accounts.models import LoginRecord, SecurityEvent, User
from accounts.rules import Role
from accounts.services import alerts
from accounts.tasks import send_login_alert, send_mfa_alert
from core import sms_text
from core.delivery import templates
from core.delivery.models import Notification, OutboundMessage
from core.errors import InvalidInput, NotFound
from core.jobs.models import TaskRun
from tests.accounts.signing_in import recovery_codes, with_app
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db

AT = datetime(2026, 3, 2, 8, tzinfo=UTC)
CHROME = "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Mobile Safari/537.36"


@pytest.fixture
def farmer() -> User:
    return UserFactory.create(username="ama")


@pytest.fixture
def auditor() -> User:
    return UserFactory.create(username="esi", role=Role.AUDITOR, email="esi@example.com")


def login(user: User, **about: Any) -> LoginRecord:
    row = {"at": AT, "ip": "102.176.0.1", "user_agent": CHROME, "success": True, "is_new_device": True}
    return LoginRecord.objects.create(user=user, **{**row, **about})


def event(user: User, kind: str, actor: User | None = None) -> SecurityEvent:
    return SecurityEvent.objects.create(
        user=user, kind=kind, actor=actor or user, ip="102.176.0.1", device=CHROME, at=AT
    )


def texts() -> dict[str, str]:
    return {row.channel: row.body or "" for row in OutboundMessage.objects.all()}


# --- sign-in from somewhere new ------------------------------------------------------------------------------------


def test_a_new_device_is_told_by_email_with_all_that_helps(auditor: User) -> None:
    record = login(auditor, place="Kumasi")
    assert send_login_alert(str(record.pk)) == {"status": "ok", "channels": "email"}
    message = OutboundMessage.objects.get()
    assert (message.purpose, message.recipient, message.lane) == ("security", "esi@example.com", "urgent")
    for said in ("esi", "Mon 2 Mar, 08:00", "Kumasi", "102.176.0.1", "Chrome on Android", "/accounts/password/change/"):
        assert said in (message.body or "") or said in message.title, said
    assert Notification.objects.get().user == auditor
    send_login_alert(str(record.pk))
    assert OutboundMessage.objects.count() == 1, "safe to repeat"


def test_who_has_no_email_is_told_by_sms(farmer: User) -> None:
    record = login(farmer)
    assert send_login_alert(str(record.pk)) == {"status": "ok", "channels": "sms"}
    [text] = texts().values()
    assert "Chrome on Android, IP 102.176.0.1" in text
    assert sms_text.measure(text).encoding == "gsm7"


def test_a_known_device_and_place_are_not_told(farmer: User) -> None:
    assert send_login_alert(str(login(farmer, is_new_device=False).pk))["status"] == "skipped"
    assert send_login_alert(str(login(farmer, is_new_device=False, is_new_place=True).pk))["status"] == "ok"


def test_a_failed_or_unknown_record_fails_the_task(farmer: User) -> None:
    failed = login(farmer, success=False, failure_reason="password", is_new_device=False)
    with pytest.raises(InvalidInput, match="failed"):
        send_login_alert(str(failed.pk))
    with pytest.raises(NotFound):
        send_login_alert(str(uuid.uuid4()))
    with pytest.raises(InvalidInput):
        send_login_alert("x")
    assert not OutboundMessage.objects.exists()


# --- second factors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "channels"),
    [
        ("mfa_enabled", "email"),
        ("mfa_disabled", "email, sms"),
        ("mfa_reset", "email, sms"),
        ("backup_code_used", "email, sms"),
    ],
)
def test_serious_changes_go_by_sms_too(auditor: User, farmer: User, kind: str, channels: str) -> None:
    told = event(auditor, kind)
    assert send_mfa_alert(str(told.pk)) == {"status": "ok", "channels": channels}
    send_mfa_alert(str(told.pk))
    assert OutboundMessage.objects.count() == len(channels.split(", ")), "safe to repeat"
    assert send_mfa_alert(str(event(farmer, kind).pk)) == {"status": "ok", "channels": "sms"}


@pytest.mark.parametrize(("used", "warned"), [(7, False), (8, True), (10, True)])
def test_few_recovery_codes_are_warned_of(auditor: User, used: int, warned: bool) -> None:
    with_app(auditor)
    for code in recovery_codes(auditor)[:used]:
        Authenticator.objects.get(user=auditor, type="recovery_codes").wrap().validate_code(code)
    send_mfa_alert(str(event(auditor, "backup_code_used").pk))
    for text in texts().values():
        assert ("Make new ones now." in text) is warned
        assert f"{10 - used} left" in text


def test_a_reset_names_who_did_it_and_not_their_device(auditor: User) -> None:
    owner = UserFactory.create(role=Role.SUPER_ADMIN, username="akosua")
    send_mfa_alert(str(event(auditor, "mfa_reset", owner).pk))
    for text in texts().values():
        assert "akosua" in text
        assert "102.176.0.1" not in text
        assert "Chrome" not in text


def test_the_place_is_where_the_person_last_signed_in_from_that_address(auditor: User) -> None:
    login(auditor, place="Kumasi")
    send_mfa_alert(str(event(auditor, "mfa_disabled").pk))
    assert "Place: Kumasi" in texts()["email"]


def test_another_kind_or_an_unknown_event_fails_the_task(auditor: User) -> None:
    with pytest.raises(InvalidInput, match="Of suspended this task does not tell"):
        send_mfa_alert(str(event(auditor, "suspended").pk))
    with pytest.raises(NotFound):
        send_mfa_alert(str(uuid.uuid4()))
    with pytest.raises(InvalidInput):
        send_mfa_alert("x")


def test_the_alerts_run_in_the_lane_in_which_nobody_waits(auditor: User) -> None:
    send_login_alert.delay(str(login(auditor).pk))
    assert TaskRun.objects.get().queue == "urgent"


# --- the words -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["accounts.new_sign_in", *alerts.TEMPLATES.values()])
def test_the_sms_are_plain_and_at_most_two_parts(key: str) -> None:
    size = templates.preview(key, "en").sms
    assert size
    assert (size.encoding, size.forced_by) == ("gsm7", ())
    assert size.parts <= 2


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        (CHROME, "Chrome on Android"),
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/126.0 Safari/537.36 Edg/126.0", "Edge on Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) Version/17.5 Mobile Safari/604.1", "Safari on iPhone"),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0", "Firefox on Linux"),
        ("Mozilla/5.0 (Linux; Android 13; SM-A135F) SamsungBrowser/25.0 Chrome/121 Safari/537.36",
         "Samsung Internet on Android"),
        ("YEA-App/1.0 Android", "YEA-App/1.0 Android"),
        ("<script>alert(1)</script>", "scriptalert1/script"),
        ("x" * 200, "x" * 40),
        ("", "unknown device"),
    ],
)  # fmt: skip
def test_a_device_is_named_as_people_know_it(agent: str, name: str) -> None:
    assert rules.device_name(agent) == name
