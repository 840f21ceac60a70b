"""Adapters that bring data in; each turns its source into samples, events and effects."""
