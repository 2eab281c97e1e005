"""What servers say: answers, stream events, errors."""
