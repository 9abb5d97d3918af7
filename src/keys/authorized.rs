//! Authorized keys: who may do what at a node, a line for each key.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

use super::Fingerprint;
use crate::allow_list::{AllowList, Listed, Purpose};
use crate::fingerprint::FingerprintError;
use crate::route::FileName;
use crate::text::SafeText;
use crate::units::parse_bytes;

/// Largest file of authorized keys, in bytes: some ten thousand keys.
pub const MAX_AUTHORIZED: usize = 1 << 20;
/// Longest name of a key, in characters; it is shown in logs.
const MAX_KEY_NAME: usize = 64;
/// In the place of a key: requests without a signature.
const ANONYMOUS: &str = "anonymous";
/// The rights and limits, for errors.
const RIGHTS: &str = "fetch=PREFIX, relay=LIST, connect=LIST, read, control, rate=RATE, transfers=N and per-day=SIZE";

/// The keys that a node serves, and what each may do.
///
/// ```
/// use chainview::keys::AuthorizedKeys;
/// use chainview::route::FileName;
///
/// let keys: AuthorizedKeys = "# site A\nanonymous fetch=pub/\n".parse()?;
/// let rights = keys.rights(None);
/// assert!(rights.fetch(&FileName::new(b"pub/a.iso")?) && !rights.fetch(&FileName::new(b"a.iso")?));
///
/// let error = "anonymous fetch=pub/ fly".parse::<AuthorizedKeys>().unwrap_err();
/// assert!(error.to_string().starts_with("1:22: \"fly\" is not a right"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthorizedKeys {
    keys: HashMap<Fingerprint, AuthorizedKey>,
    anonymous: Rights,
    anonymous_limits: KeyLimits,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct AuthorizedKey {
    name: SafeText,
    rights: Rights,
    limits: KeyLimits,
}

/// Limits on what the requests of one key move together, or those without a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyLimits {
    /// Bytes per second.
    pub rate: Option<u64>,
    /// Bodies and tunnels at once.
    pub transfers: Option<u32>,
    /// Bytes a day.
    pub per_day: Option<u64>,
}

/// Rights of one line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Rights {
    fetch: Vec<Prefix>,
    relay: AllowList,
    /// Servers of any kind that tunnels may lead to.
    connect: AllowList,
    read: bool,
    control: bool,
}

/// A file or a folder with all that is in it: its segments; none is the root.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Prefix(Vec<Box<[u8]>>);

/// What a request may do: by its key, and by the line for requests without one.
#[derive(Clone, Copy, Debug)]
pub struct Granted<'a>([Option<&'a Rights>; 2]);

/// Error in a file of authorized keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {reason}")]
pub struct AuthorizedKeysError {
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
    /// What is wrong there, and how to correct it.
    pub reason: String,
}

impl AuthorizedKeys {
    /// Returns the name of a key; `None` if it is not authorized.
    pub fn name(&self, key: Fingerprint) -> Option<&SafeText> {
        self.keys.get(&key).map(|key| &key.name)
    }

    /// Returns the number of keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Returns true if no key is authorized.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Returns what a request that this key signed may do, or one without a signature. A request without one may do
    /// nothing that a signed one may not.
    pub fn rights(&self, key: Option<Fingerprint>) -> Granted<'_> {
        let own = key.and_then(|key| self.keys.get(&key)).map(|key| &key.rights);
        Granted([own, Some(&self.anonymous)])
    }

    /// Returns the limits of a key, or of requests without one; a key that is not authorized counts as none.
    pub fn limits(&self, key: Option<Fingerprint>) -> KeyLimits {
        key.and_then(|key| self.keys.get(&key)).map_or(self.anonymous_limits, |key| key.limits)
    }

    /// Returns the keys that are authorized.
    pub fn iter(&self) -> impl Iterator<Item = Fingerprint> {
        self.keys.keys().copied()
    }

    /// Adds a line.
    fn add(&mut self, line: &str) -> Result<(), (usize, String)> {
        let mut words = words(line);
        let Some((column, first)) = words.next().filter(|(_, first)| !first.starts_with('#')) else { return Ok(()) };
        if first == ANONYMOUS {
            let (rights, limits) = parse_rights(words)?;
            if rights.control {
                return Err((column, "control needs a key: anonymous requests cannot have it".to_owned()));
            }
            let before = (std::mem::replace(&mut self.anonymous, rights), self.anonymous_limits);
            self.anonymous_limits = limits;
            if before != (Rights::default(), KeyLimits::default()) {
                return Err((column, "there is a line for anonymous requests already".to_owned()));
            }
            return Ok(());
        }
        let key: Fingerprint = first.parse().map_err(|error| match error {
            FingerprintError::Character { at, .. } => (column + at - 1, error.to_string()),
            FingerprintError::Prefix => {
                (column, format!("{error}: write KEY NAME [RIGHT...] [LIMIT...], or {ANONYMOUS} [RIGHT...] [LIMIT...]"))
            }
            FingerprintError::Length { .. } => (column, error.to_string()),
        })?;
        let after = column + first.chars().count();
        let (at, name) = words
            .next()
            .ok_or_else(|| (after, "the key has no name: write KEY NAME [RIGHT...] [LIMIT...]".to_owned()))?;
        if name.contains('=') || name.chars().count() > MAX_KEY_NAME {
            let reason = format!("{name:?} is not a name: it has 1 to {MAX_KEY_NAME} characters, and no =");
            return Err((at, reason));
        }
        let (rights, limits) = parse_rights(words)?;
        match self.keys.entry(key) {
            Entry::Occupied(other) => Err((column, format!("this key is authorized already, as {}", other.get().name))),
            Entry::Vacant(place) => {
                place.insert(AuthorizedKey { name: SafeText::new(name), rights, limits });
                Ok(())
            }
        }
    }
}

