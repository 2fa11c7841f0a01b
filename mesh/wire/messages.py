"""Every message of the protocol. docs/protocol.md has each with sender, receiver and meaning.

Tags 1-39 travel between nodes, 40-59 between a node and the programs attached to it, 60-69 through the lobby; 15-26 do both.
Fields and tags are append-only.
"""

from __future__ import annotations

from itertools import pairwise

import msgspec

from mesh.wire.attachment import PROTOCOL_VERSION as PROTOCOL_VERSION
from mesh.wire.attachment import Attach as Attach
from mesh.wire.attachment import Attached as Attached
from mesh.wire.attachment import CancelUpload as CancelUpload
from mesh.wire.attachment import Confirm as Confirm
from mesh.wire.attachment import Detach as Detach
from mesh.wire.attachment import Go as Go
from mesh.wire.attachment import Grant as Grant
from mesh.wire.attachment import Held as Held
from mesh.wire.attachment import Leaving as Leaving
from mesh.wire.attachment import Ping as Ping
from mesh.wire.attachment import Pong as Pong
from mesh.wire.attachment import Refused as Refused
from mesh.wire.attachment import Submit as Submit
from mesh.wire.attachment import Upload as Upload
from mesh.wire.attachment import UploadChunk as UploadChunk
from mesh.wire.calls import Cancel as Cancel
from mesh.wire.calls import States as States
from mesh.wire.consuming import Consume as Consume
from mesh.wire.consuming import Recall as Recall
from mesh.wire.consuming import Take as Take
from mesh.wire.consuming import Taken as Taken
from mesh.wire.entries import Chunks, Entry, Member, Result
from mesh.wire.working import Deliver as Deliver
from mesh.wire.working import Delivery as Delivery
from mesh.wire.working import Offer as Offer
from mesh.wire.working import Outcome as Outcome
from mesh.wire.working import OutcomeKind as OutcomeKind
from mesh.wire.working import Outcomes as Outcomes
from mesh.wire.working import OutcomesKept as OutcomesKept
from mesh.wire.working import WorkerGone as WorkerGone


class HeadState(msgspec.Struct, array_like=True, gc=False):
    """One line of a context: how far the sender has seen a journal."""

    journal: bytes
    owner: str
    scope: int
    upto: int
    digest: int
    """Running CRC-32 of the journal's entries up to ``upto`` (rule R2)."""


class DotSet(msgspec.Struct, array_like=True):
    """Dots of one journal as inclusive ranges: [first, last, first, last, ...], ascending."""

    journal: bytes
    ranges: list[int]

    def __post_init__(self) -> None:
        """Raises ValueError, which refuses the frame, for anything but ranges: who walks them relies on it."""
        ranges = self.ranges
        if len(ranges) % 2 or (ranges and ranges[0] < 1) or any(first > last for first, last in pairwise(ranges)):
            raise ValueError("ranges are pairs of ascending numbers")


class Append(msgspec.Struct, array_like=True):
    """All live entries of a journal with base < sequence <= upto; what is missing between has been settled."""

    journal: bytes
    owner: str
    scope: int
    base: int
    upto: int
    digest: int
    entries: list[Entry]
    sequences: list[int] = []
    """One for each entry; empty when the entries are contiguous from base + 1."""


# -- between nodes --------------------


class Heartbeat(msgspec.Struct, array_like=True, tag=1, gc=False):
    term: int
    coordinator: str
    """The node that the sender follows, or itself; empty for none."""
    hears_you: bool
    complete: bool
    """The sender holds a full copy: it is the coordinator or a caught-up deputy."""
    weight: int
    never_coordinate: bool
    up_ms: int
    wall_ms: int
    asleep: bool = False
    """The sender stands for election only if nobody else does: it woke a short while ago (R14), or its disk is nearly full (R21)."""
    authority: bool = False
    """The sender is the coordinator and may dispatch."""
    echo_ms: int = -1
    """``up_ms`` of the receiver's heartbeat that the sender heard last, while it follows the receiver; -1 otherwise. The receiver's lease
    to dispatch with partition="strict" runs from there."""
    followers: int = 0
    """Nodes that follow ``coordinator``, itself included, as the sender knows: of two coordinators the one with more stays."""
    elected_in: int = 0
    """The term in which the coordinator was elected, below ``term`` when it has gone on in higher ones: of equals the lower one stays."""
    alarm: str = ""
    """``code: text`` while the sender's disk or memory is over its limit."""
    mesh_alarm: str = ""
    """The sender coordinates, and all publishers shall wait: ``code: text``."""
    forgot_you: bool = False
    """For the sender's mesh the receiver was away for longer than ``forget_after_s``: the receiver gives way (R17)."""


