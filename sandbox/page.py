"""The page: a phone and a mailbox to look at. Server-rendered; static/page.js only swaps in what changed."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parseaddr
from html import escape
from pathlib import Path
from string import Template
from urllib.parse import urlencode, urlsplit

from sandbox.faults import FaultBoard
from sandbox.numbering import digits_of, spaced
from sandbox.store import Conversation, Message, Store, now
from sandbox.web import Handler, Head, Response

STATIC = Path(__file__).parent / "static"
FRAME = Template((STATIC / "page.html").read_text("utf-8"))
FILES = {"/static/page.css": "text/css; charset=utf-8", "/static/page.js": "text/javascript; charset=utf-8"}
PER_PAGE = 50
LINK = re.compile(r"https?://[^\s<>\"']+[^\s<>\"'.,;:!?)]")
# HTML mail may style itself but loads nothing and runs nothing; its links open in a tab of their own.
POLICY = (
    "default-src 'none'; style-src 'self' 'unsafe-inline'; script-src 'self'; connect-src 'self'; img-src data:;"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True, slots=True)
class View:
    """What the address line asks to see."""

    mail: bool
    search: str
    to: str
    mail_id: str
    list_page: int
    thread_page: int

    @classmethod
    def of(cls, query: dict[str, str]) -> "View":
        return cls(
            mail=query.get("view") == "mail",
            search=query.get("q", "").strip()[:200],
            to=query.get("to", "").strip()[:200],
            mail_id=query.get("mail", "")[:100],
            list_page=_page_number(query.get("page", "")),
            thread_page=_page_number(query.get("texts", "")),
        )

    def link(self, **changes: str | int) -> str:
        """The address of this view with some values changed; the empty ones are left out."""
        values: dict[str, str | int] = {
            "view": "mail" if self.mail else "",
            "q": self.search,
            "to": self.to,
            "mail": self.mail_id,
            "page": self.list_page if self.list_page > 1 else "",
            "texts": self.thread_page if self.thread_page > 1 else "",
        }
        kept = {name: value for name, value in {**values, **changes}.items() if value not in ("", 1)}
        return escape("/?" + urlencode(kept)) if kept else "/"


class Page:
    def __init__(self, store: Store, board: FaultBoard, clear: Callable[[], int]) -> None:
        self._store, self._board, self._clear = store, board, clear

    def handler(self, head: Head) -> Handler:
        async def answer(_body: bytes) -> Response:
            match head.method, head.path:
                case "GET" | "HEAD", "/":
                    html = await asyncio.to_thread(self._render, View.of(head.query))
                    return Response(
                        200,
                        html.encode(),
                        "text/html; charset=utf-8",
                        {"Content-Security-Policy": POLICY, "Referrer-Policy": "same-origin"},
                    )
                case "GET" | "HEAD", path if path in FILES:
                    return Response(200, (STATIC / Path(path).name).read_bytes(), FILES[path])
                case "POST", "/clear" if _from_here(head):
                    self._clear()
                    return Response(303, b"", "text/plain", {"Location": "/"})
                case "POST", "/clear":
                    return _plain(403, "only the page itself may clear")
                case _, path if path in ("/", "/clear", *FILES):
                    return _plain(405, f"{head.method} is not allowed here")
                case _:
                    return _plain(404, "no such page; the phone is at /")

        return answer

    def _render(self, view: View) -> str:
        if view.mail:
            listed, reader, chosen = self._mailbox(view)
        else:
            listed, reader, chosen = self._phone(view)
        words = self._board.in_words()
        return FRAME.substitute(
            title="Mailbox" if view.mail else "Phone",
            faults=f"<strong>Faults on:</strong> {escape('; '.join(words))}." if words else "No faults are on.",
            alarm=" alarm" if words else "",
            phone_current="" if view.mail else ' aria-current="page"',
            mail_current=' aria-current="page"' if view.mail else "",
            hidden='<input type="hidden" name="view" value="mail">' if view.mail else "",
            label="Search by address" if view.mail else "Search by number",
            search=escape(view.search),
            here=view.link(),
            listed=listed,
            reader=reader,
            chosen=" chosen" if chosen else "",
        )

    def _phone(self, view: View) -> tuple[str, str, bool]:
        """The list of conversations, the open one, and whether a person chose it."""
        total, found = self._store.conversations(
            like=_number_like(view.search), limit=PER_PAGE, offset=(view.list_page - 1) * PER_PAGE
        )
        to = view.to or next((each.recipient for each in found), "")
        rows = "".join(_conversation(view, each, current=each.recipient == to) for each in found)
        listed = _list("Conversations", rows, _pager(view, "page", view.list_page, total), view)
        if not to:
            return listed, _empty("A text sent to any Ghanaian mobile number appears here."), False
        count, messages = self._store.find(kind="sms", to=to, limit=PER_PAGE, offset=(view.thread_page - 1) * PER_PAGE)
        at = now()
        bubbles = "".join(_bubble(message, at) for message in messages) or _empty("No texts on this page.")
        reader = (
            f'<a class="back" href="{view.link(to="", texts=1)}">All conversations</a>'
            f"<h2>{escape(spaced(to))}</h2>"
            f'<p class="small">{count:,} {"text" if count == 1 else "texts"}, newest first</p>'
            f'<div class="screen">{bubbles}</div>{_pager(view, "texts", view.thread_page, count, to=to)}'
        )
        return listed, reader, bool(view.to)

    def _mailbox(self, view: View) -> tuple[str, str, bool]:
        """The list of mails, the open one, and whether a person chose it."""
        total, found = self._store.find(
            kind="email", like=view.search, limit=PER_PAGE, offset=(view.list_page - 1) * PER_PAGE
        )
        mail = self._store.by_id(view.mail_id) if view.mail_id else next(iter(found), None)
        rows = "".join(_mail_row(view, each, current=mail is not None and each.id == mail.id) for each in found)
        listed = _list("Inbox", rows, _pager(view, "page", view.list_page, total), view)
        back = f'<a class="back" href="{view.link(mail="")}">All mails</a>'
        if mail is None:
            gone = "This mail is no longer here." if view.mail_id else "A mail sent to any address appears here."
            return listed, (back if view.mail_id else "") + _empty(gone), bool(view.mail_id)
        return listed, back + _letter(mail), bool(view.mail_id)


def _page_number(written: str) -> int:
    number = int(written) if written.isascii() and written.isdigit() and len(written) < 10 else 1  # noqa: PLR2004
    return max(1, number)


def _number_like(search: str) -> str:
    """A piece of a number in the form stored: 0244 finds +233244…; anything that is no number finds nothing."""
    digits = digits_of(search) if search else ""
    return search if digits is None else digits


def _from_here(head: Head) -> bool:
    """Other sites may not empty the phone from a developer's browser (it sends Origin with every POST)."""
    origin = head.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == head.headers.get("host")


