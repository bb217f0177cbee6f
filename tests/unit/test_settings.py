"""Settings: precedence, origins, what is refused, and what flags and tables are made of them."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from mesh.config.fields import fields_of, show_value
from mesh.config.options import only, settings_options
from mesh.config.quantities import format_duration, parse_duration, parse_size
from mesh.config.settings import MeshSettings, Resolved, resolve
from mesh.config.sources import Sources, check_names, installed_sections
from mesh.errors import SettingsError


class Oven(Struct, frozen=True, kw_only=True):
    """How to bake."""

    heat: Annotated[int, Meta(ge=50, le=300, description="Degrees.")] = 180
    rest: Annotated[timedelta, Meta(description="How long the dough rests.")] = timedelta(hours=1)
    mode: Annotated[Literal["fan", "top"], Meta(description="Where heat comes from.")] = "fan"
    light: Annotated[bool, Meta(description="Whether one can look inside.")] = True
    recipe: Annotated[Path | None, Meta(description="What to bake.")] = None
    toppings: Annotated[tuple[str, ...], Meta(description="What goes on top.")] = ()
    weight: Annotated[int | None, Meta(description="Of the dough.", extra={"unit": "bytes"})] = None
    pin: Annotated[str | None, Meta(description="The child lock.", extra={"secret": True})] = None
    salt: Annotated[float, Meta(description="In grams.")] = 1.5


class Shop(Struct, frozen=True, kw_only=True):
    """A section with a setting that has no default."""

    owner: Annotated[str, Meta(description="Whose it is.")]


def from_env(**env: str) -> Resolved[Oven]:
    return resolve(Oven, "oven", flags={}, sources=Sources.read(env=env))


def from_file(toml: str, folder: Path) -> Resolved[Oven]:
    (folder / "oven.toml").write_text(toml)
    return resolve(Oven, "oven", flags={}, sources=Sources.read(folder / "oven.toml", {}))


def test_a_flag_wins_over_a_variable_a_variable_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    file = tmp_path / "oven.toml"
    file.write_text("[oven]\nheat = 100\nmode = 'top'\nlight = false")
    sources = Sources.read(file, {"IG3_HEAT": "110", "IG3_MODE": "fan"})
    found = resolve(Oven, "oven", flags={"heat": "120", "rest": None}, sources=sources)
    assert (found.value.heat, found.value.mode, found.value.light, found.value.rest) == (
        120,
        "fan",
        False,
        timedelta(hours=1),
    )
    assert {key: found.origins[key] for key in ("heat", "mode", "light", "rest")} == {
        "heat": "flag --heat",
        "mode": "IG3_MODE",
        "light": f"{file} [oven]",
        "rest": "default",
    }


def test_an_empty_variable_counts_as_not_given() -> None:
    assert from_env(IG3_HEAT="").origins["heat"] == "default"


@pytest.mark.parametrize(
    ("variable", "text", "key", "value"),
    [
        ("IG3_REST", "1h30m", "rest", timedelta(minutes=90)),
        ("IG3_LIGHT", "off", "light", False),
        ("IG3_LIGHT", "YES", "light", True),
        ("IG3_RECIPE", "~/bread", "recipe", Path("~/bread").expanduser()),
        ("IG3_TOPPINGS", "seeds, salt", "toppings", ("seeds", "salt")),
        ("IG3_WEIGHT", "2KiB", "weight", 2048),
        ("IG3_WEIGHT", "none", "weight", None),
        ("IG3_SALT", "2.5", "salt", 2.5),
    ],
)
def test_text_becomes_the_declared_type(variable: str, text: str, key: str, value: object) -> None:
    assert getattr(from_env(**{variable: text}).value, key) == value


def test_the_file_may_use_tomls_own_types(tmp_path: Path) -> None:
    found = from_file("[oven]\ntoppings = ['seeds']\nsalt = 2\nweight = '1KB'\nrest = '5m'", tmp_path).value
    assert (found.toppings, found.salt, found.weight, found.rest) == (("seeds",), 2.0, 1000, timedelta(minutes=5))


@pytest.mark.parametrize(
    ("variable", "text", "remedy"),
    [
        ("IG3_HEAT", "hot", "whole number"),
        ("IG3_HEAT", "301", "<= 300"),
        ("IG3_REST", "5", "500ms, 5s, 2m or 24h"),
        ("IG3_MODE", "bottom", "fan, top"),
        ("IG3_LIGHT", "maybe", "true or false"),
        ("IG3_WEIGHT", "2 stone", "512MiB"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_with_its_origin_and_a_remedy(
    variable: str, text: str, remedy: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        from_env(**{variable: text})
    assert variable in str(refused.value)
    assert remedy in str(refused.value)


def test_a_bare_number_in_the_file_is_no_duration(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="unit"):
        from_file("[oven]\nrest = 5", tmp_path)


def test_a_setting_without_default_must_be_given() -> None:
    with pytest.raises(SettingsError, match="--owner or IG3_OWNER"):
        resolve(Shop, "shop", flags={}, sources=Sources.read(env={}))


def test_the_refusal_of_a_secret_does_not_show_it() -> None:
    class Vault(Struct, frozen=True, kw_only=True):
        code: Annotated[int, Meta(extra={"secret": True})] = 0

    with pytest.raises(SettingsError) as refused:
        resolve(Vault, "vault", flags={}, sources=Sources.read(env={"IG3_CODE": "sesame"}))
    assert "sesame" not in str(refused.value)


def test_a_secret_is_shown_as_stars() -> None:
    pin = next(field for field in fields_of(Oven, "oven") if field.key == "pin")
    assert show_value(pin, "1234") == "****"


def test_what_is_shown_can_be_given_again() -> None:
    value = from_env(IG3_REST="90s", IG3_TOPPINGS="a,b", IG3_WEIGHT="none", IG3_LIGHT="no").value
    shown = {field.variable: show_value(field, getattr(value, field.key)) for field in fields_of(Oven, "oven")}
    assert from_env(**{name: text for name, text in shown.items() if text}).value == value


@pytest.mark.parametrize(
    ("toml", "env", "named"),
    [
        ("", {"IG3_HAET": "1"}, "did you mean IG3_HEAT"),
        ("[oven]\nhaet = 1", {}, "did you mean heat"),
        ("[ofen]\nheat = 1", {}, "did you mean [oven]"),
        ("heat = 1", {}, "outside of a section"),
        ("[oven", {}, "not TOML"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_one_that_exists(
    tmp_path: Path, toml: str, env: dict[str, str], named: str
) -> None:
    config = tmp_path / "ig3.toml"
    config.write_text(toml)
    with pytest.raises(SettingsError) as refused:
        check_names(Sources.read(config, env), {"oven": Oven})
    assert named in str(refused.value)


def test_what_a_sourced_nats_env_sets_is_no_unknown_setting() -> None:
    check_names(Sources.read(env={"IG3_BROKER_PORT": "1", "IG3_CONFIG": "", "OTHER": "x"}), {"oven": Oven})


def test_a_settings_file_that_was_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot read"):
        Sources.read(env={"IG3_CONFIG": str(tmp_path / "none.toml")})


def test_the_file_in_the_current_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ig3.toml").write_text("[oven]\nheat = 60")
    assert resolve(Oven, "oven", flags={}, sources=Sources.read(env={})).origins["heat"] == "ig3.toml [oven]"


def test_no_two_installed_sections_share_a_variable() -> None:
    variables = [field.variable for name, one in installed_sections().items() for field in fields_of(one, name)]
    assert len(variables) == len(set(variables))


def test_every_installed_setting_says_what_it_means() -> None:
    silent = [
        f"{name}.{field.key}"
        for name, section in installed_sections().items()
        for field in fields_of(section, name)
        if not field.description.endswith(".")
    ]
    assert silent == []


@pytest.mark.parametrize("nats", ["somewhere", "host:99999", "http://host:1", ",", "::1:4222", "host:1/x"])
def test_an_address_that_is_none_is_refused(nats: str) -> None:
    with pytest.raises(SettingsError):
        MeshSettings(nats=nats)


@pytest.mark.parametrize("setting", ["nats", "otlp_endpoint"])
def test_a_password_in_a_url_that_everybody_may_see_is_refused_and_not_shown(setting: str) -> None:
    with pytest.raises(SettingsError, match=r"OTLP_HEADERS|is not an address") as refused:
        resolve(MeshSettings, "mesh", flags={setting: "nats://me:hunter2@host:1"}, sources=Sources.read(env={}))
    assert "hunter2" not in str(refused.value)


def test_several_servers_can_be_connected_to_but_not_listened_on() -> None:
    settings = MeshSettings(nats="a:1, b:2,nats://[::1]:3")
    assert settings.nats_urls == ("nats://a:1", "nats://b:2", "nats://[::1]:3")
    with pytest.raises(SettingsError, match="one HOST:PORT"):
        _ = settings.listen


@pytest.mark.parametrize(
    "settings",
    [
        MeshSettings(nats="a:1,tls://b:2"),
        MeshSettings(nats="a:1,nats://b:2", nats_ca=Path("ca.pem")),
        MeshSettings(nats="a:1,b:2", nats_name="mesh.example.org"),
        MeshSettings(nats="a:1,b:2", nats_tls_cert=Path("cert.pem"), nats_tls_key=Path("key.pem")),
        MeshSettings(nats="a:1,b:2", nats_client_cert=Path("cert.pem"), nats_client_key=Path("key.pem")),
    ],
    ids=["a URL", "an authority", "a name", "a certificate of the broker", "a certificate of ours"],
)
def test_whatever_asks_for_tls_asks_for_it_at_every_server(settings: MeshSettings) -> None:
    assert settings.nats_urls == ("tls://a:1", "tls://b:2")


@pytest.mark.parametrize(
    ("flags", "wrong"),
    [
        ({"nats_tls_cert": "c"}, "nats_tls_cert and nats_tls_key are needed together"),
        ({"nats_tls_key": "k"}, "nats_tls_cert and nats_tls_key are needed together"),
        ({"nats_client_key": "k"}, "nats_client_cert and nats_client_key are needed together"),
        ({"nats_tls_ca": "c"}, "give nats_tls_cert"),
    ],
)
def test_half_of_what_tls_needs_is_refused(flags: dict[str, str], wrong: str) -> None:
    with pytest.raises(SettingsError, match=wrong):
        resolve(MeshSettings, "mesh", flags=flags, sources=Sources.read(env={}))


def test_a_broker_over_tls_needs_a_certificate() -> None:
    with pytest.raises(SettingsError, match="nats_tls_cert"):
        _ = MeshSettings(nats="tls://127.0.0.1:0").broker


def test_an_account_that_cannot_stand_in_a_subject_is_refused() -> None:
    with pytest.raises(SettingsError, match="account"):
        resolve(MeshSettings, "mesh", flags={"account": "a.b"}, sources=Sources.read(env={}))


@given(st.timedeltas(min_value=timedelta(), max_value=timedelta(days=4000)))
def test_a_duration_reads_back_as_it_was_written(value: timedelta) -> None:
    whole = timedelta(milliseconds=value // timedelta(milliseconds=1))
    assert parse_duration(format_duration(whole)) == whole


@pytest.mark.parametrize("text", ["", "5", "s", "5 m", "5x", "-5s", "5s junk"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@pytest.mark.parametrize(("text", "size"), [("7", 7), ("1kb", 1000), ("1.5 MiB", 1572864), ("2TB", 2 * 10**12)])
def test_sizes_have_their_units(text: str, size: int) -> None:
    assert parse_size(text) == size


def run_command(command: Callable[..., None], *arguments: str) -> str:
    return CliRunner().invoke(click.command()(command), arguments, catch_exceptions=False).output


def test_a_command_gets_its_sections_and_the_flags_that_were_given() -> None:
    @settings_options("given", oven=Oven, mesh=only(MeshSettings, "nats"))
    def bake(oven: Oven, mesh: MeshSettings, given: dict[str, str]) -> None:
        click.echo(f"{oven.heat} {oven.light} {mesh.nats} {sorted(given.items())}")

    output = run_command(bake, "--heat", "99", "--no-light", "--nats", "h:1")
    assert output == "99 False h:1 [('IG3_HEAT', '99'), ('IG3_LIGHT', 'false'), ('IG3_NATS', 'h:1')]\n"


def test_a_flag_of_a_list_may_be_given_several_times_or_once_with_commas() -> None:
    @settings_options("given", oven=only(Oven, "toppings"))
    def bake(oven: Oven, given: dict[str, str]) -> None:
        click.echo(f"{oven.toppings} {given}")

    command = click.command()(bake)
    ways = ("--toppings", "a", "--toppings", "b"), ("--toppings", "a,b"), ()
    outputs = [CliRunner().invoke(command, way, catch_exceptions=False).output for way in ways]
    assert outputs == ["('a', 'b') {'IG3_TOPPINGS': 'a,b'}\n"] * 2 + ["() {}\n"]


def test_the_help_of_a_flag_says_its_variable_and_default() -> None:
    @settings_options(oven=only(Oven, "rest", "recipe"))
    def bake(oven: Oven) -> None:
        """Bake."""

    text = " ".join(run_command(bake, "--help").split())
    assert "--rest DURATION How long the dough rests. [IG3_REST; default 1h]" in text
    assert "--recipe PATH What to bake. [IG3_RECIPE]" in text
    assert "--heat" not in text


def test_a_secret_has_no_flag_that_everybody_on_the_machine_could_read() -> None:
    @settings_options(oven=Oven)
    def bake(oven: Oven) -> None:
        click.echo(oven.pin)

    assert "--pin" not in run_command(bake, "--help")
