"""Campaigns under /api/v1/."""
