"""What the model says and how it is cut into tokens."""