class Goodbye(msgspec.Struct, array_like=True, tag=2):
    """The sender leaves politely."""


class PreVote(msgspec.Struct, array_like=True, tag=3):
    term: int


class PreVoted(msgspec.Struct, array_like=True, tag=4):
    term: int
    granted: bool


class Vote(msgspec.Struct, array_like=True, tag=5):
    term: int
    handover: bool = False
    """The last coordinator asked the sender to take over: hearing it is no reason to refuse."""


class Voted(msgspec.Struct, array_like=True, tag=6):
    term: int
    granted: bool


class Reign(msgspec.Struct, array_like=True, tag=7):
    """The sender coordinates in this term; the receiver shall report."""

    term: int
    followers: int = 0
    """As in Heartbeat."""
    elected_in: int = 0
    """As in Heartbeat."""


class Report(msgspec.Struct, array_like=True, tag=8):
    """What the sender holds, for the coordinator to reconcile with."""

    term: int
    heads: list[HeadState]
    live: list[DotSet]
    workers: list[str]
    """Workers attached to the sender; an Offer of each follows."""
    number: int = 0
    """Counts the sender's reports; the Welcome repeats it."""
    also: list[bytes] = []
    """Journals that the sender does not hold, but wants the coordinator's context of: those of a damaged state directory (R20)."""
    leases: list[tuple[str, str, list[str]]] = []
    """(worker id, its node, message ids) that may be running, as the sender knows from its time as coordinator or deputy."""
    written: list[bytes] = []
    """The journals that the sender's process writes: all others of its journals are closed (R19)."""


class Welcome(msgspec.Struct, array_like=True, tag=9):
    """The coordinator's context: the receiver streams what it has beyond it, then CaughtUp."""

    term: int
    heads: list[HeadState]
    number: int = 0
    """The report that this answers."""


class Replicate(msgspec.Struct, array_like=True, tag=10):
    """The next batch of a stream of entries and settlements; applied as one transaction."""

    term: int
    number: int
    appends: list[Append]
    settled: list[DotSet]
    leases: list[tuple[str, str, list[str]]] = []
    """(worker id, its node, message ids) delivered since the last batch: what a deputy must know to not run it again,
    and in a mesh of five and more the node that accepted it."""
    complete: bool = False
    """With this batch the receiver has all that it was to get."""
    deputies: list[str] = []
    """Ids of the nodes that hold, or are getting, a full copy beside the coordinator."""
    stream: int = 0
    """Number of the Report that opened the two streams of this pair; batches and acknowledgements of earlier ones are void."""
    pruned: list[bytes] = []
    """Journals that no node needs a line of its context for any more (R19)."""


class Replicated(msgspec.Struct, array_like=True, tag=11):
    """The receiver has fsynced every batch up to ``number``."""

    term: int
    number: int
    stream: int = 0
    copies: int = 1
    """Disks that hold it by then: the sender's, and for a coordinator with ``copies`` above 2 its deputies'."""


class Release(msgspec.Struct, array_like=True, tag=12):
    """Coordinator and deputies cover all that the receiver holds for others; it may drop that (R18b)."""

    term: int


class Reset(msgspec.Struct, array_like=True, tag=13):
    """Messages of this channel were lost on the way; the receiver starts a new one."""

    incarnation: bytes
    epoch: int


class Abdicate(msgspec.Struct, array_like=True, tag=14):
    """The coordinator leaves; the receiver, its deputy, stands for election at once."""

    term: int


# -- between nodes, and between a node and its workers and clients --------------------


class Watch(msgspec.Struct, array_like=True, tag=20):
    """The sender wants the results of these ids, now or when they come."""

    ids: list[str]
    states: bool = False
    """States on the way, too."""


class Results(msgspec.Struct, array_like=True, tag=21):
    """Terminal results, and for a Watch the states of ids that have none yet."""

    results: list[Result]
    states: list[tuple[str, int]] = []


