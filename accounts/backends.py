"""Who may sign in and stay signed in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.base_user import AbstractBaseUser

from accounts.models import User
from core import clock

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser


class Accounts(ModelBackend):
    """Nobody who is suspended or not active, asked at every request: a suspension that is over has ended by itself."""

    def user_can_authenticate(self, user: AbstractBaseUser | AnonymousUser | None) -> bool:
        return isinstance(user, User) and user.is_active and not user.is_suspended_at(clock.now())
