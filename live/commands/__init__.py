"""Implement the sub-commands of `poseloop`, one module each, found by entry point."""
