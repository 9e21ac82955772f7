"""The words of messages: languages, versions, places to fill in, plain letters, and who gets what by which channel."""

from __future__ import annotations

import json
import uuid
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from core import sms_text
from core.base.models import AuditLog, Setting
from core.base.registries import Registry
from core.delivery import services, templates, wording
from core.delivery.models import MessageTemplate, Notification, OutboundMessage
from core.delivery.rules import Channel, Purpose
from core.delivery.services import Addressee, Telling
from core.delivery.wording import Template, Words
from core.errors import Conflict, InvalidInput, NotAllowed, NotFound
from core.jobs.operations import Actor
from tests.delivery.outbox import PHONE, Hints, meanwhile, phones
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db(transaction=True)

APPROVED = "farms.approved_for_test"
WORDS: dict[str, Any] = {
    "key": APPROVED,
    "purpose": Purpose.SERVICE,
    "examples": {"name": "Ama Mensah", "farm": "YEA-AA-TMW-0001"},
    "title": "Your application is approved",
    "text": "Dear {name},\n\nyour application is approved. Your farm's number is {farm}.",
    "sms": "Dear {name}, your application is approved. Farm number: {farm}.",
}
VALUES = {"name": "Ama", "farm": "F-7"}
# Not Twi, only its letters: words of other languages come from people who speak them.
TWI = Words(
    title="Yɛ-yɛ",
    text="{name}, yɛ-yɛ, wɔ-wɔ {farm}.",
    sms="{name}, yɛ-yɛ, wɔ-wɔ {farm}.",
    sms_plain="{name}, ye-ye, wo-wo {farm}.",
)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "_registered", Registry())
    templates.register(Template(**WORDS))


def a_template(**changed: Any) -> Template:
    return Template(**(WORDS | changed))


def somebody() -> Actor:
    user = UserFactory.create(role="NATIONAL_ADMIN")
    return Actor(user.pk, user.get_username())


def in_force(words: Words = TWI, language: str = "tw", key: str = APPROVED) -> MessageTemplate:
    return templates.approve(templates.draft(key, language, words, actor=somebody()).pk, actor=somebody())


def ama(**about: Any) -> Addressee:
    return Addressee(**({"phone": PHONE, "email": "ama@example.com"} | about))


def tell(to: Addressee | None = None, key: str = APPROVED, **about: Any) -> services.Told:
    about = {"values": VALUES, "once": str(uuid.uuid4()), **about}
    return services.queue_templated(key, to=to or ama(), **about)


# --- places --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Dear {name}, {farm}", {"name", "farm"}),
        ("{{name}} and {{}}", set()),
        ("{{{name}}}", {"name"}),
        ("nothing", set()),
    ],
)
def test_places_are_names_in_single_braces(text: str, found: set[str]) -> None:
    assert wording.places(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "}",
        "{name",
        "name}",
        "{}",
        "{0}",
        "{name.title}",
        "{name[0]}",
        "{name!r}",
        "{name:>9}",
        "{Name}",
        "{ name }",
    ],
)
def test_anything_else_in_braces_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="a single"):
        wording.places(text)


def test_values_are_never_looked_at_again() -> None:
    assert wording.fill("{name} and {farm}", {"name": "{farm}", "farm": "{{x}} {0.__class__}"}) == (
        "{farm} and {{x}} {0.__class__}"
    )
    assert wording.fill("{{name}} {name}", {"name": "Ama"}) == "{name} Ama"
    assert wording.fill("<b>{name}</b>", {"name": "<Ama & Co>"}, escaped=True) == "<b>&lt;Ama &amp; Co&gt;</b>"


@given(st.text(max_size=60), st.text(alphabet="{}abc ", max_size=40))
def test_any_value_comes_out_as_it_went_in(value: str, around: str) -> None:
    literal = around.replace("{", "{{").replace("}", "}}")
    assert wording.fill(literal + "{a}" + literal, {"a": value}) == around + value + around


