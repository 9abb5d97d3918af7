//! Columns of the tables, and the text and sort key of a connection in each.

use std::cmp::Reverse;
use std::time::Duration;

use super::filter::FilterField;
use super::grid::{Column, fixed, growing};
use super::history::History;
use crate::route::Protocol;
use crate::snapshot::{ChainSnapshot, ConnSnapshot, ConnState, HopSnapshot, TransferSnapshot};
use crate::units::{Bytes, Count, Eta};

/// Columns of the connections. On a narrow screen, the column with the highest last number is hidden first.
pub(crate) const CONNS: [Column; 17] = [
    fixed("Hop", 3, true, 0),
    fixed("Xfer", 5, false, 0),
    growing("File", 10, 30, 12),
    growing("In peer", 15, 21, 9),
    growing("Out peer", 15, 21, 0),
    growing("Key", 12, 16, 7),
    fixed("State", 6, false, 0),
    fixed("Protocol", 9, false, 13),
    fixed("In/s", 8, true, 3),
    fixed("Out/s", 8, true, 1),
    fixed("Sent", 8, true, 2),
    fixed("RTT", 4, true, 5),
    fixed("cwnd", 4, true, 10),
    fixed("Rexmit", 6, true, 6),
    fixed("Unsent", 8, true, 11),
    fixed("Age", 6, true, 8),
    fixed("Limit", 8, false, 4),
];
/// Index of the hop's column, which only the list of the connections of all hops shows.
pub(crate) const CONN_HOP: usize = 0;
/// Index of the key's column, which is only shown where a request has one.
pub(crate) const CONN_KEY: usize = 5;

/// Content of a column of connections, independent of its title.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnColumn {
    /// Number of the hop.
    Hop,
    /// Transfer.
    Transfer,
    /// File name.
    File,
    /// Upstream peer.
    From,
    /// Downstream peer.
    To,
    /// Key of the request.
    Key,
    /// State of the connection.
    State,
    /// Protocols.
    Protocol,
    /// Bytes per second received.
    RateIn,
    /// Bytes per second sent.
    RateOut,
    /// Bytes sent.
    Sent,
    /// Round-trip time.
    RoundTrip,
    /// Congestion window.
    Window,
    /// Retransmitted segments.
    Retransmits,
    /// Bytes not acknowledged.
    Unsent,
    /// Age.
    Age,
    /// What it waits for most of the time.
    Limit,
}

/// Content of each column of `CONNS`.
pub(crate) const CONN_HOLDS: [ConnColumn; CONNS.len()] = [
    ConnColumn::Hop,
    ConnColumn::Transfer,
    ConnColumn::File,
    ConnColumn::From,
    ConnColumn::To,
    ConnColumn::Key,
    ConnColumn::State,
    ConnColumn::Protocol,
    ConnColumn::RateIn,
    ConnColumn::RateOut,
    ConnColumn::Sent,
    ConnColumn::RoundTrip,
    ConnColumn::Window,
    ConnColumn::Retransmits,
    ConnColumn::Unsent,
    ConnColumn::Age,
    ConnColumn::Limit,
];

/// Columns of the hops, on the first tab.
pub(crate) const HOPS: [Column; 14] = [
    fixed("#", 2, true, 0),
    growing("Node", 12, 40, 0),
    fixed("State", 8, false, 4),
    fixed("Conn", 4, true, 10),
    fixed("In/s", 8, true, 6),
    fixed("Out/s", 8, true, 3),
    fixed("Buffered", 8, true, 5),
    growing("Fill", 8, 16, 8),
    fixed("Bytes", 8, true, 12),
    fixed("RTT", 4, true, 7),
    fixed("Rexmit", 6, true, 11),
    fixed("Time", 4, false, 1),
    fixed("mostly", 14, false, 0),
    growing("60 s", 7, 60, 9),
];

/// Columns of the nodes, on their own tab.
pub(crate) const NODES: [Column; 14] = [
    fixed("#", 2, true, 0),
    growing("Node", 15, 40, 0),
    fixed("State", 8, false, 0),
    fixed("Pid", 7, true, 3),
    fixed("Version", 8, false, 9),
    fixed("Up", 6, true, 4),
    fixed("Open", 5, true, 1),
    fixed("Accepted", 8, true, 7),
    fixed("Served", 7, true, 2),
    fixed("Failed", 6, true, 5),
    fixed("Refused", 7, true, 8),
    fixed("Bytes", 8, true, 6),
    growing("Faults", 12, 40, 10),
    growing("Policy", 10, 40, 11),
];

/// Sort key, ascending or descending; numbers sort before texts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SortKey {
    /// Ascending.
    Up(u64, String),
    /// Descending.
    Down(Reverse<(u64, String)>),
}

impl Default for SortKey {
    fn default() -> Self {
        Self::Up(0, String::new())
    }
}

/// Sorting of the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort {
    /// Index of the column in `CONNS`.
    pub column: usize,
    /// Descending.
    pub down: bool,
}

