"""Implement the sub-commands of offline work, one module each, found by entry point."""
