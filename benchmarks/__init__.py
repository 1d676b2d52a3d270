"""Each module prints one figure of the README, measured anew as a ratio against an alternative in the same run."""