impl FromStr for AuthorizedKeys {
    type Err = AuthorizedKeysError;

    /// Parses a file: a key per line, blank lines and `#` comments are skipped.
    fn from_str(text: &str) -> Result<Self, AuthorizedKeysError> {
        let mut keys = Self::default();
        for (line, number) in text.lines().zip(1..) {
            keys.add(line).map_err(|(column, reason)| AuthorizedKeysError { line: number, column, reason })?;
        }
        Ok(keys)
    }
}

/// Parses the rights and limits of a line.
fn parse_rights<'a>(words: impl Iterator<Item = (usize, &'a str)>) -> Result<(Rights, KeyLimits), (usize, String)> {
    let (mut rights, mut limits) = (Rights::default(), KeyLimits::default());
    for (column, word) in words {
        let wrong = |reason: String| (column, reason);
        let repeated = match word.split_once('=') {
            Some(("fetch", prefix)) => {
                let prefix = Prefix::parse(prefix).map_err(wrong)?;
                let repeated = rights.fetch.contains(&prefix);
                rights.fetch.push(prefix);
                repeated
            }
            Some(("relay", list)) => {
                let list = list.parse().map_err(|reason| wrong(format!("relay: {reason}")))?;
                std::mem::replace(&mut rights.relay, list) != AllowList::default()
            }
            Some(("connect", list)) => {
                let list = AllowList::of_targets(list).map_err(|reason| wrong(format!("connect: {reason}")))?;
                std::mem::replace(&mut rights.connect, list) != AllowList::default()
            }
            Some(("rate", rate)) => {
                let rate = parse_bytes(rate).map_err(|reason| wrong(format!("rate: {reason}")))?;
                limits.rate.replace(rate).is_some()
            }
            Some(("transfers", count)) => {
                let count = count.parse().ok().filter(|count| *count > 0);
                let count = count.ok_or_else(|| wrong(format!("{word:?} is not a limit: write transfers=4")))?;
                limits.transfers.replace(count).is_some()
            }
            Some(("per-day", size)) if size.ends_with("/s") => {
                return Err(wrong(format!("{word:?} is not a limit: write per-day=50GB")));
            }
            Some(("per-day", size)) => {
                let size = parse_bytes(size).map_err(|reason| wrong(format!("per-day: {reason}")))?;
                limits.per_day.replace(size).is_some()
            }
            None if word == "read" => std::mem::replace(&mut rights.read, true),
            None if word == "control" => std::mem::replace(&mut rights.control, true),
            _ => return Err(wrong(format!("{word:?} is not a right or a limit: there are {RIGHTS}"))),
        };
        if repeated {
            return Err(wrong(format!("{word:?} is repeated")));
        }
    }
    Ok((rights, limits))
}

impl Prefix {
    /// Parses a path as it is in a URL.
    fn parse(text: &str) -> Result<Self, String> {
        let path = Cow::from(percent_decode_str(text));
        let segments = || path.split(|byte| *byte == b'/');
        if text.is_empty() || segments().any(|segment| segment == b"..") {
            return Err(format!(
                "fetch: {text:?} is not a folder or a file: write fetch=/ for all, or fetch=some/folder/"
            ));
        }
        Ok(Self(segments().filter(|segment| !matches!(*segment, b"" | b".")).map(Into::into).collect()))
    }

    fn contains(&self, name: &FileName) -> bool {
        if name.has_parent_segment() {
            return false;
        }
        let mut segments = name.segments();
        self.0.iter().all(|own| segments.next() == Some(own))
    }
}

