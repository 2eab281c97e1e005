"""How a command line is read: vLLM's argparse and llm-d-inference-sim's flags, files of flags, help."""