/// Returns the connection at these indices, if the snapshot has it.
pub(crate) fn conn(chain: &ChainSnapshot, (hop, at): (usize, usize)) -> Option<&ConnSnapshot> {
    chain.hops.get(hop)?.node.as_ref()?.connections.get(at)
}

/// Returns the sort key of a connection.
pub(crate) fn sort_key(chain: &ChainSnapshot, history: &History, place: (usize, usize), sort: Sort) -> SortKey {
    let Some(conn) = conn(chain, place) else { return SortKey::default() };
    let hop = &chain.hops[place.0];
    let (rate_in, rate_out) = history.rates.of(hop, conn).unwrap_or_default();
    let tcp = conn.tcp.unwrap_or_default();
    let number = |n: u64| (n, String::new());
    let text = |text: &str| (0, text.to_owned());
    let value = match CONN_HOLDS[sort.column] {
        ConnColumn::Hop => number(hop.number as u64),
        ConnColumn::Transfer => ours(chain, conn).map_or_else(|| (u64::MAX, conn.transfer.to_string()), number),
        ConnColumn::File => text(conn.name.as_str()),
        ConnColumn::From => text(conn.upstream.as_str()),
        ConnColumn::To => text(conn.peer.as_str()),
        ConnColumn::Key => text(conn.key.as_str()),
        ConnColumn::State => text(conn.state_label()),
        ConnColumn::Protocol => text(conn.protocol.map_or("", Protocol::as_str)),
        ConnColumn::RateIn => number(rate_in),
        ConnColumn::RateOut => number(rate_out),
        ConnColumn::Sent => number(conn.flow.bytes_out),
        ConnColumn::RoundTrip => number(tcp.rtt_us),
        ConnColumn::Window => number(tcp.cwnd),
        ConnColumn::Retransmits => number(tcp.retransmits),
        ConnColumn::Unsent => number(conn.queued_out),
        ConnColumn::Age => number(conn.age_ms),
        ConnColumn::Limit => text(limit(hop, conn).label()),
    };
    if sort.down { SortKey::Down(Reverse(value)) } else { SortKey::Up(value.0, value.1) }
}

/// Returns whether the column has numbers, which sort in descending order first.
pub(crate) fn is_number(column: usize) -> bool {
    column != CONN_HOP && CONNS.get(column).is_some_and(|column| column.right)
}

/// Returns the fields of a connection for filters; hop and transfer are given as they are shown.
pub(crate) fn fields<'a>(hop: &'a str, xfer: &'a str, conn: &'a ConnSnapshot) -> [FilterField<'a>; 8] {
    [
        ("hop", hop),
        ("xfer", xfer),
        ("file", conn.name.as_str()),
        ("in", conn.upstream.as_str()),
        ("out", conn.peer.as_str()),
        ("key", conn.key.as_str()),
        ("state", conn.state_label()),
        ("protocol", conn.protocol.map_or("", Protocol::as_str)),
    ]
}

/// Returns the text of a connection in each column.
pub(crate) fn texts(chain: &ChainSnapshot, history: &History, hop: &HopSnapshot, conn: &ConnSnapshot) -> [String; 17] {
    let is_admin = conn.state == ConnState::Admin;
    // The rate of the last second is that of a request which has ended.
    let moves = !is_admin && conn.state != ConnState::Idle;
    let rates = history.rates.of(hop, conn).filter(|_| moves && !hop.is_lost());
    // Reports in which only their own requests changed cause no new snapshot, so this age would not advance.
    let age = (!is_admin).then(|| Eta(Some(Duration::from_millis(conn.age_ms / 1000 * 1000))));
    let tcp = conn.tcp.filter(|_| !is_admin);
    [
        hop.number.to_string(),
        or_dash(transfer(chain, conn)),
        or_dash(conn.name.to_string()),
        or_dash(conn.upstream.to_string()),
        or_dash(conn.peer.to_string()),
        or_dash(conn.key.to_string()),
        conn.state_label().to_owned(),
        or_dash(protocol(conn)),
        rate(rates.map(|r| r.0)),
        rate(rates.map(|r| r.1)),
        Bytes(conn.flow.bytes_out).to_string(),
        tcp.map_or_else(dash, |tcp| ms(tcp.rtt_us)),
        tcp.map_or_else(dash, |tcp| Count(tcp.cwnd).to_string()),
        tcp.map_or_else(dash, |tcp| Count(tcp.retransmits).to_string()),
        tcp.map_or_else(dash, |_| Bytes(conn.queued_out).to_string()),
        age.map_or_else(dash, |age| age.to_string()),
        limit(hop, conn).label().to_owned(),
    ]
}

/// Returns a dash, for a figure that is unknown or zero.
pub(crate) fn dash() -> String {
    "-".to_owned()
}

/// Returns the text, or a dash where it is empty.
pub(crate) fn or_dash(text: String) -> String {
    if text.is_empty() { dash() } else { text }
}

/// Formats bytes per second; a dash for none.
pub(crate) fn rate(rate: Option<u64>) -> String {
    rate.filter(|rate| *rate > 0).map_or_else(dash, |rate| Bytes(rate).to_string())
}

