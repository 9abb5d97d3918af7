//! Meaning of every column title and state word of the screen, by panel; the help and the lists of columns show it.

use super::focus::{Panel, Set};

/// Words of one panel, with their meanings.
pub(crate) struct Chapter {
    /// Title in the help.
    pub title: &'static str,
    /// Panels that show these words.
    pub panels: Set,
    /// Words with their meanings, units included; a meaning has at most 100 characters.
    pub words: &'static [(&'static str, &'static str)],
}

impl Chapter {
    /// Returns the meaning of a word; empty for an unknown one.
    pub(crate) fn meaning(&self, word: &str) -> &'static str {
        self.words.iter().find(|(known, _)| *known == word).map_or("", |(_, meaning)| *meaning)
    }
}

/// Columns of the hop table.
static HOPS: Chapter = Chapter {
    title: "Hops: columns",
    panels: Panel::Hops.bit() | Panel::Chart.bit(),
    words: &[
        ("#", "number of the hop, from the client (c) to the origin"),
        ("Node", "name or address of the node; with room, its address and process id"),
        ("State", "whether its node runs and reports"),
        ("Conn", "open connections of the node, idle ones included; for the client: open transfers"),
        ("In/s", "bytes per second received from the next hop toward the origin; disk: read from it"),
        ("Out/s", "bytes per second sent toward the client; disk: written to it"),
        ("Buffered", "bytes received and not yet passed on, in the node and in the kernel's socket queues"),
        ("Fill", "the buffered bytes as a bar; its title is the value of a full bar, the same for all hops"),
        ("Bytes", "bytes of files sent since the node started; for the client: received in this run"),
        ("RTT", "TCP round-trip time toward the client, in ms: the largest of its connections"),
        ("Rexmit", "TCP segments that its open connections sent again, because they were lost or late"),
        ("Time", "the last second as a bar: waiting for input, to send, for its rate limit, working"),
        ("mostly", "the largest part of that time, or why the marked stage slows the chain"),
        ("60 s", "bytes per second sent over the last minute, newest at the right, scaled to the maximum"),
    ],
};

/// Words for what a hop or a transfer waits for.
static WAITS: Chapter = Chapter {
    title: "What limits a hop",
    panels: Panel::Hops.bit() | Panel::Chart.bit(),
    words: &[
        ("starved", "waits for input: something further toward the origin is slower"),
        ("blocked", "waits to send: something further toward the client is slower"),
        ("limited", "waits for its own rate limit"),
        ("busy", "none of these: it works"),
        ("disk", "waits for its disk; in place of a rate: reads from or writes to it"),
        ("✖ *", "marks the hop or link that limits the chain"),
    ],
};

/// States of a hop.
static HOP_STATES: Chapter = Chapter {
    title: "Hops and nodes: states",
    panels: Panel::Hops.bit() | Panel::Nodes.bit() | Panel::Chart.bit(),
    words: &[
        ("-", "nothing is known yet"),
        ("starting", "the node is being started"),
        ("up", "started by this program, running and reporting"),
        ("attached", "found running; it reports, and keeps running after this program"),
        ("legacy", "speaks only the legacy protocol: it relays, but sends no reports"),
        ("foreign", "an HTTP server that is no chainview node, or denies read access: no reports"),
        ("detached", "not watched any more, at your request; it keeps running"),
        ("silent", "accepts connections and does not answer: a hung program, or one of another protocol"),
        ("down", "cannot be reached, for the reason in its row"),
        ("stale 4s", "running, but its last report is that old"),
        ("draining", "accepts no new requests, and ends when its transfers have"),
        ("idle, fetch", "the client has no open transfer, or at least one"),
    ],
};

