"""People, roles, scopes and the geography they belong to (domain.md 2, 3, 4.1)."""
