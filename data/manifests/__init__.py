"""The clips of a data set, their labels and speakers, and the registry that names the sets."""