/// Columns of the connections.
static CONNECTIONS: Chapter = Chapter {
    title: "Connections: columns",
    panels: Panel::Connections.bit(),
    words: &[
        ("Hop", "number of the hop whose connection this is"),
        ("Xfer", "the transfer: #3 for one of this program, else the first digits of its id"),
        ("File", "name of the requested file; a connection carries one request after the other"),
        ("In peer", "address of the next hop toward the origin, from which bytes come"),
        ("Out peer", "address of the peer toward the client, to which bytes go"),
        ("Key", "name of the authorized key that signed the request; shown where one did"),
        ("State", "what the connection does now"),
        ("Protocol", "protocol toward the client; where the one toward the origin differs: client<origin"),
        ("In/s", "bytes per second received from the in peer"),
        ("Out/s", "bytes per second sent to the out peer"),
        ("Sent", "bytes of files sent to the out peer since the connection was accepted"),
        ("RTT", "TCP round-trip time to the out peer, in ms"),
        ("cwnd", "TCP congestion window, in segments: that many may be in flight without acknowledgment"),
        ("Rexmit", "TCP segments sent again, because they were lost or late"),
        ("Unsent", "bytes in the kernel's send queue: not yet sent, or not yet acknowledged"),
        ("Age", "time since the connection was accepted, in minutes:seconds"),
        ("Limit", "what its transfers waited for at least half of the time: starved, blocked, limited, disk"),
    ],
};

/// Counts in the heading of the connections.
static CONN_COUNTS: Chapter = Chapter {
    title: "Connections: heading",
    panels: Panel::Connections.bit(),
    words: &[
        ("active, idle", "connections with a request now, and those kept open for the next one"),
        ("idle to hop 3", "connections that this relay keeps to the next hop, for the next request of any client"),
        ("98% reused", "requests since the node started that were sent on such a connection"),
        ("admin hidden", "connections that only request reports or control: A shows them"),
    ],
};

/// States of a connection.
static CONN_STATES: Chapter = Chapter {
    title: "Connections: states",
    panels: Panel::Connections.bit(),
    words: &[
        ("head", "reads the request"),
        ("connect", "connects to the next hop"),
        ("wait", "waits for the reply of the next hop"),
        ("delayed", "holds the reply back for the delay that is set as a fault"),
        ("stream", "transfers the file"),
        ("tunnel", "carries a tunnel: bytes in both directions, which only its ends understand"),
        ("linger", "the last byte is sent; waits until the peer closes"),
        ("idle", "kept open for the next request, of any client; from a relay: of its kept connections"),
        ("admin", "requests reports or control, such as those of this dashboard; transfers no file"),
    ],
};

/// Parts of a row of the transfers.
static TRANSFERS: Chapter = Chapter {
    title: "Transfers: a row",
    panels: Panel::Transfers.bit(),
    words: &[
        ("#3", "number of the transfer in this run"),
        ("26%", "share of the file that has arrived"),
        ("1.3 / 2.7 GB", "bytes that have arrived, and size of the file; ? while it is unknown"),
        ("41.2 MB/s", "bytes per second over the last second; 1 MB is 1,000,000 bytes"),
        ("ETA 0:35", "expected time left, in minutes:seconds"),
        ("stalled 0:05", "no byte has arrived for that long"),
        ("2 routes", "routes by which the file arrives, or connections of one route, if there are several"),
        ("limit 5 MB/s", "your rate limit of this transfer: b, [ and ] change it, 0 removes it"),
        ("verified", "the digest of what was written equals that of the origin, or the one you gave"),
        ("size-checked", "the length is right; the origin offers no digest"),
        ("1,204/2,000", "files of a folder that are here, of how many; those that failed are not among them"),
        ("left out", "symbolic links and special files in a folder, which the origin does not send"),
    ],
};

/// Words of the routes and connections on the page of a transfer.
static ROUTES: Chapter = Chapter {
    title: "Transfers: routes and connections",
    panels: Panel::Transfers.bit(),
    words: &[
        ("8, auto", "open connections of this transfer under --connections auto; else of how many"),
        ("map", "the file in equal parts: whole, with the number of its route, begun, or missing"),
        ("route 1", "a way to the file: 1 is that of the input file, the others are those of --route"),
        ("checking", "whether the route leads to the same file is not known yet"),
        ("active", "parts of the file arrive by it"),
        ("waiting", "it failed and is tried again after a pause; its part is received by others"),
        ("failed", "it failed and is not tried again"),
        ("refused", "it leads to another file, or cannot send a part of one"),
        ("used, unused", "after the end: something of the file arrived by it, or nothing"),
        ("connecting", "the connection is being opened, or its reply is awaited"),
        ("after 1.2 s", "when the number of connections changed, and why"),
    ],
};

