"""Replay recorded video as cameras."""
