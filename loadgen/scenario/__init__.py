"""What a user wants to be sent, as data: YAML and flags read strictly."""
