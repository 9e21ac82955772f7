"""How passwords are kept: quick enough for a sign-in, and old hashes are read and made anew."""

from __future__ import annotations

import re
import time

import pytest
from django.contrib.auth.hashers import Argon2PasswordHasher, make_password
from django.test import Client

from tests.factories import UserFactory

PASSWORD = "a-better-password-2026"


def test_a_password_is_kept_with_the_recommended_parameters() -> None:
    assert re.match(r"argon2\$argon2id\$v=19\$m=19456,t=2,p=1\$", make_password(PASSWORD))


@pytest.mark.django_db
def test_a_sign_in_takes_less_than_300_ms(client: Client) -> None:
    user = UserFactory.create(password=make_password(PASSWORD))
    times = []
    for _ in range(5):
        began = time.perf_counter()
        assert client.login(username=user.username, password=PASSWORD)
        times.append(time.perf_counter() - began)
    assert min(times) < 0.3


@pytest.mark.django_db
def test_an_older_hash_is_read_and_made_anew_at_the_next_sign_in(client: Client) -> None:
    hasher = Argon2PasswordHasher()
    user = UserFactory.create(password=hasher.encode(PASSWORD, hasher.salt()))
    assert not client.login(username=user.username, password="not-the-password-2026")
    user.refresh_from_db()
    assert "m=102400,t=2,p=8" in user.password
    assert client.login(username=user.username, password=PASSWORD)
    user.refresh_from_db()
    assert "m=19456,t=2,p=1" in user.password
    assert client.login(username=user.username, password=PASSWORD)
