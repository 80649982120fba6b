"""What each type of task does."""
