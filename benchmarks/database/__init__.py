"""What the database checker catches, and how fast, beside its peers."""
