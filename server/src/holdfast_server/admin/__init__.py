"""What operators do to a database file: back it up, restore it, verify it, take out the air."""
