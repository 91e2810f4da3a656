"""Commands for who writes protocols."""
