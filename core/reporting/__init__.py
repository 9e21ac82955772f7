"""REPORTS: what was asked for and made, each once for its kind, scope and period (domain.md 4.6, 6.4)."""
