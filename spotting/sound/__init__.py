"""Sound of any length as blocks and windows: from files and streams, with noise added if wanted."""
