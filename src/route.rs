//! Routes: file names, addresses, hops, the grammar of input.txt, and the role of a node in a route.
//!
//! ```
//! use chainview::route::Route;
//!
//! let route = Route::parse(b"report.pdf\n10.0.0.1 9101 name=jump\n10.0.1.7:9101\n")?;
//! assert_eq!(route.file.as_bytes(), b"report.pdf");
//! let hops: Vec<String> = route.hops().iter().map(|hop| hop.label().to_string()).collect();
//! assert_eq!(hops, ["jump", "10.0.1.7:9101"]);
//!
//! let error = Route::parse(b"report.pdf\n10.0.0.1\n").unwrap_err();
//! assert_eq!(error.to_string(), "2: hop \"10.0.0.1\" has no port: write HOST PORT");
//! # Ok::<(), chainview::route::InputError>(())
//! ```

mod address;
mod hop;
mod name;
mod other;
mod walk;

pub use address::{Host, HostPort, parse_port};
pub use hop::{Hop, Protocol, parse_base};
pub use name::{FileName, MAX_NAME, NameError, is_local};
pub use other::OtherRoute;
pub use walk::{WalkRange, walk_order};

/// Most hops in one route; a request with more is a loop or an attack.
pub const MAX_HOPS: usize = 32;
/// Largest input.txt read, in bytes; 32 hops with every key need far less.
pub const MAX_INPUT: usize = 64 * 1024;
/// Byte order mark, which some editors write.
const BOM: &[u8] = b"\xef\xbb\xbf";
/// Base path of a chainview node's files, and the default for the last hop.
pub const DEFAULT_BASE: &str = "/files/";

/// A file name and at least one hop, the last of which is the origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The requested file.
    pub file: FileName,
    hops: Vec<Hop>,
}

/// Role of a node for one request, which follows from the remaining hops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// No hop remains: serve the file.
    Origin,
    /// Connect to `next` and forward `rest`.
    Relay {
        /// The next hop.
        next: Hop,
        /// The hops after it.
        rest: Vec<Hop>,
    },
}

/// Error in an input file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}: {reason}")]
pub struct InputError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong there, and how to correct it.
    pub reason: String,
}

impl Route {
    /// Creates a route over these hops; `None` if there is no hop or more than 32.
    pub fn new(file: FileName, hops: Vec<Hop>) -> Option<Self> {
        (1..=MAX_HOPS).contains(&hops.len()).then_some(Self { file, hops })
    }

    /// Returns the hops in order, never empty; the last is the origin.
    pub fn hops(&self) -> &[Hop] {
        &self.hops
    }

    /// Returns the first hop, which the client connects to, and those after it.
    #[expect(clippy::missing_panics_doc, reason = "a route has at least one hop by construction")]
    pub fn split_first(&self) -> (&Hop, &[Hop]) {
        // A route is never empty by construction.
        self.hops.split_first().expect("a route has at least one hop")
    }

