"""THE LEDGER: every background task is a row in PostgreSQL; Redis only rings the bell (design.md 4)."""
