"""Telling very many people the same, where they are: in PostgreSQL (domain.md 4.6.3).

One statement writes the messages of everybody whose case is plain: told by SMS with a mobile number, or by e-mail, as
they prefer, with an address of plain letters, and nothing stands against the address. The others, few as a rule, go
through `services.queue_templated_all`, where all rules are. A test compares the rows of both ways.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection, transaction
from django.db.models import Expression
from psycopg.types.json import Jsonb

from core import clock, phones
from core.base import figures, ids
from core.delivery import rules, services, templates
from core.delivery.models import Notification, OutboundMessage
from core.delivery.rules import Channel, Purpose, Status
from core.delivery.services import EMAIL_PREFERRED, LONGEST_ADDRESS, Addressee, Telling
from core.delivery.windows import opening
from core.delivery.wording import LANGUAGES
from core.errors import InvalidInput

# Some of the addresses that `services.checked_address` takes: those that most people have.
PLAIN_ADDRESS = r"^[a-z0-9_+-]+(?:\.[a-z0-9_+-]+)*@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$"


@dataclass(frozen=True)
class People:
    """Whom to tell, in SQL. `rows` is a SELECT of once, user_id, phone, email, language and prefers, each as in a
    `Telling`, `ctes` what it needs before it. `also` is SQL of JSON that is wanted back.
    """

    rows: str
    ctes: str = ""
    also: str = "NULL"
    given: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """`told`: people whom a message can reach. `unreached`: `once` of the others."""

    told: int
    unreached: list[str]
    also: Any


# What a message does not share with the others of its language and channel.
_OWN = {
    "id": ids.in_sql("plain.once"),
    "idempotency_key": "plain.once || ':' || plain.channel",
    "recipient": "plain.address",
    "user_id": "plain.user_id",
    "due_at": "COALESCE(alike.due_at, statement_timestamp())",
    "ring_at": f"COALESCE(alike.ring_at, statement_timestamp() + make_interval(secs => {rules.LOOK_AGAIN_SECONDS}))",
    "created_at": "statement_timestamp()",
    "updated_at": "statement_timestamp()",
}
_COLUMNS = [str(column.column) for column in OutboundMessage._meta.local_concrete_fields]
_TELL = f"""
WITH {{ctes}} told AS MATERIALIZED ({{rows}}
), way AS MATERIALIZED (
    SELECT told.*, by_email, CASE WHEN by_email THEN email ELSE phone END AS address,
        CASE WHEN by_email THEN 'email' ELSE 'sms' END AS channel
    FROM told, LATERAL (SELECT prefers = '{EMAIL_PREFERRED}' AND email <> '' AS by_email) AS choice
), judged AS MATERIALIZED (
    SELECT way.*, CASE WHEN user_id IS NOT NULL
        AND address ~ CASE WHEN by_email THEN %(plain_address)s ELSE %(mobile)s END
        AND length(address) <= {LONGEST_ADDRESS}
        AND NOT EXISTS (SELECT FROM delivery_optout AS declined WHERE declined.channel = way.channel
            AND declined.address = way.address AND declined.ended_at IS NULL)
        AND NOT EXISTS (SELECT FROM delivery_suppression AS suppressed WHERE suppressed.channel = way.channel
            AND suppressed.address = way.address AND suppressed.lifted_at IS NULL)
        AND NOT (%(duplicate_hours)s > 0 AND EXISTS (
            SELECT FROM delivery_outboundmessage AS other WHERE other.recipient = way.address
            AND NOT (other.recipient = '') AND other.body_hash = kind.hash
            AND other.created_at > statement_timestamp() - make_interval(hours => %(duplicate_hours)s)))
        THEN kind.place END AS place
    FROM way LEFT JOIN unnest(%(languages)s::text[], %(channels)s::text[], %(hashes)s::text[]) WITH ORDINALITY
        AS kind(language, channel, hash, place) ON kind.language = way.language AND kind.channel = way.channel
), plain AS (
    SELECT * FROM judged WHERE place IS NOT NULL
), messages AS (
    INSERT INTO delivery_outboundmessage ({", ".join(_COLUMNS)})
    SELECT {", ".join(_OWN.get(column, f"alike.{column}") for column in _COLUMNS)}
    FROM plain JOIN jsonb_populate_recordset(NULL::delivery_outboundmessage, %(messages)s) WITH ORDINALITY AS alike
        ON alike.ordinality = plain.place
    ON CONFLICT (idempotency_key) DO NOTHING
), notices AS (
    INSERT INTO delivery_notification (id, user_id, kind, severity, title, text, subject_type, subject_id,
        idempotency_key, created_at, updated_at)
    SELECT {ids.in_sql("plain.once")}, plain.user_id, kind, severity, title, text, subject_type, subject_id, plain.once,
        statement_timestamp(), statement_timestamp()
    FROM plain JOIN jsonb_populate_recordset(NULL::delivery_notification, %(notices)s) WITH ORDINALITY AS alike
        ON alike.ordinality = plain.place
    ON CONFLICT (user_id, idempotency_key) DO NOTHING
)
SELECT (SELECT count(*) FROM plain),
    (SELECT COALESCE(jsonb_agg(jsonb_build_array(once, phone, email, language, prefers, user_id)), '[]')
     FROM judged WHERE place IS NULL), {{also}}