/// Results of the files of a folder.
static FILES: Chapter = Chapter {
    title: "Files of a folder",
    panels: Panel::Files.bit(),
    words: &[
        ("verified", "received, its digest equals that of the origin, and it is on the disk"),
        ("size-checked", "received; the origin offers no digest, so only its length was compared"),
        ("here already", "the same file was in the output folder, and was not moved"),
        ("failed", "not received, for the reason behind its path; failed files come first"),
    ],
};

/// States of a transfer.
static TRANSFER_STATES: Chapter = Chapter {
    title: "Transfers: states",
    panels: Panel::Transfers.bit(),
    words: &[
        ("queued", "waits for its turn: -j transfers run in parallel"),
        ("connecting", "connects to the first hop"),
        ("waiting", "requested; waits for the reply through the chain"),
        ("streaming", "the file arrives"),
        ("verifying", "all bytes are here; their digest is compared"),
        ("retrying", "failed and is tried again after a pause; the number counts the attempts"),
        ("locked", "waits for another fetch of the same file name"),
        ("paused", "paused by you; received bytes are kept, p resumes"),
        ("done", "complete and saved under its name"),
        ("failed", "ended with an error; r fetches again and resumes where possible"),
        ("cancelled", "cancelled by you; received bytes are kept, r resumes"),
    ],
};

/// Columns of the nodes.
static NODES: Chapter = Chapter {
    title: "Nodes: columns",
    panels: Panel::Nodes.bit(),
    words: &[
        ("#", "number of the hop"),
        ("Node", "name or address of the node"),
        ("State", "whether it runs and reports"),
        ("Pid", "its process id on its own machine"),
        ("Version", "version of chainview that it runs"),
        ("Up", "time since it started"),
        ("Open", "connections that are open now"),
        ("Accepted", "connections accepted since it started"),
        ("Served", "requests replied to with a file since it started"),
        ("Failed", "file requests that failed since it started"),
        ("Refused", "connections refused since it started, because the node was full"),
        ("Bytes", "bytes of files sent since it started"),
        ("Faults", "limits and faults that are set: ! changes them"),
        ("Policy", "which next hops it may connect to"),
    ],
};

/// Parts of the setup.
static SETUP: Chapter = Chapter {
    title: "Setup: time to the first byte",
    panels: Panel::Setup.bit(),
    words: &[
        ("resolve", "time to resolve the name of the next hop, in ms"),
        ("connect", "time to connect to the next hop, in ms"),
        ("wait", "from the request sent to the reply, in ms: includes all hops further toward the origin"),
        ("first byte", "from the reply to the first byte of the file, in ms"),
        ("last byte", "from the first byte of the file to the last, in ms"),
        ("0.1 + 1.7", "ms that this stage spent connecting, and waiting for the reply"),
        ("kept", "in place of the first: it used a connection that an earlier request had left open"),
    ],
};

/// Parts of a line of the log.
static LOG: Chapter = Chapter {
    title: "Log: a line",
    panels: Panel::Log.bit(),
    words: &[
        ("INFO", "a change worth knowing"),
        ("WARN", "something is slower or less than requested"),
        ("ERROR", "something failed: look here first"),
        ("1, 2, c", "the hop that the line is about or from; c is the client"),
        ("*", "matches the filter, while n and N show the other lines as well"),
        ("following", "new lines scroll into view; selecting an older line pauses that"),
    ],
};

/// Words of the header and of the chain line, which all panels share.
static HEADER: Chapter = Chapter {
    title: "Header and chain line",
    panels: 0,
    words: &[
        ("LIVE", "all reports are recent"),
        ("STALE 4 s", "the oldest report of a running hop is that old"),
        ("FROZEN 4 s", "you froze the display that long ago: space resumes it"),
        ("RECONNECTING", "that many hops, found running before, cannot be reached"),
        ("NO REPORTS", "no hop sends reports"),
        ("FAULTS", "a fault is set at a hop: stall, fragment, truncate or reject"),
        ("3/4 up", "hops of the chain that can take part in a transfer"),
        ("◘", "encrypted: a link, a hop with a key, or a transfer; & without Unicode"),
        ("bar=4 MB", "value of a full bar of buffered bytes, behind each name and in the table"),
    ],
};

