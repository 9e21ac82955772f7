"""A believable Ghana for development, tests and benchmarks (`manage.py seed_demo`)."""
