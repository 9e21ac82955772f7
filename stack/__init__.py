"""Starts what the product needs on one machine: `make run` (python -m stack) and `make test` (python -m stack.testrun).

Stands alone: imports nothing of the product, which it starts as processes and reads through its ports.
"""