impl Granted<'_> {
    fn any(&self, holds: impl Fn(&Rights) -> bool) -> bool {
        self.0.iter().flatten().any(|rights| holds(rights))
    }

    /// Returns whether it may fetch a file, or list or fetch a folder.
    pub fn fetch(&self, name: &FileName) -> bool {
        self.any(|rights| rights.fetch.iter().any(|prefix| prefix.contains(name)))
    }

    /// Returns whether it may be relayed to a next hop at this address.
    pub fn relay(&self, address: SocketAddr, purpose: Purpose<'_>) -> bool {
        self.any(|rights| rights.relay.check(address, purpose) == Listed::Yes)
    }

    /// Returns whether it may be relayed to any next hop.
    pub fn relay_at_all(&self) -> bool {
        self.any(|rights| !rights.relay.is_empty())
    }

    /// Returns whether a tunnel may lead to any server at this address.
    pub fn connect(&self, address: SocketAddr) -> bool {
        self.any(|rights| rights.connect.check(address, Purpose::TunnelTarget) == Listed::Yes)
    }

    /// Returns whether a tunnel may lead to any other server than a node.
    pub fn connect_at_all(&self) -> bool {
        self.any(|rights| !rights.connect.is_empty())
    }

    /// Returns whether it may read the node's endpoints.
    pub fn read(&self) -> bool {
        self.any(|rights| rights.read)
    }

    /// Returns whether it may control the node.
    pub fn control(&self) -> bool {
        self.any(|rights| rights.control)
    }
}

