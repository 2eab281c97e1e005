"""A judged run in its forms: terminal, HTML, Markdown, JSON, JUnit, Benchmark Report."""
