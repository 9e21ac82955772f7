"""A phone network and a mailbox for development and tests. It imports nothing of the product."""
