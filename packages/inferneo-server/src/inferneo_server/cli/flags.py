"""Receives the table of settings; hands on a flag for each, and what was given, as settings."""

import argparse
from typing import Any, Literal, get_args, get_origin

from inferneo_server.cli import Failure
from inferneo_server.environment import ENV_PREFIX, SettingsError
from inferneo_server.model_spec import is_missing
from inferneo_server.setting_groups import grouped
from inferneo_server.settings import Settings, load_settings

# The model that stands without its flag, as `vllm serve` takes it.
_PLACED = "placed_model"


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Give a parser the model, `--config`, and a flag for each setting, in groups."""
    parser.epilog = (
        f"Each flag is also an environment variable ({ENV_PREFIX}PORT for --port) and a "
        "line of the file (port: 8000). A flag wins over the environment, that over the file."
    )
    # That of argparse would name each flag before it explains any.
    parser.usage = f"{parser.prog} [MODEL] [--config FILE] [--SETTING VALUE ...]"
    parser.formatter_class = _Formatter
    parser.add_argument(
        _PLACED,
        metavar="MODEL",
        nargs="?",
        default=argparse.SUPPRESS,
        help="the model to serve, as --model says it",
    )
    parser.add_argument(
        "--config", metavar="FILE", default=argparse.SUPPRESS, help="YAML file with settings"
    )
    for group, names in grouped(Settings.model_fields):
        section = parser.add_argument_group(group)
        for name in names:
            field = Settings.model_fields[name]
            default = field.get_default(call_default_factory=True)
            shown = "" if default in (None, {}, []) else f" (default: {default})"
            section.add_argument(
                flag(name),
                help=f"{field.description}{shown}".replace("%", "%%"),
                # A flag that is not given must not hide the other sources.
                default=argparse.SUPPRESS,
                **_argument(name, field.annotation),
            )


class _Formatter(argparse.HelpFormatter):
    """Leaves room for long names, so that a flag and its meaning share a line."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=36)


def flag(name: str) -> str:
    """The flag of a setting."""
    return f"--{name.replace('_', '-')}"


def given_settings(values: argparse.Namespace) -> dict[str, Any]:
    """What the command line says of settings, and `config`, where they are given.

    Raises:
        Failure: it names two models.
    """
    names = {"config", *Settings.model_fields}
    given = {name: value for name, value in vars(values).items() if name in names}
    placed = getattr(values, _PLACED, None)
    if placed is None:
        return given
    if "model" in given:
        raise Failure(f"model: {placed} and --model {given['model']} are both given")
    return {**given, "model": placed}


def settings_of(values: argparse.Namespace) -> Settings:
    """All settings, of which the command line gives some.

    Raises:
        Failure: a setting is wrong, or the folder of a model is not there.
    """
    given = given_settings(values)
    try:
        settings = load_settings(**given)
    except SettingsError as error:
        raise Failure(str(error)) from None
    # An engine would take it for a name, and look for it for a minute.
    specs = [spec for spec in settings.model_specs if spec.engine != "simulated"]
    if missing := [spec.model for spec in specs if is_missing(spec.model)]:
        raise Failure("\n".join(f"model: there is no {path}" for path in missing))
    adapters = [each for spec in specs for each in spec.lora_modules.items()]
    if absent := [f"{name}: there is no {path}" for name, path in adapters if is_missing(path)]:
        raise Failure("\n".join(f"lora_modules: {each}" for each in absent))
    return settings


def _argument(name: str, annotation: Any) -> dict[str, Any]:
    """How argparse takes a setting. Values are checked by the settings, not here."""
    if get_origin(annotation) is Literal:
        return {"choices": get_args(annotation)}
    if annotation is bool:
        return {"action": argparse.BooleanOptionalAction}
    if get_origin(annotation) is dict:
        # Several may follow one flag of adapters, as `vllm serve` takes them.
        several = {"nargs": "+"} if name == "lora_modules" else {}
        return {"action": _KeyValues, "metavar": "KEY=VALUE", **several}
    if get_origin(annotation) is list:
        # Repeated for each entry; the metavar is one of them.
        word = name.rsplit("_", 1)[-1].upper()
        return {"action": "append", "metavar": word.removesuffix("ES" if "SES" in word else "S")}
    return {"metavar": name.rsplit("_", 1)[-1].upper()}


class _KeyValues(argparse.Action):
    """Gathers `key=value` pairs and JSON objects into one dictionary; values are YAML."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        import yaml

        for text in values if isinstance(values, list) else [values]:
            try:
                pairs = self._pairs(text)
            except (ValueError, yaml.YAMLError):
                parser.error(f"{option_string} takes key=value or a JSON object, not {text!r}")
            setattr(namespace, self.dest, getattr(namespace, self.dest, {}) | pairs)

    def _pairs(self, text: str) -> dict[str, Any]:
        import yaml

        key, equals, value = text.partition("=")
        if text.startswith("{"):
            pairs: dict[str, Any] = yaml.safe_load(text)
            if self.dest == "lora_modules" and {"name", "path"} <= pairs.keys():
                # As `vllm serve` takes them: one adapter with its fields.
                return {pairs["name"]: pairs["path"]}
            return pairs
        if not equals:
            raise ValueError
        # Names of arguments, but not those of models, may be written either way.
        name = key.replace("-", "_") if self.dest == "engine_args" else key
        return {name: yaml.safe_load(value)}
