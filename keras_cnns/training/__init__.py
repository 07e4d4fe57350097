"""Training: recipes, devices, checkpoints, and runs that can be resumed."""
