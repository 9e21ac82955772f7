"""Settings rows and what the other packages share."""
