# mypy: disable-error-code="import-untyped"
"""People: signing in by the pages and by the app, and the list of people in scope among very many."""

from __future__ import annotations

import base64
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from typing import Any

import httpx

from bench.report import Report
from bench.system import System, sql, wait_for
from stack.servers import free_port

SIGN_IN_MS, LIST_MS = 300, 100
HEADINGS = ("what", "requests", "p50 ms", "p95 ms", "bound")
AGENT = {"User-Agent": "bench"}


@contextmanager
def _web(system: System) -> Iterator[str]:
    """gunicorn as `make run` has it, and a person in every role."""
    from django.core.management import call_command

    call_command("demo_data", verbosity=0)
    port = free_port()
    options = ["--workers", "1", "--threads", "8", "--no-control-socket", "--log-level", "warning"]
    with system.process("web", "gunicorn", "core.wsgi:application", "--bind", f"127.0.0.1:{port}", *options):
        address = f"http://127.0.0.1:{port}"
        wait_for("web", lambda: _answers(address), 60)
        yield address


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/healthz", trust_env=False).status_code < 500
    except httpx.HTTPError:
        return False


def _client(address: str) -> httpx.Client:
    return httpx.Client(base_url=address, trust_env=False, headers=AGENT, timeout=30)


def _row(what: str, times: list[float], bound: int) -> tuple[str, ...]:
    p95 = statistics.quantiles(times, n=20)[-1]
    kept = f"p95 < {bound} ms: {'yes' if p95 < bound else 'NO'}"
    return what, str(len(times)), f"{statistics.median(times):.1f}", f"{p95:.1f}", kept


def _timed(ask: Callable[[], httpx.Response], status: int) -> float:
    began = time.perf_counter()
    answer = ask()
    taken = (time.perf_counter() - began) * 1000
    if answer.status_code != status:
        raise SystemExit(f"{answer.request.url}: {answer.status_code}, not {status}: {answer.text[:200]}")
    return taken


# --- signing in -----------------------------------------------------------------------------------------------------


def sign_in(system: System, report: Report) -> None:
    """One sign-in after another over HTTP to gunicorn (1 process, 8 threads) on the idle system with demonstration
    people: the password is hashed, the attempt written down, a session made. By the page (the POST of the form) and by
    the door of the app; and a wrong password and an unknown name, which must take the same time."""
    from accounts.management.commands.demo_data import PASSWORD, PEOPLE

    rounds = 300 if system.long else 100
    names = [person.phone for person in PEOPLE]
    with _web(system) as address:
        rows = [
            _row("page, right", _signed_in(system, address, _by_page, names, PASSWORD, rounds, 302), SIGN_IN_MS),
            _row("app, right", _signed_in(system, address, _by_app, names, PASSWORD, rounds, 200), SIGN_IN_MS),
            _row("app, wrong password", _signed_in(system, address, _by_app, names, "x", rounds, 400), SIGN_IN_MS),
            _row(
                "app, unknown name",
                _signed_in(system, address, _by_app, ["nobody@demo.example"], "x", rounds, 400),
                SIGN_IN_MS,
            ),
        ]
    report.table(HEADINGS, rows)


Way = Callable[[httpx.Client, str, str], Callable[[], httpx.Response]]


def _signed_in(
    system: System, address: str, way: Way, names: list[str], password: str, rounds: int, status: int
) -> list[float]:
    """Each by a browser or phone of its own; locks and limits are lifted between them."""
    times = []
    for number, name in enumerate(islice(cycle(names), rounds + 5)):
        system.client(1).flushdb()
        sql("UPDATE accounts_user SET locked_until = NULL, failed_login_attempts = 0 WHERE failed_login_attempts > 0")
        with _client(address) as client:
            taken = _timed(way(client, name, password), status)
        if number >= 5:  # the first ones open connections and load code
            times.append(taken)
    return times


def _by_page(client: httpx.Client, name: str, password: str) -> Callable[[], httpx.Response]:
    page = client.get("/accounts/login/").text
    token = page.partition('name="csrfmiddlewaretoken" value="')[2].partition('"')[0]
    sent = {"login": name, "password": password, "csrfmiddlewaretoken": token}
    return lambda: client.post("/accounts/login/", data=sent)


def _by_app(client: httpx.Client, name: str, password: str) -> Callable[[], httpx.Response]:
    client.get("/healthz")  # the connection is open, as after the page
    return lambda: client.post("/_allauth/app/v1/auth/login", json={"username": name, "password": password})


# --- the list of people ---------------------------------------------------------------------------------------------

NAMES = ("Ama", "Kofi", "Esi", "Yaw", "Abena", "Kwame", "Akosua", "Kojo", "Adwoa", "Kwabena", "Fuseini", "Mariama")
FAMILIES = ("Mensah", "Owusu", "Quaye", "Boateng", "Asante", "Agyeman", "Sarpong", "Osei", "Alhassan", "Darko")


