"""From poses to movement: filters, prediction, kinematics."""
