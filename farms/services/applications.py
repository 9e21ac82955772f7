"""From an application to the approval (domain.md 4.2.3). What follows the approval: farms.services.invitations."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, fields
from datetime import date, datetime, timedelta

from django.db import connection, transaction

from accounts import selectors as people
from accounts.models import Constituency, District, User
from accounts.policy import Action
from accounts.rules import CodePurpose, Language
from accounts.services.secrets import LinkNotGood, WrongCode, use_code
from core import clock
from core.base import cleaning, figures
from core.base.services import record
from core.errors import Conflict, InvalidInput, NotAllowed, NotFound
from core.jobs.services import enqueue
from farms import links, rules
from farms.models import ApplicationEvent, FarmApplication, FarmDocument, FarmInvitation
from farms.rules import Act, ApplicationStatus, ApplicationType, DocumentKind, ReviewLevel
from farms.services import farms, reviews
from farms.services.common import checked_reason, day_of, in_order, number


class TooMany(Conflict):
    """So many applications came from this address, phone or Ghana Card today that no more are taken."""

    status = 429


@dataclass(frozen=True, kw_only=True)
class Details:
    """What an applicant says. The region follows from the constituency."""

    full_name: str
    date_of_birth: date
    primary_phone: str
    ghana_card_number: str
    constituency: Constituency
    farm_name: str
    number_of_poultry_houses: int
    total_bird_capacity: int
    primary_production_type: str
    email: str = ""
    tin: str = ""
    district: District | None = None
    language: str = Language.ENGLISH
    breed: str = ""
    planned_monthly_eggs: int | None = None
    planned_monthly_bird_sales: int | None = None
    experience_years: int = 0
    has_existing_farm: bool = False


def apply(*, kind: str, details: Details, code: str = "", ip: str | None = None, now: datetime) -> FarmApplication:
    """Take an application of somebody without an account. By the code of the SMS that went to it the phone is verified.

    As `submit`, whose errors leave the code good. Raises WrongCode: then nothing is kept, but the try is counted.
    """
    with transaction.atomic(durable=True):
        is_verified = bool(code) and use_code(
            purpose=CodePurpose.PHONE_VERIFICATION, phone=details.primary_phone, code=code, now=now
        )
        if is_verified or not code:
            return submit(kind=kind, details=details, phone_verified=is_verified, ip=ip, now=now)
    raise WrongCode


@transaction.atomic
def submit(
    *,
    kind: str,
    details: Details,
    now: datetime,
    phone_verified: bool = False,
    email_verified: bool = False,
    ip: str | None = None,
    actor: User | None = None,
) -> FarmApplication:
    """Take an application, screen it and put it before its first review; a clean independent one is approved at once.

    `phone_verified` and `email_verified` are what the caller has proven; `actor` is an officer who enters it for
    somebody, and must for a migrated farm. The applicant is told. Not safe to repeat: a second one with the same phone
    or Ghana Card is refused. Raises InvalidInput, which names every field at fault, NotAllowed, and TooMany.
    """
    application = FarmApplication(
        application_type=rules.parse_status(ApplicationType, kind),
        submitted_at=now,
        last_movement_at=now,
        phone_verified=phone_verified,
        email_verified=email_verified,
        submitted_ip=ip,
    )
    _fill(application, details)
    _may_enter(actor, application)
    application.application_number = f"APP-{day_of(now):%Y}-00000"  # the form; the number is drawn when all is well
    cleaning.normalise(application)
    _check_age(application)
    _one_at_a_time(ip, application)
    application.spam_score = _spam(application, _from_address(ip, now), now)
    application.priority_score = _priority(application)
    cleaning.check(application)
    application.application_number = number("farms_application_number", f"APP-{day_of(now):%Y}", 5)
    application.save(force_insert=True)
    _write_event(application, "", ApplicationStatus.SUBMITTED, actor, "", now)
    _tell(application)
    _screen(application, now=now)
    return application


@transaction.atomic
def add_document(*, token: str, kind: DocumentKind, content: bytes, now: datetime) -> FarmDocument:
    """Keep a file that whoever applied sends along, by the upload token of the application (farms.links.upload_token).

    Not safe to repeat: each call is a document. Raises LinkNotGood, InvalidInput, and Conflict when the application is
    decided or sent back, or has as many as it takes.
    """
    application_id = links.application_of(token, now=now)
    if application_id is None:
        raise LinkNotGood("This upload token is not good, or its hour is over. Bring the documents to your YEA office.")
    application = _locked(application_id)  # of two at once the second is counted after the first
    rules.must_take_document(ApplicationStatus(application.status), kept=application.documents.count())
    return farms.add_application_document(application_id=application_id, kind=kind, content=content)


@transaction.atomic
def forward(*, actor: User, application_id: uuid.UUID, now: datetime) -> FarmApplication:
    """Pass an application of the government programme on to the next level. Raises NotFound, NotAllowed, Conflict."""
    application, level = _at_review(actor, application_id)
    following = rules.next_level(level)
    if following is None or level == rules.final_level(ApplicationType(application.application_type)):
        raise Conflict(f"The {level} level is the last for this application: approve or reject it.")
    reviews.complete(application, level, actor, now=now)
    _move(application, Act.FORWARD, actor=actor, now=now, to=rules.APPLICATION_AT[following])
    reviews.open_at(application, following, now=now)
    _tell(application)
    return application


@transaction.atomic
def approve(*, actor: User, application_id: uuid.UUID, now: datetime) -> FarmApplication:
    """Approve at the last level; the invitation follows. Raises NotFound, NotAllowed, Conflict."""
    application, level = _at_review(actor, application_id)
    if level != rules.final_level(ApplicationType(application.application_type)):
        raise Conflict(f"The {level} level does not approve this application: forward it.")
    reviews.complete(application, level, actor, now=now)
    _approve(application, actor=actor, now=now)
    return application


@transaction.atomic
def request_changes(*, actor: User, application_id: uuid.UUID, reason: str, now: datetime) -> FarmApplication:
    """Ask the applicant for changes; the clock of the review stops. Raises NotFound, NotAllowed, Conflict,
    InvalidInput.
    """
    because = checked_reason(reason, rules.LONGEST_CHANGES)
    application, level = _at_review(actor, application_id)
    reviews.complete(application, level, actor, now=now)
    [days] = figures.read(figures.CHANGES_DAYS)
    application.changes_from_status = application.status
    application.changes_deadline = day_of(now) + timedelta(days=days)
    _move(application, Act.REQUEST_CHANGES, actor=actor, now=now, reason=because)
    _tell(application)
    return application


@transaction.atomic
def resubmit(
    *, application_id: uuid.UUID, details: Details, now: datetime, actor: User | None = None
) -> FarmApplication:
    """Take the changed application back to the review it came from. Phone and Ghana Card stay as they are, and the
    constituency where a level before has decided. What was changed stands in the audit log.

    The caller has made sure that it is the applicant; `actor` is an officer who enters it. Raises NotFound,
    NotAllowed, InvalidInput, Conflict.
    """
    application = _locked(application_id)
    if actor is not None:
        _may_enter(actor, _seen(actor, application))  # where it is now; where it goes is asked below
    came_from = application.changes_from_status
    who = (application.primary_phone, application.ghana_card_number)
    before, is_settled, home = _said(application), stays(application), application.constituency_id
    _fill(application, details)
    if actor is not None:
        _may_enter(actor, application)
    cleaning.normalise(application)
    if (application.primary_phone, application.ghana_card_number) != who:
        raise InvalidInput("Phone and Ghana Card of an application do not change. Apply anew with others.")
    if is_settled and application.constituency_id != home:
        raise InvalidInput("constituency: It was reviewed there and stays. Apply anew for a farm elsewhere.")
    application.email_verified = application.email_verified and application.email == before["email"]
    _check_age(application)
    level = rules.level_of(came_from)
    application.changes_from_status, application.changes_deadline = "", None
    _move(
        application,
        Act.RESUBMIT,
        actor=actor,
        now=now,
        to=rules.APPLICATION_AT[level] if level else None,
        also=[field.name for field in fields(Details)] + ["region", "email_verified"],
    )
    assert level  # noqa: S101 - the database keeps where it came from
    reviews.open_at(application, level, now=now)
    after = _said(application)
    changed = [name for name in after if after[name] != before[name]]
    record(
        action="application.resubmit",
        subject=("application", str(application.pk)),
        actor_id=actor.pk if actor else None,
        actor_name="" if actor else "the applicant",
        before={name: before[name] for name in changed},
        after={name: after[name] for name in changed},
    )
    _tell(application)
    return application


def stays(application: FarmApplication) -> bool:
    """Whether a changed application keeps its constituency: a level before the one that asked has decided there."""
    level = rules.level_of(application.changes_from_status)
    return level is not None and level != rules.first_level(ApplicationType(application.application_type))


@transaction.atomic
def reject(*, actor: User, application_id: uuid.UUID, reason: str, now: datetime) -> FarmApplication:
    """Reject for good, from a review or while changes are waited for. Raises NotFound, NotAllowed, Conflict,
    InvalidInput.
    """
    because = checked_reason(reason)
    application, level = _at_review(actor, application_id, or_changes=True)
    if application.status != ApplicationStatus.CHANGES_REQUESTED:
        reviews.complete(application, level, actor, now=now)
    _move(application, Act.REJECT, actor=actor, now=now, reason=because)
    _tell(application)
    return application


@transaction.atomic
def invite_again(*, actor: User, application_id: uuid.UUID, now: datetime) -> FarmInvitation:
    """Send an approved applicant a new invitation; the one before is void. Who may approve may do so.

    Raises NotFound, NotAllowed, and Conflict when the application is not approved or the account exists.
    """
    application = _seen(actor, _locked(application_id))
    reviews.must_decide(actor, rules.final_level(ApplicationType(application.application_type)), application.place)
    if application.status != ApplicationStatus.APPROVED:
        raise Conflict(
            f"This application is {_words(application)}: only who is approved and has no account is invited."
        )
    return _invite(application, actor=actor, now=now)


# --- steps ---------------------------------------------------------------------------------------------------------


def _screen(application: FarmApplication, *, now: datetime) -> None:
    kind = ApplicationType(application.application_type)
    to = rules.screened(kind, phone_verified=application.phone_verified, spam=application.spam_score)
    if to == ApplicationStatus.APPROVED:
        _approve(application, actor=None, now=now)
        return
    _move(application, Act.SCREEN, actor=None, now=now, to=to)
    level = rules.level_of(to)
    assert level  # noqa: S101 - it is screened into a review
    reviews.open_at(application, level, now=now)


def _approve(application: FarmApplication, *, actor: User | None, now: datetime) -> None:
    event = _move(application, Act.APPROVE, actor=actor, now=now)
    FarmInvitation.objects.create(application=application, event=event)
    _tell(application)


def _invite(application: FarmApplication, *, actor: User, now: datetime) -> FarmInvitation:
    for old in application.invitations.select_for_update(no_key=True).filter(
        status__in=[rules.InvitationStatus.PENDING, rules.InvitationStatus.SENT]
    ):
        state = rules.InvitationStatus(old.status)
        old.status = rules.following(rules.INVITATION, state, Act.REVOKE, what="invitation")
        old.save(update_fields=["status", "updated_at"])
        record(
            action="farm_invitation.revoke",
            subject=("farm_invitation", str(old.pk)),
            actor_id=actor.pk,
            before={"status": state},
            after={"status": old.status},
        )
    event = _write_event(
        application, ApplicationStatus.APPROVED, ApplicationStatus.APPROVED, actor, "new invitation", now
    )
    invitation = FarmInvitation.objects.create(application=application, event=event)
    _tell(application)
    return invitation


def _move(
    application: FarmApplication,
    act: Act,
    *,
    actor: User | None,
    now: datetime,
    to: ApplicationStatus | None = None,
    reason: str = "",
    also: list[str] | None = None,
) -> ApplicationEvent:
    """One step of the table with its event row; the application's row is locked."""
    before = ApplicationStatus(application.status)
    application.status = rules.following(rules.APPLICATION, before, act, what="application", to=to)
    application.last_movement_at = now
    if also:
        cleaning.check(application)
    application.save(
        update_fields=[
            *("status", "last_movement_at", "changes_from_status", "changes_deadline", "updated_at"),
            *(also or ()),
        ]
    )
    return _write_event(application, before, application.status, actor, reason, now)


