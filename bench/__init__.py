"""Measure a rig: scripts that each print one table and write JSON."""
