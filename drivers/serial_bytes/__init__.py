"""A lab's own sketch behind a serial port, which understands a few bytes."""
