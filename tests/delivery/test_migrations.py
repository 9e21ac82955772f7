"""The migrations of delivery go back and come again over messages that wait."""

from __future__ import annotations

import pytest
from django.core.management import call_command

from core.delivery.models import OutboundMessage
from core.delivery.rules import Purpose
from tests.delivery.outbox import again, an_sms


@pytest.mark.django_db(transaction=True)
def test_sealing_goes_and_comes_back_over_a_code_that_waits() -> None:
    message = an_sms(purpose=Purpose.OTP, text="Your code is 123456", hint=False)
    assert OutboundMessage.objects.filter(pk=message.pk, status="queued", sealed__isnull=False).exists()
    call_command("migrate", "delivery", "0003", verbosity=0)
    call_command("migrate", verbosity=0)
    row = again(message)
    assert (row.status, row.sealed, row.body) == ("expired", None, None)
    assert row.error.endswith("ask for a new one")
