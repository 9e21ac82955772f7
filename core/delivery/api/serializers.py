"""What campaigns look like in the API, and what may be sent. Phone numbers are masked, money is GHS as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rest_framework import serializers

from core import phones
from core.base.registries import USERS
from core.delivery import audiences
from core.delivery.audiences import Audience
from core.delivery.campaign_progress import OUTCOMES
from core.delivery.models import Campaign, CampaignRecipient
from core.delivery.rules import CampaignStatus, Status

if TYPE_CHECKING:
    CampaignBase = serializers.ModelSerializer[Campaign]
    RecipientBase = serializers.ModelSerializer[CampaignRecipient]
    Plain = serializers.Serializer[Any]
else:
    CampaignBase = RecipientBase = serializers.ModelSerializer
    Plain = serializers.Serializer


class CampaignInfo(CampaignBase):
    """A campaign without its text and without counting its messages."""

    status = serializers.ChoiceField(choices=[status.value for status in CampaignStatus])
    recipients = serializers.IntegerField(source="accepted", help_text="stored so far")
    expected = serializers.IntegerField(help_text="recipients when it was planned")
    parts_each = serializers.IntegerField(source="parts", help_text="SMS that one text takes")
    waits_after_seeds = serializers.BooleanField(source="seeds_only")
    retry_of = serializers.UUIDField(source="retry_of_id", allow_null=True)
    requested_by = serializers.UUIDField(source="requested_by_id", allow_null=True)
    approved_by = serializers.UUIDField(source="approved_by_id", allow_null=True)

    class Meta:
        model = Campaign
        fields = [
            *("id", "name", "status", "reason", "audience", "recipients", "expected", "duplicates", "invalid"),
            *("parts_each", "estimate", "ceiling", "spent", "needs_approval", "requested_by", "approved_by"),
            *("approved_at", "waits_after_seeds", "retry_of", "created_at", "started_at", "finished_at"),
        ]
        read_only_fields = fields


class PlanInfo(Plain):
    """What would go to whom, and what it would cost."""

    audience = serializers.CharField()
    text = serializers.CharField(help_text="as it would be sent")
    previews = serializers.ListField(child=serializers.CharField(), help_text="masked numbers of up to three people")
    recipients = serializers.IntegerField()
    examined = serializers.IntegerField(help_text="fewer than recipients: the four counts below are of these")
    duplicates = serializers.IntegerField()
    invalid = serializers.IntegerField()
    opted_out = serializers.IntegerField()
    suppressed = serializers.IntegerField(help_text="numbers that take no SMS")
    to_be_sent = serializers.IntegerField(help_text="texts, the seeds among them")
    seeds = serializers.IntegerField()
    encoding = serializers.ChoiceField(choices=["gsm7", "ucs2"])
    units = serializers.IntegerField()
    parts = serializers.IntegerField()
    forced_by = serializers.ListField(child=serializers.CharField(), help_text="the characters that force ucs2")
    ghs_per_part = serializers.DecimalField(max_digits=12, decimal_places=4)
    cost = serializers.DecimalField(max_digits=14, decimal_places=4)
    approval = serializers.CharField(help_text="why a second person must approve; empty: nobody must")
    begins = serializers.DateTimeField()
    ends = serializers.DateTimeField(allow_null=True, help_text="roughly; null while no rate is set")


class Created(Plain):
    campaign = CampaignInfo()
    plan = PlanInfo()


Counts: Any = type("CampaignOutcomes", (Plain,), {name: serializers.IntegerField() for name in OUTCOMES})


class ProgressInfo(Plain):
    """How a campaign stands. `outcomes` counts every message by what became of it."""

    campaign = CampaignInfo()
    not_written = serializers.IntegerField(help_text="recipients without a message yet")
    outcomes = Counts()
    seeds = serializers.DictField(child=serializers.IntegerField(), help_text="of the outcomes, those of the seeds")
    messages = serializers.IntegerField()
    left = serializers.IntegerField(help_text="messages that wait no more")
    to_come = serializers.IntegerField()
    parts = serializers.IntegerField()
    reserved = serializers.DecimalField(max_digits=14, decimal_places=4)
    spent = serializers.DecimalField(max_digits=14, decimal_places=4)
    per_second = serializers.FloatField(allow_null=True)
    ends = serializers.DateTimeField(allow_null=True)


class RecipientInfo(RecipientBase):
    phone = serializers.SerializerMethodField(help_text="masked")
    status = serializers.ChoiceField(choices=["waiting", "written", "invalid"])
    message_status = serializers.SerializerMethodField(help_text="what became of the message; empty without one")

    class Meta:
        model = CampaignRecipient
        fields = ["phone", "seed", "status", "reason", "message", "message_status"]
        read_only_fields = fields

    def get_phone(self, recipient: CampaignRecipient) -> str:
        return phones.mask(recipient.phone)

    def get_message_status(self, recipient: CampaignRecipient) -> str:
        states: dict[Any, str] = self.context.get("states", {})
        return Status(states[recipient.message]).value if recipient.message in states else ""


class UnreachedInfo(Plain):
    recipients = serializers.IntegerField()
    delivered = serializers.IntegerField()
    may_have_it = serializers.IntegerField(source="perhaps", help_text="accepted, in doubt, no receipt: not sent again")
    left_out = serializers.IntegerField(help_text="they want none, or take none")
    will_be_sent = serializers.IntegerField(source="again")


class Retried(Plain):
    campaign = CampaignInfo()
    unreached = UnreachedInfo()


# --- what may be sent ----------------------------------------------------------------------------------------------


class Asked(Plain):
    """A text and whom it is for: exactly one of `phones`, `list` and `selection`."""

    text = serializers.CharField(max_length=5_000, trim_whitespace=False, help_text="the SMS, the same for everybody")
    phones = serializers.ListField(child=serializers.CharField(allow_blank=True), required=False)
    list = serializers.CharField(required=False, help_text="numbers one a line, or a CSV with a column of them")
    column = serializers.CharField(required=False, allow_blank=True, default="", help_text="of the CSV")
    selection = serializers.DictField(
        child=serializers.CharField(allow_blank=True),
        required=False,
        help_text='people now and when it runs, such as {"region": "AH", "role": "FARMER"}',
    )
    people = serializers.CharField(required=False, default=USERS, help_text="what the selection is of")
    seeds = serializers.ListField(
        child=serializers.CharField(), required=False, default=[], help_text="phones of our own that get the text first"
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        given = [name for name in ("phones", "list", "selection") if name in attrs]
        if len(given) != 1:
            raise serializers.ValidationError("Say to whom: give one of phones, list and selection.")
        return attrs


class AskedFor(Asked):
    name = serializers.CharField(required=False, allow_blank=True, default="", max_length=200)
    wait_after_seeds = serializers.BooleanField(required=False, default=False)
    ceiling = serializers.DecimalField(
        max_digits=14, decimal_places=4, required=False, allow_null=True, default=None, help_text="GHS at most"
    )
    reason = serializers.CharField(required=False, allow_blank=True, default="", max_length=500)


def audience_of(given: dict[str, Any]) -> Audience:
    """The audience of what was sent, which is taken out of it."""
    numbers, text, selection = given.pop("phones", None), given.pop("list", None), given.pop("selection", None)
    column, source = given.pop("column"), given.pop("people")
    if selection is not None:
        return audiences.selected(selection, source=source)
    if text is not None:
        return audiences.listed(audiences.numbers_of(text, column), what="list")
    return audiences.listed(numbers)


class Decision(Plain):
    reason = serializers.CharField(required=False, allow_blank=True, default="", max_length=500)


class Stop(Plain):
    reason = serializers.CharField(max_length=500, help_text="why; it is kept with your name")


class GoOn(Decision):
    ceiling = serializers.DecimalField(
        max_digits=14, decimal_places=4, required=False, allow_null=True, default=None, help_text="a higher one, in GHS"
    )
