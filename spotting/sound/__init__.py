"""Sound of any length as blocks and windows: from files, streams and the microphone, with noise added if wanted."""
