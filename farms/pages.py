"""The pages of farms that need no sign-in (docs/farms.md)."""

from __future__ import annotations

from functools import partial

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from accounts.pages import accepts, behind_a_link
from accounts.services.secrets import LinkNotGood
from core import clock
from core.errors import DomainError
from farms import page_forms as forms
from farms import rules
from farms.services import changes, invitations
from farms.services.common import day_of
from farms.services.farms import LARGEST_DOCUMENT

MOST_SENT = 2**20 + len(forms.DOCUMENTS) * LARGEST_DOCUMENT


@partial(behind_a_link, over="farms/changes_over.html")
def application_changes(request: HttpRequest, token: str) -> HttpResponse:
    """Change an application as its reviewer asks, and add documents. It goes back to the review it came from.

    It shows what the applicant has said, but neither the phone nor the whole Ghana Card.
    """
    now = clock.now()
    event = changes.find(token)
    application = event.application
    shown = {
        "name": application.full_name.split()[0],
        "number": application.application_number,
        "card": rules.mask_card(application.ghana_card_number),
        "reason": event.reason,
        "until": application.changes_deadline,
        "is_late": bool(application.changes_deadline and application.changes_deadline < day_of(now)),
    }
    is_too_large = int(request.META.get("CONTENT_LENGTH") or 0) > MOST_SENT
    is_sent = request.method == "POST" and not is_too_large
    data, files = (request.POST, request.FILES) if is_sent else (None, None)
    form = forms.ChangeApplication(data, files, instance=application)
    if is_sent and accepts(request, form, token):
        try:
            changes.send(token=token, **form.said(), now=now)
        except LinkNotGood:
            raise
        except DomainError as refused:
            form.refuse(refused)
        else:
            return render(request, "farms/changes_sent.html", shown)
    form.ask_for_files_again()
    return render(
        request,
        "farms/changes.html",
        {**shown, "form": form, "is_too_large": is_too_large},
        status=413 if is_too_large else form.status,
    )


@partial(behind_a_link, over="farms/invitation_over.html")
def farm_invitation(request: HttpRequest, token: str) -> HttpResponse:
    """Open account and farm of an approved applicant. Whoever has an account with the phone keeps its password.

    It shows the first name and the number of the application: the message with the link says no less.
    """
    now = clock.now()
    application = invitations.find(token=token, now=now).application
    has_account = invitations.has_account(application)
    kind = forms.TakeFarm if has_account else forms.OpenAccount
    form = kind(request.POST if request.method == "POST" else None)
    if accepts(request, form, token):
        try:
            farm = invitations.accept(token=token, **form.said(), now=now)
        except LinkNotGood:
            raise
        except DomainError as refused:
            form.refuse(refused)
        else:
            is_new = farm.user.activated_at == now
            with_what = "your password" if is_new else "the password that your account has"
            opened = "Your account and your farm are open." if is_new else "The farm belongs to your account now."
            messages.success(request, f"{opened} Sign in with your phone number and {with_what}.")
            return redirect("account_login")
    shown = {
        "form": form,
        "name": application.full_name.split()[0],
        "number": application.application_number,
        "has_account": has_account,
    }
    return render(request, "farms/invitation.html", shown, status=form.status)