def people(system: System, report: Report) -> None:
    """`GET /api/v1/users/` (50 rows) over HTTP to gunicorn as the national admin, who sees all, and as the admin of
    Ashanti, who sees those of the region but for the national ones: the first page, a page behind nine tenths, and
    searches. 97 % are farmers, spread over all constituencies. The queries are counted with few and with all people."""
    count = 1_000_000 if system.long else 100_000
    with _web(system) as address:
        before = _queries()
        began = time.perf_counter()
        _write(count)
        report.say(f"{count:,} people written by INSERT ... SELECT in {time.perf_counter() - began:.0f} s.")
        after = _queries()
        rows = []
        for role in ("national_admin", "regional_admin"):
            with _signed(address, role) as client:
                rows += [
                    _row(f"{role}: {what}", _asked(system, client, query), LIST_MS) for what, query in _pages(count)
                ]
        report.table(HEADINGS, rows)
        report.table(
            ("queries of a page", "15 people", f"{count:,} people", ""),
            [
                (who, str(before[who]), str(after[who]), f"the same: {'yes' if before[who] == after[who] else 'NO'}")
                for who in before
            ],
        )


def _write(count: int) -> None:
    """Names, phones and homes follow from the number; nobody of them can sign in."""
    sql(
        """
        INSERT INTO accounts_user
            (id, created_at, updated_at, password, is_superuser, username, email, phone, first_name, last_name, role,
             region_id, district_id, constituency_id, preferred_contact_method, language, email_verified,
             phone_verified, is_active, activated_at, is_suspended, suspension_reason, token_version,
             failed_login_attempts)
        SELECT gen_random_uuid(), now(), now(), '!', false, lower(first) || '.' || lower(family) || '.' || n,
               CASE WHEN mod(n, 100) < 97 THEN '' ELSE 'p' || n || '@bench.example' END,
               '+23324' || lpad(n::text, 7, '0'), first, family,
               CASE WHEN mod(n, 100) < 97 THEN 'FARMER' WHEN mod(n, 100) = 97 THEN 'EXTENSION_OFFICER'
                    WHEN mod(n, 100) = 98 THEN 'CONSTITUENCY_STAFF' ELSE 'AUDITOR' END,
               home.region_id, home.district_id, home.id, 'SMS', 'en', false, false, true, now(), false, '', 0, 0
        FROM (SELECT n, (%(first)s::text[])[1 + mod(n, 12)] AS first,
                     (%(family)s::text[])[1 + mod(n / 12, 10)] AS family
              FROM generate_series(1, %(count)s::int) AS n) AS someone
        JOIN (SELECT id, region_id, district_id, row_number() OVER (ORDER BY code) - 1 AS number
              FROM accounts_constituency) AS home
          ON home.number = mod(n / 120, (SELECT count(*) FROM accounts_constituency))
        """,
        first=list(NAMES),
        family=list(FAMILIES),
        count=count,
    )
    sql("VACUUM ANALYZE accounts_user")
    sql("CHECKPOINT")  # what was written is not still being written to the disk while pages are read


def _queries() -> dict[str, int]:
    """How many queries a page costs, by who asks."""
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    from accounts.models import User

    counts = {}
    for username in ("national_admin", "regional_admin"):
        client = Client(headers={"Host": "127.0.0.1"})
        client.force_login(User.objects.get(username=username))
        client.get("/api/v1/users/")
        with CaptureQueriesContext(connection) as found:
            client.get("/api/v1/users/", {"limit": "50"})
        counts[username] = len(found)
    return counts


@contextmanager
def _signed(address: str, name: str) -> Iterator[httpx.Client]:
    from accounts.management.commands.demo_data import PASSWORD

    with _client(address) as client:
        _timed(_by_page(client, name, PASSWORD), 302)
        yield client


def _pages(count: int) -> list[tuple[str, dict[str, Any]]]:
    """What is asked for: the deep page goes on behind nine tenths of all usernames."""
    [(username,)] = sql("SELECT username FROM accounts_user ORDER BY username OFFSET %s LIMIT 1", count * 9 // 10)
    deep = base64.urlsafe_b64encode(json.dumps([username]).encode()).decode()
    return [
        ("first page", {}),
        ("deep page", {"cursor": deep}),
        ("200 rows", {"limit": "200"}),
        ("search for a name", {"search": "kwab"}),
        ("search for two letters", {"search": "kw"}),
        ("search for one", {"search": f"ama.mensah.{count // 120 * 120}"}),
        ("search for a phone", {"search": "024 005"}),
        ("search for nobody", {"search": "zzz"}),
        ("search where nobody is found", {"search": "kw", "role": "AUDITOR"}),
        ("search in a region", {"search": "kwab", "region": "AH"}),
        ("of a role", {"role": "extension officer"}),
        ("of a region", {"region": "AH"}),
        ("of a region and role", {"region": "AH", "role": "AUDITOR"}),
    ]


def _asked(system: System, client: httpx.Client, query: dict[str, Any]) -> list[float]:
    system.client(1).flushdb()  # the limits of a minute
    times = [_timed(lambda: client.get("/api/v1/users/", params=query), 200) for _ in range(103)]
    return times[3:]