# --- what an app registers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"key": "Approved"}, "must be an app and a name"),
        ({"title": ""}, "needs a title"),
        ({"text": "", "sms": ""}, "needs a title and a text or an SMS"),
        ({"title": "One\ntwo"}, "one line"),
        ({"sms": "Dear {nmae}, {farm}"}, r"\{nmae\}, which nothing fills in. Known: \{name\}, \{farm\}"),
        ({"sms": "Dear {name, {farm}"}, "a single {"),
        ({"examples": {**WORDS["examples"], "eggs": "12"}}, r"no text uses \{eggs\}"),
        ({"html": "<p>{name}</p>"}, r"leaves out \{farm\}"),
        ({"sms_plain": "Dear {name}"}, "same places"),
        ({"sms_plain": "Dear {name}, ɛ {farm}"}, "has ɛ, which is no plain letter"),
        ({"purpose": Purpose.BULK, "secret": True}, "does not go to many"),
    ],
)
def test_words_that_cannot_be_used_stop_the_process_with_the_reason(changed: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        a_template(**changed)


def test_a_key_is_registered_once_and_an_unknown_one_is_told() -> None:
    with pytest.raises(ValueError, match="registered already"):
        templates.register(Template(**WORDS))
    with pytest.raises(NotFound, match="There is no template"):
        tell(key="farms.eggs")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"name": "Ama"}, "pass a value for farm"),
        ({**VALUES, "eggs": "12"}, "no place for eggs"),
        ({"name": "Ama", "farm": 1.5}, "farm must be text, as people read it, not float"),
        ({"name": None, "farm": "F"}, "name must be text"),
    ],
)
def test_values_must_fit_and_then_nothing_is_written(values: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        tell(values=values)
    assert not OutboundMessage.objects.exists()
    assert not Notification.objects.exists()


# --- languages and versions ----------------------------------------------------------------------------------------


def test_without_a_version_everybody_reads_the_apps_english_and_the_message_says_so() -> None:
    [message] = tell(ama(email="", language="tw")).messages
    assert message.body == "Dear Ama, your application is approved. Farm number: F-7."
    assert (message.template, message.language, message.template_version) == (APPROVED, "en", None)


def test_an_approved_version_is_used_for_its_language_and_pinned() -> None:
    row = in_force()
    [twi], [ewe] = tell(ama(email="", language="tw")).messages, tell(ama(email="", language="ee")).messages
    assert (twi.language, twi.template_version) == ("tw", row)
    assert (twi.body or "").startswith("Ama, y")
    assert (ewe.language, ewe.template_version) == ("en", None)


def test_an_english_version_overrides_the_apps_words_for_all_without_their_own() -> None:
    row = in_force(Words(title="T", text="{name}: {farm}", sms="{name}/{farm}"), "en")
    [message] = tell(ama(email="", language="gaa")).messages
    assert (message.body, message.language, message.template_version) == ("Ama/F-7", "en", row)


def test_the_next_version_replaces_the_first_and_neither_can_be_changed() -> None:
    first = in_force()
    second = in_force(Words(title="T", text="2 {name} {farm}", sms="2 {name} {farm}"))
    assert (second.version, second.status) == (2, "approved")
    first.refresh_from_db()
    assert first.status == "retired"
    [message] = tell(ama(email="", language="tw")).messages
    assert message.body == "2 Ama F-7"
    for row in (first, second):
        with pytest.raises(DatabaseError, match="write a new version"), transaction.atomic():
            MessageTemplate.objects.filter(pk=row.pk).update(sms="changed {name} {farm}")
        with pytest.raises(Conflict, match="write a new version"):
            templates.save(row.pk, TWI, actor=somebody())


def test_a_retired_language_gets_english_again() -> None:
    row = in_force()
    with pytest.raises(InvalidInput, match="Say why"):
        templates.retire(row.pk, actor=somebody(), reason=" ")
    templates.retire(row.pk, actor=somebody(), reason="a word was wrong")
    [message] = tell(ama(email="", language="tw")).messages
    assert message.language == "en"
    with pytest.raises(Conflict, match="only an approved version"):
        templates.retire(row.pk, actor=somebody(), reason="again")


def test_nobody_approves_what_they_wrote_or_changed() -> None:
    author, editor, other = somebody(), somebody(), somebody()
    row = templates.draft(APPROVED, "tw", TWI, actor=author)
    templates.save(row.pk, TWI, actor=editor)
    for person in (author, editor):
        with pytest.raises(NotAllowed, match="written by you"):
            templates.approve(row.pk, actor=person)
    approved = templates.approve(row.pk, actor=other)
    assert (approved.approved_by_id, approved.created_by_id) == (other.user_id, author.user_id)
    with pytest.raises(Conflict, match="approved already"):
        templates.approve(row.pk, actor=other)
    here = Actor(None, "root@here (command line)")
    mine = templates.draft(APPROVED, "ee", TWI, actor=here)
    with pytest.raises(NotAllowed):
        templates.approve(mine.pk, actor=here)
    assert list(AuditLog.objects.filter(subject_id=str(row.pk)).order_by("at").values_list("action", flat=True)) == [
        "template.draft",
        "template.save",
        "template.approve",
    ]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"sms": "{name}"}, r"leaves out \{farm\}"),
        ({"text": "{name} {farm} {eggs}"}, r"\{eggs\}, which nothing fills in"),
        ({"sms": ""}, "Write the sms"),
        ({"sms_plain": "{name} ɔ {farm}"}, "no plain letter"),
        ({"title": "{name"}, "a single {"),
    ],
)
def test_a_draft_that_cannot_be_used_is_refused_when_saved(changed: dict[str, str], says: str) -> None:
    words = Words(**{**{name: getattr(TWI, name) for name in templates.FIELDS}, **changed})
    with pytest.raises(InvalidInput, match=says):
        templates.draft(APPROVED, "tw", words, actor=somebody())
    assert not MessageTemplate.objects.exists()
    with pytest.raises(InvalidInput, match="no language 'fr'"):
        templates.draft(APPROVED, "fr", TWI, actor=somebody())


