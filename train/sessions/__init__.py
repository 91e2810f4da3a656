"""Recorded sessions → files of other programs, and back to labels. Needs no TensorFlow."""
