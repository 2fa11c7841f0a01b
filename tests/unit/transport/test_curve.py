from __future__ import annotations

import base64
import os
import stat
from pathlib import Path

import pytest
import zmq
from zmq.utils import z85

from mesh.errors import InvalidSetting, MachineError, StateDamaged, StateNotOurs
from mesh.transport.curve import FleetSecret, KeyPair, hkdf_sha256


# RFC 5869, appendix A: the three cases with SHA-256.
@pytest.mark.parametrize(
    ("material", "salt", "info", "length", "output"),
    [
        (
            "0b" * 22,
            "000102030405060708090a0b0c",
            "f0f1f2f3f4f5f6f7f8f9",
            42,
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (
            bytes(range(0x50)).hex(),
            bytes(range(0x60, 0xB0)).hex(),
            bytes(range(0xB0, 0x100)).hex(),
            82,
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
            "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
        ),
        ("0b" * 22, "", "", 42, "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"),
    ],
)
def test_hkdf_gives_the_values_of_rfc_5869(material: str, salt: str, info: str, length: int, output: str) -> None:
    assert hkdf_sha256(bytes.fromhex(material), bytes.fromhex(salt), bytes.fromhex(info), length).hex() == output


@pytest.mark.parametrize("length", [0, 8161])
def test_hkdf_refuses_lengths_that_the_rfc_does_not_define(length: int) -> None:
    with pytest.raises(ValueError, match="8160"):
        hkdf_sha256(b"material", b"", b"", length)


def test_a_made_secret_has_160_bits_and_differs_each_time() -> None:
    one, two = FleetSecret.make(), FleetSecret.make()
    assert one != two
    assert len(base64.b32decode(one.text.upper())) * 8 == 160
    assert FleetSecret.parse(f"  {one.text}\n") == one


@pytest.mark.parametrize("text", ["", "secret", "0123456789abcdef0123456789abcde", "a" * 64, "abcdefghijklmnopqrstuvwxy", "Tr0ub4dor&3"])
def test_a_secret_that_can_not_hold_128_bits_is_refused(text: str) -> None:
    with pytest.raises(InvalidSetting, match="128 random bits"):
        FleetSecret.parse(text)


def test_all_that_follows_from_a_secret_is_fixed_for_ever() -> None:
    secret = FleetSecret.parse("0123456789abcdef0123456789abcdef")
    assert secret.mesh_id() == "ibsawvey4w2sag37"
    assert secret.lobby().public.hex() == "130085575805bee080e193d60875944c13c5928ae9ee7b184478ab252098e157"
    assert secret.mdns_tag_key().hex() == "05cd37caf1ff3ffb85f611119d822e3899811bd589c38c92fd617796c79ca83a"
    assert secret.lobby() == KeyPair.from_secret(secret.lobby().secret)


def test_no_secret_shows_in_a_repr() -> None:
    secret, keys = FleetSecret.make(), KeyPair.make()
    assert secret.text not in repr(secret)
    assert repr(keys.secret) not in repr(keys)


def test_any_32_bytes_are_a_secret_key_whose_public_half_libzmq_agrees_on() -> None:
    for secret in (bytes(32), b"\xff" * 32, os.urandom(32)):
        keys = KeyPair.from_secret(secret)
        assert z85.encode(keys.public) == zmq.curve_public(z85.encode(secret))
    with pytest.raises(ValueError, match="32 bytes"):
        KeyPair.from_secret(b"short")


def test_a_key_file_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "node.key"
    keys = KeyPair.load_or_make(path)
    assert KeyPair.load_or_make(path) == keys
    assert [entry.name for entry in tmp_path.iterdir()] == ["node.key"]
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
def test_a_key_file_that_others_may_read_is_refused_with_the_command_that_mends_it(tmp_path: Path) -> None:
    path = tmp_path / "node.key"
    KeyPair.load_or_make(path)
    path.chmod(0o640)
    with pytest.raises(StateNotOurs, match=f"chmod 600 {path}"):
        KeyPair.load_or_make(path)


@pytest.mark.parametrize("content", [b"", b"short", b"~" * 40, b"#" * 40, b"0" * 39, b"0" * 45])
def test_a_damaged_key_file_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "node.key"
    path.touch(mode=0o600)
    path.write_bytes(content)
    with pytest.raises(StateDamaged, match=r"node\.key"):
        KeyPair.load_or_make(path)


def test_nothing_starts_where_libzmq_lacks_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zmq, "has", lambda capability: False)
    with pytest.raises(MachineError, match="CURVE"):
        KeyPair.make()
