"""Messages for other programs: ZeroMQ and Open Sound Control."""
