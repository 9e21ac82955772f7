"""Whatever goes wrong is told as problem details (RFC 9457), and nothing that is sent makes the API fail."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from django.test import Client, RequestFactory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.api import mine
from accounts.models import User
from accounts.services import people
from core import errors
from core.api.errors import MEDIA_TYPE, bad_request, page_not_found, permission_denied, server_error
from core.api.parsing import LARGEST_BODY
from tests.api.conftest import API, SignIn, living_in
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db
JSON = "application/json"


def problem(answer: Any, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == MEDIA_TYPE
    told: dict[str, Any] = answer.json()
    assert told["type"] == "about:blank"
    assert (told["status"], told["code"]) == (status, code)
    assert told["title"]
    assert told["detail"]
    return told


@pytest.fixture
def user() -> User:
    return living_in("BNT")


@pytest.fixture
def client_of_head(sign_in: SignIn, head: User) -> Client:
    return sign_in(head)


def subclasses(kind: type[errors.DomainError]) -> set[type[errors.DomainError]]:
    return {kind}.union(*(subclasses(below) for below in kind.__subclasses__()))


@pytest.mark.parametrize("kind", sorted(subclasses(errors.DomainError), key=str))
def test_every_error_of_the_house_has_its_status_and_its_words(
    client_of_head: Client, user: User, monkeypatch: pytest.MonkeyPatch, kind: type[errors.DomainError]
) -> None:
    def refuse(**_: Any) -> None:
        raise kind("Do it another way.")

    monkeypatch.setattr(people, "unlock", refuse)
    answer = client_of_head.post(f"{API}/users/{user.pk}/unlock/")
    assert answer.status_code == kind.status
    assert answer["Content-Type"] == MEDIA_TYPE
    assert answer.json()["detail"] == "Do it another way."


def test_what_nobody_foresaw_is_a_problem_too_and_changes_nothing(
    client_of_head: Client, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(people, "security_event", lambda *_: 1 / 0)
    answer = client_of_head.post(
        f"{API}/users/{user.pk}/suspend/", {"reason": "fraud"}, JSON, headers={"Idempotency-Key": "one"}
    )
    told = problem(answer, 500, "error")
    assert "ZeroDivision" not in json.dumps(told)
    user.refresh_from_db()
    assert not user.is_suspended
    monkeypatch.undo()
    again = client_of_head.post(
        f"{API}/users/{user.pk}/suspend/", {"reason": "fraud"}, JSON, headers={"Idempotency-Key": "one"}
    )
    assert again.status_code == 200, "its key was not used up"


@pytest.mark.parametrize(
    ("error", "status", "code"), [(Http404, 404, "not_found"), (PermissionDenied, 403, "permission_denied")]
)
def test_the_errors_of_django_are_problems(
    client_of_head: Client, monkeypatch: pytest.MonkeyPatch, error: type[Exception], status: int, code: str
) -> None:
    def refuse(*_: Any) -> HttpResponse:
        raise error("a secret of the inside")

    monkeypatch.setattr(mine.Me, "get", refuse)
    told = problem(client_of_head.get(f"{API}/me/"), status, code)
    assert "secret" not in told["detail"]


@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete"])
@pytest.mark.parametrize("path", ["/", "/nothing/", "/users", "/users/1/", "/users/%00/", "/%ff", "/me/../x", "/ʒ/"])
def test_an_address_that_is_none_says_where_to_look(client_of_head: Client, method: str, path: str) -> None:
    told = problem(getattr(client_of_head, method)(f"{API}{path}"), 404, "not_found")
    assert "/api/v1/docs/" in told["detail"]


def test_methods_and_media_types_that_are_not_served(client_of_head: Client, user: User) -> None:
    told = client_of_head.delete(f"{API}/users/{user.pk}/")
    problem(told, 405, "method_not_allowed")
    assert told["Allow"] == "GET, HEAD, OPTIONS"
    problem(client_of_head.options(f"{API}/me/"), 405, "method_not_allowed")
    problem(client_of_head.get(f"{API}/me/", headers={"Accept": "text/html"}), 406, "not_acceptable")
    problem(client_of_head.post(f"{API}/users/{user.pk}/suspend/", {"reason": "x"}), 415, "unsupported_media_type")


def test_a_field_at_fault_is_named(client_of_head: Client, user: User) -> None:
    answer = client_of_head.post(
        f"{API}/users/{user.pk}/role/", {"role": "AUDITOR", "region": "XX", "constituency": "ABCD"}, JSON
    )
    told = problem(answer, 400, "invalid")
    faults = {fault["field"]: fault["detail"] for fault in told["errors"]}
    assert set(faults) == {"region", "constituency", "reason"}
    assert faults["region"].startswith("This region code is not known. Use one of: AA")
    answer = client_of_head.post(f"{API}/users/{user.pk}/suspend/", [1], JSON)
    assert [fault["field"] for fault in problem(answer, 400, "invalid")["errors"]] == [""]
    answer = client_of_head.post(f"{API}/users/{user.pk}/role/", {"role": "king", "reason": "x"}, JSON)
    assert "Use one of: SUPER_ADMIN" in problem(answer, 400, "bad_request")["detail"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"reason": NaN}',
        b"9" * 5_000,
        "{'reason': 'x'}",
        b"\x00",
        '{"reason": "x"}'.encode("utf-16"),
    ],
)
def test_a_body_that_is_not_json_is_told_so(client_of_head: Client, user: User, body: bytes | str) -> None:
    answer = client_of_head.post(f"{API}/users/{user.pk}/suspend/", body, JSON)
    assert problem(answer, 400, "parse_error" if body else "invalid")


def test_a_body_that_is_too_large_is_not_read(client_of_head: Client, user: User) -> None:
    answer = client_of_head.post(f"{API}/users/{user.pk}/suspend/", b'"' + b"x" * LARGEST_BODY, JSON)
    problem(answer, 413, "too_large")


@pytest.mark.parametrize("charset", ["utf-8", "latin-1", "no-such", "\u00e9", "idna", '"'])
def test_bodies_and_addresses_are_utf8_whatever_the_sender_calls_them(
    client_of_head: Client, charset: str, user: User
) -> None:
    media = f"{JSON}; charset={charset}"
    body = json.dumps({"reason": "ɛyɛ"}, ensure_ascii=False).encode()
    assert client_of_head.generic("GET", f"{API}/users/?search=a", b"", media).status_code == 200
    assert client_of_head.generic("GET", f"{API}/schema/?x=a", b"", media).status_code == 200
    answer = client_of_head.generic("POST", f"{API}/users/{user.pk}/suspend/?x=a", body, media)
    assert (answer.status_code, answer.json()["suspension_reason"]) == (200, "ɛyɛ")


@pytest.mark.parametrize("text", ['"\\ud800"', '"\\u0000"', '"a\\u0000b"', "null", "[]", "{}", "1e999", "true", '" "'])
@pytest.mark.parametrize("field", ["reason", "role", "region", "constituency", "until"])
def test_strange_values_are_refused_and_come_back_as_json(
    client_of_head: Client, user: User, field: str, text: str
) -> None:
    for door in ("role", "suspend"):
        rest = {"role": "AUDITOR", "reason": "x"}
        rest.pop(field, None)
        body = f'{{"{field}": {text}, {json.dumps(rest)[1:]}' if rest else f'{{"{field}": {text}}}'
        answer = client_of_head.post(f"{API}/users/{user.pk}/{door}/", body, JSON)
        assert answer.status_code in (200, 400, 403), answer.content
        assert answer.json()
        User.objects.filter(pk=user.pk).update(is_suspended=False)


ANY_TEXT = st.text(st.characters(codec=None, categories=None), max_size=30)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    fields=st.dictionaries(st.sampled_from(["role", "reason", "region", "constituency", "until"]), ANY_JSON),
    whole=ANY_JSON,
    query=st.dictionaries(
        st.sampled_from(["cursor", "limit", "role", "region", "search", "format"]),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    ),
    key=st.text(st.characters(min_codepoint=0, max_codepoint=255), max_size=210),
)
def test_no_request_makes_it_fail(
    client_of_head: Client, fields: dict[str, Any], whole: Any, query: dict[str, str], key: str
) -> None:
    farmer = UserFactory.create()
    assert client_of_head.get(f"{API}/users/", query).status_code < 500
    for door in ("role", "suspend", "lift", "unlock"):
        for body in (fields, {"reason": "x", "role": "AUDITOR"} | fields, whole):
            answer = client_of_head.post(
                f"{API}/users/{farmer.pk}/{door}/", json.dumps(body), JSON, headers={"Idempotency-Key": key}
            )
            assert answer.status_code < 500, (door, body)
            assert answer.json()


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "é",
        "%00",
        base64.urlsafe_b64encode(b"[]").decode(),
        base64.urlsafe_b64encode(b'["a", "b"]').decode(),
        base64.urlsafe_b64encode(b"[1]").decode(),
        base64.urlsafe_b64encode(b'["\\u0000"]').decode(),
        base64.urlsafe_b64encode(b'["\\ud800"]').decode(),
        base64.urlsafe_b64encode(b"[" * 5_000).decode(),
    ],
)
def test_a_cursor_that_is_none_is_told_so(client_of_head: Client, cursor: str) -> None:
    told = problem(client_of_head.get(f"{API}/users/", {"cursor": cursor}), 400, "bad_request")
    assert "begin again without cursor" in told["detail"]


@pytest.mark.parametrize("limit", ["0", "201", "-1", "1.5", "x", "٣", "9" * 5_000])
def test_a_limit_out_of_bounds_is_told_so(client_of_head: Client, limit: str) -> None:
    problem(client_of_head.get(f"{API}/users/", {"limit": limit}), 400, "bad_request")


def test_a_host_that_is_not_served_is_a_problem_under_the_api_only(client: Client) -> None:
    problem(client.get(f"{API}/me/", headers={"Host": "evil.example"}), 400, "bad_request")
    assert client.get("/", headers={"Host": "evil.example"})["Content-Type"].startswith("text/html")


def test_the_pages_of_the_site_keep_their_own_errors(rf: RequestFactory) -> None:
    for handler, status in ((bad_request, 400), (permission_denied, 403), (page_not_found, 404)):
        page = handler(rf.get("/farms/"), PermissionDenied())
        assert (page.status_code, page["Content-Type"].partition(";")[0]) == (status, "text/html")
        problem(as_client(handler(rf.get(f"{API}/x/"), PermissionDenied())), status, _code(status))
    assert server_error(rf.get("/farms/")).status_code == 500


def _code(status: int) -> str:
    return {400: "bad_request", 403: "permission_denied", 404: "not_found"}[status]


def as_client(answer: HttpResponse) -> Any:
    answer.json = lambda: json.loads(answer.content)  # type: ignore[attr-defined]
    return answer


def test_an_address_that_a_proxy_reports_is_used_when_proxies_are_counted(
    client_of_head: Client, user: User, settings: LazySettings
) -> None:
    settings.REST_FRAMEWORK = settings.REST_FRAMEWORK | {"NUM_PROXIES": 1}
    for told, kept in (("6.6.6.6, 10.9.8.7", "10.9.8.7"), ("not an address", None), ("::1", "::1")):
        headers = {"X-Forwarded-For": told}
        answer = client_of_head.post(f"{API}/users/{user.pk}/suspend/", {"reason": "x"}, JSON, headers=headers)
        assert answer.status_code == 200
        assert user.security_events.order_by("-at").first().ip == kept  # type: ignore[union-attr]
        User.objects.filter(pk=user.pk).update(is_suspended=False)
