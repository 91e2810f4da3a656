"""TTL events for a recording of the Open Ephys GUI."""
