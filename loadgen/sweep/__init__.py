"""The same load at many rates: the curve, the saturation point, the highest goodput under an SLO."""
