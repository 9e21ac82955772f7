from django.apps import AppConfig


class DeliveryConfig(AppConfig):
    name = "core.delivery"
    label = "delivery"
    verbose_name = "Delivery"

    def ready(self) -> None:
        from core.delivery import dispatch, doubt, receipts, sealing
        from core.jobs import sweeper

        sweeper.register("sealed", every_seconds=15.0, run=sealing.forget)
        sweeper.register("dispatch", every_seconds=2.0, run=dispatch.sweep)
        sweeper.register("receipts", every_seconds=receipts.EVERY_SECONDS, run=receipts.sweep)
        sweeper.register(
            "unmatched_receipts", every_seconds=receipts.UNMATCHED_EVERY_SECONDS, run=receipts.settle_unmatched
        )
        sweeper.register("doubt", every_seconds=doubt.EVERY_SECONDS, run=doubt.sweep)
