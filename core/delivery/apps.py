from django.apps import AppConfig


class DeliveryConfig(AppConfig):
    name = "core.delivery"
    label = "delivery"
    verbose_name = "Delivery"

    def ready(self) -> None:
        from core.base.registries import PLATFORM, NoticeType, notice_types
        from core.delivery import alarms, campaigns, dispatch, doubt, receipts, sealing
        from core.jobs import sweeper

        sweeper.register("sealed", every_seconds=30.0, run=sealing.forget)
        sweeper.register("dispatch", every_seconds=2.0, run=dispatch.sweep)
        sweeper.register("campaigns", every_seconds=10.0, run=campaigns.sweep)
        sweeper.register("receipts", every_seconds=receipts.EVERY_SECONDS, run=receipts.sweep)
        sweeper.register(
            "unmatched_receipts", every_seconds=receipts.UNMATCHED_EVERY_SECONDS, run=receipts.settle_unmatched
        )
        sweeper.register("doubt", every_seconds=doubt.EVERY_SECONDS, run=doubt.sweep)
        notice_types.register("gateway_stopped", NoticeType(PLATFORM, alarms.gateway_stopped))
        notice_types.register("gateway_back", NoticeType(PLATFORM, alarms.gateway_back))
        notice_types.register("sms_budget_used", NoticeType(PLATFORM, alarms.sms_budget_used))
        notice_types.register("campaign_over_ceiling", NoticeType(PLATFORM, alarms.campaign_over_ceiling))
