"""What can be done with applications, farms, batches, enrolments and flocks. Callers import the module they need."""
