"""From scores to judgement: named figures, self-checks, paired differences."""