class Query(msgspec.Struct, array_like=True, tag=22):
    """A question about the mesh: ``what`` is ``status`` or another name of docs/protocol.md."""

    number: int
    what: str
    argument: str = ""


class Answer(msgspec.Struct, array_like=True, tag=23):
    number: int
    body: bytes
    """JSON."""
    error: str = ""


class NewCoordinator(msgspec.Struct, array_like=True, tag=24):
    """Another coordinator reigns: a worker answers with a full Offer and its whole outbox, a client watches again."""

    name: str
    term: int


class Notice(msgspec.Struct, array_like=True, tag=25):
    """For a worker's log: something about its queues that a person should know."""

    worker: str
    text: str


class Consumers(msgspec.Struct, array_like=True, tag=26):
    """The queues that live workers consume, whenever that changes: nodes warn publishers about other queues."""

    queues: list[str]


class LeasesHeard(msgspec.Struct, array_like=True, tag=27):
    """The sender knows the leases of every batch up to ``number``; unlike for Replicated nothing has to be on its disk for that."""

    term: int
    number: int
    stream: int = 0


class Fetch(msgspec.Struct, array_like=True, tag=34, gc=False):
    """The sender wants one chunk of a body. Who asks bounds what is under way to it, so that small messages pass between chunks."""

    number: int
    """Repeated in the answer."""
    chunks: Chunks
    index: int


class Fetched(msgspec.Struct, array_like=True, tag=35, gc=False):
    """A chunk, or the word that there is none."""

    number: int
    index: int
    data: bytes
    error: str = ""
    """Why the chunk is lost for good, else empty."""


class Reserve(msgspec.Struct, array_like=True, tag=30):
    """The sender wants room in queues that are limited, for messages that a publisher has."""

    number: int
    """The sender's name for it."""
    wants: list[tuple[str, list[int]]]
    """(queue, bytes of each message's body) in the order of the messages; empty: what was wanted or reserved is not needed any more."""
    whole: bool = False
    """Room for all of them or for none: they are copies of one message, or what its sender does not count."""


class Reserved(msgspec.Struct, array_like=True, tag=31):
    """There is room, and it is kept for the sender of the Reserve; or there is none yet."""

    number: int
    count: int
    """So many of the messages, from the first on, have room; 0: they are in line."""
    why: str = ""
    """``code: text`` for who is in line: which limit, and what to do."""


# -- through the lobby --------------------


class Knock(msgspec.Struct, array_like=True, tag=60):
    """Asks to be let in. The transport has proved that the sender holds the fleet secret and ``key``."""

    member: Member
    protocol: int = PROTOCOL_VERSION
    incarnation: bytes = b""
    """Of the envelopes of the sender's process; empty for one that is not a member yet."""
    standing: tuple[int, int] = (0, 0)
    """Members that hear the sender, and its age in milliseconds: of two processes with one key the lower one goes."""


class Admitted(msgspec.Struct, array_like=True, tag=61):
    mesh: str
    mesh_id: str
    members: list[Member]


PeerMessage = (
    Heartbeat
    | Goodbye
    | PreVote
    | PreVoted
    | Vote
    | Voted
    | Reign
    | Report
    | Welcome
    | Replicate
    | Replicated
    | Release
    | Reset
    | Abdicate
    | Offer
    | WorkerGone
    | Deliver
    | Outcomes
    | OutcomesKept
    | Watch
    | Results
    | Query
    | Answer
    | Notice
    | Consumers
    | LeasesHeard
    | Fetch
    | Fetched
    | Reserve
    | Reserved
    | Take
    | Taken
    | Recall
    | Consume
    | States
    | Cancel
)
SessionRequest = (
    Attach
    | Submit
    | Ping
    | Detach
    | Offer
    | Outcomes
    | Watch
    | Query
    | Upload
    | UploadChunk
    | CancelUpload
    | Fetch
    | WorkerGone
    | Take
    | States
)
SessionReply = (
    Attached
    | Refused
    | Confirm
    | Held
    | Go
    | Pong
    | Leaving
    | Deliver
    | OutcomesKept
    | Results
    | Answer
    | NewCoordinator
    | Notice
    | Grant
    | Fetched
    | Taken
    | Recall
    | Consume
    | States
    | Cancel
)
LobbyMessage = Knock | Admitted | Refused