    /// Returns true if everything between client and origin is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.hops.last().is_some_and(|hop| hop.key.is_some())
    }

    /// Returns the same hops for another file.
    #[must_use]
    pub fn with_file(&self, file: FileName) -> Self {
        Self { file, hops: self.hops.clone() }
    }

    /// Parses an input.txt: the file name, then one hop per line; blank lines and `#` comments are skipped.
    ///
    /// # Errors
    /// [`InputError`] with the line: a file name or hop line that cannot be parsed, a text that is too long or not
    /// UTF-8, no hop, or more than 32.
    pub fn parse(input: &[u8]) -> Result<Self, InputError> {
        let at = |line: usize| move |reason: String| InputError { line, reason };
        if input.len() > MAX_INPUT {
            return Err(at(1)(format!(
                "the file has {} bytes, more than {MAX_INPUT}: is this an input file?",
                input.len()
            )));
        }
        let input = input.strip_prefix(BOM).unwrap_or(input);
        let mut lines = input.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).zip(1..);
        let first = lines.next().map(|(line, _)| line).unwrap_or_default();
        let file =
            FileName::new(first).map_err(|error| at(1)(format!("{error}: write the name of the file to fetch")))?;
        let mut hops = Vec::new();
        let mut last_line = 1;
        let mut readable_token = None;
        for (line, number) in lines {
            let text = std::str::from_utf8(line).map_err(|_| at(number)("the line is not UTF-8".to_owned()))?;
            if text.trim().is_empty() || text.trim_start().starts_with('#') {
                continue;
            }
            let hop = Hop::parse_line(text).map_err(at(number))?;
            if hops.len() == MAX_HOPS {
                return Err(at(number)(format!("hop {} is one too many: at most {MAX_HOPS}", MAX_HOPS + 1)));
            }
            if hops.last().is_some_and(|before: &Hop| before.base.is_some()) {
                return Err(at(last_line)("base= belongs on the last hop, the origin".to_owned()));
            }
            if hop.key.is_some() && hops.last().is_some_and(|before| before.protocol == Some(Protocol::Legacy)) {
                let reason = "key= needs a hop before it without protocol=legacy, which connects without encryption";
                return Err(at(number)(reason.to_owned()));
            }
            if hop.token_file.is_some() && hop.key.is_none() {
                readable_token = readable_token.or(Some(number));
            }
            hops.push(hop);
            last_line = number;
        }
        let is_encrypted = hops.last().is_some_and(|hop| hop.key.is_some());
        if let Some(line) = readable_token.filter(|_| is_encrypted) {
            let reason = "token-file= needs key= on the same hop: on a route whose last hop has key=, no token is sent \
                          in clear text";
            return Err(at(line)(reason.to_owned()));
        }
        Self::new(file, hops)
            .ok_or_else(|| at(2)("no hop follows the file name: write HOST PORT, the origin last".to_owned()))
    }

    /// Formats the route as an input.txt; parsing it yields the same route.
    pub fn print(&self) -> Vec<u8> {
        let mut input = Vec::new();
        if self.file.as_bytes().starts_with(BOM) {
            // The parser strips the first one; the second belongs to the name.
            input.extend_from_slice(BOM);
        }
        input.extend_from_slice(self.file.as_bytes());
        for hop in &self.hops {
            input.extend_from_slice(format!("\n{hop}").as_bytes());
        }
        input.push(b'\n');
        input
    }
}

