"""The words: short SMS in plain letters, links that a page is behind, and addresses that the log does not repeat."""

from __future__ import annotations

import pytest
from django.conf import LazySettings
from django.test import RequestFactory
from django.urls import path

from accounts import links, messages
from accounts.rules import Role
from core import sms_text
from core.delivery import templates, wording
from core.delivery.rules import Purpose
from core.delivery.wording import Template
from core.middleware import RequestLog

# Two parts: who, before, now and when do not fit into one.
TWO_PARTS = {messages.ROLE_CHANGED.key, messages.ROLE_OF_ANOTHER_CHANGED.key}
TOKEN = "x" * 43


@pytest.mark.parametrize("template", messages.TEMPLATES, ids=lambda template: template.key)
def test_an_sms_is_of_plain_letters_and_short(template: Template) -> None:
    if not template.sms:
        return
    size = sms_text.measure(wording.fill(template.sms, template.examples))
    assert size.encoding == "gsm7"
    assert size.parts == (2 if template.key in TWO_PARTS else 1)
    assert template.sms.startswith(("YEA Poultry", "Welcome to YEA Poultry"))


def test_every_template_is_registered_and_what_has_a_secret_says_so() -> None:
    for template in messages.TEMPLATES:
        assert templates.named(template.key) is template
        assert template.secret == bool({"link", "code"} & template.examples.keys())
        assert (template.purpose == Purpose.OTP) == ("code" in template.examples)


@pytest.mark.parametrize("role", Role)
def test_a_change_to_any_role_fits_into_an_sms(role: Role) -> None:
    longest = {
        "before": f"{role.label}, Nalerigu-Gambaga (North East)",
        "after": f"{role.label}, Sefwi-Wiawso (Western)",
    }
    for template in (messages.ROLE_CHANGED, messages.ROLE_OF_ANOTHER_CHANGED):
        text = wording.fill(template.sms, {**template.examples, **longest})
        assert sms_text.measure(text).parts <= 2


@pytest.mark.parametrize("base", ["https://pms.example", "https://pms.example/"])
@pytest.mark.parametrize("page", [links.NEW_PASSWORD, links.VERIFY_EMAIL, links.INVITATION])
def test_a_link_leads_to_its_path_and_the_log_hides_its_token(settings: LazySettings, base: str, page: str) -> None:
    settings.BASE_URL = base
    address = links.absolute(page, TOKEN)
    assert address.startswith("https://pms.example/accounts/")
    assert "//accounts" not in address
    route = path(links.MOUNT + page, lambda request: None, name="x")  # type: ignore[arg-type,return-value]
    found = route.resolve(address.removeprefix("https://pms.example/"))
    assert found is not None
    assert found.kwargs == {"token": TOKEN}
    logged = RequestLog.format_request(RequestFactory().get(address.removeprefix("https://pms.example")))
    assert TOKEN not in logged
    assert logged.endswith("/***")
