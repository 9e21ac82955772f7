"""Applications, farms, batches and production under /api/v1/."""
