"""What applicants and farmers are told: which text, to whom, once, and that each fits on a phone."""

from __future__ import annotations

import uuid
from datetime import time, timedelta
from typing import Any

import pytest

from accounts.models import User
from core import clock, sms_text
from core.delivery import templates
from core.delivery.models import Notification, OutboundMessage
from core.delivery.sealing import content_of
from core.delivery.wording import fill
from core.errors import InvalidInput, NotFound
from farms import messages, rules
from farms.models import FarmApplication
from farms.rules import EnrollmentStatus
from farms.services import applications, enrollments, invitations
from farms.services.invitations import Where
from farms.tasks import notify_application_status_change, notify_batch_enrollment_status
from tests.factories import BatchEnrollmentFactory, UserFactory, a_farm
from tests.farms.journey import PASSWORD, apply, approved, at_the_nation, details
from tests.farms.test_invitations import linked

pytestmark = pytest.mark.django_db


def tell(application: FarmApplication, status: str, *text: str) -> dict[str, Any]:
    result: dict[str, Any] = notify_application_status_change(str(application.pk), status, *text)
    return result


def sms(subject: Any) -> list[str | None]:
    rows = OutboundMessage.objects.filter(subject_id=str(subject.pk), channel="sms")
    return list(rows.order_by("created_at").values_list("body", flat=True))


def test_an_applicant_is_told_of_each_step_in_its_words(local: User, regional: User) -> None:
    application = apply(email="ama@example.com")
    number = application.application_number
    now = clock.now()
    tell(application, "submitted")
    applications.forward(actor=local, application_id=application.pk, now=now)
    tell(application, "Regional Review")
    applications.request_changes(actor=regional, application_id=application.pk, reason="The photo is dark.", now=now)
    tell(application, "CHANGES REQUESTED")
    until = clock.accra(now).date() + timedelta(days=14)
    same = details(
        primary_phone=application.primary_phone,
        ghana_card_number=application.ghana_card_number,
        email="ama@example.com",
    )
    applications.resubmit(application_id=application.pk, details=same, now=clock.now())
    tell(application, "regional-review")
    applications.reject(actor=regional, application_id=application.pk, reason="No land", now=now)
    tell(application, "rejected", "Call us on 030 000 0000")
    assert [text for text in sms(application) if text] == [
        f"YEA Poultry: we have received your application {number}. We will text you at each step.",
        f"YEA Poultry: your application {number} is now in the regional review.",
        f"YEA Poultry: we have received your changes. Application {number} is in the regional review again.",
        f"YEA Poultry: application {number} was not accepted. Reason: No land. Call us on 030 000 0000",
    ]
    sealed = OutboundMessage.objects.get(template="farms.application_changes_requested", channel="sms")
    asked = content_of(sealed).text
    assert asked.startswith(f"YEA Poultry: change application {number} by {until:%a %-d %b %Y}: The photo is dark.")
    assert ". Here: http" in asked
    assert sealed.not_after == clock.at(until + timedelta(days=1), time())
    mails = OutboundMessage.objects.filter(channel="email", recipient="ama@example.com")
    assert mails.count() == 5
    assert not Notification.objects.exists(), "there is no account yet"
    assert {message.purpose for message in OutboundMessage.objects.all()} == {"service"}


def test_the_same_step_is_told_once_and_another_text_once_more() -> None:
    application = apply()
    assert [tell(application, "submitted")["status"] for _ in range(3)] == ["queued", "duplicate", "duplicate"]
    assert len(sms(application)) == 1
    tell(application, "submitted", "Bring your card")
    tell(application, "submitted", " Bring  your card ")
    assert len(sms(application)) == 2


def test_an_sms_has_the_beginning_of_a_long_text_and_an_email_all_of_it() -> None:
    application = apply(email="ama@example.com")
    text = "Bring your Ghana Card, the deed of the land and two photos of the poultry house to the office on Friday"
    tell(application, "submitted", text)
    [told] = sms(application)
    assert f"step. {text[:82]}..." in str(told)
    assert text in str(OutboundMessage.objects.get(channel="email").body)
    assert tell(application, "submitted", text)["status"] == "duplicate"


def test_a_status_that_was_never_reached_is_skipped() -> None:
    application = apply()
    assert tell(application, "rejected") == {"status": "skipped", "reason": "status_not_reached"}
    assert not OutboundMessage.objects.exists()


@pytest.mark.parametrize(
    ("application_id", "status", "text", "error"),
    [
        ("0190a0c4-0000-7000-8000-000000000000", "approved", "", NotFound),
        ("7", "approved", "", InvalidInput),
        (None, "aproved", "", InvalidInput),
        (None, "enrolled", "", InvalidInput),
        (None, "submitted", "x" * 1001, InvalidInput),
        (None, "submitted", "a\x07b", InvalidInput),
    ],
)
def test_what_cannot_be_told_fails_for_good(application_id: Any, status: str, text: str, error: type) -> None:
    with pytest.raises(error):
        notify_application_status_change(application_id or str(apply().pk), status, text)
    assert not OutboundMessage.objects.exists()


