"""What the admin pages of farms share: rows of one's own area, what is done to them, and pages that ask first."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.options import IS_POPUP_VAR
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Model, Q, QuerySet, TextChoices
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path, reverse
from django.utils.functional import cached_property
from django.utils.html import format_html

from accounts import policy
from accounts import selectors as people
from accounts.admin.asking import ReadOnly, for_each, may_somewhere, me, page
from accounts.models import User
from accounts.page_forms import Identifier, Plain
from accounts.policy import Action
from core import phones
from core.base.registries import NATION
from core.errors import DomainError, InvalidInput
from farms import rules, selectors
from farms.admin import history
from farms.admin.history import Entry
from farms.models import FarmDocument

if TYPE_CHECKING:
    AnyInline = admin.TabularInline[Any, Any]
    AnyPaginator = Paginator[Any]
else:
    AnyInline, AnyPaginator = admin.TabularInline, Paginator

MOST_AT_ONCE = 100  # rows of one action; the list shows no more on a page
MOST_COUNTED = 1_000


# --- what is done to a row -----------------------------------------------------------------------------------------


class ReasonForm(Plain):
    reason = forms.CharField(
        max_length=rules.LONGEST_REASON, help_text="why; it is kept with your name", widget=forms.Textarea({"rows": 3})
    )


class ChangesForm(Plain):
    reason = forms.CharField(
        label="What to change",
        max_length=rules.LONGEST_CHANGES,
        help_text="it is sent to the applicant and kept with your name",
        widget=forms.Textarea({"rows": 3}),
    )


class ToldReasonForm(Plain):
    reason = forms.CharField(
        max_length=rules.LONGEST_REASON,
        help_text="why; it is sent to the applicant and kept with your name",
        widget=forms.Textarea({"rows": 3}),
    )


class OfficerForm(Plain):
    officer = Identifier()

    def clean_officer(self) -> User:
        found = people.known_by(self.cleaned_data["officer"])
        if found is None:
            raise forms.ValidationError("Nobody is known by this. Type it as the officer does to sign in.")
        return found


@dataclass(frozen=True)
class Shown:
    """A row as a page that asks names it."""

    pk: uuid.UUID
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Act:
    """Something that a service does to a row: `do` gets who asks, the row and what the form says.

    `opened_by` any of these actions; `step` is the one of the row's states; `initial` fills the form.
    """

    name: str
    label: str
    do: Callable[[User, Any, Mapping[str, Any]], object]
    opened_by: tuple[Action, ...]
    step: rules.Act | None = None
    form: type[forms.BaseForm] = Plain
    initial: Callable[[Any], dict[str, Any]] | None = None


class Capped(AnyPaginator):
    """Counts no further than this: to count on would be to read all of a table, and nobody turns so many pages."""

    object_list: QuerySet[Any]

    @cached_property
    def count(self) -> int:
        return self.object_list.order_by()[:MOST_COUNTED].count()

    @property
    def has_more(self) -> bool:
        return self.count == MOST_COUNTED


class Scoped(ReadOnly):
    """The rows of whoever asks, and what may be done to them."""

    also: tuple[Action, ...] = ()  # that open the pages, besides `action`
    paginator = Capped
    show_facets = admin.ShowFacets.NEVER  # each would count a whole list
    acts: tuple[Act, ...] = ()
    machine: ClassVar[Mapping[Any, Mapping[rules.Act, object]]] = {}
    state = "status"
    of_the_nation: tuple[str, ...] = ()  # filters for those who see all of it
    audited = ""  # what the audit log calls such a row
    steps: type[TextChoices] | None = None  # the statuses of its events
    history_for: tuple[Action, ...] = ()  # any of them opens its history; without one, it is as open as the row

    class Media:
        css = {"all": ["farms/admin.css"]}

    def has_view_permission(self, request: HttpRequest, _obj: object = None) -> bool:
        return any(may_somewhere(request, action) for action in (self.action, *self.also))

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def scope(self, user: User) -> QuerySet[Any]:
        raise NotImplementedError

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return self.scope(me(request))

    def called(self, row: Any) -> str:
        """What a person calls this row."""
        return str(row)

    def get_list_filter(self, request: HttpRequest) -> Any:
        return (*super().get_list_filter(request), *(self.of_the_nation if sees_all(request) else ()))

    def open_acts(self, request: HttpRequest) -> list[Act]:
        return [act for act in self.acts if any(may_somewhere(request, action) for action in act.opened_by)]

    def fits(self, _user: User, row: Any, act: Act) -> bool:
        """Whether the act is offered on the page of this row, as it stands now. The service has the last word."""
        return act.step is None or act.step in self.machine[getattr(row, self.state)]

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        if IS_POPUP_VAR in request.GET:
            return {}
        return {act.name: (_to_many(act), act.name, act.label) for act in self.open_acts(request) if not act.initial}

    def get_urls(self) -> list[URLPattern]:
        one = path("<uuid:pk>/do/<str:name>/", self.admin_site.admin_view(self.act_view), name=self._named("act"))
        return [one, *super().get_urls()]

    def act_view(self, request: HttpRequest, pk: uuid.UUID, name: str) -> HttpResponse:
        """Ask what the act needs, or only whether it is meant, and do it to one row."""
        row = get_object_or_404(self.get_queryset(request), pk=pk)
        act = next((act for act in self.open_acts(request) if act.name == name), None)
        if act is None:
            raise PermissionDenied
        there = reverse(f"admin:{self._named('change')}", args=[pk])
        form: Any = act.form(
            request.POST if request.method == "POST" else None, initial=act.initial(row) if act.initial else None
        )
        if form.is_valid():
            try:
                act.do(me(request), row, form.cleaned_data)
            except DomainError as refused:
                form.refuse(refused)
            else:
                messages.success(request, f"Done ({act.label.lower()}): {self.called(row)}.")
                return redirect(there)
        return page(self, request, act.label, form, rows=[Shown(row.pk, self.called(row))], back=there)

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        user = me(request)
        context["subtitle"] = self.called(obj)
        context["acts"] = [
            {"label": act.label, "address": reverse(f"admin:{self._named('act')}", args=[obj.pk, act.name])}
            for act in self.open_acts(request)
            if self.fits(user, obj, act)
        ]
        context["history"] = self.history(request, obj)
        return super().render_change_form(request, context, add, change, form_url, obj)

    def history(self, request: HttpRequest, row: Any) -> list[Entry] | None:
        """What was done to it, newest first; None for who does not read it, and where it stands elsewhere."""
        is_open = not self.history_for or any(may_somewhere(request, action) for action in self.history_for)
        if not self.audited or not is_open:
            return None
        found = history.of_audit((self.audited, str(row.pk)))
        if self.steps:
            found += history.of_events(row.events, self.steps)
        return sorted(found, key=lambda entry: entry.at, reverse=True)[: history.MOST_SHOWN]

    def _named(self, view: str) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_{view}"


def _to_many(act: Act) -> Callable[[Scoped, HttpRequest, QuerySet[Any]], HttpResponse | None]:
    """The act as an action of a list."""

    def run(pages: Scoped, request: HttpRequest, chosen: QuerySet[Any]) -> HttpResponse | None:
        rows = list(chosen[: MOST_AT_ONCE + 1])
        if len(rows) > MOST_AT_ONCE:
            messages.error(request, f"Nothing is done: choose at most {MOST_AT_ONCE} at once.")
            return None
        form: Any = act.form(request.POST if "confirmed" in request.POST else None)
        if not form.is_valid():
            shown = [Shown(row.pk, pages.called(row)) for row in rows]
            return page(pages, request, act.label, form, rows=shown, action=act.name)
        user, said = me(request), form.cleaned_data
        for_each(request, rows, lambda row: act.do(user, row, said), f"Done ({act.label.lower()})", pages.called)
        return None

    return run


# --- lists ---------------------------------------------------------------------------------------------------------


class OpenFirst(admin.SimpleListFilter):
    """By status. Without one, a list shows what is not over yet; a search looks through all."""

    title = "status"
    parameter_name = "status"
    first = "To do"
    statuses: type[TextChoices]
    over: tuple[str, ...]

    def lookups(self, _request: HttpRequest, _model_admin: object) -> list[tuple[str, str]]:
        return [(one.value, str(one.label)) for one in self.statuses]

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        everything, *others = super().choices(changelist)
        yield {**everything, "display": self.first}
        yield from others

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() in self.statuses.values:
            return queryset.filter(status=self.value())
        if is_search(request):
            return queryset
        return queryset.filter(status__in=[one for one in self.statuses.values if one not in self.over])


def is_search(request: HttpRequest) -> bool:
    return bool(request.GET.get("q", "").strip())


def sees_all(request: HttpRequest) -> bool:
    return policy.area(people.person(me(request))) == NATION


def of_farms(rows: QuerySet[Any], user: User, farm: str = "farm") -> QuerySet[Any]:
    """Those of the rows whose farm is in the user's scope."""
    seen = selectors.farms_in_scope(user)
    return rows.filter(**{f"{farm}__in": seen}) if seen.query.has_filters() else rows


