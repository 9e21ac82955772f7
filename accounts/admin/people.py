"""Admin pages for people and geography. Roles and places of an existing person are shown, not changed, here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from allauth.account.decorators import secure_admin_login
from django import forms
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.forms import UserChangeForm
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.views.generic import RedirectView

from accounts import selectors, visits
from accounts.admin.asking import ManagedForm, OwnLookups, add_page, for_each, may_somewhere, me, page
from accounts.models import Constituency, District, Region, User
from accounts.page_forms import Phone
from accounts.policy import Action
from accounts.rules import ContactMethod, Language
from accounts.services import people
from core import clock, phones

if TYPE_CHECKING:  # the stubs are generic, Django's classes are not
    RegionBase = admin.ModelAdmin[Region]
    DistrictBase = admin.ModelAdmin[District]
    ConstituencyBase = admin.ModelAdmin[Constituency]
    PersonBase = UserAdmin[User]
    ChangeForm = UserChangeForm[User]
else:
    RegionBase = DistrictBase = ConstituencyBase = admin.ModelAdmin
    PersonBase, ChangeForm = UserAdmin, UserChangeForm

# The admin site has no door of its own: whoever signs in passes the lock and the second factor.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]
admin.site.site_header = admin.site.site_title = "YEA Poultry"
admin.site.password_change = RedirectView.as_view(  # type: ignore[method-assign,assignment]
    pattern_name="account_change_password"
)

PLACE = ("role", "region", "district", "constituency")
STATE = (
    *("is_superuser", "is_demo", "activated_at", "email_verified", "phone_verified"),
    *("is_suspended", "suspended_at", "suspended_until", "suspended_by", "suspension_reason"),
    *("failed_login_attempts", "locked_until", "token_version", "last_login", "created_at", "updated_at"),
)
MOST = 100  # people of one action; the list shows no more on a page
FIELDS = ("username", "phone", "email", "first_name", "last_name", "preferred_contact_method", "language")


@admin.register(Region)
class RegionAdmin(RegionBase):
    list_display = ("code", "name", "capital")
    search_fields = ("code", "name")


@admin.register(District)
class DistrictAdmin(DistrictBase):
    list_display = ("name", "region", "kind", "source")
    list_filter = ("region", "kind", "source")
    list_select_related = ("region",)
    search_fields = ("name",)

    def get_readonly_fields(self, _request: HttpRequest, obj: District | None = None) -> tuple[str, ...]:
        return ("region",) if obj else ()  # its constituencies and people would be left in the old one


@admin.register(Constituency)
class ConstituencyAdmin(ConstituencyBase):
    list_display = ("code", "name", "district", "region", "source")
    list_filter = ("region", "source")
    list_select_related = ("district", "region")
    search_fields = ("code", "name")
    autocomplete_fields = ("district",)

    def get_readonly_fields(self, _request: HttpRequest, obj: Constituency | None = None) -> tuple[str, ...]:
        return ("region",) if obj else ()


class NewPersonForm(ManagedForm):
    first_name = forms.CharField(max_length=150)
    last_name = forms.CharField(max_length=150)
    phone = Phone("a Ghanaian mobile number, such as 024 412 3456")
    email = forms.EmailField(label="E-mail", required=False, help_text="all but farmers have one")
    username = forms.CharField(max_length=150, required=False, help_text="made of the name when left empty")
    preferred_contact_method = forms.ChoiceField(choices=ContactMethod.choices)
    language = forms.ChoiceField(choices=Language.choices)
    field_order = ("first_name", "last_name", "phone", "email", "role", "region", "constituency")


class PersonForm(ChangeForm):
    def _get_validation_exclusions(self) -> set[str]:
        """Check the constraints over the whole row, the fields shown read-only included."""
        return set(self.errors)


class ReasonForm(forms.Form):
    reason = forms.CharField(max_length=500, help_text="why; it is kept with your name")


@admin.register(User)
class PersonAdmin(OwnLookups, PersonBase):
    form = PersonForm
    list_display = ("username", "get_full_name", "masked_phone", "role", "region", "constituency", "is_active")
    list_filter = ("role", "is_active", "is_suspended", "region")
    list_select_related = ("region", "constituency")
    search_fields = ("username",)  # there is a search; what it means, get_search_results says
    search_help_text = "the beginning of a username, a name or a phone number, or a whole e-mail address"
    show_full_result_count = False
    actions = ("suspend", "lift_suspension", "unlock", "sign_out")
    filter_horizontal = ()
    readonly_fields = (*PLACE, *STATE)
    fieldsets = (
        (None, {"fields": (*FIELDS, "password", "is_active")}),
        ("Role and place", {"fields": PLACE}),
        ("State", {"fields": STATE}),
    )

    def has_module_permission(self, request: HttpRequest) -> bool:
        return may_somewhere(request, Action.SUSPEND)

    def has_view_permission(self, request: HttpRequest, _obj: User | None = None) -> bool:
        return may_somewhere(request, Action.SUSPEND)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request) and may_somewhere(request, Action.CREATE_PERSON)

    def add_view(
        self, request: HttpRequest, _form_url: str = "", _extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        done = "The person is added, and gets a link to choose a password."
        return add_page(self, request, "Add a person", NewPersonForm, people.create_person, done)

    def has_delete_permission(self, _request: HttpRequest, _obj: User | None = None) -> bool:
        return False  # people are suspended, never deleted (domain.md 1.2)

    def get_search_results(
        self, _request: HttpRequest, queryset: QuerySet[User], search_term: str
    ) -> tuple[QuerySet[User], bool]:
        """By what has an index, as the API's list: a million people are not read one by one."""
        term = search_term.strip()
        return (queryset.filter(selectors.begins_with(term) | selectors.has_email(term)) if term else queryset), False

    def get_ordering(self, request: HttpRequest) -> tuple[Any, ...]:
        """As in the API: what a search finds is not come by in the order of usernames."""
        if not request.GET.get("q", "").strip():
            return ("username",)
        only_searched = set(request.GET) <= {"q", "p"}
        return ("id",) if only_searched else (selectors.BY_USERNAME,)

    def save_model(self, request: HttpRequest, obj: User, form: forms.ModelForm[User], change: bool) -> None:
        if "email" in form.changed_data:
            obj.email_verified = False
        if "phone" in form.changed_data:
            obj.phone_verified = False
        super().save_model(request, obj, form, change)

    # --- what is done to people, each through its service, with a reason ---------------------------------------------

    @admin.action(description="Suspend")
    def suspend(self, request: HttpRequest, chosen: QuerySet[User]) -> HttpResponse | None:
        return self._ask(request, chosen, "suspend", "Suspend", people.suspend)

    @admin.action(description="Lift the suspension")
    def lift_suspension(self, request: HttpRequest, chosen: QuerySet[User]) -> HttpResponse | None:
        return self._ask(request, chosen, "lift_suspension", "Lift the suspension", people.lift_suspension)

    @admin.action(description="Unlock after failed sign-ins")
    def unlock(self, request: HttpRequest, chosen: QuerySet[User]) -> None:
        user, now = me(request), clock.now()
        rows = list(chosen[:MOST])
        for_each(request, rows, lambda one: people.unlock(actor=user, user_id=one.pk, now=now), "Unlocked")

    @admin.action(description="Sign out everywhere")
    def sign_out(self, request: HttpRequest, chosen: QuerySet[User]) -> HttpResponse | None:
        return self._ask(request, chosen, "sign_out", "Sign out everywhere", people.force_sign_out)

    def _ask(
        self, request: HttpRequest, chosen: QuerySet[User], action: str, title: str, do: Callable[..., object]
    ) -> HttpResponse | None:
        """Ask for the reason, then do it to each."""
        rows = list(chosen[:MOST])
        form = ReasonForm(request.POST if "confirmed" in request.POST else None)
        if not form.is_valid():
            return page(self, request, title, form, rows=rows, action=action)
        about: dict[str, Any] = {
            "actor": me(request),
            "reason": form.cleaned_data["reason"],
            "now": clock.now(),
            "origin": visits.visit(request).origin,
        }
        for_each(request, rows, lambda one: do(user_id=one.pk, **about), f"Done ({title.lower()})")
        return None

    @admin.display(description="phone")
    def masked_phone(self, user: User) -> str:
        return phones.mask(user.phone)