def _plain(status: int, text: str) -> Response:
    return Response(status, text.encode(), "text/plain; charset=utf-8")


def _time(seconds: float, form: str = "%d\N{NO-BREAK SPACE}%b\N{NO-BREAK SPACE}%Y, %H:%M:%S") -> str:
    """Ghana keeps UTC all the year (Africa/Accra), so no zone data is needed."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return f'<time datetime="{moment.isoformat(timespec="seconds")}">{moment.strftime(form)}</time>'


def _linked(text: str) -> str:
    """Escaped, with addresses of the web as links, as a phone shows them."""
    pieces, end = list[str](), 0
    for found in LINK.finditer(text):
        address = escape(found[0])
        pieces += [
            escape(text[end : found.start()]),
            f'<a href="{address}" target="_blank" rel="noopener">{address}</a>',
        ]
        end = found.end()
    return "".join([*pieces, escape(text[end:])])


def _empty(words: str) -> str:
    return f'<p class="empty">{words}</p>'


def _list(title: str, rows: str, pager: str, view: View) -> str:
    if not rows:
        rows = _empty("Nothing matches the search." if view.search else "Nothing has arrived yet.")
    return f'<h2>{title}</h2><div class="rows">{rows}</div>{pager}'


def _pager(view: View, name: str, page: int, total: int, **fixed: str) -> str:
    first, last = (page - 1) * PER_PAGE + 1, min(page * PER_PAGE, total)
    if total <= PER_PAGE and page == 1:
        return ""
    newer = f'<a rel="prev" href="{view.link(**{name: page - 1}, **fixed)}">Newer</a>' if page > 1 else ""
    older = f'<a rel="next" href="{view.link(**{name: page + 1}, **fixed)}">Older</a>' if last < total else ""
    where = f"{first:,} to {last:,} of {total:,}" if first <= last else f"none of {total:,} here"
    return f'<nav class="pager" aria-label="Pages">{newer}<span>{where}</span>{older}</nav>'


def _row(link: str, title: str, when: float, line: str, under: str, *, current: bool) -> str:
    mark = ' aria-current="true"' if current else ""
    moment = _time(when, "%d %b, %H:%M")
    return (
        f'<a class="row" href="{link}"{mark}><span class="top"><strong>{escape(title)}</strong>{moment}</span>'
        f'<span class="line">{escape(line)}</span><span class="small">{escape(under)}</span></a>'
    )


def _conversation(view: View, each: Conversation, *, current: bool) -> str:
    link = view.link(to=each.recipient, texts=1)
    under = "1 text" if each.count == 1 else f"{each.count:,} texts"
    return _row(link, spaced(each.recipient), each.received_at, each.text[:120], under, current=current)


def _mail_row(view: View, mail: Message, *, current: bool) -> str:
    link = view.link(mail=mail.id)
    return _row(
        link,
        parseaddr(mail.sender)[0] or mail.sender,
        mail.received_at,
        mail.subject or "(no subject)",
        f"to {mail.recipient}",
        current=current,
    )


def _bubble(message: Message, at: float) -> str:
    status = message.status(at)
    failed = "" if status in ("Pending", "Sent", "Delivered") else " failed"
    about = f"{_time(message.received_at)} · {status} · {message.parts}\N{NO-BREAK SPACE}SMS"
    reference = message.client_reference
    return (
        f'<article class="bubble{failed}"><p class="from">{escape(message.sender)}</p>'
        f'<p class="text">{_linked(message.text)}</p><p class="small">{about}</p>'
        + (f'<p class="small">reference {escape(reference)}</p>' if reference else "")
        + "</article>"
    )


def _letter(mail: Message) -> str:
    text = f'<div class="text">{_linked(mail.text)}</div>'
    if mail.html:
        shown = escape(f'<base target="_blank">{mail.html}')
        body = (
            '<iframe title="The mail as HTML" sandbox="allow-popups allow-popups-to-escape-sandbox"'
            f' referrerpolicy="no-referrer" srcdoc="{shown}"></iframe>'
        )
        if mail.text:
            body += f"<details><summary>Text version</summary>{text}</details>"
    else:
        body = text if mail.text else _empty("This mail has no text.")
    return (
        f"<h2>{escape(mail.subject or '(no subject)')}</h2>"
        f'<dl class="about"><dt>From</dt><dd>{escape(mail.sender)}</dd><dt>To</dt><dd>{escape(mail.recipient)}</dd>'
        f"<dt>Received</dt><dd>{_time(mail.received_at)}</dd>"
        f"<dt>Message-ID</dt><dd>{escape(mail.message_id or 'none')}</dd></dl>{body}"
    )