def of_applications(rows: QuerySet[Any], user: User, application: str = "application") -> QuerySet[Any]:
    seen = selectors.applications_in_scope(user)
    return rows.filter(**{f"{application}__in": seen}) if seen.query.has_filters() else rows


FARM_SEARCH = "the beginning of a farm's number or of the farmer's name, or a whole phone number or Ghana Card"


def farm_found(term: str, before: str = "") -> Q:
    """The farms that a search means, each by what has an index; `before` leads to the farm."""
    text = term.strip()
    if text.upper().startswith("YEA-"):
        return Q(**{f"{before}farm_number__startswith": text.upper()})
    if identity := whose(text):
        return Q(**{f"{before}{field}": value for field, value in identity.items()})
    return Q(**{f"{before}user__in": User.objects.filter(people.begins_with(text)).values("pk")})


def whose(text: str) -> dict[str, str]:
    """The phone number or Ghana Card that is typed, in its stored form; empty when it is neither."""
    if text.upper().startswith("GHA-"):
        return {"ghana_card_number": text.upper()}
    try:
        return {"primary_phone": phones.normalise(text)}
    except InvalidInput:
        return {}


class OfFarms(Scoped):
    """Rows that lead to a farm by `farm`, found by the farm."""

    farm = "farm"
    search_help_text = FARM_SEARCH

    def scope(self, user: User) -> QuerySet[Any]:
        return of_farms(self.model._default_manager.all(), user, self.farm)

    def get_search_results(
        self, _request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        found = farm_found(search_term, f"{self.farm}__")
        return (queryset.filter(found) if search_term.strip() else queryset), False


# --- what is shown -------------------------------------------------------------------------------------------------


def named(user: User | None) -> str:
    return (user.get_full_name() or user.username) if user else "–"


def day(moment: date) -> str:
    return f"{moment:%-d %b %Y}"


def link(row: Model | None, text: str) -> str:
    """To the page of another row of farms."""
    if row is None:
        return "–"
    name = f"admin:farms_{row._meta.model_name}_change"
    return format_html('<a href="{}">{}</a>', reverse(name, args=[row.pk]), text)


def opened(document: FarmDocument) -> str:
    return format_html('<a href="{}">open</a>', reverse("admin:farms_farmdocument_file", args=[document.pk]))


class Lines(AnyInline):
    """What belongs to a row, shown below it. `action` opens it; without one, it is as open as the row."""

    extra = 0
    can_delete = False
    template = "admin/farms/lines.html"
    fields: ClassVar[tuple[str, ...]] = ()
    action: Action | None = None
    related: tuple[str, ...] = ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).select_related(*self.related)

    def get_readonly_fields(self, _request: HttpRequest, _obj: object = None) -> tuple[str, ...]:
        return self.fields

    def has_view_permission(self, request: HttpRequest, _obj: object = None) -> bool:
        return self.action is None or may_somewhere(request, self.action)

    def has_add_permission(self, _request: HttpRequest, _obj: object = None) -> bool:
        return False

    def has_change_permission(self, _request: HttpRequest, _obj: object = None) -> bool:
        return False

    def has_delete_permission(self, _request: HttpRequest, _obj: object = None) -> bool:
        return False


class Documents(Lines):
    """Papers of an application or a farm, which show who somebody is."""

    model = FarmDocument
    action = Action.SEE_APPLICATIONS
    fields = ("kind", "created_at", "file_itself")

    @admin.display(description="file")
    def file_itself(self, document: FarmDocument) -> str:
        return opened(document)
