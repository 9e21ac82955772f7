"""The forms of farms' pages (farms.pages)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.core.validators import RegexValidator

from accounts.models import Constituency
from accounts.page_forms import Plain, WithPassword
from farms import rules
from farms.models import FarmApplication
from farms.rules import DocumentKind
from farms.services import applications
from farms.services.applications import Details
from farms.services.farms import LARGEST_DOCUMENT
from farms.services.invitations import Where
from farms.services.production import LARGEST_COUNT

if TYPE_CHECKING:
    ApplicationForm = forms.ModelForm[FarmApplication]
    ConstituencyField = forms.ModelChoiceField[Constituency]
else:
    ApplicationForm, ConstituencyField = forms.ModelForm, forms.ModelChoiceField


class InCapitals(forms.CharField):
    """A code of capitals and digits that may be left empty."""

    def __init__(self, label: str, form: str, wrong: str, help_text: str = "") -> None:
        super().__init__(
            label=label,
            help_text=help_text,
            required=False,
            max_length=12,
            widget=forms.TextInput({"autocapitalize": "characters", "autocomplete": "off", "spellcheck": "false"}),
            validators=[RegexValidator(form, wrong)],
        )

    def to_python(self, value: Any) -> str:
        return str(super().to_python(value)).upper()


class TakeFarm(Plain):
    """What of the farm the application does not say; all of it can be said later."""

    community = forms.CharField(
        label="Town or village of the farm",
        help_text="You may leave this and what follows empty and say it later.",
        required=False,
        max_length=100,
    )
    digital_address = InCapitals(
        "Digital address, if you know it",
        rules.DIGITAL_ADDRESS,
        "Write it like AK-184-2278, or leave it empty.",
        help_text="GhanaPostGPS shows it, such as AK-184-2278.",
    )
    land_size_acres = forms.DecimalField(
        label="Size of the land in acres, if you know it",
        required=False,
        min_value=rules.CENT,
        max_digits=8,
        decimal_places=2,
        widget=forms.TextInput({"inputmode": "decimal", "autocomplete": "off"}),
    )
    farm_name = forms.CharField(
        label="Another name for the farm",
        help_text="Leave this empty to keep the name that stands in your application.",
        required=False,
        max_length=100,
    )

    def said(self) -> dict[str, Any]:
        """The arguments of farms.services.invitations.accept."""
        given = self.cleaned_data
        return {
            "password": given.get("password"),
            "farm_name": given["farm_name"],
            "where": Where(**{name: given[name] for name in ("community", "digital_address", "land_size_acres")}),
        }


class OpenAccount(WithPassword, TakeFarm):
    field_order = ("password", "password_again")


class PlaceField(ConstituencyField):
    def label_from_instance(self, place: Constituency) -> str:
        return f"{place.name}, {place.region.name}"


class Document(forms.FileField):
    def __init__(self, kind: DocumentKind) -> None:
        super().__init__(
            label=f"{kind.label}, if you have a new one",
            required=False,
            widget=forms.FileInput({"accept": "image/jpeg,image/png,application/pdf"}),
        )

    def clean(self, data: Any, initial: Any = None) -> Any:
        file = super().clean(data, initial)
        if file and file.size > LARGEST_DOCUMENT:
            raise forms.ValidationError(f"A document has at most {LARGEST_DOCUMENT // 1024 // 1024} MB.")
        return file


class ChangeApplication(Plain, ApplicationForm):
    """What an applicant has said, to be changed, and files to be added."""

    tin = InCapitals("TIN, if you have one", rules.TIN, "Write a letter and ten digits, or ten or eleven digits.")
    number_of_poultry_houses = forms.IntegerField(label="Poultry houses", min_value=1, max_value=32_767)
    total_bird_capacity = forms.IntegerField(
        label="Birds for which there is room", min_value=1, max_value=LARGEST_COUNT
    )
    constituency = PlaceField(
        Constituency.objects.select_related("region").order_by("name"), label="Constituency of the farm"
    )
    ghana_card = Document(DocumentKind.GHANA_CARD)
    photo_exterior = Document(DocumentKind.PHOTO_EXTERIOR)
    photo_interior = Document(DocumentKind.PHOTO_INTERIOR)
    photo_site = Document(DocumentKind.PHOTO_SITE)
    business_registration = Document(DocumentKind.BUSINESS_REGISTRATION)

    class Meta:
        model = FarmApplication
        fields = (
            *("full_name", "date_of_birth", "email", "language", "tin", "constituency", "farm_name"),
            *("number_of_poultry_houses", "total_bird_capacity", "primary_production_type", "breed"),
            *("planned_monthly_eggs", "planned_monthly_bird_sales", "experience_years", "has_existing_farm"),
        )
        labels: ClassVar[dict[str, str]] = {
            "full_name": "Full name",
            "date_of_birth": "Date of birth",
            "email": "E-mail, if you have one",
            "language": "Language of our messages",
            "farm_name": "Name of the farm",
            "primary_production_type": "What you want to produce",
            "breed": "Breed, if you know it",
            "planned_monthly_eggs": "Eggs that you plan in a month, if you know",
            "planned_monthly_bird_sales": "Birds that you plan to sell in a month, if you know",
            "experience_years": "Years that you have kept poultry",
            "has_existing_farm": "I have a poultry farm already",
        }
        widgets: ClassVar[dict[str, forms.Widget]] = {
            "date_of_birth": forms.DateInput({"type": "date"}, format="%Y-%m-%d"),
        }

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        place = self.fields["constituency"]
        if applications.stays(self.instance):
            place.disabled, place.help_text = True, "It was reviewed there and stays."

    def ask_for_files_again(self) -> None:
        """Browsers forget the files of a form that comes back."""
        for kind in set(self.files) & set(DOCUMENTS) - set(self.errors):
            self.add_error(kind, "Choose this file again.")

    def said(self) -> dict[str, Any]:
        """The details and documents for farms.services.changes.send; phone and Ghana Card as they were."""
        files = {kind: self.cleaned_data.get(kind) for kind in DOCUMENTS}
        given = {name: self.cleaned_data[name] for name in self.Meta.fields}
        return {
            "details": Details(
                primary_phone=self.instance.primary_phone, ghana_card_number=self.instance.ghana_card_number, **given
            ),
            "documents": {kind: file.read() for kind, file in files.items() if file},
        }


DOCUMENTS = tuple(kind for kind in DocumentKind if kind in ChangeApplication.base_fields)
