"""A step model of somebody's own server, from runs that were measured there."""
