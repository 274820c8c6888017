"""From sound to hits: windows are embedded and scored, peaks found, and what was found."""
