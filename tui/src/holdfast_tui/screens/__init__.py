"""The screens: one overview, and the dialogs above it."""
