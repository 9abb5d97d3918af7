//! What audit lines add up to: requests and bytes of each client, in bounded memory.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use jiff::Timestamp;
use serde::Deserialize;

use super::Ended;
use crate::text::SafeText;
use crate::units::{Bytes, Grouped};

/// Longest line that is read, in bytes: ten times that of the longest name.
pub const MAX_LINE: u64 = 64 << 10;
/// Most clients with figures of their own, at some 150 bytes each; further ones are added up together.
const MAX_CLIENTS: usize = 100_000;

/// Sums over the lines of an audit; `Display` is a table.
#[derive(Debug, Default)]
pub struct AuditSummary {
    clients: HashMap<Client, Sums>,
    /// Sums of clients beyond the limit.
    further: Sums,
    total: Sums,
    /// Number of lines so far.
    lines: u64,
    /// Lines that the node dropped.
    dropped: u64,
    /// Lines that are no audit lines, and the number of the first.
    unreadable: u64,
    first_unreadable: u64,
    /// The last line ends before its newline, and is no complete line.
    is_torn: bool,
}

/// A client: its key, or the address of one without a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Client {
    Key(SafeText),
    Address(IpAddr),
}

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    requests: u64,
    refused: u64,
    bytes: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
}

/// The members that are read of a line.
#[derive(Deserialize)]
struct AuditLine<'a> {
    #[serde(borrow)]
    time: Cow<'a, str>,
    peer: Option<SocketAddr>,
    key: Option<SafeText>,
    #[serde(default)]
    bytes: u64,
    ended: Option<Ended>,
    dropped: Option<u64>,
}

impl AuditSummary {
    /// Adds a line, without its newline; the last one of a file may have none, because the program that wrote it was
    /// killed, or is writing it.
    pub fn add(&mut self, line: &[u8], has_newline: bool) {
        self.lines += 1;
        // A line that was cut off gets its newline when the next one is written.
        if line.is_empty() || self.add_entry(line).is_some() {
            return;
        }
        if has_newline {
            self.count_unreadable();
        } else {
            self.is_torn = true;
        }
    }

    /// Counts a line that is longer than any line of an audit.
    pub fn add_too_long(&mut self) {
        self.lines += 1;
        self.count_unreadable();
    }

    /// Returns whether there were lines, and none of them was of an audit.
    pub fn is_of_something_else(&self) -> bool {
        self.total.requests == 0 && self.dropped == 0 && (self.unreadable > 0 || self.is_torn)
    }

    fn count_unreadable(&mut self) {
        self.unreadable += 1;
        if self.unreadable == 1 {
            self.first_unreadable = self.lines;
        }
    }

    /// Adds the entry of a line; `None` if it is not one.
    fn add_entry(&mut self, line: &[u8]) -> Option<()> {
        let line: AuditLine<'_> = serde_json::from_slice(line).ok()?;
        let time = line.time.parse().ok()?;
        if let Some(dropped) = line.dropped {
            self.dropped = self.dropped.saturating_add(dropped);
            return Some(());
        }
        let (ended, peer) = (line.ended?, line.peer?);
        let one = Sums {
            requests: 1,
            refused: u64::from(ended == Ended::Refused),
            bytes: line.bytes,
            first: Some(time),
            last: Some(time),
        };
        let client = line.key.map_or_else(|| Client::Address(peer.ip().to_canonical()), Client::Key);
        let has_room = self.clients.len() < MAX_CLIENTS;
        match self.clients.get_mut(&client) {
            Some(sums) => sums.add(&one),
            None if has_room => drop(self.clients.insert(client, one)),
            None => self.further.add(&one),
        }
        self.total.add(&one);
        Some(())
    }
}

