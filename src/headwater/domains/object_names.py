"""The names under which files go to a bucket: templates with variables such as `{AppName}`, checked when they are saved."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final

from headwater.store.objects import ObjectError, check_key

NAME_BYTES_MAX: Final = 255
"""A template's name is "less than 256 bytes" (reference media-plane 3.1 and 4)."""

_VARIABLE = re.compile(r"\{([^{}]*)\}")


def problem(template: str, variables: Collection[str], one_of: Collection[str] = ()) -> str:
    """What is wrong with a template, for a person; "" if nothing is.

    variables: those that it may have. one_of: of these it must have at least one.
    """
    if len(template.encode("utf-8", "surrogatepass")) > NAME_BYTES_MAX:
        return f"It has more than {NAME_BYTES_MAX} bytes."
    used = _VARIABLE.findall(template)
    for name in used:
        if name not in variables:
            return f"There is no variable {{{name}}}; there are {_listed(variables)}."
    if one_of and not set(used) & set(one_of):
        return f"It needs one of {_listed(one_of)}, or each file would overwrite the one before."
    plain = _VARIABLE.sub("x", template)
    if "{" in plain or "}" in plain:
        return "A variable is not closed."
    try:
        check_key(plain)
    except ObjectError as error:
        return f"It cannot be the name of a file: {error}."
    return ""


def fill(template: str, values: Mapping[str, str]) -> str:
    """The name that a checked template stands for."""
    return _VARIABLE.sub(lambda match: values[match[1]], template)


def _listed(names: Collection[str]) -> str:
    return ", ".join(f"{{{name}}}" for name in names)
