"""The routes of vLLM, llm-d-inference-sim and the lab's own control."""
