"""Whatever is given to the documented tasks: it works or is refused in words, and nothing is left half done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from core.delivery.models import Campaign, CampaignRecipient, OutboundMessage
from core.errors import DomainError
from core.tasks import process_bulk_sms, send_email_async, send_sms_async

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sandbox")]
much = effort(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

any_text = st.text(st.characters(), max_size=60) | st.text("ab \0\n\r\u2028=?_é🐔\ud800", max_size=40)
odd: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=2),
    max_leaves=5,
)
numbers = st.from_regex(r"\A(0|233|\+233)(24|20|55|30|80)[0-9]{7}\Z") | any_text
addresses = st.emails() | st.from_regex(r"\A[a-zſı.'{}-]{1,9}@[a-zä.\[\]0-9-]{1,12}\Z") | any_text


@pytest.fixture
def undone() -> Callable[[], Any]:
    @contextmanager
    def undo() -> Iterator[None]:
        """One example: refused or done, nothing left open, and rolled back at its end."""
        said = "done"
        with transaction.atomic():
            try:
                yield
            except DomainError as refused:
                said = str(refused)
            assert said
            said.encode()
            assert not OutboundMessage.objects.filter(status__in=["submitting", "claimed"]).exists()
            connection.check_constraints()
            transaction.set_rollback(True)

    return undo


@much
@given(numbers | odd, any_text | odd, st.none() | any_text | odd, st.none() | st.sampled_from(["otp", "bulk"]) | odd)
def test_any_sms(undone: Callable[[], Any], phone: Any, text: Any, reference: Any, purpose: Any) -> None:
    with undone():
        result = send_sms_async(phone, text, reference, purpose)
        assert result["status"] in ("ok", "queued", "held")
        assert OutboundMessage.objects.count() == 1


@much
@given(any_text | odd, any_text | odd, st.lists(addresses, max_size=4) | odd, st.none() | any_text | odd)
def test_any_email(undone: Callable[[], Any], title: Any, text: Any, listed: Any, html: Any) -> None:
    with undone():
        result = send_email_async(title, text, listed, html)
        assert result["accepted"] + result["queued"] + result["suppressed"] == OutboundMessage.objects.count() > 0


@much
@given(addresses)
def test_any_address(undone: Callable[[], Any], address: str) -> None:
    with undone():
        result = send_email_async("Report", "Eggs: 12", [address])
        assert result["accepted"] + result["suppressed"] == 1


@much
@given(st.lists(numbers | odd, max_size=12) | odd, any_text | odd, st.integers(-1, 501) | odd)
def test_any_bulk_sms(undone: Callable[[], Any], listed: Any, text: Any, batch_size: Any) -> None:
    with undone():
        try:
            result = process_bulk_sms(listed, text, batch_size)
        except DomainError:
            assert not Campaign.objects.exists()
            raise
        counted = [result[name] for name in ("accepted_for_sending", "duplicates", "invalid")]
        assert sum(counted) == len(listed)
        assert CampaignRecipient.objects.filter(status="written").count() == counted[0]
        assert OutboundMessage.objects.count() == counted[0]
