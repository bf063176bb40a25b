"""Receives the setting `chat_template`; hands on the template that it means, checked."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

# What each template has, and no path.
_MARKS = ("{{", "{%")


def template_of(setting: str) -> str:
    """The template that the setting holds, or that the file holds which it names.

    Raises:
        ValueError: the file cannot be read, or there is no chat template.
    """
    if any(mark in setting for mark in _MARKS):
        text, whose = setting, "this"
    else:
        text, whose = _read(setting), setting
    try:
        from inferneo_server.engines.chat_templates import check_template
    except ImportError:
        return text  # without Jinja there is no engine either that would render it
    try:
        check_template(text)
    except ValueError as error:
        raise ValueError(f"{whose} is no chat template: {error}") from None
    return text


def _read(path: str) -> str:
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, RuntimeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None


def _checked(setting: str) -> str:
    template_of(setting)
    return setting


# Kept as it is given, and read when an engine is made.
TemplateSetting = Annotated[str, AfterValidator(_checked)]
