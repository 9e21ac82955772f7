"""Any request that the description allows, and many that it does not, is answered as the description says.

Schemathesis makes them from the description that the API gives of itself: the same ones at each run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from django.conf import settings as django
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from django.test import Client
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi import checks

from accounts.models import User
from accounts.rules import Role
from core.wsgi import application
from farms.api.documents import KINDS_OF_FILE
from farms.services.farms import FORMS
from tests.api import farming
from tests.api.cases import OWN
from tests.api.conftest import living_in
from tests.api.test_permission_matrix import World, make_world, undone

pytestmark = pytest.mark.django_db
FILES = [*(start + b"rest" for start in FORMS), b"flock,production_date,good_eggs\n1,2026-11-26,3\n", b"\xff\xfeflock"]
CHECKS: Any = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
# Who asks, and how many requests of each endpoint: half of them as described, half of them not.
EXAMPLES = {Role.SUPER_ADMIN: 10, Role.REGIONAL_ADMIN: 6, Role.FARMER: 6, None: 4}
TOKEN = "c" * 32
for kind_of_file in ("text/csv", *KINDS_OF_FILE):
    schemathesis.openapi.media_type(kind_of_file, st.binary(max_size=100) | st.sampled_from(FILES))


@pytest.fixture(autouse=True)
def one_connection() -> Iterator[None]:
    """The transaction of the test is that of the requests, as Django's own client sees to."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


def cookies_of(user: User | None) -> dict[str, str]:
    """Of the browser of a person who is signed in, or of a stranger."""
    if user is None:
        return {}
    client = Client()
    client.force_login(user)
    session = client.cookies[django.SESSION_COOKIE_NAME].value
    return {django.SESSION_COOKIE_NAME: session, django.CSRF_COOKIE_NAME: TOKEN}


def ids_of(world: World, actor: User | None) -> dict[str, list[str]]:
    """What addresses may name, by the name of the id: each of them is there."""
    return {
        "user_id": [str(user.pk) for user in world.people_and(actor)],
        "campaign_id": [str(campaign.pk) for campaign in world.campaigns],
        "invitation_id": [str(invitation.pk) for invitation in world.invitations],
        **farming.ids(world.farming),
    }


@pytest.mark.parametrize("role", EXAMPLES)
def test_every_request_is_answered_as_the_description_says(role: Role | None) -> None:
    world = make_world()
    actor = living_in(OWN, role) if role else None
    if actor:
        farming.give(world.farming, actor)
    cookies, ids = cookies_of(actor), ids_of(world, actor)
    wrong, statuses = [], Counter[int]()

    def ask(operation: Any, mode: GenerationMode) -> None:
        @settings(
            max_examples=EXAMPLES[role] // 2,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode), number=st.integers(0, 1_000))
        def one(case: Any, number: int) -> None:
            for name in set(ids) & set(case.path_parameters):
                if number % 4:  # now and then what was made up
                    case.path_parameters[name] = ids[name][number % len(ids[name])]
            with undone():
                answer = case.call_and_validate(cookies=cookies, headers={"X-CSRFToken": TOKEN}, checks=CHECKS)
            statuses[answer.status_code] += 1

        one()

    schema: Any = schemathesis.openapi.from_wsgi("/api/v1/schema/", application)
    for found in schema.get_all_operations():
        for mode in GenerationMode:
            try:
                ask(found.ok(), mode)
            except (Failure, FailureGroup) as failure:
                told = failure.exceptions if isinstance(failure, FailureGroup) else [failure]
                wrong.append(f"{found.ok().label}, {mode}: " + "; ".join(f"{one}" for one in told))
    assert not wrong, "\n\n".join(wrong)
    # most of it met the code behind the doors, not the doors alone
    wanted = {200, 400, 404} if role else {400, 401}
    assert wanted <= set(statuses), statuses
