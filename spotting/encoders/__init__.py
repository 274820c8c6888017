"""An encoder as the commands use it: from a checkpoint or an export, and the cohort of others' speech kept with it."""
