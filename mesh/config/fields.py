"""A settings section taken apart: each field with its flag, its variable, its help and how to read its value.

A section is a frozen msgspec Struct. One declaration gives the flag, the variable, the TOML key, the help text, the row
of ``ig3 config show`` and the row of the documentation::

    http: Annotated[str, Meta(description="Where HTTP is served.", examples=["HOST:PORT"])] = "127.0.0.1:8080"

``extra={"secret": True}`` hides the value wherever settings are shown; ``extra={"unit": "bytes"}`` reads ``10GB``.
"""

from __future__ import annotations

import types
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final, Literal, Union, cast, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, Meta, Struct

from mesh.config.quantities import format_duration, parse_duration, parse_size
from mesh.errors import SettingsError
from mesh.redaction import HIDDEN

VARIABLE_PREFIX: Final = "IG3_"

_YES: Final = frozenset({"true", "yes", "on", "1"})
_NO: Final = frozenset({"false", "no", "off", "0"})
_NOTHING: Final = frozenset({"none", "off"})


class SettingField(Struct, frozen=True, kw_only=True):
    """One setting, as every way to give it and to show it needs it."""

    section: str
    key: str
    type: object
    """The annotation as written, constraints included: what values are checked against."""
    kind: object
    """The plain type within it, without constraints and ``None``."""
    optional: bool
    default: object
    """``msgspec.NODEFAULT`` where a value must be given."""
    description: str
    metavar: str
    choices: tuple[str, ...]
    secret: bool
    in_bytes: bool

    @property
    def flag(self) -> str:
        """How it is given on the command line: ``--data-dir``."""
        return "--" + self.key.replace("_", "-")

    @property
    def variable(self) -> str:
        """How it is given in the environment: ``IG3_DATA_DIR``."""
        return VARIABLE_PREFIX + self.key.upper()


def fields_of(section: type[Struct], name: str) -> tuple[SettingField, ...]:
    """Take a section apart, in the order in which it declares its fields."""
    return tuple(_field(name, info) for info in msgspec.structs.fields(section))


def read_value(field: SettingField, raw: object, origin: str) -> object:
    """Turn what a person wrote, or what TOML holds, into a checked value.

    Raises:
        SettingsError: naming the origin, the key and what is wrong.
    """
    try:
        value = _read_text(field, raw) if isinstance(raw, str) else _read_typed(field, raw)
        return msgspec.convert(value, field.type, dec_hook=_as_path)
    except (msgspec.ValidationError, ValueError) as error:
        shown = HIDDEN if field.secret else repr(raw)
        raise SettingsError(f"{field.key} = {shown} (from {origin}) cannot be used: {error}") from error


def show_value(field: SettingField, value: object) -> str:
    """Write a value as a person would give it; secrets stay hidden."""
    if field.secret and value is not None:
        return HIDDEN
    match value:
        case None:
            return "none"
        case bool():
            return "true" if value else "false"
        case timedelta():
            return format_duration(value)
        case tuple():
            return ",".join(str(item) for item in cast("tuple[object, ...]", value))
        case _:
            return str(value)


def _field(section: str, info: msgspec.structs.FieldInfo) -> SettingField:
    inner, meta = _unwrap(info.type)
    kind, optional = _without_none(inner)
    kind, inner_meta = _unwrap(kind)
    notes = {**_notes(meta), **_notes(inner_meta)}
    choices = tuple(str(choice) for choice in get_args(kind)) if get_origin(kind) is Literal else ()
    return SettingField(
        section=section,
        key=info.name,
        type=info.type,
        kind=kind,
        optional=optional,
        default=info.default if info.default_factory is NODEFAULT else info.default_factory(),
        description=_first(meta, inner_meta, "description"),
        metavar=_metavar(meta, kind, choices, in_bytes=notes.get("unit") == "bytes"),
        choices=choices,
        secret=bool(notes.get("secret")),
        in_bytes=notes.get("unit") == "bytes",
    )


def _unwrap(annotation: object) -> tuple[object, Meta | None]:
    if get_origin(annotation) is not Annotated:
        return annotation, None
    inner, *metas = get_args(annotation)
    return inner, next((meta for meta in metas if isinstance(meta, Meta)), None)


def _without_none(annotation: object) -> tuple[object, bool]:
    if get_origin(annotation) not in {Union, types.UnionType}:
        return annotation, False
    others = [part for part in get_args(annotation) if part is not types.NoneType]
    return others[0], len(others) < len(get_args(annotation))


def _notes(meta: Meta | None) -> dict[str, object]:
    return {**meta.extra} if meta is not None and meta.extra else {}


def _first(meta: Meta | None, inner: Meta | None, attribute: str) -> str:
    for one in (meta, inner):
        if one is not None and getattr(one, attribute):
            return str(getattr(one, attribute))
    return ""


def _metavar(meta: Meta | None, kind: object, choices: tuple[str, ...], *, in_bytes: bool) -> str:
    if choices:
        return "|".join(choices)
    if meta is not None and meta.examples:
        return str(meta.examples[0])
    if in_bytes:
        return "SIZE"
    names = {timedelta: "DURATION", Path: "PATH", int: "N", float: "NUMBER", bool: "true|false"}
    return names.get(cast("type", kind), "TEXT")


def _read_text(field: SettingField, text: str) -> object:
    if field.optional and text.lower() in _NOTHING:
        return None
    if field.in_bytes:
        return parse_size(text)
    if field.kind is timedelta:
        return parse_duration(text)
    if field.kind is bool:
        return _read_bool(text)
    if field.choices and text not in field.choices:
        raise ValueError(f"write one of {', '.join(field.choices)}")
    if field.kind is Path:
        return Path(text).expanduser()
    if get_origin(field.kind) is tuple:
        parts = [part.strip() for part in text.split(",") if part.strip()]
        return msgspec.convert(parts, cast("type[object]", field.kind), strict=False)
    return _read_number(field.kind, text)


def _read_number(kind: object, text: str) -> object:
    try:
        if kind is int:
            return int(text)
        return float(text) if kind is float else text
    except ValueError:
        raise ValueError("write a whole number" if kind is int else "write a number") from None


def _read_bool(text: str) -> bool:
    if text.lower() not in _YES | _NO:
        raise ValueError("write true or false")
    return text.lower() in _YES


def _read_typed(field: SettingField, raw: object) -> object:
    if field.kind is timedelta and not isinstance(raw, timedelta):
        raise ValueError("a duration is a text with its unit, like '5s'")
    return raw


def _as_path(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    raise ValueError(f"expected {kind.__name__}")
