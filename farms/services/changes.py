"""What an applicant changes: by the link of the message that asks for it, without an account (domain.md 4.2.3)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from django.db import transaction

from accounts.services.secrets import LinkNotGood
from core.errors import InvalidInput
from farms import links
from farms.models import ApplicationEvent, FarmApplication
from farms.rules import ApplicationStatus, DocumentKind
from farms.services import applications, farms
from farms.services.applications import Details


def find(token: str) -> ApplicationEvent:
    """The request for changes that a link leads to, with its application. Raises LinkNotGood when it is none, was
    answered, or the application was decided on.
    """
    event_id = links.event_of(token)
    event = ApplicationEvent.objects.select_related("application").filter(pk=event_id).first() if event_id else None
    if event is None or not _is_open(event):
        raise LinkNotGood
    return event


@transaction.atomic
def send(*, token: str, details: Details, documents: Mapping[DocumentKind, bytes], now: datetime) -> FarmApplication:
    """Take what the applicant has changed, and files, back to the review it came from. A link works once.

    A late answer is taken too, until the office decides. Raises LinkNotGood, also when somebody decides meanwhile, and
    InvalidInput, which names the field or the kind of document.
    """
    application_id = find(token).application_id
    FarmApplication.objects.select_for_update(no_key=True).get(pk=application_id)
    find(token)  # of two who send it, one does
    for kind, content in documents.items():
        try:
            farms.form_of(content)
        except InvalidInput as refused:
            raise InvalidInput(f"{kind}: {refused}") from refused
    application = applications.resubmit(application_id=application_id, details=details, now=now)
    for kind, content in documents.items():  # last: a file stays on the disk when the transaction does not
        farms.add_application_document(application_id=application_id, kind=kind, content=content)
    return application


def _is_open(event: ApplicationEvent) -> bool:
    newest = event.application.events.order_by("-at").first()
    return newest == event and event.application.status == ApplicationStatus.CHANGES_REQUESTED
