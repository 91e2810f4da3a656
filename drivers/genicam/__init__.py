"""GigE Vision and USB3 Vision cameras of any maker, through Aravis."""
