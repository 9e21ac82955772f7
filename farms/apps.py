from django.apps import AppConfig


class FarmsConfig(AppConfig):
    name = "farms"
    label = "farms"
    verbose_name = "Farms"
