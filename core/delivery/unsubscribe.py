"""/m/<token>: the page where a person declines messages without signing in, and takes it back.

Looking changes nothing; a POST does. A mail program's one-click POST (RFC 8058) comes without cookies, so the token in
the address is the proof, and there is no other. A changed mind is limited by `consent.CHANGES_AN_HOUR` for each address
and purpose, which no proxy in between can hide; a token that is not ours touches nothing.
"""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from core.delivery import consent, links
from core.delivery.consent import DECLINABLE, Source, TooManyChanges
from core.delivery.links import Choice
from core.delivery.rules import Channel

ONE_CLICK = ("List-Unsubscribe", "One-Click")
STOP, UNDO = "stop", "undo"
CHANNELS = {Channel.SMS: "SMS", Channel.EMAIL: "e-mails"}


@csrf_exempt
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def page(request: HttpRequest, token: str) -> HttpResponse:
    try:
        choice = links.choice(token)
    except links.NotOurs:
        return _page(request, {"broken": True}, status=404)
    if request.method != "POST":
        return _page(request, _facts(choice))
    one_click = request.POST.get(ONE_CLICK[0]) == ONE_CLICK[1]
    wish = STOP if one_click else request.POST.get("do", "")
    if wish not in (STOP, UNDO):
        return _page(request, _facts(choice), status=400)
    source = Source.ONE_CLICK if one_click else Source.LINK
    try:
        consent.choose(choice.channel, choice.address, choice.purpose, wanted=wish == UNDO, source=source)
    except TooManyChanges as error:
        return _page(request, {**_facts(choice), "problem": str(error)}, status=error.status)
    if one_click:  # no redirect: mail programs do not follow one
        return HttpResponse("Done.\n", content_type="text/plain")
    return redirect(f"{links.PATH}{token}", permanent=False)


def _facts(choice: Choice) -> dict[str, object]:
    declined = consent.declined(choice.channel, choice.address).filter(purpose=choice.purpose).first()
    return {
        "what": DECLINABLE[choice.purpose],
        "channel": CHANNELS[choice.channel],
        "address": consent.shown(choice.channel, choice.address),
        "declined": declined,
        "do": UNDO if declined else STOP,
    }


def _page(request: HttpRequest, facts: dict[str, object], *, status: int = 200) -> HttpResponse:
    answer = render(request, "core/opt_out.html", facts, status=status)
    answer["X-Robots-Tag"] = "noindex"
    answer["Referrer-Policy"] = "no-referrer"  # the address of the page is the proof
    return answer
