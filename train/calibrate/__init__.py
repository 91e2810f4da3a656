"""From pictures of a printed board to the camera models that a rig runs on."""
