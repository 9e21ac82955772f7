"""What the admin pages share: who asks, and a page that asks for what a service needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse

from accounts import policy, selectors
from accounts.models import Constituency, Region, User
from accounts.page_forms import Plain
from accounts.policy import Action
from accounts.rules import Role
from core import clock
from core.errors import DomainError

if TYPE_CHECKING:
    AnyAdmin = admin.ModelAdmin[Any]
else:
    AnyAdmin = admin.ModelAdmin


def me(request: HttpRequest) -> User:
    user = request.user
    assert isinstance(user, User)  # noqa: S101 - the admin site lets nobody else in
    return user


def may_somewhere(request: HttpRequest, action: Action) -> bool:
    """Whether who asks may do this to anybody at all; to whom, the service says."""
    return isinstance(request.user, User) and policy.is_open(selectors.person(request.user), action)


FILTERED_BY = ("exact", "id__exact", "isnull", "gte", "lt")  # what Django's filters write behind a field
TURNED_BY = ("year", "month", "day")


class OwnLookups(AnyAdmin):
    """A list is asked by its filters and by the links of the pages alone.

    Django lets an address ask any field of the row: by its beginning, letter by letter, what no page shows is guessed.
    """

    linked: tuple[str, ...] = ()  # what links of other pages ask

    def lookup_allowed(self, lookup: str, _value: str, request: HttpRequest) -> bool:
        allowed: set[str | None] = set(self.linked)
        for one in self.get_list_filter(request):
            if isinstance(one, type) and issubclass(one, admin.SimpleListFilter):
                allowed.add(one.parameter_name)
            else:
                field = one[0] if isinstance(one, (list, tuple)) else one
                allowed |= {f"{field}__{by}" for by in FILTERED_BY}
        if self.date_hierarchy:
            allowed |= {f"{self.date_hierarchy}__{by}" for by in TURNED_BY}
        return lookup in allowed


class ReadOnly(OwnLookups):
    """Rows that are written elsewhere and never changed, for those who may `action`."""

    action: Action
    show_full_result_count = False
    list_per_page = 50

    def has_module_permission(self, request: HttpRequest) -> bool:
        return may_somewhere(request, self.action)

    def has_view_permission(self, request: HttpRequest, _obj: object = None) -> bool:
        return may_somewhere(request, self.action)

    def has_add_permission(self, _request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, _request: HttpRequest, _obj: object = None) -> bool:
        return False

    def has_delete_permission(self, _request: HttpRequest, _obj: object = None) -> bool:
        return False


class ManagedForm(Plain):
    """A role that `role` manages, and where."""

    role = forms.ChoiceField()
    region = forms.ModelChoiceField(Region.objects.all(), required=False, help_text="for regional roles")
    constituency = forms.ModelChoiceField(
        Constituency.objects.select_related("region"),
        required=False,
        help_text="for constituency and field roles; its region follows",
    )

    def __init__(self, role: Role, data: Any = None) -> None:
        super().__init__(data)
        managed = [(one.value, one.label) for one in Role if one in policy.MANAGES.get(role, ())]
        self.fields["role"].choices = managed  # type: ignore[attr-defined]


def add_page(
    model_admin: AnyAdmin,
    request: HttpRequest,
    title: str,
    form: type[ManagedForm],
    make: Callable[..., object],
    done: str,
) -> HttpResponse:
    """A page that makes a row through its service."""
    if not model_admin.has_add_permission(request):
        raise PermissionDenied
    user = me(request)
    filled = form(Role(user.role), request.POST or None)
    if request.method == "POST" and filled.is_valid():
        try:
            make(actor=user, now=clock.now(), **filled.cleaned_data)
        except DomainError as refused:
            filled.refuse(refused)
        else:
            messages.success(request, done)
            return redirect(reverse(f"admin:{model_admin.opts.app_label}_{model_admin.opts.model_name}_changelist"))
    return page(model_admin, request, title, filled)


def page(model_admin: AnyAdmin, request: HttpRequest, title: str, form: forms.Form, **more: object) -> HttpResponse:
    """A page that asks: a form, and for whom."""
    context = {**model_admin.admin_site.each_context(request), "opts": model_admin.opts, "title": title, "form": form}
    return TemplateResponse(request, "admin/accounts/ask.html", {**context, **more})


def for_each(
    request: HttpRequest,
    rows: list[Any],
    do: Callable[[Any], object],
    done: str,
    called: Callable[[Any], str] = str,
) -> None:
    """Do it to each row, and say what was done and what was refused, with its reason."""
    count = 0
    for row in rows:
        try:
            do(row)
            count += 1
        except DomainError as refused:
            messages.error(request, f"{called(row)}: {refused}")
    if count:
        messages.success(request, f"{done}: {count}.")
