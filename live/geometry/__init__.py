"""Where things are in the world: camera models and triangulation."""
