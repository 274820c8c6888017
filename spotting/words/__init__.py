"""Enrolled words: from recordings of them, and as a file."""
