"""The pages of an account's life: opening it, confirming what it says, getting back into it (docs/accounts.md).

Those that are open to strangers answer alike, whether or not there is such an account (accounts.services.secrets). A
try of a code is counted by a transaction of its own, so none of them is one transaction as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core import signing
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt

from accounts import page_forms as forms
from accounts import rules, selectors, visits
from accounts.adapters import TOO_MANY
from accounts.models import User
from accounts.rules import CodePurpose, Role, TokenPurpose
from accounts.services import invitations, people, secrets, sign_in, telling
from accounts.views import me, pages
from core import clock
from core.api import throttles
from core.errors import DomainError

LAST_SIGN_INS = 8
TYPED = "pms_reset"  # a cookie: for whom a new password was asked for, so that nobody types it twice
TYPED_AGE = 15 * 60
CHANGED = "Your password is changed and everything is signed out. Sign in with the new one."


def accepts(request: HttpRequest, form: forms.Plain, about: str) -> bool:
    """Whether the form was sent, is whole, and was not sent too often from this address or about this account."""
    if request.method != "POST":
        return False
    names = {"door": visits.address(request) or "", "account": throttles.one_form(about)}
    within = [throttles.is_within(scope, throttles.hidden(name)) for scope, name in names.items() if name]
    is_whole = form.is_valid()
    if not all(within):
        form.add_error(None, TOO_MANY)
        form.status = 429
    return is_whole and all(within)


def page(request: HttpRequest, name: str, form: forms.Plain, **more: object) -> HttpResponse:
    return render(request, f"accounts/{name}.html", {"form": form, **more}, status=form.status)


# --- strangers -----------------------------------------------------------------------------------------------------


@never_cache
@pages
def register(request: HttpRequest) -> HttpResponse:
    """Open the account of a farmer. The answer is the same for a number that has one: its owner is told."""
    if request.user.is_authenticated:
        return redirect("account")
    form = forms.Register(request.POST if request.method == "POST" else None)
    if accepts(request, form, request.POST.get("phone", "")):
        try:
            people.register_farmer(**form.cleaned_data, now=clock.now())
        except DomainError as refused:
            form.refuse(refused)
        else:
            messages.success(
                request,
                "Look at your phone: we have sent an SMS to this number. Sign in with the number and your password,"
                " then type the code of the SMS.",
            )
            return redirect(f"{reverse('account_login')}?next={reverse('verify_phone')}")
    return page(request, "register", form)


@never_cache
@pages
def ask_for_reset(request: HttpRequest) -> HttpResponse:
    """Send a link and a code for a new password, when there is such an account. The answer is always the same."""
    form = forms.AskForReset(request.POST if request.method == "POST" else None)
    if accepts(request, form, request.POST.get("identifier", "")):
        typed = form.cleaned_data["identifier"]
        secrets.request_password_reset(identifier=typed, ip=visits.address(request), now=clock.now())
        messages.success(
            request,
            "If there is such an account, a code is on its way to its phone by SMS, and a link to its e-mail address."
            " Either will do.",
        )
        answer = redirect("password_reset_code")
        answer.set_cookie(
            TYPED,
            signing.dumps(typed, salt=TYPED),
            max_age=TYPED_AGE,
            path=reverse("password_reset"),
            secure=settings.SESSION_COOKIE_SECURE,
            httponly=True,
            samesite="Lax",
        )
        return answer
    return page(request, "password_reset", form)


@never_cache
@pages
def reset_by_code(request: HttpRequest) -> HttpResponse:
    """Set a new password by the code of an SMS. It ends all sessions."""
    form = forms.ResetByCode(
        request.POST if request.method == "POST" else None, initial={"identifier": _typed(request)}
    )
    if accepts(request, form, request.POST.get("identifier", "")):
        try:
            secrets.reset_password_by_code(**form.cleaned_data, now=clock.now(), origin=visits.visit(request).origin)
        except DomainError as refused:
            form.refuse(refused)
        else:
            messages.success(request, CHANGED)
            answer = redirect("account_login")
            answer.delete_cookie(TYPED, path=reverse("password_reset"), samesite="Lax")
            return answer
    return page(request, "password_reset_code", form)


def _typed(request: HttpRequest) -> str:
    try:
        return str(signing.loads(request.COOKIES.get(TYPED, ""), salt=TYPED, max_age=TYPED_AGE))
    except signing.BadSignature:
        return ""


# --- links ---------------------------------------------------------------------------------------------------------

Linked = Callable[[HttpRequest, str], HttpResponse]


def behind_a_link(view: Linked, over: str = "accounts/link_over.html") -> Linked:
    """A page with a token in its address. No address is told to where one goes from there; `over` is what is shown
    when the link is not good.

    Browsers send `Origin: null` from such a page, which Django's check of forms refuses. It is not needed: whoever can
    make a browser send the token has it, and nothing is done to who is signed in there.
    """

    @wraps(view)
    def guarded(request: HttpRequest, token: str) -> HttpResponse:
        try:
            answer = view(request, token)
        except secrets.LinkNotGood:
            answer = render(request, over, {"kind": view.__name__}, status=404)
        answer.headers["Referrer-Policy"] = "no-referrer"
        return answer

    return csrf_exempt(never_cache(pages(guarded)))


def _open_token(token: str, *purposes: TokenPurpose) -> tuple[User, str]:
    """Whose link this is, and what it is for. Looking does not use it up. Raises LinkNotGood."""
    found = selectors.open_token(token, purposes, clock.now())
    if found is None:
        raise secrets.LinkNotGood
    return found.user, found.purpose


@behind_a_link
def new_password(request: HttpRequest, token: str) -> HttpResponse:
    """Set a new password, or the first one, which activates the account."""
    user, purpose = _open_token(token, *secrets.SETS_PASSWORD)
    is_first = purpose == TokenPurpose.SET_PASSWORD
    kind = forms.WithPassword if is_first else forms.NewPassword
    form = kind(request.POST if request.method == "POST" else None)
    if accepts(request, form, token):
        given = {**form.cleaned_data, "token": token, "origin": visits.visit(request).origin}
        try:
            secrets.set_password_by_token(**given, now=clock.now())
        except secrets.LinkNotGood:
            raise
        except DomainError as refused:
            form.refuse(refused)
        else:
            messages.success(request, "Your account is open. Sign in with your password." if is_first else CHANGED)
            return redirect("account_login")
    return page(request, "new_password", form, whose=user, is_first=is_first)


@behind_a_link
def confirm_email(request: HttpRequest, token: str) -> HttpResponse:
    """Confirm an e-mail address by a button: programs that check mail open every link."""
    user, _ = _open_token(token, TokenPurpose.EMAIL_VERIFICATION)
    form = forms.Plain(request.POST if request.method == "POST" else None)
    if accepts(request, form, token):
        secrets.verify_email(token=token, now=clock.now())
        messages.success(request, "Your e-mail address is confirmed.")
        return redirect("account")
    return page(request, "confirm_email", form, whose=user)


@behind_a_link
def accept_invitation(request: HttpRequest, token: str) -> HttpResponse:
    """Open the account that an invitation is for."""
    invitation = selectors.open_invitation(token, clock.now())
    if invitation is None:
        raise secrets.LinkNotGood
    form = forms.Accept(request.POST if request.method == "POST" else None)
    if accepts(request, form, token):
        try:
            invitations.accept(token=token, **form.cleaned_data, now=clock.now())
        except secrets.LinkNotGood:
            raise
        except DomainError as refused:
            form.refuse(refused)
        else:
            said = "Your account is open. Sign in with your phone number or e-mail address and your password."
            more = " Then set up the second factor, which your role needs."
            needs_more = rules.needs_second_factor(Role(invitation.role))
            messages.success(request, said + more if needs_more else said)
            return redirect("account_login")
    return page(
        request,
        "invitation",
        form,
        invitation=invitation,
        by=telling.name(invitation.invited_by),
        position=telling.position(Role(invitation.role), invitation.region, invitation.constituency),
    )


# --- who is signed in ----------------------------------------------------------------------------------------------


@login_required
@never_cache
@pages
def overview(request: HttpRequest) -> HttpResponse:
    """Who I am, what is confirmed, and how safely I sign in."""
    user, now = me(request), clock.now()
    factors = Authenticator.objects.filter(user=user, type__in=sign_in.FACTORS)
    last = selectors.sign_ins_of(user.pk).order_by("-at", "-id")[:LAST_SIGN_INS]
    return render(
        request,
        "accounts/overview.html",
        {
            "position": telling.position(Role(user.role), user.region, user.constituency),
            "has_factor": factors.exists(),
            "sessions": len(sign_in.sessions_of(actor=user, user_id=user.pk, now=now)),
            "devices": selectors.trusted_devices(user.pk, now).count(),
            "sign_ins": [{"record": record, "device": rules.device_name(record.user_agent)} for record in last],
        },
    )


@login_required
@never_cache
@pages
def verify_phone(request: HttpRequest) -> HttpResponse:
    """Send a code to my phone, and confirm it by that."""
    user, now = me(request), clock.now()
    asks = request.POST.get("do") == "send"
    form = forms.Code(request.POST if request.method == "POST" and not asks else None)
    if user.phone_verified:
        return page(request, "verify_phone", form)
    try:
        if request.method == "POST" and asks:
            secrets.ask_for_code(user=user, purpose=CodePurpose.PHONE_VERIFICATION, now=now)
            messages.success(request, "Look at your phone: we have sent a code. A newer code replaces the one before.")
            return redirect("verify_phone")
        if form.is_valid():
            secrets.verify_phone(user=user, code=form.cleaned_data["code"], now=now)
            messages.success(request, "Your phone number is confirmed.")
            return redirect("account")
    except secrets.TooMany as refused:
        messages.error(request, str(refused))
        form.status = refused.status
    except DomainError as refused:
        form.refuse(refused)
    return page(request, "verify_phone", form)


@login_required
@never_cache
@pages
def verify_email(request: HttpRequest) -> HttpResponse:
    """Send a link to my e-mail address, which confirms it."""
    form = forms.Plain()
    if request.method == "POST":
        try:
            secrets.ask_to_verify_email(user=me(request), now=clock.now())
            messages.success(request, "Look into your mailbox: we have sent a link. Open it to confirm the address.")
            return redirect("verify_email")
        except DomainError as refused:
            messages.error(request, str(refused))
            form.status = refused.status
    return page(request, "verify_email", form)
