"""Partners, offers, leads and statements (domain.md 4.4)."""
