"""Boards that cannot time anything themselves: a process of this computer does it for them."""
