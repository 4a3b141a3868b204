"""The terminal screens of Holdfast."""
