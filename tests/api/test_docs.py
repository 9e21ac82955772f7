"""The page of the API says what is so: its examples are sent as they stand. The description is whole, also offline."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.contrib.staticfiles import finders
from django.core.management import call_command
from django.test import Client

from accounts.rules import Role
from core.api.schema import ERRORS
from core.api.views import Access
from tests.api.conftest import SignIn, living_in
from tests.api.endpoints import METHODS, endpoints
from tests.api.test_permission_matrix import PERMISSIONS
from tests.factories import FlockFactory, RegionFactory, UserFactory

pytestmark = pytest.mark.django_db
PAGE = Path(__file__).resolve().parents[2] / "docs/api.md"


@dataclass(frozen=True)
class Block:
    first: str
    headers: dict[str, str]
    body: str


def blocks() -> list[Block]:
    found = []
    for text in re.findall(r"^```http\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        head, _, body = text.partition("\n\n")
        first, *lines = head.strip().splitlines()
        found.append(Block(first, dict(line.split(": ", 1) for line in lines), body))
    return found


def examples() -> list[tuple[Block, Block]]:
    both = blocks()
    return list(zip(both[::2], both[1::2], strict=True))


def shape(value: Any) -> Any:
    """The names and kinds of what is in it."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [shape(inner) for inner in value]
    return type(value).__name__


def ask(client: Client, request: Block, ids: dict[str, str]) -> Any:
    texts = [request.first, request.body]
    for name, value in ids.items():
        texts = [text.replace(f"{{{name}}}", value) for text in texts]
    method, path = texts[0].split(" ")
    headers = {name: value for name, value in request.headers.items() if name != "Content-Type"}
    return client.generic(method, path, texts[1].encode(), request.headers.get("Content-Type", ""), headers=headers)


@pytest.mark.parametrize(("request_", "told"), examples(), ids=[request.first for request, _ in examples()])
def test_an_example_is_answered_as_the_page_says(sign_in: SignIn, request_: Block, told: Block) -> None:
    yaw = UserFactory.create(role=Role.REGIONAL_ADMIN, region=RegionFactory.create(), username="regional_admin")
    abena = living_in("BNT", Role.CONSTITUENCY_STAFF, username="abena", first_name="Abena", last_name="Asante")
    flock = FlockFactory.create(arrival_date=date(2025, 10, 1))
    who = flock.farm.user if "{flock}" in request_.body else yaw
    answer = ask(sign_in(who), request_, {"person": str(abena.pk), "flock": str(flock.pk)})
    _, status, reason = told.first.split(" ", 2)
    assert (answer.status_code, answer.reason_phrase) == (int(status), reason), answer.content
    assert answer["Content-Type"] == told.headers["Content-Type"]
    written, real = json.loads(told.body), answer.json()
    assert shape(real) == shape(written)
    assert list(real) == list(written)
    if "rows" in written:
        assert [(row["outcome"], row["detail"]) for row in real["rows"]] == [
            (row["outcome"], row["detail"]) for row in written["rows"]
        ]
    for name in ("kept", "role", "username", "errors", "detail", "reason", "old_role", "new_role", "new_constituency"):
        assert real.get(name) == written.get(name)


def test_the_page_lists_every_endpoint_and_who_may_use_it() -> None:
    rows = re.findall(r"^\| ([A-Z]+) \| `([^`]+)` \| (.+) \|$", PAGE.read_text(), re.MULTILINE)
    there = [
        (method.upper(), re.sub(r"<(?:\w+:)?(\w+)>", r"<\1>", address), who_may(view.access[method]))
        for (method, address), view in endpoints().items()
    ]
    assert sorted(rows) == sorted(there)
    assert len(rows) == len(set(rows))


def who_may(access: str) -> str:
    return str(access) if isinstance(access, Access) else f"`{PERMISSIONS.get(access, access)}`"


def test_the_page_lists_every_status_there_is() -> None:
    rows = re.findall(r"^\| ([0-9, ]+) \|", PAGE.read_text(), re.MULTILINE)
    told = {status for row in rows for status in row.split(", ")}
    assert told == {*ERRORS, "500"}


def test_the_limits_on_the_page_are_those_of_the_settings() -> None:
    from core import settings

    limits = settings.API_LIMITS
    text = " ".join(PAGE.read_text().split())
    assert f"{limits['person']} requests of a person, {limits['stranger']} of an address" in text
    assert f"it holds {limits['door']} of an address and {limits['account']} that name" in text
    assert f"and {limits['address']:,} of an address" in text


@pytest.fixture
def schema(client: Client) -> Any:
    return yaml.safe_load(client.get("/api/v1/schema/").content)


def address_of(path: str) -> str:
    """The address of an endpoint, from its path in the description."""
    kinds = {re.sub(r"<\w+:(\w+)>", r"{\1}", address): address for _, address in endpoints()}
    return kinds[path.removeprefix("/api/v1/")]


def test_every_endpoint_is_described_with_its_errors_and_its_key(schema: Any) -> None:
    described = {
        (method, address_of(path))
        for path, methods in schema["paths"].items()
        for method in methods
        if method in METHODS
    }
    assert described == {key for key in endpoints() if key[1] not in ("schema/", "docs/")}
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            assert set(ERRORS) <= set(operation["responses"])
            assert operation["description"]
            names = {parameter["name"] for parameter in operation.get("parameters", ())}
            view = endpoints()[method, address_of(path)]
            assert ("Idempotency-Key" in names) == getattr(getattr(view, method), "is_idempotent", False)


def test_the_description_is_made_without_a_warning(tmp_path: Path) -> None:
    """It fails for a field whose kind is not known and for two things of one name."""
    file = str(tmp_path / "schema.yml")
    call_command("spectacular", validate=True, fail_on_warn=True, api_version="v1", file=file)


def test_the_names_are_consistent(schema: Any) -> None:
    for component in schema["components"]["schemas"].values():
        for name, field in component.get("properties", {}).items():
            assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
            if name == "id":
                assert (field["type"], field["format"]) == ("string", "uuid")
            if name.endswith(("_at", "_until")):
                assert field["format"] == "date-time"


def test_the_docs_page_needs_nothing_from_elsewhere(client: Client) -> None:
    page = client.get("/api/v1/docs/").content.decode()
    files = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert files
    for address in files:
        assert address.startswith("/static/"), address
        assert finders.find(address.removeprefix("/static/")), address
