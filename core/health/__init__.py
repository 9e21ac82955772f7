"""What is alive: workers seen, readiness."""