/// Formats a round-trip time in ms, at most four columns wide: `0.1`, `38.2`, `412`, `9999`.
pub(crate) fn ms(us: u64) -> String {
    let ms = us as f64 / 1000.0;
    if ms < 99.95 { format!("{ms:.1}") } else { format!("{:.0}", ms.min(9999.0)) }
}

/// Formats a share as a percentage; a dash where it is unknown.
pub(crate) fn percent(share: Option<f64>) -> String {
    share.map_or_else(dash, |share| format!("{:.0}%", (share * 100.0).clamp(0.0, 100.0)))
}

/// Returns `#3` for a transfer of this client, else the first digits of its id.
pub(crate) fn transfer(chain: &ChainSnapshot, conn: &ConnSnapshot) -> String {
    ours(chain, conn).map_or_else(|| conn.transfer.as_str().chars().take(5).collect(), |number| format!("#{number}"))
}

/// Returns the number of the connection's transfer, if it is one of this client.
pub(crate) fn ours(chain: &ChainSnapshot, conn: &ConnSnapshot) -> Option<u64> {
    our_transfer(chain, conn).map(|transfer| transfer.number)
}

/// Returns the connection's transfer, if it is one of this client.
pub(crate) fn our_transfer<'a>(chain: &'a ChainSnapshot, conn: &ConnSnapshot) -> Option<&'a TransferSnapshot> {
    chain.transfer_of(conn.transfer.as_str())
}

/// Returns the protocol toward the client; where the one toward the origin differs, both.
fn protocol(conn: &ConnSnapshot) -> String {
    let down = conn.protocol.map_or("", Protocol::as_str);
    match conn.upstream_protocol.filter(|up| Some(*up) != conn.protocol) {
        None => down.to_owned(),
        Some(up) => format!("{down}<{}", up.as_str()),
    }
}

/// Returns what the connection waited for most of the time since its body began.
fn limit(hop: &HopSnapshot, conn: &ConnSnapshot) -> MainWait {
    let flow = &conn.flow;
    if conn.state != ConnState::Streaming || flow.active_us == 0 {
        return MainWait::Nothing;
    }
    let share = |us: u64| us as f64 / flow.active_us as f64;
    main_wait(share(flow.starved_us), share(flow.blocked_us), share(flow.limited_us), hop.origin)
}

/// What a stage waits for at least half of the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MainWait {
    /// Its own rate limit.
    Limited,
    /// A slow receiver.
    Blocked,
    /// Its disk.
    Disk,
    /// A slow sender.
    Starved,
    /// Nothing for half of the time.
    Nothing,
}

impl MainWait {
    /// Returns its label.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Limited => "limited",
            Self::Blocked => "blocked",
            Self::Disk => "disk",
            Self::Starved => "starved",
            Self::Nothing => "-",
        }
    }
}

/// Returns the main wait of a stage, from the shares of its time.
pub(crate) fn main_wait(starved: f64, blocked: f64, limited: f64, origin: bool) -> MainWait {
    match () {
        () if limited >= 0.5 => MainWait::Limited,
        () if blocked >= 0.5 => MainWait::Blocked,
        () if starved >= 0.5 && origin => MainWait::Disk,
        () if starved >= 0.5 => MainWait::Starved,
        () => MainWait::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{ConnRole, Flow};

    #[test]
    fn figures_fit_their_columns() {
        assert_eq!(
            [0, 38_210, 99_949, 99_950, 412_000, u64::MAX].map(ms),
            ["0.0", "38.2", "99.9", "100", "412", "9999"]
        );
        assert_eq!([None, Some(0.974), Some(1.2)].map(percent), ["-", "97%", "100%"]);
    }

    #[test]
    fn a_tunnel_is_shown_as_one_with_its_target() {
        let flow = Flow { bytes_out: 5000, ..Flow::default() };
        let (role, state) = (ConnRole::Tunnel, ConnState::Streaming);
        let conn = ConnSnapshot { role, state, name: "10.0.0.7:22".into(), flow, ..ConnSnapshot::default() };
        let (chain, hop) = (ChainSnapshot::default(), HopSnapshot::default());
        let texts = texts(&chain, &History::default(), &hop, &conn);
        let at = |column| CONN_HOLDS.iter().position(|holds| *holds == column).unwrap();
        let shown = [ConnColumn::File, ConnColumn::State, ConnColumn::Sent].map(|column| texts[at(column)].as_str());
        assert_eq!(shown, ["10.0.0.7:22", "tunnel", "5.0 KB"]);
        assert!(fields("1", "", &conn).contains(&("state", "tunnel")));
        let waiting = ConnSnapshot { state: ConnState::Connecting, ..conn };
        assert_eq!(waiting.state_label(), "connect");
    }

    #[test]
    fn keys_sort_in_both_directions() {
        let down = |n| SortKey::Down(Reverse((n, String::new())));
        assert!(down(9) < down(3));
        assert!(SortKey::Up(3, String::new()) < SortKey::Up(9, String::new()));
        assert!(SortKey::Up(0, "a".into()) < SortKey::Up(0, "b".into()));
    }
}
