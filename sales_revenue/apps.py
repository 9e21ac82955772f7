from django.apps import AppConfig


class SalesRevenueConfig(AppConfig):
    name = "sales_revenue"
    label = "sales_revenue"
    verbose_name = "Sales and revenue"