/// All chapters, in the order of the help.
pub(crate) static CHAPTERS: [&Chapter; 14] = [
    &HOPS,
    &WAITS,
    &HOP_STATES,
    &CONNECTIONS,
    &CONN_COUNTS,
    &CONN_STATES,
    &TRANSFERS,
    &TRANSFER_STATES,
    &ROUTES,
    &FILES,
    &NODES,
    &SETUP,
    &LOG,
    &HEADER,
];

/// Chapters of the tables, by their index in `UiState::hidden`.
pub(crate) static TABLES: [&Chapter; 3] = [&HOPS, &CONNECTIONS, &NODES];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::timing::Step;
    use crate::snapshot::{ConnState, DownReason, HopLink, Phase, RouteState, TUNNEL};
    use crate::ui::keymap::help::TERM;

    use crate::ui::{columns, grid::Column};

    #[test]
    fn every_column_has_a_meaning() {
        let tables: [&[Column]; 3] = [&columns::HOPS, &columns::CONNS, &columns::NODES];
        for (chapter, columns) in TABLES.iter().zip(tables) {
            for column in columns {
                assert_ne!(chapter.meaning(column.title), "", "{}: {}", chapter.title, column.title);
            }
            for (word, _) in chapter.words {
                assert!(columns.iter().any(|column| column.title == *word), "{}: {word} is no column", chapter.title);
            }
        }
    }

    #[test]
    fn every_state_has_a_meaning() {
        use ConnState::{Admin, Connecting, Delayed, Head, Idle, Lingering, Streaming, Waiting};
        use Phase::{Cancelled, Connecting as Dial, Done, Failed, Locked, Paused, Queued, Retrying, Verifying};
        let links = [
            HopLink::Unknown,
            HopLink::Starting,
            HopLink::Spawned { pid: 1 },
            HopLink::Attached,
            HopLink::Legacy,
            HopLink::Foreign,
            HopLink::Detached,
            HopLink::Down { reason: "no".into() },
            HopLink::Down { reason: DownReason::Silent },
        ];
        for link in links {
            assert_ne!(HOP_STATES.meaning(link.label()), "", "{link:?}");
        }
        for state in [Head, Connecting, Waiting, Delayed, Streaming, Lingering, Idle, Admin] {
            assert_ne!(CONN_STATES.meaning(state.label()), "", "{state:?}");
        }
        assert_ne!(CONN_STATES.meaning(TUNNEL), "");
        let phases = [Queued, Dial, Phase::Waiting, Phase::Streaming, Verifying, Retrying, Locked];
        for phase in phases.into_iter().chain([Paused, Done, Failed, Cancelled]) {
            assert_ne!(TRANSFER_STATES.meaning(phase.label()), "", "{phase:?}");
        }
        let states = [RouteState::Checking, RouteState::Active, RouteState::Waiting, RouteState::Failed];
        for state in states.into_iter().chain([RouteState::Refused]) {
            assert_ne!(ROUTES.meaning(state.label()), "", "{state:?}");
        }
        for step in [Step::Resolve, Step::Connect, Step::Wait, Step::FirstByte, Step::LastByte] {
            assert_ne!(SETUP.meaning(step.label()), "", "{step:?}");
        }
    }

    #[test]
    fn meanings_are_short_and_words_unique() {
        for chapter in CHAPTERS {
            for (at, (word, meaning)) in chapter.words.iter().enumerate() {
                assert!(meaning.chars().count() <= 100, "{word}: {} characters", meaning.chars().count());
                assert!(word.chars().count() + 2 <= usize::from(TERM), "{word} is cut off");
                assert!(!chapter.words[..at].iter().any(|(other, _)| other == word), "{word} twice");
            }
        }
    }
}
