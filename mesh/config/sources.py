"""Where settings come from besides flags: the environment and one TOML file, read once per process."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Final, cast

from msgspec import Struct

from mesh.config.fields import VARIABLE_PREFIX, SettingField, fields_of
from mesh.errors import SettingsError

DEFAULT_FILE: Final = Path("ig3.toml")
CONFIG_VARIABLE: Final = "IG3_CONFIG"

_RESERVED: Final = frozenset({CONFIG_VARIABLE, "IG3_READY_FD"})
"""Variables of the prefix that are no settings: where the file is, and how a child tells that it is ready."""
_RESERVED_PREFIX: Final = "IG3_BROKER_"
"""What nats.conf reads; an operator's shell may have sourced nats.env."""

Sections = Mapping[str, type[Struct]]


class Sources(Struct, frozen=True, kw_only=True):
    """The environment and the file as they were at the start; ``file`` None: there is none."""

    env: Mapping[str, str]
    file: Path | None = None
    tables: Mapping[str, Mapping[str, object]] = {}

    @classmethod
    def read(cls, config: Path | None = None, env: Mapping[str, str] | None = None) -> Sources:
        """Read the environment, and the file named by ``config``, by ``IG3_CONFIG``, or ``ig3.toml`` if it is there.

        Raises:
            SettingsError: if a file that was named is missing, or a file is no TOML.
        """
        # The only place of the program that reads the environment for settings.
        everything = os.environ if env is None else env
        variables = {name: text for name, text in everything.items() if name.startswith(VARIABLE_PREFIX)}
        named = config or _path_from(variables)
        file = named or (DEFAULT_FILE if DEFAULT_FILE.is_file() else None)
        return cls(env=variables, file=file, tables=_read_toml(file) if file else {})


def installed_sections() -> Sections:
    """Load the sections that the installed packages registered (entry points ``ig3.settings``), sorted by name."""
    points = sorted(metadata.entry_points(group="ig3.settings"), key=lambda point: point.name)
    return {point.name: cast("type[Struct]", point.load()) for point in points}


def check_names(sources: Sources, sections: Sections) -> None:
    """Refuse what nobody would read: a misspelt variable or key must not be silently ignored.

    Raises:
        SettingsError: naming the nearest name that exists.
    """
    fields = [field for name, section in sections.items() for field in fields_of(section, name)]
    _check_variables(sources.env, fields)
    for table, content in sources.tables.items():
        _check_known("[{}]", table, sections, f"in {sources.file}")
        keys = [field.key for field in fields if field.section == table]
        for key in content:
            _check_known("{}", key, keys, f"in {sources.file} [{table}]")


def _check_variables(env: Mapping[str, str], fields: Iterable[SettingField]) -> None:
    known = {field.variable for field in fields} | _RESERVED
    for name in env:
        if not name.startswith(_RESERVED_PREFIX):
            _check_known("{}", name, known, "in the environment")


def _check_known(shape: str, name: str, known: Iterable[str], where: str) -> None:
    names = list(known)
    if name in names:
        return
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
    hint = f"did you mean {shape.format(nearest[0])}?" if nearest else "there are no settings here"
    raise SettingsError(f"unknown setting {shape.format(name)} {where}: {hint} `ig3 config show` lists all")


def _path_from(variables: Mapping[str, str]) -> Path | None:
    text = variables.get(CONFIG_VARIABLE, "")
    return Path(text).expanduser() if text else None


def _read_toml(path: Path) -> Mapping[str, Mapping[str, object]]:
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read the settings file {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"the settings file {path} is not TOML: {error}") from error
    for name, table in content.items():
        if not isinstance(table, dict):
            raise SettingsError(f"{path}: {name} stands outside of a section: put it below [mesh], [gateway] or [node]")
    return cast("Mapping[str, Mapping[str, object]]", content)
