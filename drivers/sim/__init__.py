"""Simulate cameras and a board in world units, with known truth."""