def _write_event(
    application: FarmApplication, before: str, after: str, actor: User | None, reason: str, now: datetime
) -> ApplicationEvent:
    return ApplicationEvent.objects.create(
        application=application,
        from_status=before,
        to_status=after,
        actor=actor,
        reason=reason,
        at=in_order(application.events.all(), now),
    )


def _tell(application: FarmApplication) -> None:
    enqueue("farms.tasks.notify_application_status_change", str(application.pk), application.status)


# --- checks --------------------------------------------------------------------------------------------------------


def _said(application: FarmApplication) -> dict[str, str]:
    """What an applicant has said, in words."""
    values = {field.name: getattr(application, field.name) for field in fields(Details)}
    return {name: "" if value is None else str(value) for name, value in values.items()}


def _fill(application: FarmApplication, details: Details) -> None:
    for field in fields(Details):
        setattr(application, field.name, getattr(details, field.name))
    application.region = details.constituency.region
    application.ghana_card_number = details.ghana_card_number.strip().upper()
    application.tin = details.tin.strip().upper()
    application.full_name = " ".join(details.full_name.split())
    application.farm_name = " ".join(details.farm_name.split())
    if details.district and details.district.region_id != application.region_id:
        raise InvalidInput("district: This district lies in another region than the constituency.")
    if not details.district:
        application.district = details.constituency.district


