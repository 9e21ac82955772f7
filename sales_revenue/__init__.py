"""Marketplace activation, orders, payments and platform revenue (domain.md 4.3)."""
