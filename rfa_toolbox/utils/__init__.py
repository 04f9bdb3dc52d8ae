"""Doors to the rooms that took over from the predecessor's ``utils``."""