def _may_enter(actor: User | None, application: FarmApplication) -> None:
    if actor is None:
        if application.application_type == ApplicationType.MIGRATED:
            raise NotAllowed("Farms are migrated by officers. Apply as independent or to the government programme.")
    elif not people.may(actor, Action.ENTER_APPLICATION, application.place):
        raise NotAllowed("Your role does not let you enter applications there.")


def _check_age(application: FarmApplication) -> None:
    age = rules.age_on(application.date_of_birth, day_of(application.submitted_at))
    if not rules.YOUNGEST <= age <= rules.OLDEST:
        raise InvalidInput(
            f"date_of_birth: An applicant is {rules.YOUNGEST} to {rules.OLDEST} years old on the day of submission."
        )


def _one_at_a_time(ip: str | None, application: FarmApplication) -> None:
    """Applications of one address, phone or Ghana Card wait for each other, so that their limits hold."""
    names = [f"farms:{part}" for part in (ip, application.primary_phone, application.ghana_card_number) if part]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(key) FROM (SELECT DISTINCT hashtextextended(name, 0) AS key"
            " FROM unnest(%s::text[]) AS name ORDER BY key) AS keys",
            [names],
        )


def _from_address(ip: str | None, now: datetime) -> int:
    """How many came from this address today. Raises TooMany."""
    if ip is None:
        return 0
    [most] = figures.read(figures.APPLICATIONS_PER_IP)
    earlier = FarmApplication.objects.filter(submitted_ip=ip, submitted_at__gte=_midnight(now)).count()
    if earlier >= most:
        raise TooMany("Too many applications came from this internet connection today. Try again tomorrow.")
    return earlier


