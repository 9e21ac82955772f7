"""People, roles and regions under /api/v1/."""
