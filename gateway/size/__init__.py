"""How many replicas of which profile a load needs (`simfleet size`)."""
