"""Train offline: from recordings and labels to the files that a rig runs on."""
