"""Labels of Speech Commands that are more than a word of its archive."""

COMMANDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")  # of the 12-class task
UNKNOWN, SILENCE = "_unknown_", "_silence_"
