"""What the phones and the mailbox received, in one SQLite file that outlives this process."""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields
from operator import attrgetter
from pathlib import Path
from typing import Literal

from sandbox.numbering import digits_of

Kind = Literal["sms", "email"]

# The name carries the version of the table: after a change of it old messages stay in their old file.
FILE = "messages.v1.sqlite3"
TABLE = """
CREATE TABLE IF NOT EXISTS messages (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, recipient TEXT NOT NULL COLLATE NOCASE, sender TEXT NOT NULL,
    text TEXT NOT NULL, subject TEXT NOT NULL, html TEXT NOT NULL, message_id TEXT, client_reference TEXT,
    batch_id TEXT, parts INTEGER NOT NULL, network_id TEXT NOT NULL,
    received_at REAL NOT NULL, settled_at REAL NOT NULL, final_status TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS messages_kind ON messages (kind, seq);
CREATE INDEX IF NOT EXISTS messages_recipient ON messages (kind, recipient, seq);
CREATE INDEX IF NOT EXISTS messages_batch ON messages (batch_id) WHERE batch_id IS NOT NULL;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One text on one phone, or one mail in one mailbox. Times are Unix seconds."""

    id: str
    kind: Kind
    recipient: str
    sender: str
    text: str
    received_at: float
    subject: str = ""
    html: str = ""
    message_id: str | None = None
    client_reference: str | None = None
    batch_id: str | None = None
    parts: int = 0
    network_id: str = ""
    settled_at: float = 0.0
    final_status: str = "Delivered"

    @property
    def sent_at(self) -> float:
        return (self.received_at + self.settled_at) / 2

    def status(self, at: float) -> str:
        """Pending, then Sent at half the way, then the final word."""
        if at >= self.settled_at:
            return self.final_status
        return "Sent" if at >= self.sent_at else "Pending"

    def changed_at(self, at: float) -> float:
        """When the status of this moment began."""
        return max(
            moment
            for moment in (self.received_at, self.sent_at, self.settled_at)
            if moment <= max(at, self.received_at)
        )


@dataclass(frozen=True, slots=True)
class Conversation:
    recipient: str
    count: int
    text: str
    received_at: float


NAMES = [field.name for field in fields(Message)]  # in this order they are written and read
COLUMNS = ", ".join(NAMES)
ROW = attrgetter(*NAMES)
INSERT = f"INSERT INTO messages ({COLUMNS}) VALUES ({', '.join('?' * len(NAMES))})"  # noqa: S608 - names of our own


def _message(row: tuple[object, ...]) -> Message:
    return Message(**dict(zip(NAMES, row, strict=True)))  # type: ignore[arg-type]


def address_form(to: str) -> str:
    """The form stored: +233… for a number in any writing, otherwise the mail address as it is.

    A plus that a caller forgot to encode in an address line arrives as a space; both are taken.
    """
    digits = digits_of(to)
    return f"+{digits}" if digits else to.strip()


class Store:
    """Writes go through one connection; a reading opens its own, so that a page may be built in another thread.

    Raises OSError or sqlite3.Error when the folder or the file cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / FILE
        self._db = self._connect()
        self._db.executescript("PRAGMA journal_mode = WAL; BEGIN IMMEDIATE;" + TABLE + "COMMIT;")

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=5, isolation_level=None)
        db.execute("PRAGMA synchronous = NORMAL")  # survives kill -9; only a power cut can cost the last second
        return db

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with closing(self._connect()) as db:
            db.execute("BEGIN")
            yield db

    def close(self) -> None:
        self._db.close()

    def add(self, messages: Sequence[Message]) -> None:
        """All of them or none, in one transaction; on disk as far as a killed process is concerned."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany(INSERT, map(ROW, messages))
            self._db.execute("COMMIT")
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def clear(self) -> int:
        return self._db.execute("DELETE FROM messages").rowcount

    def by_id(self, identifier: str) -> Message | None:
        with self._reading() as db:
            row = db.execute(f"SELECT {COLUMNS} FROM messages WHERE id = ?", [identifier]).fetchone()  # noqa: S608
            return _message(row) if row else None

    def by_batch(self, batch_id: str) -> list[Message]:
        with self._reading() as db:
            batch = f"SELECT {COLUMNS} FROM messages WHERE batch_id = ? ORDER BY seq"  # noqa: S608
            return [_message(row) for row in db.execute(batch, [batch_id])]

    def find(
        self, *, kind: Kind | None = None, to: str = "", like: str = "", limit: int = 100, offset: int = 0
    ) -> tuple[int, list[Message]]:
        """Count of all matches, and one page of them, newest first. `to` is exact, `like` a piece of it."""
        where, values = ["1"], list[str]()
        if kind:
            where.append("kind = ?")
            values.append(kind)
        if to:
            where.append("recipient = ?")
            values.append(address_form(to))
        if like:
            where.append("instr(lower(recipient), ?)")
            values.append(like.lower())
        matches = f"FROM messages WHERE {' AND '.join(where)}"
        with self._reading() as db:
            total: int = db.execute(f"SELECT count(*) {matches}", values).fetchone()[0]
            page = f"SELECT {COLUMNS} {matches} ORDER BY seq DESC LIMIT ? OFFSET ?"
            return total, [_message(row) for row in db.execute(page, [*values, limit, offset])]

    def conversations(self, *, like: str, limit: int, offset: int) -> tuple[int, list[Conversation]]:
        """Numbers that got a text, the latest first: how many there are, and one page of them."""
        matches = "FROM messages WHERE kind = 'sms' AND instr(recipient, ?)"
        with self._reading() as db:
            total: int = db.execute(f"SELECT count(DISTINCT recipient) {matches}", [like]).fetchone()[0]
            rows = db.execute(
                "SELECT newest.recipient, total, text, received_at FROM messages JOIN ("  # noqa: S608
                f"SELECT recipient, count(*) AS total, max(seq) AS last {matches} GROUP BY recipient"
                " ORDER BY last DESC LIMIT ? OFFSET ?) AS newest ON seq = last ORDER BY last DESC",
                [like, limit, offset],
            )
            return total, [Conversation(*row) for row in rows]

    def stats(self) -> dict[str, object]:
        """Counted as the phones would: what is stored is what arrived. A copy is every one after the first."""

        def copies(columns: str, where: str) -> int:
            groups = f"SELECT count(*) - 1 AS extra FROM messages WHERE {where} GROUP BY {columns}"  # noqa: S608
            found: int = db.execute(f"SELECT coalesce(sum(extra), 0) FROM ({groups})").fetchone()[0]  # noqa: S608
            return found

        with self._reading() as db:
            counts = dict(db.execute("SELECT kind, count(*) FROM messages GROUP BY kind"))
            recipients = db.execute("SELECT count(DISTINCT kind || recipient) FROM messages").fetchone()[0]
            seconds = "SELECT count(*) AS n FROM messages GROUP BY cast(received_at AS INTEGER)"
            peak = db.execute(f"SELECT coalesce(max(n), 0) FROM ({seconds})").fetchone()[0]  # noqa: S608
            return {
                "sms": counts.get("sms", 0),
                "emails": counts.get("email", 0),
                "recipients": recipients,
                "duplicates": {
                    "same_text": copies("kind, recipient, subject, text, html", "1"),
                    "same_reference": copies("client_reference", "client_reference IS NOT NULL"),
                    "same_message_id": copies("recipient, message_id", "message_id IS NOT NULL"),
                },
                "peak_per_second": peak,
            }


def now() -> float:
    """The one clock of the sandbox; a real network's cannot be moved by a test either."""
    return time.time()