def test_a_version_that_no_longer_fits_the_code_is_not_sent_with_a_hole(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    in_force()
    monkeypatch.setattr(templates, "_registered", Registry())
    more = {"sms": f"{WORDS['sms']} Sign in: {{link}}", "examples": {**WORDS["examples"], "link": "https://x"}}
    templates.register(a_template(**more))
    [message] = tell(ama(email="", language="tw"), values={**VALUES, "link": "https://pms.example/1"}).messages
    assert message.language == "en"
    assert (message.body or "").endswith("https://pms.example/1")


def test_two_authors_at_once_get_two_versions() -> None:
    people = [somebody() for _ in range(4)]
    with meanwhile(*[lambda one=one: templates.draft(APPROVED, "tw", TWI, actor=one) for one in people]):
        pass
    assert sorted(MessageTemplate.objects.values_list("version", flat=True)) == [1, 2, 3, 4]


def test_letters_and_their_marks_are_stored_in_one_form() -> None:
    row = templates.draft(
        APPROVED, "ee", Words(title="é", text="{name} {farm} é", sms="{name} {farm} é"), actor=somebody()
    )
    assert (row.title, row.sms) == ("é", "{name} {farm} é")


# --- plain letters -------------------------------------------------------------------------------------------------

LONG = " Yɛ" * 40
LONG_PLAIN = " Ye" * 40


@pytest.mark.parametrize(
    ("policy", "longer", "plain"),
    [
        ("when_cheaper", True, True),
        ("when_cheaper", False, False),
        ("always", False, True),
        ("never", True, False),
    ],
)
def test_the_authors_plain_variant_is_chosen_by_policy(policy: str, longer: bool, plain: bool) -> None:
    more, more_plain = (LONG, LONG_PLAIN) if longer else ("", "")
    in_force(Words(TWI.title, TWI.text, TWI.sms + more, TWI.sms_plain + more_plain))
    Setting.objects.create(key="sms.plain_letters", value=policy)
    [message] = tell(ama(email="", language="tw")).messages
    expected = TWI.sms_plain + more_plain if plain else TWI.sms + more
    assert message.body == wording.fill(expected, VALUES)
    assert message.parts == sms_text.measure(message.body).parts


def test_letters_are_never_stripped() -> None:
    in_force(Words(TWI.title, TWI.text, TWI.sms + LONG))
    Setting.objects.create(key="sms.plain_letters", value="always")
    [message] = tell(ama(email="", language="tw"), values={"name": "Akɔsua", "farm": "F"}).messages
    assert "Akɔsua" in (message.body or "")
    assert "ɛ" in (message.body or "")
    assert message.parts > 1


# --- the preview ---------------------------------------------------------------------------------------------------


def test_a_preview_says_what_it_costs_and_which_letters_cost_it() -> None:
    row = templates.draft(APPROVED, "tw", TWI, actor=somebody())
    seen = templates.preview(APPROVED, "tw", {"name": "Kofi"}, version=row.pk)
    assert seen.sms
    assert seen.plain
    assert (seen.sms.encoding, seen.sms.forced_by, seen.plain.encoding) == ("ucs2", ("ɛ", "ɔ"), "gsm7")
    assert seen.sms.text == "Kofi, yɛ-yɛ, wɔ-wɔ YEA-AA-TMW-0001."
    assert (seen.sms.parts, seen.sms.units, seen.sms.left) == (1, len(seen.sms.text), 70 - len(seen.sms.text))
    assert (seen.version, seen.uses_plain) == (1, False)
    assert templates.preview(APPROVED, "tw").language == "en", "a draft is not in force"


@pytest.mark.parametrize(
    ("text", "parts", "left"),
    [("a" * 160, 1, 0), ("a" * 161, 2, 145), ("ɛ" * 70, 1, 0), ("ɛ" * 71, 2, 63), ("", 0, 160), ("€", 1, 158)],
)
def test_what_is_left_before_it_costs_another_part(text: str, parts: int, left: int) -> None:
    size = templates.size(text)
    assert (size.parts, size.left) == (parts, left)


# --- who is told by which channel (domain.md 4.6.3) ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("purpose", "about", "serious", "channels"),
    [
        ("service", {"user": True, "prefers": "SMS"}, False, ["sms"]),
        ("service", {"user": True, "prefers": "EMAIL"}, False, ["email"]),
        ("service", {"user": True, "prefers": "EMAIL", "email": ""}, False, ["sms"]),
        ("service", {"user": True, "prefers": "WHATSAPP"}, False, ["sms"]),
        ("service", {"user": True, "prefers": "PHONE"}, False, ["sms"]),
        ("service", {"user": True, "prefers": "EMAIL", "email": "no address"}, False, ["sms"]),
        ("service", {}, False, ["email", "sms"]),
        ("service", {"email": ""}, False, ["sms"]),
        ("service", {"phone": ""}, False, ["email"]),
        ("security", {}, False, ["email"]),
        ("security", {}, True, ["email", "sms"]),
        ("security", {"email": ""}, False, ["sms"]),
        ("admin", {}, False, ["email"]),
        ("admin", {}, True, ["email", "sms"]),
        ("otp", {}, False, ["sms"]),
        ("bulk", {}, False, ["sms"]),
        ("report", {}, False, ["email"]),
        ("report", {"email": ""}, False, []),
        ("service", {"email": "", "phone": ""}, False, []),
    ],
)
def test_channels_follow_purpose_and_preference(
    purpose: str, about: dict[str, Any], serious: bool, channels: list[str]
) -> None:
    templates.register(a_template(key=f"farms.as_{purpose}", purpose=Purpose(purpose)))
    about = dict(about)
    user = UserFactory.create() if about.pop("user", False) else None
    told = tell(ama(**about, user_id=user and user.pk), f"farms.as_{purpose}", serious=serious)
    assert sorted(message.channel for message in told.messages) == channels
    assert told.no_contact == (not channels)
    assert told.noticed == bool(user)
    assert Notification.objects.count() == bool(user)


