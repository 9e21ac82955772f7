"""What can be done with people, their secrets and invitations: one module for each."""
