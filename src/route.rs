//! Routes: file names, addresses, hops, the input.txt grammar, and the step that makes a node a relay or the origin.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::text::SafeText;

/// Most hops in one route; a request that names more is a loop or an attack.
pub const MAX_HOPS: usize = 32;
/// Longest file name, in bytes.
pub const MAX_NAME: usize = 1024;
/// Largest input.txt read; 32 hops with every key need far less.
pub const MAX_INPUT: usize = 64 * 1024;
/// Where a node of ours serves files; the path a name is put behind unless the last hop says otherwise.
pub const DEFAULT_BASE: &str = "/files/";

/// The name a file is asked for by: 1 to 1,024 bytes without NUL, CR or LF; not always UTF-8.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct FileName(Box<[u8]>);

/// Why bytes cannot be a file name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is nothing.
    #[error("the file name is empty")]
    Empty,
    /// More than 1,024 bytes.
    #[error("the file name has {0} bytes, more than {MAX_NAME}")]
    TooLong(usize),
    /// A NUL, CR or LF, which would end the name on one of the wires.
    #[error("the file name holds a NUL, a carriage return or a line feed")]
    Forbidden,
}

/// A host as a person wrote it: an address or a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// An IPv4 or IPv6 address.
    Ip(IpAddr),
    /// A name to be resolved by whoever dials it.
    Name(String),
}

/// A host and a port; shows as `HOST:PORT`, or `[v6]:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// The host.
    pub host: Host,
    /// The TCP port, never 0.
    pub port: u16,
}

/// A wire that a hop is said to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wire {
    /// HTTP/1.1 with a source route.
    Http,
    /// The original program's text dialogue.
    Seed,
}

/// One hop of a route: an address and what was said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Where the node listens.
    pub address: HostPort,
    /// The wire it speaks; `None` asks it.
    pub wire: Option<Wire>,
    /// On the last hop: the URL path that the file name is put behind.
    pub base: Option<String>,
    /// A name for people; never sent.
    pub name: Option<String>,
    /// The file with this hop's read token; the client's own, never sent.
    pub token_file: Option<String>,
    /// Words that mean nothing to us; the original ignores and passes on what follows a port, and so do we.
    pub other: Vec<String>,
}

/// What to fetch and the way there: a file name and at least one hop, the last of which is the origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The file asked for.
    pub file: FileName,
    hops: Vec<Hop>,
}

/// What a node is for one request, decided by the hops that are still to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Nothing is to come: serve the file.
    Origin,
    /// Dial `next` and send `rest` on.
    Relay {
        /// The hop to dial.
        next: Hop,
        /// The hops after it.
        rest: Vec<Hop>,
    },
}

/// What is wrong with an input file: the line, counted from 1, and the reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}: {reason}")]
pub struct InputError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong there, and what would be right.
    pub reason: String,
}

impl FileName {
    /// Takes bytes as they came; nothing is trimmed or unescaped.
    pub fn new(bytes: &[u8]) -> Result<Self, NameError> {
        if bytes.is_empty() {
            return Err(NameError::Empty);
        }
        if bytes.len() > MAX_NAME {
            return Err(NameError::TooLong(bytes.len()));
        }
        if bytes.iter().any(|b| matches!(b, 0 | b'\r' | b'\n')) {
            return Err(NameError::Forbidden);
        }
        Ok(Self(bytes.into()))
    }

    /// The name as it goes over the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The last component, which is the local name: `None` if it is empty, `.`, `..` or holds control characters.
    pub fn local(&self) -> Option<&[u8]> {
        let last = self.0.rsplit(|b| *b == b'/').next().unwrap_or_default();
        let usable = !matches!(last, b"" | b"." | b"..") && !last.iter().any(u8::is_ascii_control);
        usable.then_some(last)
    }

    /// The name made safe to show.
    pub fn shown(&self) -> SafeText {
        SafeText::from_bytes(&self.0)
    }
}

impl fmt::Debug for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileName({})", self.shown())
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => f.pad(name),
        }
    }
}

impl FromStr for Host {
    type Err = String;

