"""Seeds: what a person writes, and what it means."""

import logging

import pytest
from mesh.discovery.base import Candidate
from mesh.discovery.seeds import Seed, parse_seeds, resolve_seeds

from mesh.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("", []),
        (" , ", []),
        ("server", [Seed("server", 7700)]),
        ("server:9", [Seed("server", 9)]),
        ("10.0.0.1:65535", [Seed("10.0.0.1", 65535)]),
        ("[fd00::1]:9", [Seed("fd00::1", 9)]),
        ("[::1]", [Seed("::1", 7700)]),
        ("[fe80::1%eth0]:9", [Seed("fe80::1%eth0", 9)]),
        ("a.example:1,b-2.example  c_3:2", [Seed("a.example", 1), Seed("b-2.example", 7700), Seed("c_3", 2)]),
        ("a, a:7700", [Seed("a", 7700)]),
    ],
)
def test_hosts_with_and_without_ports_separated_by_commas_or_spaces(text, seeds):
    assert parse_seeds(text, 7700) == seeds


@pytest.mark.parametrize(
    "piece",
    [
        *("server:", "server:0", "server:65536", "server:x", "server:-1", "server:٣", f"server:{'9' * 5000}", "tcp:server:9"),
        *("[::1", "[::1]9", "[]:9", "[server]:9", "fd00::1", "::1"),
        *(":7700", "http://server", "a/b:9", "-x", "a" * 300),
    ],
)
def test_a_wrong_piece_is_named(piece):
    with pytest.raises(UsageError) as caught:
        parse_seeds(f"good:1, {piece}", 7700)
    assert repr(piece) in str(caught.value)


def test_ipv6_without_brackets_gets_told_where_they_go():
    with pytest.raises(UsageError, match=r"brackets, as in \[::1\]:7700"):
        parse_seeds("fd00::1", 7700)


def test_addresses_need_no_resolver_and_come_once():
    seeds = parse_seeds("127.0.0.1:9 [::1]:9 127.0.0.1:9", 7700)
    assert resolve_seeds(seeds) == [Candidate("127.0.0.1:9", "seed"), Candidate("[::1]:9", "seed")]


def test_a_name_is_all_its_addresses():
    found = resolve_seeds([Seed("localhost", 9)])
    assert Candidate("127.0.0.1:9", "seed") in found
    assert all(candidate.source == "seed" and not candidate.ours for candidate in found)


def test_a_host_without_address_is_left_out_and_said(caplog):
    with caplog.at_level(logging.WARNING):
        assert resolve_seeds([Seed("no-such-host.invalid", 9), Seed("127.0.0.1", 9)]) == [Candidate("127.0.0.1:9", "seed")]
    assert "no-such-host.invalid" in caplog.text
