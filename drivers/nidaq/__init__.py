"""Digital lines of National Instruments' devices."""
