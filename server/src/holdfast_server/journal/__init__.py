"""The journal: group commit. Everything that waits while a commit is under way goes into the next one."""