/// Returns the role of a node: the first remaining hop is the one it connects to.
pub fn advance(to_come: Vec<Hop>) -> Role {
    let mut hops = to_come.into_iter();
    match hops.next() {
        None => Role::Origin,
        Some(next) => Role::Relay { next, rest: hops.collect() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::Fingerprint;

    fn parse(text: &str) -> Result<Route, String> {
        Route::parse(text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn parses_input_of_the_legacy_program() {
        let route = parse("test.txt\n127.0.0.1 9001\nlocalhost 9002\n0 9003").unwrap();
        assert_eq!(route.file.as_bytes(), b"test.txt");
        let shown: Vec<String> = route.hops().iter().map(|hop| hop.address.to_string()).collect();
        assert_eq!(shown, ["127.0.0.1:9001", "localhost:9002", "0:9003"]);
    }

    #[test]
    fn parses_the_extended_grammar() {
        let route = parse(
            "\u{feff}a b.iso\r\n# relays\r\n\r\n::1 7001 name=gate\r\n[fe::2]:7002 protocol=legacy x\r\nhost.example:80 base=/pub/ token-file=run/t\r\n",
        )
        .unwrap();
        assert_eq!(route.file.as_bytes(), b"a b.iso");
        assert_eq!(route.hops()[0].name.as_deref(), Some("gate"));
        assert_eq!(route.hops()[1].address.to_string(), "[fe::2]:7002");
        assert_eq!(
            (route.hops()[1].protocol, route.hops()[1].other.as_slice()),
            (Some(Protocol::Legacy), &["x".to_owned()][..])
        );
        assert_eq!(route.hops()[2].base.as_deref(), Some("/pub/"));
    }

    #[test]
    fn errors_name_the_line_and_the_correction() {
        let wrong = |text| parse(text).unwrap_err();
        assert_eq!(wrong("f\n\n# c\nhost 99x"), "4: port \"99x\" is not a number from 1 to 65535");
        assert_eq!(wrong(""), "1: the file name is empty: write the name of the file to fetch");
        assert_eq!(wrong("f\n"), "2: no hop follows the file name: write HOST PORT, the origin last");
        assert_eq!(wrong("f\nhost"), "2: hop \"host\" has no port: write HOST PORT");
        assert_eq!(
            wrong("f\nh 1 protocol=smoke"),
            "2: \"smoke\" is not a protocol: write protocol=http or protocol=legacy"
        );
        assert_eq!(wrong("f\nh 1 base=/x/\nh 2"), "2: base= belongs on the last hop, the origin");
        let many = format!("f{}", "\nh 1".repeat(33));
        assert!(parse(&many).unwrap_err().starts_with("34: hop 33 is one too many"));
        assert!(wrong("f\nho,st 1").starts_with("2: \"ho,st\" is not a host"));
        // The text of a line reaches a terminal, in an error and as the hop's name.
        assert!(!wrong("f\nh 1 base=\x1b]0;x\x07").contains('\x1b'));
        assert_eq!(parse("f\nh 1 name=\x1b[2J").unwrap().hops()[0].label().as_str(), "\\u{1b}[2J");
    }

    #[test]
    fn limits_are_exact() {
        let hop = |line: &str| Hop::parse_line(line);
        assert!(hop(&format!("{} 1", "h".repeat(253))).is_ok() && hop(&format!("{} 1", "h".repeat(254))).is_err());
        assert_eq!(hop(":1").unwrap_err(), "\"\" is not a host: a name has 1 to 253 characters");
        assert_eq!([parse_port("1"), parse_port("65535")], [Ok(1), Ok(65535)]);
        for none in ["", "0", "+1", "-1", "1x", "65536"] {
            assert!(parse_port(none).is_err(), "{none:?}");
        }
        let padded = |length: usize| format!("f\nh 1\n#{}", "x".repeat(length - 7));
        assert_eq!(padded(MAX_INPUT).len(), MAX_INPUT);
        assert!(parse(&padded(MAX_INPUT)).is_ok());
        assert!(parse(&padded(MAX_INPUT + 1)).unwrap_err().starts_with("1: the file has 65537 bytes"));
    }

    #[test]
    fn a_word_after_the_port_is_kept_and_a_second_port_is_rejected() {
        let hop = Hop::parse_line("h:1 word x=y").unwrap();
        assert_eq!((hop.address.to_string().as_str(), hop.other.join(" ").as_str()), ("h:1", "word x=y"));
        assert!(Hop::parse_line("h:1 2").unwrap_err().contains("\"h:1\" is not a host"));
        assert_eq!(Hop::parse_line("::1 2").unwrap().address.to_string(), "[::1]:2");
        for key in ["name", "token-file"] {
            assert_eq!(Hop::parse_line(&format!("h 1 {key}=")).unwrap_err(), format!("{key}= has no value"));
        }
    }

    #[test]
    fn a_hop_becomes_a_relay_or_the_origin() {
        let hops = parse("f\na 1\nb 2").unwrap().hops().to_vec();
        assert_eq!(advance(Vec::new()), Role::Origin);
        assert_eq!(advance(hops.clone()), Role::Relay { next: hops[0].clone(), rest: vec![hops[1].clone()] });
    }

    #[test]
    fn elements_omit_client_only_keys() {
        let hop = Hop::parse_line("h 1 name=n protocol=http token-file=t base=/ x=y").unwrap();
        assert_eq!(hop.element(), "h:1;protocol=http;base=/");
        assert_eq!(Hop::parse_element("h:1; protocol=http ;base=/").unwrap().element(), hop.element());
        assert_eq!(hop.legacy_line(), "h 1 protocol=http x=y base=/");
        let keyed = Hop::parse_line(&format!("h 1 name=n key={}", Fingerprint::new([7; 32]))).unwrap();
        assert_eq!(keyed.element(), format!("h:1;key={}", Fingerprint::new([7; 32])), "relays connect with it");
        assert_eq!(Hop::parse_element(&keyed.element()).unwrap().key, keyed.key);
        assert!(Hop::parse_element("h:1;protocol=legacy;key=sha256:x").is_err());
        assert!(Hop::parse_element("h:1;evil=1").is_err() && Hop::parse_element("").is_err());
    }

    #[test]
    fn the_local_name_is_the_last_component_or_none() {
        let local = |name: &[u8]| FileName::new(name).unwrap().local().map(<[u8]>::to_vec);
        assert_eq!(local(b"a/b.txt"), Some(b"b.txt".to_vec()));
        for none in [&b"a/"[..], b"..", b"x/.", b".bash_profile", b"x/.netrc", b"a\x1b[2J", "a\u{9b}2J".as_bytes()] {
            assert_eq!(local(none), None, "{none:?}");
        }
    }
}
