"""The scripts' arguments, a module a topic. None imports anything heavy, so that --help answers at once."""