/// Splits a line into words, each with its column.
fn words(line: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut column = 1;
    let parts = line.split([' ', '\t']).map(move |word| {
        let at = column;
        column += word.chars().count() + 1;
        (at, word)
    });
    parts.filter(|(_, word)| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: &str = "sha256:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const BOB: &str = "sha256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

    fn keys(text: &str) -> AuthorizedKeys {
        text.parse().unwrap()
    }

    fn name(name: &[u8]) -> FileName {
        FileName::new(name).unwrap()
    }

    #[test]
    fn each_key_has_its_own_rights() {
        let text = format!(
            "# keys\r\n\n \t# more\n{ALICE}  alice\tfetch=pub/ fetch=a%20b.iso relay=10.0.0.0/24:9000-9100,[fd00::7]:80/x/ read\n\
             {BOB} bob control\nanonymous fetch=pub/open\n"
        );
        let keys = keys(&text);
        let (alice, bob) = (ALICE.parse().unwrap(), BOB.parse().unwrap());
        assert_eq!((keys.len(), keys.name(alice).unwrap().as_str()), (2, "alice"));
        let rights = keys.rights(Some(alice));
        for (file, may) in [
            (&b"pub/a"[..], true),
            (b"pub/", true),
            (b"pub", true),
            (b"./pub//a", true),
            (b"public", false),
            (b"a b.iso", true),
            (b"a b.iso/c", true),
            (b"a b.isos", false),
            (b"/", false),
            (b"pub/../secret", false),
            (b"..;x/pub/a", false),
        ] {
            assert_eq!(rights.fetch(&name(file)), may, "{}", name(file).shown());
        }
        let address = |text: &str| text.parse().unwrap();
        assert!(rights.relay(address("10.0.0.7:9050"), Purpose::files(None)));
        assert!(!rights.relay(address("10.0.0.7:9101"), Purpose::files(None)));
        assert!(rights.relay(address("[fd00::7]:80"), Purpose::Files("/x/")));
        assert!(!rights.relay(address("[fd00::7]:80"), Purpose::Endpoints));
        assert!(rights.read() && !rights.control() && rights.relay_at_all());
        let rights = keys.rights(Some(bob));
        assert!(rights.control() && !rights.read() && !rights.relay_at_all());
        // What everyone may do, a key may do, too; and so may one that is not authorized.
        for key in [Some(bob), None, Some(Fingerprint::new([9; 32]))] {
            let rights = keys.rights(key);
            assert!(rights.fetch(&name(b"pub/open/x")) && !rights.fetch(&name(b"pub/x")));
        }
        assert!(!keys.rights(None).control());
        assert!(AuthorizedKeys::default().is_empty());
    }

    #[test]
    fn a_tunnel_to_any_server_has_a_right_of_its_own() {
        let keys =
            keys(&format!("{ALICE} alice relay=10.0.0.0/8 connect=10.0.0.7:22,[fd00::/8]:443\nanonymous read\n"));
        let rights = keys.rights(Some(ALICE.parse().unwrap()));
        let address = |text: &str| text.parse().unwrap();
        assert!(rights.connect(address("10.0.0.7:22")) && rights.connect(address("[fd00::1]:443")));
        assert!(!rights.connect(address("10.0.0.7:23")) && !rights.connect(address("10.0.0.8:22")));
        assert!(rights.relay(address("10.0.0.7:23"), Purpose::TunnelTarget) && rights.connect_at_all());
        assert!(!keys.rights(None).connect(address("10.0.0.7:22")) && !keys.rights(None).connect_at_all());
        let error = format!("{ALICE} a connect=10.0.0.7:80/x/").parse::<AuthorizedKeys>().unwrap_err();
        assert!(error.reason.starts_with("connect: ") && error.reason.contains("no path"), "{error}");
    }

    #[test]
    fn limits_are_those_of_the_line() {
        let keys = keys(&format!(
            "{ALICE} alice fetch=/ rate=10MB/s transfers=4 per-day=50GB\n{BOB} bob fetch=/\n\
             anonymous fetch=/ rate=1MiB\n"
        ));
        let limits = KeyLimits { rate: Some(10_000_000), transfers: Some(4), per_day: Some(50_000_000_000) };
        let anonymous = KeyLimits { rate: Some(1 << 20), ..KeyLimits::default() };
        assert_eq!(keys.limits(Some(ALICE.parse().unwrap())), limits);
        assert_eq!(keys.limits(Some(BOB.parse().unwrap())), KeyLimits::default());
        assert_eq!([None, Some(Fingerprint::new([9; 32]))].map(|key| keys.limits(key)), [anonymous; 2]);
    }

    #[test]
    fn the_root_is_everything() {
        let keys = keys("anonymous fetch=/");
        for file in [&b"a"[..], b"/", b"a/b/"] {
            assert!(keys.rights(None).fetch(&name(file)));
        }
        assert!(!keys.rights(None).fetch(&name(b"../a")));
    }

    #[test]
    fn a_wrong_line_is_named_with_its_column() {
        let error = |text: String| text.parse::<AuthorizedKeys>().unwrap_err().to_string();
        for (text, expected) in [
            ("alice".to_owned(), "1:1: a fingerprint begins with sha256:: write KEY NAME"),
            (format!("\n {}x alice", &ALICE[..20]), "2:2: the fingerprint has 14 characters"),
            (format!("  {} alice", ALICE.replace('C', "_")), "1:13: character 11 of the fingerprint is '_'"),
            (ALICE.to_owned(), "1:52: the key has no name"),
            (format!("{ALICE} read=1"), "1:53: \"read=1\" is not a name"),
            (format!("{ALICE} {}", "x".repeat(65)), "1:53: "),
            (format!("{ALICE} \u{e9}\u{e9} fly"), "1:56: \"fly\" is not a right"),
            (format!("{ALICE} a fetch="), "1:55: fetch: \"\" is not"),
            (format!("{ALICE} a fetch=a/../b"), "1:55: fetch: \"a/../b\" is not"),
            (format!("{ALICE} a fetch=a/%2e%2e/b"), "1:55: "),
            (format!("{ALICE} a relay=nowhere"), "1:55: relay: "),
            (format!("{ALICE} a read read"), "1:60: \"read\" is repeated"),
            (format!("{ALICE} a fetch=a fetch=a/"), "1:63: "),
            (format!("{ALICE} a read=yes"), "1:55: "),
            (format!("{ALICE} a rate=fast"), "1:55: rate: \"fast\" is not a unit"),
            (format!("{ALICE} a rate=0"), "1:55: rate: \"0\" is out of range"),
            (format!("{ALICE} a rate=1M rate=2M"), "1:63: \"rate=2M\" is repeated"),
            (format!("{ALICE} a transfers=0"), "1:55: \"transfers=0\" is not a limit"),
            (format!("{ALICE} a transfers=-1"), "1:55: "),
            (format!("{ALICE} a transfers=4 transfers=4"), "1:67: \"transfers=4\" is repeated"),
            (format!("{ALICE} a per-day=5GB/s"), "1:55: \"per-day=5GB/s\" is not a limit"),
            (format!("{ALICE} a per-day="), "1:55: per-day: "),
            (format!("{ALICE} a per-day=1G per-day=1G"), "1:66: "),
            ("anonymous rate=1M\nanonymous read".to_owned(), "2:1: there is a line"),
            (format!("{ALICE} a\n{ALICE} b"), "2:1: this key is authorized already, as a"),
            ("anonymous control".to_owned(), "1:1: control needs a key"),
            ("anonymous read\nanonymous read".to_owned(), "2:1: there is a line"),
        ] {
            assert!(error(text.clone()).starts_with(expected), "{text:?}: {}", error(text.clone()));
        }
        assert!(!error(format!("{ALICE} a \u{1b}[2J")).contains('\u{1b}'));
    }
}
