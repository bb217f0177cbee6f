"""Edge sites as values and as files: names, copies, rights, and credentials that are made once and shown to nobody."""

import stat
from datetime import timedelta
from pathlib import Path

import pytest

from mesh.broker.leaf import Uplink, with_uplink
from mesh.broker.nkey import public_key_of
from mesh.config.address import Address
from mesh.config.settings import MeshSettings
from mesh.errors import BrokerFailed, CredentialsError, SettingsError, SiteError
from mesh.sites.plan import broker_options, streams_here
from mesh.sites.records import Join, add_site, join_hub, joined, remove_site, site_records
from mesh.sites.settings import SiteSettings
from streams.channels import CHANNELS
from streams.errors import InvalidToken
from streams.sites import MESH_SUBJECTS, hub_streams, link_rights, site_name, subject_at_home
from streams.tokens import Token
from streams.topology import Retention, stream_specs

BERLIN = Token("berlin")


@pytest.fixture
def join_file(tmp_path: Path) -> Path:
    path = tmp_path / "berlin.join"
    add_site(tmp_path / "hub", "berlin", results_streams=4, join_file=path)
    return path


@pytest.mark.parametrize("name", ["", "-x", "Berlin", "a.b", "a_b", "*", ">", "a b", "ü", "x" * 33])
def test_what_cannot_name_a_site(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidToken):
        site_name(name)
    with pytest.raises(SiteError):
        add_site(tmp_path, name, results_streams=4, join_file=tmp_path / "file")
    assert not (tmp_path / "file").exists()


def test_the_hub_copies_what_was_asked_what_happened_and_how_it_ended() -> None:
    kept = Retention(content=timedelta(hours=3), ends=timedelta(days=2))
    copies = {spec.name: spec for spec in hub_streams(BERLIN, results_streams=2, retention=kept, replicas=3)}
    assert set(copies) == {f"SITE_berlin_{family}" for family in ("TASKS", "RESULTS", "ENDED", "DEAD")}
    assert [source.stream for source in copies["SITE_berlin_RESULTS"].sources] == ["RESULTS_0", "RESULTS_1"]
    assert copies["SITE_berlin_ENDED"].account == "CORE"
    assert copies["SITE_berlin_ENDED"].max_age == kept.ends
    assert copies["SITE_berlin_TASKS"].max_age == kept.content
    for copy in copies.values():
        assert (copy.subjects, copy.replicas, copy.one_per_subject) == ((), 3, False)
        assert all(pattern.startswith("site.berlin.") for pattern in copy.held)


@pytest.mark.parametrize("count", [1, 4, 16])
def test_each_source_can_be_reached_on_the_link_of_its_account_only(count: int) -> None:
    for copy in hub_streams(BERLIN, results_streams=count):
        for source in copy.sources:
            asked = f"$JS.site-berlin.API.CONSUMER.CREATE.{source.stream}.>"
            for account in ("EDGE", "CORE"):
                rights = link_rights(BERLIN, account, results_streams=count)
                assert (asked in rights.subscribe) is (account == copy.account)
                assert f"{source.deliver}.>" in rights.publish


def test_two_sites_share_no_stream_no_subject_and_no_consumer() -> None:
    names = [Token("a"), Token("a-b")]
    seen = [
        {spec.name for spec in hub_streams(name, results_streams=4)}
        | {subject for spec in hub_streams(name, results_streams=4) for subject in spec.held}
        | {source.deliver for spec in hub_streams(name, results_streams=4) for source in spec.sources}
        for name in names
    ]
    assert seen[0].isdisjoint(seen[1])


def test_all_that_a_mesh_says_within_itself_is_denied_on_links() -> None:
    said = {channel.address.partition(".")[0] for channel in CHANNELS}
    stored = {subject.partition(".")[0] for spec in stream_specs() for subject in spec.subjects}
    assert {f"{root}.>" for root in said | stored} <= set(MESH_SUBJECTS)


def test_a_copy_is_read_like_the_event_it_was_made_of() -> None:
    assert subject_at_home("site.berlin.results.a.local.t.n1") == "results.a.local.t.n1"
    assert subject_at_home("results.a.local.t.n1") == "results.a.local.t.n1"


