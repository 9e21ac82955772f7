"""The words of what farms tells applicants, farmers and officers.

`{note}` is empty or begins with a blank; `{brief}` is as much of it as an SMS has room for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from core.delivery.rules import Purpose
from core.delivery.wording import Template
from farms.rules import ReviewLevel

NAME, APPLICATION, ENROLLMENT, BATCH = "Ama Mensah", "APP-2026-00001", "PROG-2026-00001", "LAY-2026-1"
NOTE = " Congratulations! Your farm has been approved."
REASON = "the photo of your Ghana Card cannot be read"
APPLIED = "You get this e-mail because you applied to join the YEA poultry programme."
ENROLLED = "You get this e-mail because your farm applied to a batch of the YEA poultry programme."
BOTH = {"batch": "Layers 2026", "code": BATCH, "note": NOTE, "brief": NOTE}
STAGES = {
    ReviewLevel.CONSTITUENCY: "the constituency review",
    ReviewLevel.REGIONAL: "the regional review",
    ReviewLevel.NATIONAL: "the national review",
}


def _application(name: str, title: str, text: str, sms: str, *, secret: bool = False, **examples: str) -> Template:
    return Template(
        key=f"farms.application_{name}",
        purpose=Purpose.SERVICE,
        examples={"name": NAME, "number": APPLICATION, "note": NOTE, "brief": NOTE, **examples},
        title=title,
        text=f"Dear {{name}},\n\n{text}{{note}}\n\nYEA Poultry",
        sms=f"YEA Poultry: {sms}{{brief}}",
        secret=secret,
        why=APPLIED,
    )


def _enrollment(name: str, title: str, text: str, sms: str, **examples: str) -> Template:
    return Template(
        key=f"farms.enrollment_{name}",
        purpose=Purpose.SERVICE,
        examples={"name": NAME, "number": ENROLLMENT, **BOTH, **examples},
        title=title,
        text=f"Dear {{name}},\n\n{text}{{note}}\n\nYEA Poultry",
        sms=f"YEA Poultry: {sms}{{brief}}",
        why=ENROLLED,
    )


STAGE = STAGES[ReviewLevel.REGIONAL]
DEADLINE = "Tue 30 Jun 2026"
ENROLLMENT_REMINDER, REVIEW_DIGEST = "farms.enrollment_reminder", "farms.review_digest"
TEMPLATES = (
    Template(
        key=ENROLLMENT_REMINDER,
        purpose=Purpose.SERVICE,
        examples={"batch": "Layers 2026", "code": BATCH, "deadline": DEADLINE, "left": "3 days left"},
        title="Your farm can apply to the batch {batch} until {deadline}",
        text="Dear farmer,\n\nyour farm meets the conditions of the batch {batch} ({code}), and we have no application"
        " of yours. You can apply until {deadline}: {left}.\n\nYEA Poultry",
        sms="YEA Poultry: your farm can apply to batch {code} until {deadline}: {left}.",
        why="You get this e-mail because your farm is registered in the YEA poultry programme.",
    ),
    Template(
        key=REVIEW_DIGEST,
        purpose=Purpose.ADMIN,
        examples={
            "name": NAME,
            "day": "Mon 15 Jun 2026",
            "lines": "Due within 2 days: 1 (APP-2026-00001)\nOverdue: 2 (APP-2026-00002, PROG-2026-00001)",
            "link": "https://pms.example/admin/farms/reviewitem/",
        },
        title="Reviews that wait for you, {day}",
        text="Dear {name},\n\n{lines}\n\nWhat to do: open the list of reviews and decide, or ask for changes:\n\n{link}"
        "\n\nYEA Poultry",
        why="You get this e-mail because reviews of the YEA poultry programme are among your duties.",
    ),
    _application(
        "submitted",
        "We have received your application",
        "we have received your application to join the YEA poultry programme. Its number is {number}. We will write to"
        " you at each step.",
        "we have received your application {number}. We will text you at each step.",
    ),
    _application(
        "in_review",
        "Your application is in review",
        "your application {number} is now in {stage}.",
        "your application {number} is now in {stage}.",
        stage=STAGE,
    ),
    _application(
        "changes_requested",
        "Your application needs changes",
        "your application {number} needs changes. What to change: {reason}. Please change it on this page by"
        " {deadline}:\n\n{link}\n\nThe link is for you alone: do not pass it on. If you cannot open it, go to your"
        " office.",
        "change application {number} by {deadline}: {reason}. Here: {link}",
        secret=True,
        reason=REASON,
        deadline=DEADLINE,
        link="https://pms.example/farms/changes/AZqM0rJ8c0Wv3n1gqk2xUe5tPpQm7sYd1oLz0A/",
    ),
    _application(
        "resubmitted",
        "We have received your changes",
        "we have received your changes to the application {number}. It is in {stage} again.",
        "we have received your changes. Application {number} is in {stage} again.",
        stage=STAGE,
    ),
    _application(
        "rejected",
        "Your application was not accepted",
        "your application {number} was not accepted. The reason: {reason}. You may apply again.",
        "application {number} was not accepted. Reason: {reason}.",
        reason=REASON,
    ),
    _application(
        "approved",
        "Your application is approved: open your account",
        "your application {number} is approved. Open your account and your farm on this page by {until}:\n\n{link}\n\n"
        "The link is for you alone: do not pass it on.",
        "application {number} is approved. Open your account by {until}: {link}",
        secret=True,
        until="30 Jul 2026",
        link="https://pms.example/farms/invitation/Jx3hVbq0/",
    ),
    _application(
        "approved_before",
        "Your application is approved",
        "your application {number} is approved.",
        "application {number} is approved.",
    ),
    _application(
        "account_created",
        "Your farm is registered",
        "your farm is registered under the number {farm} (application {number}).",
        "your farm is registered (application {number}). Its number: {farm}.",
        farm="YEA-AA-TMW-0001",
    ),
    _enrollment(
        "submitted",
        "We have received your enrolment",
        "we have received the application of your farm to the batch {batch} ({code}). Its number is {number}.",
        "we have received your application {number} to batch {code}.",
    ),
    _enrollment(
        "in_review",
        "Your enrolment is in review",
        "your application {number} to the batch {batch} ({code}) is now in {stage}.",
        "application {number} to batch {code} is now in {stage}.",
        stage=STAGE,
    ),
    _enrollment(
        "changes_requested",
        "Your enrolment needs changes",
        "your application {number} to the batch {batch} ({code}) needs changes. What to change: {reason}. Please send"
        " it again by {deadline}.",
        "application {number} to batch {code} needs changes by {deadline}: {reason}.",
        reason=REASON,
        deadline=DEADLINE,
    ),
    _enrollment(
        "resubmitted",
        "We have received your changes",
        "we have received your changes to the application {number} to the batch {batch} ({code}). It is in {stage}"
        " again.",
        "we have received your changes. Application {number} to batch {code} is in {stage} again.",
        stage=STAGE,
    ),
    _enrollment(
        "rejected",
        "Your enrolment was not accepted",
        "your application {number} to the batch {batch} ({code}) was not accepted. The reason: {reason}.",
        "application {number} to batch {code} was not accepted. Reason: {reason}.",
        reason=REASON,
    ),
    _enrollment(
        "approved",
        "A place is reserved for your farm",
        "a place in the batch {batch} ({code}) is reserved for your farm (application {number}). We will tell you when"
        " the support is handed over.",
        "a place in batch {code} is reserved for your farm (application {number}).",
    ),
    _enrollment(
        "enrolled",
        "Your farm is enrolled",
        "your farm is enrolled in the batch {batch} ({code}), application {number}. The support has been handed over.",
        "your farm is enrolled in batch {code} ({number}). The support has been handed over.",
    ),
    _enrollment(
        "withdrawn",
        "Your enrolment is withdrawn",
        "your application {number} to the batch {batch} ({code}) is withdrawn, as you asked.",
        "application {number} to batch {code} is withdrawn, as you asked.",
    ),
)


def high_mortality(
    *, farm: str, flock: int, day: str, value: str, threshold: str, weekly: bool, critical: bool
) -> tuple[str, str]:
    """Title and text of what farmer and officers are told of too many deaths."""
    period = "in the seven days to" if weekly else "on"
    do = (
        "What to do: keep visitors away, separate sick birds, and call the veterinary officer today."
        if critical
        else "What to do: look at feed, water and heat, separate sick birds; call the veterinary officer if it lasts."
    )
    what = (
        f"{value} % of the birds of flock {flock} of the farm {farm} died {period} {day}. Above {threshold} % is told."
    )
    return f"Many deaths: flock {flock} of {farm}, {value} %{' in 7 days' if weekly else ''}", f"{what}\n{do}"


def waiting(found: Mapping[str, tuple[int, Sequence[str]]], *, soon: int, stale: int) -> str:
    """The lines of a digest: of each kind how many, and the numbers of those that wait longest."""
    says = {
        "sla_overdue": "Overdue",
        "sla_soon": f"Due within {soon} {'day' if soon == 1 else 'days'}",
        "stale": f"Not moved for more than {stale} {'day' if stale == 1 else 'days'}",
    }
    return "\n".join(_line(says[kind], *found[kind]) for kind in says if kind in found)


def _line(what: str, count: int, numbers: Sequence[str]) -> str:
    more = f" and {count - len(numbers):,} more" if count > len(numbers) else ""
    return f"{what}: {count:,} ({', '.join(numbers)}{more})"


def stale_applications(*, count: int, day: str) -> tuple[str, str]:
    """Title and text of what headquarters are told of what does not move."""
    stand = "application or enrolment does" if count == 1 else "applications and enrolments do"
    title = f"{count:,} {stand} not move"
    text = f"{day}: {title}. The admins of the level above have been told which.\nWhat to do: ask what holds them up."
    return title, text
