"""From camera to frame set: slots (`ring`) and synchronisation (`sync`)."""
