"""The local notes."""
