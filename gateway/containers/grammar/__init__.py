"""A shell script as data: characters, words, commands."""