    /// Reads an IPv4 address, an IPv6 address (bare or in brackets) or a name.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(inner) = text.strip_prefix('[') {
            let inner =
                inner.strip_suffix(']').ok_or_else(|| format!("{text:?} opens a bracket and does not close it"))?;
            return inner
                .parse::<std::net::Ipv6Addr>()
                .map(|ip| Self::Ip(ip.into()))
                .map_err(|_| format!("{inner:?} is not an IPv6 address"));
        }
        if let Ok(ip) = text.parse() {
            return Ok(Self::Ip(ip));
        }
        if text.is_empty() || text.len() > 253 {
            return Err(format!("{text:?} is not a host: a name has 1 to 253 characters"));
        }
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')) {
            return Err(format!(
                "{text:?} is not a host: write an IP address, or a name of letters, digits, dots and hyphens"
            ));
        }
        Ok(Self::Name(text.to_owned()))
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(ip)) => f.pad(&format!("[{ip}]:{}", self.port)),
            host => f.pad(&format!("{host}:{}", self.port)),
        }
    }
}

impl FromStr for HostPort {
    type Err = String;

    /// Reads `HOST:PORT` or `[v6]:PORT`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (host, port) = text.rsplit_once(':').ok_or_else(|| format!("{text:?} has no port: write HOST:PORT"))?;
        if host.contains(':') && !host.starts_with('[') {
            return Err(format!("{text:?} is ambiguous: write an IPv6 address in brackets, [v6]:PORT"));
        }
        Ok(Self { host: host.parse()?, port: parse_port(port)? })
    }
}

impl From<std::net::SocketAddr> for HostPort {
    fn from(address: std::net::SocketAddr) -> Self {
        Self { host: Host::Ip(address.ip().to_canonical()), port: address.port() }
    }
}

impl Wire {
    /// `http` or `seed`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Seed => "seed",
        }
    }
}

impl FromStr for Wire {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "http" => Ok(Self::Http),
            "seed" => Ok(Self::Seed),
            _ => Err(format!("{text:?} is not a wire: write wire=http or wire=seed")),
        }
    }
}

impl Hop {
    /// A hop of which only the address is known.
    pub fn new(address: HostPort) -> Self {
        Self { address, wire: None, base: None, name: None, token_file: None, other: Vec::new() }
    }

    /// Reads one hop line: `HOST PORT [key=value…]` or `HOST:PORT [key=value…]`.
    pub fn parse_line(line: &str) -> Result<Self, String> {
        let mut words = line.split_ascii_whitespace();
        let first = words.next().ok_or("the line is empty: write HOST PORT")?;
        let mut words = words.peekable();
        let address = match words.next_if(|word| !word.contains('=')) {
            Some(port) => match first.parse::<HostPort>() {
                // `HOST:PORT word`: the port is there already, and the word means nothing to us.
                Ok(address) if parse_port(port).is_err() => {
                    let mut hop = Self::new(address);
                    hop.other.push(port.to_owned());
                    return hop.with_keys(words);
                }
                _ => HostPort { host: first.parse()?, port: parse_port(port)? },
            },
            None => first.parse::<HostPort>().map_err(|reason| match first.contains(':') {
                true => reason,
                false => format!("hop {first:?} has no port: write HOST PORT"),
            })?,
        };
        Self::new(address).with_keys(words)
    }

    fn with_keys<'a>(mut self, words: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        for word in words {
            match word.split_once('=') {
                Some(("wire", value)) => self.wire = Some(value.parse()?),
                Some(("base", value)) => self.base = Some(parse_base(value)?),
                Some(("name", value)) if !value.is_empty() => self.name = Some(value.to_owned()),
                Some(("token-file", value)) if !value.is_empty() => self.token_file = Some(value.to_owned()),
                Some((key @ ("name" | "token-file"), _)) => return Err(format!("{key}= has no value")),
                _ => self.other.push(word.to_owned()),
            }
        }
        Ok(self)
    }

    /// Reads one element of `Chain-Route`: `HOST:PORT[;wire=…][;base=…]`.
    pub fn parse_element(element: &str) -> Result<Self, String> {
        let mut parts = element.split(';').map(str::trim);
        let mut hop = Self::new(parts.next().unwrap_or_default().parse()?);
        for part in parts {
            match part.split_once('=') {
                Some(("wire", value)) => hop.wire = Some(value.parse()?),
                Some(("base", value)) => hop.base = Some(parse_base(value)?),
                _ => return Err(format!("{part:?} is not a key of a route element: wire= and base= are")),
            }
        }
        Ok(hop)
    }

    /// The hop as an element of `Chain-Route`: what others need to know of it, nothing of the client's own.
    pub fn element(&self) -> String {
        let mut element = self.address.to_string();
        if let Some(wire) = self.wire {
            element.push_str(";wire=");
            element.push_str(wire.as_str());
        }
        if let Some(base) = &self.base {
            element.push_str(";base=");
            element.push_str(base);
        }
        element
    }

    /// The hop as a line of the seed wire: `HOST PORT`, then what the hops after us may want to know.
    pub fn seed_line(&self) -> String {
        let mut line = format!("{} {}", self.address.host, self.address.port);
        for word in self.wire.map(|wire| format!("wire={}", wire.as_str())).iter().chain(&self.other) {
            line.push(' ');
            line.push_str(word);
        }
        if let Some(base) = &self.base {
            line.push_str(" base=");
            line.push_str(base);
        }
        line
    }

    /// What people call it: its name, or its address.
    pub fn label(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.address.to_string())
    }
}

