"""The metric catalogue of vLLM, rendered from the engine's numbers."""
