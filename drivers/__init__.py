"""Drive devices: one folder a device, found by entry point."""