impl fmt::Display for Hop {
    /// The hop as a line of input.txt.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.address.host, self.address.port)?;
        if let Some(name) = &self.name {
            write!(f, " name={name}")?;
        }
        if let Some(wire) = self.wire {
            write!(f, " wire={}", wire.as_str())?;
        }
        if let Some(path) = &self.token_file {
            write!(f, " token-file={path}")?;
        }
        if let Some(base) = &self.base {
            write!(f, " base={base}")?;
        }
        self.other.iter().try_for_each(|word| write!(f, " {word}"))
    }
}

impl Route {
    /// A route over these hops; `None` where there is no hop or more than 32.
    pub fn new(file: FileName, hops: Vec<Hop>) -> Option<Self> {
        (1..=MAX_HOPS).contains(&hops.len()).then_some(Self { file, hops })
    }

    /// The hops in order, never empty; the last is the origin.
    pub fn hops(&self) -> &[Hop] {
        &self.hops
    }

    /// The first hop, which the client dials, and those after it.
    pub fn split_first(&self) -> (&Hop, &[Hop]) {
        // A route is never empty by construction.
        self.hops.split_first().expect("a route has at least one hop")
    }

    /// The same hops for another file.
    pub fn with_file(&self, file: FileName) -> Self {
        Self { file, hops: self.hops.clone() }
    }

    /// Reads an input.txt: the file name, then a hop a line; blank lines and `#` comments between them are skipped.
    pub fn parse(input: &[u8]) -> Result<Self, InputError> {
        let at = |line: usize| move |reason: String| InputError { line, reason };
        if input.len() > MAX_INPUT {
            return Err(at(1)(format!(
                "the file has {} bytes, more than {MAX_INPUT}: is this an input file?",
                input.len()
            )));
        }
        let input = input.strip_prefix(b"\xef\xbb\xbf").unwrap_or(input);
        let mut lines = input.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).zip(1..);
        let first = lines.next().map(|(line, _)| line).unwrap_or_default();
        let file =
            FileName::new(first).map_err(|error| at(1)(format!("{error}: write the name of the file to fetch")))?;
        let mut hops = Vec::new();
        let mut last_line = 1;
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
            hops.push(hop);
            last_line = number;
        }
        Self::new(file, hops)
            .ok_or_else(|| at(2)("no hop follows the file name: write HOST PORT, the origin last".to_owned()))
    }

    /// The route as an input.txt; reading it again gives the same route.
    pub fn print(&self) -> Vec<u8> {
        let mut input = self.file.as_bytes().to_vec();
        for hop in &self.hops {
            input.extend_from_slice(format!("\n{hop}").as_bytes());
        }
        input.push(b'\n');
        input
    }
}

/// Decides what a node is: the first hop still to come is the one it dials.
pub fn advance(to_come: Vec<Hop>) -> Role {
    let mut hops = to_come.into_iter();
    match hops.next() {
        None => Role::Origin,
        Some(next) => Role::Relay { next, rest: hops.collect() },
    }
}

/// Reads a port, 1 to 65535.
pub fn parse_port(text: &str) -> Result<u16, String> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|port| digits && *port != 0)
        .ok_or_else(|| format!("port {text:?} is not a number from 1 to 65535"))
}