def test_with_an_account_the_preferred_way_and_the_application_are_used(
    local: User, regional: User, national: User
) -> None:
    application = approved(local, regional, national)
    farm = invitations.accept(token=linked(application), password=PASSWORD, where=Where(), now=clock.now())
    tell(application, "account created")
    assert farm.farm_number in str(sms(application)[-1])
    notice = Notification.objects.get()
    assert (notice.user, notice.subject_id) == (farm.user, str(application.pk))


# --- enrolments ----------------------------------------------------------------------------------------------------


def test_a_farmer_is_told_of_each_step_of_an_enrolment(local: User, regional: User, national: User) -> None:
    farm = a_farm(user=UserFactory.create(email="ama@example.com", preferred_contact_method="EMAIL"))
    enrollment = at_the_nation(BatchEnrollmentFactory.create(farm=farm), local, regional)
    now = clock.now()
    enrollments.request_changes(actor=national, enrollment_id=enrollment.pk, reason="More houses", now=now)
    enrollments.resubmit(actor=farm.user, enrollment_id=enrollment.pk, now=clock.now())
    enrollments.approve(actor=national, enrollment_id=enrollment.pk, now=now)
    enrollments.mark_enrolled(actor=regional, enrollment_id=enrollment.pk, now=now)
    for status in ("submitted", "constituency_review", "changes_requested", "national_review", "approved", "enrolled"):
        assert notify_batch_enrollment_status(str(enrollment.pk), status.upper())["status"] == "queued"
    mails = OutboundMessage.objects.filter(subject_id=str(enrollment.pk))
    assert {(mail.channel, mail.recipient) for mail in mails} == {("email", "ama@example.com")}
    assert [mail.title for mail in mails.order_by("created_at")] == [
        "We have received your enrolment",
        "Your enrolment is in review",
        "Your enrolment needs changes",
        "We have received your changes",
        "A place is reserved for your farm",
        "Your farm is enrolled",
    ]
    assert Notification.objects.filter(user=farm.user).count() == 6
    assert "Dear Ama Darko,\n\na place in the batch" in str(mails.get(title__startswith="A place").body)


def test_a_draft_and_the_check_are_not_told() -> None:
    enrollment = BatchEnrollmentFactory.create()
    for status in ("draft", "Eligibility Check"):
        assert notify_batch_enrollment_status(str(enrollment.pk), status)["status"] == "skipped"
    assert notify_batch_enrollment_status(str(enrollment.pk), "approved")["reason"] == "status_not_reached"
    with pytest.raises(NotFound):
        notify_batch_enrollment_status(str(uuid.uuid4()), "approved")
    assert not OutboundMessage.objects.exists()


def test_a_withdrawn_draft_is_told_too() -> None:
    enrollment = BatchEnrollmentFactory.create()
    enrollments.withdraw(actor=enrollment.farm.user, enrollment_id=enrollment.pk, now=clock.now())
    assert notify_batch_enrollment_status(str(enrollment.pk), "withdrawn")["status"] == "queued"


# --- the texts -----------------------------------------------------------------------------------------------------


def test_every_text_is_registered_and_one_part_with_usual_words() -> None:
    for template in messages.TEMPLATES:
        assert templates.named(template.key) == template
        usual = fill(template.sms, {**template.examples, "brief": ""})
        measured = sms_text.measure(usual)
        assert measured.encoding == "gsm7", template.key
        assert measured.parts <= (2 if "link" in template.examples or "reason" in template.examples else 1), (
            template.key
        )


@pytest.mark.parametrize("template", messages.TEMPLATES, ids=lambda template: template.key)
def test_the_longest_reason_and_text_fit_into_six_parts_in_any_letters(template: Any) -> None:
    longest = {
        "reason": "ɛ" * (rules.LONGEST_CHANGES if "changes" in template.key else rules.LONGEST_REASON),
        "brief": " " + "ɔ" * rules.LONGEST_NOTE,
        "code": "x" * 20,
        "number": "PROG-2026-1234567",
    }
    text = fill(template.sms, {name: longest.get(name, value) for name, value in template.examples.items()})
    assert sms_text.measure(text).parts <= 6


def test_every_status_has_its_text() -> None:
    keys = {template.key for template in messages.TEMPLATES}
    for status in EnrollmentStatus:
        if status not in ("draft", "eligibility_check") and rules.level_of(status) is None:
            assert f"farms.enrollment_{status.value}" in keys
    for step in rules.ApplicationStatus:
        if rules.level_of(step) is None:
            assert f"farms.application_{step.value}" in keys
