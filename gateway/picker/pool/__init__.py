"""What the picker knows of its endpoints: where they are and what their last scrape said."""
