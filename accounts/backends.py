"""Who may sign in and stay signed in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest

from accounts import selectors
from accounts.models import User
from accounts.rules import Refusal
from accounts.services import sign_in
from accounts.visits import visit
from core import clock

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser


class Accounts(ModelBackend):
    """Name and password at signing in; at every request, that nothing has come to stand against the person.

    `username` may be a phone number or an e-mail address too. The second factor is asked for by allauth's stages: a
    door that signs people in without them must not exist.
    """

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **_: object
    ) -> User | None:
        if not username or not password:
            return None
        return sign_in.attempt(typed=username, password=password, visit=visit(request), now=clock.now())

    def user_can_authenticate(self, user: AbstractBaseUser | AnonymousUser | None) -> bool:
        """A lock keeps people from signing in, not from staying signed in."""
        return isinstance(user, User) and selectors.stands_against(user, clock.now()) in (None, Refusal.LOCKED)
