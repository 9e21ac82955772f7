"""Applications, farms, batches, flocks and production (domain.md 4.2)."""
