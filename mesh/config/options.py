"""Settings sections as options of a click command, so that a command only names its sections."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final, NamedTuple, ParamSpec, cast, get_origin

import click
from msgspec import NODEFAULT, Struct

from mesh.config.fields import VARIABLE_PREFIX, SettingField, fields_of, show_value
from mesh.config.settings import resolve
from mesh.config.sources import Sources, check_names, installed_sections
from mesh.processes.terminal import invocation

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")

_PREFIX: Final = "setting__"


class Flags(NamedTuple):
    """A section of which only some settings get a flag; the others are still read from variables and the file."""

    section: type[Struct]
    keys: tuple[str, ...]


def only(section: type[Struct], *keys: str) -> Flags:
    """Give flags to some settings of a section: ``mesh=only(MeshSettings, "nats", "data_dir")``."""
    return Flags(section, keys)


def settings_options(
    given_as: str = "", /, **sections: type[Struct] | Flags
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add the flags of sections to a command, which gets each section's value as an argument of the section's name.

    Like this::

        @click.command()
        @settings_options(mesh=MeshSettings, gateway=GatewaySettings)
        def gateway(mesh: MeshSettings, gateway: GatewaySettings) -> None: ...

    The command itself raises SettingsError if a value cannot be used or a name is unknown.

    Args:
        given_as: the argument, if any, that gets the flags which were given, as variables for other processes.
        sections: by name, the sections that the command needs.
    """
    chosen = {name: given if isinstance(given, Flags) else Flags(given, ()) for name, given in sections.items()}

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def run(**arguments: Any) -> None:
            flags = {key: _joined(arguments.pop(key)) for key in list(arguments) if key.startswith(_PREFIX)}
            sources = read_sources()
            values = {name: _value(name, choice.section, flags, sources) for name, choice in chosen.items()}
            given = {given_as: _variables(flags)} if given_as else {}
            function(**arguments, **values, **given)

        # No flag for a secret: whoever is on the machine sees the arguments of its processes.
        fields = [field for name, choice in chosen.items() for field in _shown(name, choice) if not field.secret]
        return _with_options(run, [(field, f"{_PREFIX}{field.section}__{field.key}") for field in fields])

    return decorate


def _joined(raw: object) -> object:
    """Write a flag that was given several times as the one text that variables hold; None: it was not given."""
    return ",".join(cast("tuple[str, ...]", raw)) or None if isinstance(raw, tuple) else raw


def read_sources() -> Sources:
    """Read the environment and the settings file of this command, and refuse names that nobody knows.

    Raises:
        SettingsError: if the file cannot be read, or a name is unknown.
    """
    sources = Sources.read(invocation().config)
    check_names(sources, installed_sections())
    return sources


def _value(name: str, section: type[Struct], flags: dict[str, Any], sources: Sources) -> Struct:
    prefix = f"{_PREFIX}{name}__"
    given = {key.removeprefix(prefix): raw for key, raw in flags.items() if key.startswith(prefix)}
    return resolve(section, name, flags=given, sources=sources).value


def _variables(flags: dict[str, Any]) -> dict[str, str]:
    texts = {VARIABLE_PREFIX + name.rpartition("__")[2].upper(): raw for name, raw in flags.items() if raw is not None}
    return {name: str(raw).lower() if isinstance(raw, bool) else str(raw) for name, raw in texts.items()}


def _shown(name: str, choice: Flags) -> list[SettingField]:
    if not choice.keys:
        return list(fields_of(choice.section, name))
    return [_find(choice.section, name, key) for key in choice.keys]


def _find(section: type[Struct], name: str, key: str) -> SettingField:
    return next(field for field in fields_of(section, name) if field.key == key)


def _with_options(command: Callable[..., None], options: list[tuple[SettingField, str]]) -> Callable[..., None]:
    for field, parameter in reversed(options):
        command = _option(field, parameter)(command)
    return command


def _option(field: SettingField, parameter: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    if field.kind is bool:
        flag = f"{field.flag}/--no-{field.flag.removeprefix('--')}"
        return click.option(flag, parameter, default=None, help=_help(field))
    kind = click.Choice(field.choices) if field.choices else None
    metavar = None if field.choices else field.metavar
    several = get_origin(field.kind) is tuple
    return click.option(
        field.flag, parameter, default=None, type=kind, metavar=metavar, multiple=several, help=_help(field)
    )


def _help(field: SettingField) -> str:
    default = "" if field.default in {NODEFAULT, None} else f"; default {show_value(field, field.default)}"
    return f"{field.description}  [{field.variable}{default}]"
