"""What the controllers of custom kinds would make of their objects: the pods and routes behind them."""