def test_an_account_is_told_in_the_application_too_but_never_a_secret() -> None:
    user = UserFactory.create(language="tw", preferred_contact_method="EMAIL", email="kofi@example.com")
    in_force()
    told = tell(services.addressee(user.pk), subject=("farm", "7"), once="approved:7")
    [message], notice = told.messages, Notification.objects.get()
    assert (message.recipient, message.language, message.user_id) == ("kofi@example.com", "tw", user.pk)
    assert (notice.title, notice.user_id, notice.subject_type, notice.subject_id) == (TWI.title, user.pk, "farm", "7")
    assert notice.text == message.body
    templates.register(a_template(key="accounts.link_for_test", purpose=Purpose.SECURITY, secret=True))
    told = tell(services.addressee(user.pk), "accounts.link_for_test")
    assert (told.noticed, told.messages[0].body) == (False, None)
    assert Notification.objects.count() == 1
    with pytest.raises(NotFound):
        services.addressee(uuid.uuid4())


def test_the_same_thing_told_again_is_told_once() -> None:
    user = UserFactory.create()
    for _ in range(2):
        tell(ama(user_id=user.pk), once="approved:7")
    assert OutboundMessage.objects.count() == Notification.objects.count() == 1


def test_ten_times_as_many_people_cost_no_more_queries(hints: Hints, settings: LazySettings) -> None:
    settings.SENDING_WINDOWS = True
    for key, value in (("messages.window_start", "00:00"), ("messages.window_end", "23:59")):
        Setting.objects.create(key=key, value=value)

    def queries(count: int, first: int) -> int:
        people = [
            Telling(Addressee(number, language=("tw", "en")[n % 2]), VALUES, f"{first}/{n}")
            for n, number in enumerate(phones(count, first))
        ]
        with CaptureQueriesContext(connection) as captured:
            assert len(services.queue_templated_all(APPROVED, people)) == count
        return len(captured)

    in_force()
    assert queries(3, 0) == queries(30, 100)
    assert OutboundMessage.objects.filter(language="tw").count() == 2 + 15
    assert len(hints()) == 33