impl Sums {
    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.refused += other.refused;
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.first = self.first.into_iter().chain(other.first).min();
        self.last = self.last.into_iter().chain(other.last).max();
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(name) => name.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl fmt::Display for AuditSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut clients: Vec<(&Client, &Sums)> = self.clients.iter().collect();
        clients.sort_unstable_by(|(one, a), (other, b)| {
            (b.bytes, b.requests).cmp(&(a.bytes, a.requests)).then(one.cmp(other))
        });
        let mut rows: Vec<(String, &Sums)> = clients.iter().map(|(client, sums)| (client.to_string(), *sums)).collect();
        if self.further.requests > 0 {
            rows.push(("further clients".to_owned(), &self.further));
        }
        rows.push(("total".to_owned(), &self.total));
        let width = rows.iter().map(|(client, _)| client.chars().count()).max().unwrap_or_default();
        write!(
            f,
            "{:<width$}  {:>13}  {:>11}  {:>9}  {:<20}  last",
            "client", "requests", "refused", "bytes", "first"
        )?;
        for (client, sums) in rows {
            let [requests, refused] = [sums.requests, sums.refused].map(|count| Grouped(count).to_string());
            let [first, last] =
                [sums.first, sums.last].map(|time| time.map_or("-".to_owned(), |time| format!("{time:.0}")));
            let bytes = Bytes(sums.bytes).to_string();
            write!(f, "\n{client:<width$}  {requests:>13}  {refused:>11}  {bytes:>9}  {first:<20}  {last}")?;
        }
        let lines = |count: u64| format!("{} line{}", Grouped(count), if count == 1 { "" } else { "s" });
        if self.dropped > 0 {
            write!(f, "\n{} not written by the node are missing here", lines(self.dropped))?;
        }
        if self.unreadable > 0 {
            write!(f, "\n{} not understood, the first is line {}", lines(self.unreadable), self.first_unreadable)?;
        }
        if self.is_torn {
            write!(f, "\nthe last line is incomplete: its node was killed, or is writing it")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{AuditEntry, DroppedEntry, Failure};
    use crate::wire::Reason;

    fn time(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn add(summary: &mut AuditSummary, second: i64, peer: &str, change: impl FnOnce(&mut AuditEntry<'_>)) {
        let mut entry = AuditEntry::new(time(second), "10.0.0.1:1".parse().unwrap(), peer.parse().unwrap());
        change(&mut entry);
        let line = entry.to_line();
        summary.add(line.trim_ascii_end(), true);
    }

    #[test]
    fn clients_are_added_up_by_key_or_address_and_sorted_by_bytes() {
        let mut summary = AuditSummary::default();
        let key = SafeText::new("backup");
        add(&mut summary, 5, "10.0.0.7:1000", |entry| entry.bytes = 1_000);
        add(&mut summary, 3, "[::ffff:10.0.0.7]:1001", |entry| entry.bytes = 500);
        add(&mut summary, 4, "10.0.0.8:1000", |entry| {
            (entry.bytes, entry.ended) = (9_000_000, Ended::Complete);
        });
        for peer in ["10.0.0.7:2000", "10.0.0.8:2000"] {
            let mut entry = AuditEntry::new(time(9), "10.0.0.1:1".parse().unwrap(), peer.parse().unwrap());
            (entry.bytes, entry.key) = (2_000, Some(&key));
            summary.add(entry.to_line().trim_ascii_end(), true);
        }
        let refused = Failure { reason: Reason::Policy, hop: 0, is_refusal: true };
        add(&mut summary, 7, "[2001:db8::1]:5", |entry| *entry = entry.clone().failed(refused, None));
        let dropped = DroppedEntry { time: time(9), dropped: 12 }.to_line();
        summary.add(dropped.trim_ascii_end(), true);
        let expected = "\
client            requests      refused      bytes  first                 last
10.0.0.8                 1            0     9.0 MB  2027-01-15T08:00:04Z  2027-01-15T08:00:04Z
backup                   2            0     4.0 KB  2027-01-15T08:00:09Z  2027-01-15T08:00:09Z
10.0.0.7                 2            0     1.5 KB  2027-01-15T08:00:03Z  2027-01-15T08:00:05Z
2001:db8::1              1            1        0 B  2027-01-15T08:00:07Z  2027-01-15T08:00:07Z
total                    6            1     9.0 MB  2027-01-15T08:00:03Z  2027-01-15T08:00:09Z
12 lines not written by the node are missing here";
        assert_eq!(summary.to_string(), expected);
        assert!(!summary.is_of_something_else());
    }

    #[test]
    fn lines_that_are_cut_off_or_of_something_else_are_counted() {
        let mut summary = AuditSummary::default();
        for line in
            ["", "{", "null", "{\"time\":\"2026-11-30T21:02:11Z\"}", "{\"time\":\"today\",\"dropped\":1}", "text"]
        {
            summary.add(line.as_bytes(), true);
        }
        summary.add_too_long();
        assert!(summary.is_of_something_else());
        summary.add(b"{\"time\":\"2026-11", false);
        let text = summary.to_string();
        assert!(text.contains("\n6 lines not understood, the first is line 2\n"), "{text}");
        assert!(text.ends_with("the last line is incomplete: its node was killed, or is writing it"), "{text}");
        // The newline alone may be missing.
        let mut summary = AuditSummary::default();
        let later =
            br#"{"time":"2026-11-30T21:02:11Z","peer":"10.0.0.7:1","ended":"of-a-newer-version","new":[1],"bytes":7}"#;
        summary.add(later, false);
        assert!(!summary.is_torn && summary.total.bytes == 7);
    }

    #[test]
    fn memory_is_bounded() {
        let mut summary = AuditSummary::default();
        for client in 0..MAX_CLIENTS as u32 + 5 {
            let address = std::net::Ipv4Addr::from_bits(client);
            add(&mut summary, 0, &format!("{address}:1"), |entry| entry.bytes = 1);
        }
        assert_eq!((summary.clients.len(), summary.further.requests), (MAX_CLIENTS, 5));
        assert_eq!(summary.total.bytes, MAX_CLIENTS as u64 + 5);
        assert!(summary.to_string().contains("\nfurther clients  "));
    }
}
