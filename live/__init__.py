"""The runtime, and the words that all share; its sub-folders are the frame's way."""
