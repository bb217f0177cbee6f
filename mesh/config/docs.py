"""The page about settings, made from their declarations: ``docs/configuration.md``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import NODEFAULT

from mesh.config.fields import SettingField, fields_of, show_value

if TYPE_CHECKING:
    from mesh.config.sources import Sections

_HEAD: Final = """\
# Configuration

<!-- Made by `ig3 docs config`; edit the declarations in the packages' settings instead. -->

Every setting can be given in four ways. The first of them that is there holds:

1. a flag of the command: `ig3 gateway --http 127.0.0.1:9090`. A setting that may hold a secret has none, since
   everybody on a machine sees the arguments of its processes.
2. a variable: `IG3_HTTP=127.0.0.1:9090`. An empty variable counts as not given.
3. the settings file, TOML: `--config FILE`, or `IG3_CONFIG`, or `ig3.toml` in the current folder if it exists
4. the default

```toml
# ig3.toml
[mesh]
data_dir = "/var/lib/ig3"
retention = "7d"

[gateway]
http = "127.0.0.1:9090"
```

`ig3 config show` prints what holds and where it came from (`--json` for programs). A variable `IG3_...` or a key that
nobody knows is an error, so that a slip of the pen is not silently ignored. Durations are written `500ms`, `5s`, `2m`,
`24h` or `7d`, sizes `512MiB` or `10GB`; `none` empties a setting that may be empty. Relative paths start at the folder
in which `ig3` is started.

`ig3 up` takes the flags that one needs most and passes them on to the processes it starts; all other settings reach
them by variables and by the file. `make up` passes variables on: `make up IG3_HTTP=127.0.0.1:9090`.

Names that are no settings: `IG3_CONFIG` (above), `IG3_READY_FD` (see [processes](processes.md)) and `IG3_BROKER_*`,
which `nats.conf` reads and `ig3 broker` writes to `<data folder>/nats.env`.
"""

_TABLE: Final = "| setting | flag | variable | default | meaning |\n| --- | --- | --- | --- | --- |\n"


def configuration_page(sections: Sections) -> str:
    """Write the page for these sections, as Markdown."""
    parts = [_HEAD]
    for name, section in sections.items():
        summary = (section.__doc__ or "").strip().partition("\n")[0]
        rows = "".join(_row(field) for field in fields_of(section, name))
        parts.append(f"\n## `[{name}]`\n\n{summary}\n\n{_TABLE}{rows}")
    return "".join(parts)


def _row(field: SettingField) -> str:
    default = "required" if field.default is NODEFAULT else f"`{show_value(field, field.default)}`"
    flag = f"{field.flag} {field.metavar}".replace("|", "\\|") if field.kind is not bool else _switch(field)
    shown = "none: it may be secret" if field.secret else f"`{flag}`"
    return f"| `{field.key}` | {shown} | `{field.variable}` | {default} | {field.description} |\n"


def _switch(field: SettingField) -> str:
    return f"{field.flag}, --no-{field.flag.removeprefix('--')}"
