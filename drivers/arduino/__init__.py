"""Drive an Arduino that times every output itself."""
