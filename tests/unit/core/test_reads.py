"""Entries whose bytes are on the disk only: chunks of large bodies leave the memory, and are read again for who lacks them."""

from __future__ import annotations

import zlib

from mesh.wire.entries import Chunk, Entry
from mesh.wire.messages import Replicate
from tests.unit.core.cluster import Cluster

BODY = b"b" * 16


def chunks(cluster: Cluster, name: str) -> list[Chunk]:
    return [entry for journal in cluster[name].replica.journals.values() for entry in journal.live.values() if type(entry) is Chunk]


def write(cluster: Cluster, name: str, count: int) -> None:
    entries: list[Entry] = [Chunk(BODY, index, b"%d" % index * 100) for index in range(count)]
    cluster.turn(cluster.nodes[name], cluster[name].replica.write_many, entries)
    cluster.calm()


def stored(cluster: Cluster, name: str) -> set[int]:
    return {zlib.crc32(blob) for blob in cluster.nodes[name].disk.entries.values() if len(blob) > 100 and BODY in blob}


def test_a_chunk_is_in_memory_until_it_is_on_the_disk() -> None:
    cluster = Cluster("a")
    cluster.until(cluster.agreed)
    cluster.stall_disk("a")
    write(cluster, "a", 3)
    assert [len(chunk.data) for chunk in chunks(cluster, "a")] == [100] * 3
    cluster.resume_disk("a")
    assert [len(chunk.data) for chunk in chunks(cluster, "a")] == [0] * 3


def test_a_new_deputy_gets_chunks_that_only_the_disk_has_and_others_do_not_wait_for_them() -> None:
    cluster = Cluster("a")
    cluster.until(cluster.agreed)
    write(cluster, "a", 30)
    cluster.start("b")
    cluster.until(cluster.agreed)
    assert stored(cluster, "b") == stored(cluster, "a")
    assert len(stored(cluster, "b")) == 30
    assert all(not chunk.data for name in "ab" for chunk in chunks(cluster, name))
    assert not cluster["a"].replica.reads


def test_a_restarted_node_has_its_chunks_on_the_disk_only() -> None:
    cluster = Cluster("a")
    cluster.until(cluster.agreed)
    write(cluster, "a", 3)
    cluster.crash("a")
    cluster.start("a")
    cluster.until(cluster.agreed)
    assert [len(chunk.data) for chunk in chunks(cluster, "a")] == [0] * 3
    found: list[bytes | None] = []
    cluster.turn(cluster.nodes["a"], cluster["a"].bodies.read, BODY, 1, found.append)
    cluster.calm()
    assert found == [b"1" * 100]


def test_a_chunk_that_is_settled_while_it_is_read_is_not_sent() -> None:
    cluster = Cluster("a")
    cluster.until(cluster.agreed)
    write(cluster, "a", 3)
    machine = cluster["a"]
    (journal, sequence) = machine.bodies.places(BODY)[1]
    found: list[bytes | None] = []

    def read_and_settle() -> None:
        machine.bodies.read(BODY, 1, found.append)
        machine.replica.settle(journal, sequence)

    cluster.stall_disk("a")
    cluster.turn(cluster.nodes["a"], read_and_settle)
    cluster.nodes["a"].disk.entries.pop((journal.name, sequence))
    cluster.resume_disk("a")
    assert found == [None]
    cluster.start("b")
    cluster.until(cluster.agreed)
    assert len(stored(cluster, "b")) == 2
    assert cluster.messages(Replicate)
