"""Stored dashboard blocks and the weekly report (domain.md 4.5, 6)."""
