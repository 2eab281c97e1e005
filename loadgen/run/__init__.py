"""A plan sent: workers, schedule, scrapes, timeline events, live view."""
