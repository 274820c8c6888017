"""The scripts' arguments: one name, one default, one help text each; a module a topic.

None imports anything heavy, so that --help answers at once.
"""
