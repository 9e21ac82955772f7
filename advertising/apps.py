from django.apps import AppConfig


class AdvertisingConfig(AppConfig):
    name = "advertising"
    label = "advertising"
    verbose_name = "Advertising"
