"""What a replica reads from disk: tokenizers, chat templates, data sets."""
