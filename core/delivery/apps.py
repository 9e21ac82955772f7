from django.apps import AppConfig


class DeliveryConfig(AppConfig):
    name = "core.delivery"
    label = "delivery"
    verbose_name = "Delivery"

    def ready(self) -> None:
        from core.delivery import dispatch
        from core.jobs import sweeper

        sweeper.register("dispatch", every_seconds=2.0, run=dispatch.sweep)
