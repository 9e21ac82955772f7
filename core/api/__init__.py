"""What every endpoint under /api/v1/ shares: errors, pages, limits, keys of repeated requests."""