/// Reads a `base=` value: a URL path that begins with `/` and holds nothing that would end a header, an element or a line.
fn parse_base(text: &str) -> Result<String, String> {
    let allowed = |b: u8| b.is_ascii_graphic() && !matches!(b, b',' | b';' | b'"' | b'#' | b'\\' | b'<' | b'>');
    if !text.starts_with('/') || text.len() > MAX_NAME || !text.bytes().all(allowed) {
        return Err(format!("base={text} is not a URL path: write base=/ or base=/some/folder/"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Route, String> {
        Route::parse(text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn reads_what_the_original_reads() {
        let route = parse("test.txt\n127.0.0.1 9001\nlocalhost 9002\n0 9003").unwrap();
        assert_eq!(route.file.as_bytes(), b"test.txt");
        let shown: Vec<String> = route.hops().iter().map(|hop| hop.address.to_string()).collect();
        assert_eq!(shown, ["127.0.0.1:9001", "localhost:9002", "0:9003"]);
    }

    #[test]
    fn reads_the_wider_grammar() {
        let route = parse(
            "\u{feff}a b.iso\r\n# relays\r\n\r\n::1 7001 name=gate\r\n[fe::2]:7002 wire=seed x\r\nhost.example:80 base=/pub/ token-file=/run/t\r\n",
        )
        .unwrap();
        assert_eq!(route.file.as_bytes(), b"a b.iso");
        assert_eq!(route.hops()[0].name.as_deref(), Some("gate"));
        assert_eq!(route.hops()[1].address.to_string(), "[fe::2]:7002");
        assert_eq!((route.hops()[1].wire, route.hops()[1].other.as_slice()), (Some(Wire::Seed), &["x".to_owned()][..]));
        assert_eq!(route.hops()[2].base.as_deref(), Some("/pub/"));
    }

    #[test]
    fn names_the_line_and_what_would_be_right() {
        let wrong = |text| parse(text).unwrap_err();
        assert_eq!(wrong("f\n\n# c\nhost 99x"), "4: port \"99x\" is not a number from 1 to 65535");
        assert_eq!(wrong(""), "1: the file name is empty: write the name of the file to fetch");
        assert_eq!(wrong("f\n"), "2: no hop follows the file name: write HOST PORT, the origin last");
        assert_eq!(wrong("f\nhost"), "2: hop \"host\" has no port: write HOST PORT");
        assert_eq!(wrong("f\nh 1 wire=smoke"), "2: \"smoke\" is not a wire: write wire=http or wire=seed");
        assert_eq!(wrong("f\nh 1 base=/x/\nh 2"), "2: base= belongs on the last hop, the origin");
        let many = format!("f{}", "\nh 1".repeat(33));
        assert!(parse(&many).unwrap_err().starts_with("34: hop 33 is one too many"));
        assert!(wrong("f\nho,st 1").starts_with("2: \"ho,st\" is not a host"));
    }

    #[test]
    fn a_hop_becomes_a_relay_or_the_origin() {
        let hops = parse("f\na 1\nb 2").unwrap().hops().to_vec();
        assert_eq!(advance(Vec::new()), Role::Origin);
        assert_eq!(advance(hops.clone()), Role::Relay { next: hops[0].clone(), rest: vec![hops[1].clone()] });
    }

    #[test]
    fn elements_carry_only_what_others_need() {
        let hop = Hop::parse_line("h 1 name=n wire=http token-file=t base=/ x=y").unwrap();
        assert_eq!(hop.element(), "h:1;wire=http;base=/");
        assert_eq!(Hop::parse_element("h:1; wire=http ;base=/").unwrap().element(), hop.element());
        assert_eq!(hop.seed_line(), "h 1 wire=http x=y base=/");
        assert!(Hop::parse_element("h:1;evil=1").is_err() && Hop::parse_element("").is_err());
    }

    #[test]
    fn the_local_name_is_the_last_component_or_nothing() {
        let local = |name: &[u8]| FileName::new(name).unwrap().local().map(<[u8]>::to_vec);
        assert_eq!(local(b"a/b.txt"), Some(b"b.txt".to_vec()));
        assert_eq!([local(b"a/"), local(b".."), local(b"x/."), local(b"a\x1b[2J")], [None, None, None, None]);
    }
}
