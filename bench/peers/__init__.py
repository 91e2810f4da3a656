"""Side by side with the peers: the same network, frames and threads, in turn in one run."""