def _spam(application: FarmApplication, earlier: int, now: datetime) -> int:
    """The spam score. Raises TooMany when the phone or the Ghana Card was rejected too often today."""
    rejected = FarmApplication.objects.filter(status=ApplicationStatus.REJECTED)
    lately = now - timedelta(days=rules.REJECTED_LATELY_DAYS)
    rejected_lately = False
    for same in ({"primary_phone": application.primary_phone}, {"ghana_card_number": application.ghana_card_number}):
        of_one = rejected.filter(**same)
        if of_one.filter(submitted_at__gte=_midnight(now)).count() >= rules.MOST_PER_PERSON:
            raise TooMany("This phone or Ghana Card has applied too often today. Try again tomorrow.")
        rejected_lately = rejected_lately or of_one.filter(last_movement_at__gte=lately).exists()
    return rules.spam_score(earlier_from_address=earlier, rejected_lately=rejected_lately)


def _midnight(now: datetime) -> datetime:
    return clock.accra(now).replace(hour=0, minute=0, second=0, microsecond=0)


def _priority(application: FarmApplication) -> int:
    return rules.priority_score(
        government=application.application_type == ApplicationType.GOVERNMENT_PROGRAM,
        email_verified=application.email_verified,
        phone_verified=application.phone_verified,
        spam=application.spam_score,
        experience_years=application.experience_years,
        has_existing_farm=application.has_existing_farm,
    )


def _locked(application_id: uuid.UUID) -> FarmApplication:
    application = FarmApplication.objects.select_for_update(no_key=True).filter(pk=application_id).first()
    if application is None:
        raise NotFound("There is no such application.")
    return application


def _seen(actor: User, application: FarmApplication) -> FarmApplication:
    if not people.may(actor, Action.SEE_APPLICATIONS, application.place):
        raise NotFound("There is no such application, or not in your scope.")
    return application


def _at_review(
    actor: User, application_id: uuid.UUID, *, or_changes: bool = False
) -> tuple[FarmApplication, ReviewLevel]:
    """The application, locked, and the level that decides on it now, where the actor may decide."""
    application = _seen(actor, _locked(application_id))
    waits = or_changes and application.status == ApplicationStatus.CHANGES_REQUESTED
    level = rules.level_of(application.changes_from_status if waits else application.status)
    if level is None:
        raise Conflict(f"This application is {_words(application)}: there is nothing to decide now.")
    reviews.must_decide(actor, level, application.place)
    return application, level


def _words(application: FarmApplication) -> str:
    return ApplicationStatus(application.status).label.lower()