def test_nobody_to_tell_is_no_error() -> None:
    assert services.queue_templated_all(APPROVED, []) == []


def test_a_name_with_a_line_break_does_not_break_the_subject() -> None:
    templates.register(a_template(key="farms.named", title="Welcome {name}"))
    [message] = tell(
        ama(phone="", email="ama@example.com"), "farms.named", values={"name": "Ama\r\nBcc: x", "farm": "F"}
    ).messages
    assert message.title == "Welcome Ama Bcc: x"
    assert message.channel == Channel.EMAIL


# --- the command ---------------------------------------------------------------------------------------------------


def command(*words: str) -> dict[str, Any]:
    out = StringIO()
    call_command("templates", *words, "--json", stdout=out)
    answer: dict[str, Any] = json.loads(out.getvalue())
    return answer


def test_the_command_imports_previews_approves_and_retires(tmp_path: Path) -> None:
    entry = {"key": APPROVED, "language": "tw", **{name: getattr(TWI, name) for name in templates.FIELDS}}
    file = tmp_path / "twi.json"
    file.write_text(json.dumps([entry]), encoding="utf-8")
    [draft] = command("import", str(file))["drafts"]
    with pytest.raises(CommandError, match="somebody else"):
        call_command("templates", "approve", draft)
    seen = command("preview", APPROVED, "--language", "tw", "--version", draft[:13], "--values", '{"name": "Esi"}')
    assert seen["sms"]["forced_by"] == ["ɛ", "ɔ"]
    boss = UserFactory.create(role="SUPER_ADMIN", email="boss@example.com")
    assert command("approve", draft, "--as", boss.email)["status"] == "approved"
    assert command("list")["templates"] == [
        {"key": APPROVED, "purpose": "service", "languages": ["en", "tw"], "drafts": []}
    ]
    assert command("show", APPROVED)["versions"][0]["sms"] == TWI.sms
    assert command("retire", draft, "--reason", "a word was wrong")["status"] == "retired"
    for words in (["list"], ["show", APPROVED], ["preview", APPROVED]):
        out = StringIO()
        call_command("templates", *words, stdout=out)
        assert out.getvalue().strip()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "no JSON"),
        ("{}", "must hold a list"),
        ('[{"key": 7}]', "Entry 1 must be an object of texts"),
        ('[{"key": "farms.approved_for_test", "language": "tw", "body": "x"}]', "has 'body', which is not one of"),
        ('[{"key": "farms.eggs", "language": "tw"}]', "Entry 1: There is no template"),
    ],
)
def test_a_file_that_cannot_be_used_brings_nothing(tmp_path: Path, content: str, says: str) -> None:
    file = tmp_path / "words.json"
    file.write_text(content)
    with pytest.raises(CommandError, match=says):
        call_command("templates", "import", str(file))
    assert not MessageTemplate.objects.exists()


def test_one_bad_entry_keeps_the_good_ones_out_too(tmp_path: Path) -> None:
    good = {"key": APPROVED, "language": "tw", **{name: getattr(TWI, name) for name in templates.FIELDS}}
    file = tmp_path / "words.json"
    file.write_text(json.dumps([good, good | {"sms": "{oops"}]), encoding="utf-8")
    with pytest.raises(CommandError, match="Entry 2"):
        call_command("templates", "import", str(file))
    assert not MessageTemplate.objects.exists()