"""  # noqa: S608 - constants only


@transaction.atomic
def tell(
    template: str,
    people: People,
    *,
    values: Mapping[str, object],
    about: tuple[str, str] = ("", ""),
    not_after: datetime | None = None,
) -> Outcome:
    """As `services.queue_templated_all` with the same values for all, for thousands of people in a few statements.

    No worker is told: the dispatch sweep announces the messages no faster than they leave, so that single ones need not
    wait behind them. Safe to repeat by `once`. Raises as `queue_templated`, and InvalidInput for a template that is not
    a service message with an SMS and without a secret.
    """
    known = templates.named(template)
    if known.purpose != Purpose.SERVICE or known.secret or not known.sms:
        raise InvalidInput(f"{template} is no plain service message: tell each person by queue_templated.")
    [duplicate_hours] = figures.read(figures.DUPLICATE_HOURS)
    alike = list(_alike(template, values, about, not_after))
    given = {
        **people.given,
        "plain_address": PLAIN_ADDRESS,
        "mobile": phones.MOBILE_IN_SQL,
        "duplicate_hours": duplicate_hours,
        "languages": [one.language for one in alike],
        "channels": [one.message.channel for one in alike],
        "hashes": [one.message.body_hash for one in alike],
        "messages": Jsonb([_columns(one.message) for one in alike], dumps=_dumps),
        "notices": Jsonb([_columns(one.notice) for one in alike], dumps=_dumps),
    }
    with connection.cursor() as cursor:
        ctes = f"{people.ctes}, " if people.ctes else ""
        cursor.execute(_TELL.format(ctes=ctes, rows=people.rows, also=people.also), given)
        count, others, also = cursor.fetchone()
    tellings = []
    for once, phone, email, language, prefers, user_id in json.loads(others):
        to = Addressee(phone, email, language, prefers, uuid.UUID(user_id) if user_id else None)
        tellings.append(Telling(to, values, once, about, not_after))
    reached = {
        telling.once: any(message.status != Status.SUPPRESSED for message in told.messages)
        for telling, told in zip(tellings, services.queue_templated_all(template, tellings), strict=True)
    }
    return Outcome(count + sum(reached.values()), [once for once, reaches in reached.items() if not reaches], also)


@dataclass(frozen=True)
class _Alike:
    """What everybody of a language is sent by a channel, and its notice; whom it is for is left out when written."""

    language: str
    message: OutboundMessage
    notice: Notification


def _alike(
    template: str, values: Mapping[str, object], about: tuple[str, str], not_after: datetime | None
) -> Iterator[_Alike]:
    now, policy = clock.now(), templates.plain_letters()
    leaves = {channel: opening(Purpose.SERVICE, channel, now, any_hour=channel == Channel.EMAIL) for channel in Channel}
    for language, words in templates.in_force(template, list(LANGUAGES)).items():
        written = templates.fill(words, values, plain_letters=policy)
        telling = Telling(Addressee(language=language), values, "of somebody", about, not_after)
        notice = services.notice(words, written, telling, uuid.UUID(int=0))
        for channel in Channel:
            with suppress(InvalidInput):  # too long in this language: said to whoever reads it, if there is somebody
                message = services.templated(words, written, telling, channel, "", leaves[channel])
                yield _Alike(language, message, notice)


def _columns(row: OutboundMessage | Notification) -> dict[str, object]:
    """The row as JSON, without what the database says when it is written."""
    values = {str(column.column): getattr(row, column.attname) for column in row._meta.local_concrete_fields}
    return {name: None if isinstance(value, Expression) else value for name, value in values.items()}


_dumps = partial(json.dumps, cls=DjangoJSONEncoder)
