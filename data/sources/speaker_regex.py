"""What --speaker_regex may be."""

import re

from data.base.errors import UserError


def speaker_regex(pattern: str) -> re.Pattern:
    """The regular expression whose first group is a speaker's name.

    Raises:
        UserError: no regular expression, or one without a group.
    """
    try:
        regex = re.compile(pattern)
    except re.error as error:
        raise UserError(f"--speaker_regex {pattern!r} is not a regular expression ({error})") from None
    if not regex.groups:
        raise UserError(f"--speaker_regex {pattern!r} has no group: put the speaker's part in parentheses")
    return regex
