"""Where a request comes from: address, device and place (domain.md 4.1.2).

A browser is known by a signed cookie that signing in sets, the app by an id of its own in a header. What brings neither
is told apart by its user agent, which many share: such a device is never trusted.
"""

from __future__ import annotations

import secrets
from ipaddress import ip_address

from allauth.core.internal.httpkit import is_headless_request
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from rest_framework.throttling import BaseThrottle

from accounts.services.sign_in import Visit
from core.delivery import sealing

COOKIE = "pms_device"
COOKIE_AGE = 400 * 86_400  # as long as browsers keep one
HEADER = "X-Device-Id"
SHORTEST_ID, LONGEST_ID = 16, 200
LONGEST_AGENT = 200
LONGEST_PLACE = 100
_NEW = "_pms_device"  # on the request, until its answer brings the cookie


def address(request: HttpRequest) -> str | None:
    """The address of who asks, past our own proxies; None when there is none."""
    try:
        return str(ip_address(str(BaseThrottle().get_ident(request))))  # type: ignore[arg-type]  # reads META alone
    except ValueError:
        return None


def visit(request: HttpRequest | None) -> Visit:
    if request is None:
        return Visit()
    agent = _line(request.headers.get("User-Agent", ""))[:LONGEST_AGENT]
    device = _device(request)
    return Visit(
        ip=address(request),
        user_agent=agent,
        device_hash=sealing.keyed_hash(f"device {device or f'agent {agent}'}"),
        is_known_device=bool(device),
        place=_line(request.headers.get(settings.PLACE_HEADER, ""))[:LONGEST_PLACE] if settings.PLACE_HEADER else "",
    )


def known(request: HttpRequest) -> Visit:
    """As `visit`, for somebody who signs in: a browser that has no id yet gets one, which `remember` sends."""
    if not is_headless_request(request) and not _device(request):
        setattr(request, _NEW, secrets.token_urlsafe(24))
    return visit(request)


def remember(request: HttpRequest, response: HttpResponse) -> None:
    """Leave the browser its id, or let it keep it for longer."""
    device = _browser(request)
    if device and not is_headless_request(request):
        response.set_signed_cookie(
            COOKIE,
            device,
            salt=COOKIE,
            max_age=COOKIE_AGE,
            secure=settings.SESSION_COOKIE_SECURE,
            httponly=True,
            samesite="Lax",
        )


def _device(request: HttpRequest) -> str:
    if is_headless_request(request):
        given = request.headers.get(HEADER, "").strip()
        return f"app {given}" if SHORTEST_ID <= len(given) <= LONGEST_ID else ""
    device = _browser(request)
    return f"browser {device}" if device else ""


def _browser(request: HttpRequest) -> str:
    new = getattr(request, _NEW, "")
    return str(new or request.get_signed_cookie(COOKIE, default="", salt=COOKIE, max_age=COOKIE_AGE) or "")


def _line(text: str) -> str:
    return "".join(letter for letter in text if letter.isprintable()).strip()
