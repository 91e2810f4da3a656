"""Basler cameras, through the vendor's pypylon."""