def test_the_hub_keeps_public_keys_and_the_join_file_the_seeds(tmp_path: Path, join_file: Path) -> None:
    (record,) = site_records(tmp_path / "hub")
    join = join_hub(tmp_path / "site", join_file)
    assert (record.edge_key, record.core_key) == (public_key_of(join.edge_seed), public_key_of(join.core_seed))
    kept = (tmp_path / "hub" / "sites" / "berlin.json").read_text()
    assert join.edge_seed not in kept
    assert join.core_seed not in kept
    assert joined(tmp_path / "site") == join
    for path in (join_file, tmp_path / "site" / "credentials" / "site.json"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_no_seed_is_shown(tmp_path: Path, join_file: Path) -> None:
    join = join_hub(tmp_path / "site", join_file)
    options = broker_options(MeshSettings(data_dir=tmp_path / "site"), SiteSettings(leaf="hub.example:7422"))
    assert options.uplink is not None
    conf = "#@ domain\n"
    for seed in (join.edge_seed, join.core_seed):
        assert seed not in repr(join) + repr(options) + with_uplink(conf, options.uplink)


def test_joining_twice_is_the_same_and_two_hubs_are_refused(tmp_path: Path, join_file: Path) -> None:
    first = join_hub(tmp_path / "site", join_file)
    assert join_hub(tmp_path / "site", join_file) == first
    other = tmp_path / "rome.join"
    add_site(tmp_path / "hub", "rome", results_streams=4, join_file=other)
    with pytest.raises(SiteError, match="is the site berlin already"):
        join_hub(tmp_path / "site", other)
    assert joined(tmp_path / "site") == first


def test_a_site_is_made_once_and_its_file_overwrites_nothing(tmp_path: Path, join_file: Path) -> None:
    with pytest.raises(SiteError, match="there is a site berlin"):
        add_site(tmp_path / "hub", "berlin", results_streams=4, join_file=tmp_path / "again")
    before = join_file.read_bytes()
    with pytest.raises(CredentialsError, match=r"berlin\.join"):
        add_site(tmp_path / "hub", "rome", results_streams=4, join_file=join_file)
    assert join_file.read_bytes() == before
    assert [record.site for record in site_records(tmp_path / "hub")] == ["berlin"]


def test_a_site_that_is_removed_can_be_made_again_with_other_keys(tmp_path: Path, join_file: Path) -> None:
    del join_file
    (before,) = site_records(tmp_path / "hub")
    remove_site(tmp_path / "hub", "berlin")
    assert site_records(tmp_path / "hub") == ()
    with pytest.raises(SiteError, match="no site berlin"):
        remove_site(tmp_path / "hub", "berlin")
    after = add_site(tmp_path / "hub", "berlin", results_streams=4, join_file=tmp_path / "new")
    assert {after.edge_key, after.core_key}.isdisjoint({before.edge_key, before.core_key})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged"),
        (b"{}", "damaged"),
        (b'{"site":"a","results_streams":99,"edge_seed":"x","core_seed":"x"}', "damaged"),
        (b'{"site":"../a","results_streams":4,"edge_seed":"x","core_seed":"x"}', "no name for a site"),
        (b'{"site":"a","results_streams":4,"edge_seed":"SU","core_seed":"SU"}', "damaged"),
    ],
)
def test_what_is_no_join_file(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "file"
    path.touch(mode=0o600)
    path.write_bytes(content)
    with pytest.raises(SiteError, match=message):
        join_hub(tmp_path / "site", path)
    assert joined(tmp_path / "site") is None


def test_a_join_file_that_others_can_read_is_refused(tmp_path: Path, join_file: Path) -> None:
    join_file.chmod(0o644)
    with pytest.raises(CredentialsError, match="chmod 600"):
        join_hub(tmp_path / "site", join_file)


def test_a_link_needs_credentials(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="ig3 sites join"):
        broker_options(MeshSettings(data_dir=tmp_path), SiteSettings(leaf="hub.example:7422"))


def test_a_mesh_that_joined_is_a_site_also_if_not_told_where_its_hub_is(tmp_path: Path, join_file: Path) -> None:
    join_hub(tmp_path / "site", join_file)
    options = broker_options(MeshSettings(data_dir=tmp_path / "site"), SiteSettings())
    assert options.uplink is not None
    assert (options.uplink.domain, options.uplink.hubs, options.name) == ("site-berlin", (), "ig3-berlin")
    assert "leafnodes" not in with_uplink("#@ domain\n", options.uplink)


def test_a_site_is_no_hub(tmp_path: Path, join_file: Path) -> None:
    join_hub(tmp_path / "site", join_file)
    with pytest.raises(SettingsError, match="cannot be a hub as well"):
        broker_options(MeshSettings(data_dir=tmp_path / "site"), SiteSettings(leaf_listen="127.0.0.1:7422"))


def test_a_site_must_spread_its_answers_as_its_hub_expects(tmp_path: Path, join_file: Path) -> None:
    join_hub(tmp_path / "site", join_file)
    with pytest.raises(SiteError, match="results_streams = 4"):
        broker_options(MeshSettings(data_dir=tmp_path / "site", results_streams=8), SiteSettings())


def test_nothing_is_added_where_there_are_no_sites(tmp_path: Path) -> None:
    mesh = MeshSettings(data_dir=tmp_path)
    options = broker_options(mesh, SiteSettings())
    assert (options.hub, options.uplink, options.name) == (None, None, "ig3")
    assert streams_here(mesh) == mesh.streams


def test_a_damaged_record_is_named(tmp_path: Path, join_file: Path) -> None:
    del join_file
    (tmp_path / "hub" / "sites" / "berlin.json").write_text("{")
    with pytest.raises(SiteError, match=r"berlin\.json is damaged"):
        site_records(tmp_path / "hub")


def test_a_configuration_without_its_marks_is_not_used() -> None:
    seeds = {"EDGE": "x", "CORE": "x"}
    with pytest.raises(BrokerFailed, match="#@ domain"):
        with_uplink("port: 1\n", Uplink(domain="site-x", hubs=(Address("h", 1),), seeds=seeds))  # type: ignore[arg-type]  # plain strings


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"leaf": "hub"}, "HOST:PORT"),
        ({"leaf_listen": "7422"}, "HOST:PORT"),
        ({"leaf_listen": "127.0.0.1:0"}, "port"),
        ({"leaf": "h:1", "leaf_listen": "h:2"}, "cannot be a hub as well"),
        ({"leaf_cert": Path("c")}, "together"),
        ({"leaf_key": Path("k")}, "together"),
        ({"leaf_listen": "h:2", "leaf_ca": Path("a")}, "leaf_cert"),
    ],
)
def test_links_that_cannot_be(given: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SiteSettings(**given)  # type: ignore[arg-type]  # that is what is tested


def test_a_join_says_its_site_only() -> None:
    assert repr(Join(site=BERLIN, results_streams=4, edge_seed="SUA", core_seed="SUB")) == "Join(site='berlin')"
