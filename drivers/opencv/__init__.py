"""USB (UVC) cameras, through OpenCV."""
