"""Curve25519 keys: a node's own pair, and all that follows from the fleet secret."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import stat
import struct
from dataclasses import dataclass, field
from pathlib import Path

import zmq
from zmq.utils import z85

from mesh.errors import InvalidSetting, MachineError, StateDamaged, StateNotOurs, StateRefused

KEY_BYTES = 32
SECRET_BITS_MIN = 128
_SALT = b"mesh fleet secret, version 1"


def require_curve() -> None:
    """Raises MachineError where libzmq was built without CURVE: there is no unencrypted mode to fall back to."""
    if not zmq.has("curve"):
        raise MachineError("this libzmq has no CURVE encryption; install pyzmq from a wheel, or build libzmq with libsodium")


def hkdf_sha256(material: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """HKDF with SHA-256 (RFC 5869): ``length`` bytes, at most 8160, that reveal nothing of ``material`` nor of each other."""
    if not 0 < length <= 255 * hashlib.sha256().digest_size:
        raise ValueError(f"HKDF-SHA256 yields 1 to 8160 bytes, not {length}")
    extracted = hmac.digest(salt or bytes(hashlib.sha256().digest_size), material, "sha256")
    block = output = b""
    for counter in range(1, 256):
        if len(output) >= length:
            break
        block = hmac.digest(extracted, block + info + bytes([counter]), "sha256")
        output += block
    return output[:length]


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A Curve25519 key pair, both halves as 32 raw bytes. Its ``repr`` shows the public half only."""

    public: bytes
    secret: bytes = field(repr=False)

    @classmethod
    def make(cls) -> KeyPair:
        """A new random pair. Raises MachineError where libzmq lacks CURVE."""
        require_curve()
        public, secret = zmq.curve_keypair()
        return cls(z85.decode(public), z85.decode(secret))

    @classmethod
    def from_secret(cls, secret: bytes) -> KeyPair:
        """The pair of a secret half. Any 32 bytes are one: Curve25519 clamps them itself (RFC 7748, section 5)."""
        if len(secret) != KEY_BYTES:
            raise ValueError(f"a Curve25519 secret key has {KEY_BYTES} bytes, not {len(secret)}")
        require_curve()
        return cls(z85.decode(zmq.curve_public(z85.encode(secret))), secret)

    @classmethod
    def load_or_make(cls, path: Path) -> KeyPair:
        """The pair whose secret half (Z85 text) is kept in ``path``, made with mode 0600 when there is none.

        Two processes that start at once end up with the same pair. Raises StateNotOurs when others may read the file,
        StateDamaged when it holds no key, StateRefused when it can't be read or written.
        """
        try:
            if not path.exists():
                _write_once(path, z85.encode(secrets.token_bytes(KEY_BYTES)) + b"\n")
            status = path.stat()
            text = path.read_bytes().strip()
        except OSError as error:
            raise StateRefused(f"the node's key can't be kept in {path}: {error.strerror}") from error
        if os.name == "posix" and status.st_uid != os.getuid():
            raise StateNotOurs(f"{path} belongs to another user; choose another MESH_HOME")
        if os.name == "posix" and stat.S_IMODE(status.st_mode) & 0o077:
            raise StateNotOurs(f"others may read {path}; mend it with: chmod 600 {path}")
        try:
            return cls.from_secret(z85.decode(text))
        except (ValueError, KeyError, struct.error) as error:
            raise StateDamaged(f"{path} holds no key; remove it to get a new one (the mesh will see a new machine)") from error


def _write_once(path: Path, content: bytes) -> None:
    """Create ``path`` with all of ``content`` or leave the one that is there: a link either succeeds whole or finds a rival's."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return
    finally:
        draft.unlink()


@dataclass(frozen=True, slots=True)
class FleetSecret:
    """The standing invitation of a mesh: who holds its text may become a member. Its ``repr`` does not show it."""

    text: str = field(repr=False)

    @classmethod
    def make(cls) -> FleetSecret:
        """A new one: 160 random bits as 32 characters of lowercase base32, which survive a telephone and a double click."""
        return cls(base64.b32encode(secrets.token_bytes(20)).decode().lower())

    @classmethod
    def parse(cls, text: str) -> FleetSecret:
        """The secret that someone typed or exported; surrounding space does not count.

        Raises InvalidSetting when it can't hold 128 bits: offline guessing of a weaker one would open the mesh.
        """
        text = text.strip()
        if _bits_at_most(text) < SECRET_BITS_MIN:
            raise InvalidSetting(
                "the fleet secret needs at least 128 random bits; print the mesh's own with `mesh secret`, "
                "or make one with: openssl rand -hex 16"
            )
        return cls(text)

    def lobby(self) -> KeyPair:
        """The key pair of the mesh's lobby: completing a handshake with it proves the secret."""
        return KeyPair.from_secret(self._derive(b"lobby curve25519", KEY_BYTES))

    def mesh_id(self) -> str:
        """The id of a mesh founded with this secret: 16 characters of lowercase base32."""
        return base64.b32encode(self._derive(b"mesh id", 10)).decode().lower()

    def mdns_tag_key(self) -> bytes:
        """32 bytes: key of the HMAC by which members recognise each other's announcements."""
        return self._derive(b"mdns tag", 32)

    def _derive(self, info: bytes, length: int) -> bytes:
        return hkdf_sha256(self.text.encode(), _SALT, info, length)


def _bits_at_most(text: str) -> float:
    """An upper bound of the entropy of ``text``, from the alphabet that it uses; repetition counts as no alphabet at all."""
    if len(set(text)) < 8:
        return 0
    if all(character in "0123456789abcdefABCDEF" for character in text):
        return 4 * len(text)
    if text.isalnum() and (text.islower() or text.isupper()):
        return 5 * len(text)
    return 6 * len(text)
