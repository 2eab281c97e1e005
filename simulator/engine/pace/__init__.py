"""How long steps take and when tokens leave: latency models and the timelines they make."""
