//! One hop: a line of input.txt, an element of `Chain-Route`, a line of the legacy protocol.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

use super::address::{HostPort, parse_port};
use super::name::MAX_NAME;
use crate::fingerprint::Fingerprint;
use crate::text::SafeText;

/// Protocol of a hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1 with a source route.
    Http,
    /// The legacy program's text protocol.
    Legacy,
}

/// One hop of a route: an address and its options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Where the node listens.
    pub address: HostPort,
    /// Its protocol; `None` detects it.
    pub protocol: Option<Protocol>,
    /// On the last hop: the URL path before the file name.
    pub base: Option<String>,
    /// A name for display; never sent.
    pub name: Option<String>,
    /// The file with this hop's read token, below the configuration folder; for the client only, never sent.
    pub token_file: Option<String>,
    /// The key that the node must have: then every connection to it is encrypted, and if it is the last hop, everything
    /// between client and node.
    pub key: Option<Fingerprint>,
    /// Unknown words after the port, which are ignored and forwarded, as by the legacy program.
    pub other: Vec<String>,
}

impl Protocol {
    /// Returns `http` or `legacy`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Legacy => "legacy",
        }
    }
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "http" => Ok(Self::Http),
            "legacy" => Ok(Self::Legacy),
            _ => Err(format!("{text:?} is not a protocol: write protocol=http or protocol=legacy")),
        }
    }
}

impl Hop {
    /// Creates a hop without options.
    pub fn new(address: HostPort) -> Self {
        Self { address, protocol: None, base: None, name: None, token_file: None, key: None, other: Vec::new() }
    }

    /// Returns its protocol if it is known; `None` detects it.
    pub fn protocol(&self) -> Option<Protocol> {
        self.key.map(|_| Protocol::Http).or(self.protocol)
    }

    /// Parses one hop line of an input file: `HOST PORT [key=value…]` or `HOST:PORT [key=value…]`.
    ///
    /// # Errors
    /// A sentence about the host, the port, or the first key that is repeated or has an invalid value.
    pub fn parse_line(line: &str) -> Result<Self, String> {
        Self::parse_legacy_line(line)?.with_own_key()
    }

    /// Parses one hop line of a request in the legacy protocol. `key=` is for the client that reads an input file: here
    /// it is an unknown word.
    ///
    /// # Errors
    /// As for [`Self::parse_line`].
    pub fn parse_legacy_line(line: &str) -> Result<Self, String> {
        let mut words = line.split_ascii_whitespace();
        let first = words.next().ok_or("the line is empty: write HOST PORT")?;
        let mut words = words.peekable();
        let address = match words.next_if(|word| !word.contains('=')) {
            Some(port) => match first.parse::<HostPort>() {
                // `HOST:PORT word`: the port is part of the address, and the word is unknown.
                Ok(address) if parse_port(port).is_err() => {
                    let mut hop = Self::new(address);
                    hop.other.push(port.to_owned());
                    return hop.with_keys(words);
                }
                _ => HostPort { host: first.parse()?, port: parse_port(port)? },
            },
            None => first.parse::<HostPort>().map_err(|reason| {
                if first.contains(':') { reason } else { format!("hop {first:?} has no port: write HOST PORT") }
            })?,
        };
        Self::new(address).with_keys(words)
    }

    fn with_keys<'a>(mut self, words: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        for word in words {
            match word.split_once('=') {
                Some(("protocol", value)) => once("protocol", &mut self.protocol, value.parse()?)?,
                Some(("base", value)) => once("base", &mut self.base, parse_base(value)?)?,
                Some(("name", value)) if !value.is_empty() => once("name", &mut self.name, value.to_owned())?,
                Some(("token-file", value)) if !value.is_empty() => {
                    once("token-file", &mut self.token_file, parse_token_file(value)?)?;
                }
                Some((key @ ("name" | "token-file"), _)) => return Err(format!("{key}= has no value")),
                _ => self.other.push(word.to_owned()),
            }
        }
        Ok(self)
    }

    /// Takes the node's key out of the unknown words.
    fn with_own_key(mut self) -> Result<Self, String> {
        for word in std::mem::take(&mut self.other) {
            match word.strip_prefix("key=") {
                Some(value) => once("key", &mut self.key, parse_key(value)?)?,
                None => self.other.push(word),
            }
        }
        self.check_key()?;
        Ok(self)
    }

    fn check_key(&self) -> Result<(), String> {
        if self.key.is_some() && self.protocol == Some(Protocol::Legacy) {
            return Err("key= needs protocol=http: the legacy protocol has no encryption".to_owned());
        }
        Ok(())
    }

    /// Parses one element of `Chain-Route`: `HOST:PORT[;protocol=…][;base=…][;key=…]`.
    ///
    /// # Errors
    /// A sentence about the address, or the first key that is unknown, repeated or invalid.
    pub fn parse_element(element: &str) -> Result<Self, String> {
        // Usually the address is the whole element.
        let end = element.bytes().position(|byte| byte == b';').unwrap_or(element.len());
        let mut hop = Self::new(element[..end].trim_ascii().parse()?);
        for part in element[end..].split(';').skip(1) {
            match part.trim_ascii().split_once('=') {
                Some(("protocol", value)) => once("protocol", &mut hop.protocol, value.parse()?)?,
                Some(("base", value)) => once("base", &mut hop.base, parse_base(value)?)?,
                Some(("key", value)) => once("key", &mut hop.key, parse_key(value)?)?,
                _ => return Err(format!("{part:?} is not a key of a route element: protocol=, base= and key= are")),
            }
        }
        hop.check_key()?;
        Ok(hop)
    }

    /// Formats the hop as an element of `Chain-Route`, without the options for the client only.
    pub fn element(&self) -> String {
        let mut element = self.address.to_string();
        if let Some(protocol) = self.protocol {
            element.push_str(";protocol=");
            element.push_str(protocol.as_str());
        }
        if let Some(base) = &self.base {
            element.push_str(";base=");
            element.push_str(base);
        }
        if let Some(key) = &self.key {
            element.push_str(";key=");
            element.push_str(&key.to_string());
        }
        element
    }

    /// Formats the hop as a line of the legacy protocol: `HOST PORT`, then the options for later hops.
    pub fn legacy_line(&self) -> String {
        let mut line = format!("{} {}", self.address.host, self.address.port);
        for word in self.protocol.map(|protocol| format!("protocol={}", protocol.as_str())).iter().chain(&self.other) {
            line.push(' ');
            line.push_str(word);
        }
        if let Some(base) = &self.base {
            line.push_str(" base=");
            line.push_str(base);
        }
        line
    }

    /// Returns its name or its address for display; sanitized, as a name is arbitrary text.
    pub fn label(&self) -> SafeText {
        self.name.as_deref().map_or_else(|| self.address.to_string().into(), SafeText::new)
    }
}

impl fmt::Display for Hop {
    /// Formats the hop as a line of input.txt.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.address.host, self.address.port)?;
        if let Some(name) = &self.name {
            write!(f, " name={name}")?;
        }
        if let Some(protocol) = self.protocol {
            write!(f, " protocol={}", protocol.as_str())?;
        }
        if let Some(path) = &self.token_file {
            write!(f, " token-file={path}")?;
        }
        if let Some(base) = &self.base {
            write!(f, " base={base}")?;
        }
        if let Some(key) = &self.key {
            write!(f, " key={key}")?;
        }
        self.other.iter().try_for_each(|word| write!(f, " {word}"))
    }
}

fn parse_key(text: &str) -> Result<Fingerprint, String> {
    text.parse().map_err(|error| format!("key=: {error}"))
}

/// Parses a `token-file=` value: input files come from others, so a path must not leave the configuration folder.
fn parse_token_file(text: &str) -> Result<String, String> {
    if text.starts_with('/') || text.split('/').any(|part| part == "..") {
        let shown = SafeText::new(text);
        return Err(format!(
            "token-file={shown} is not in the configuration folder: write a relative path below it, without .."
        ));
    }
    Ok(text.to_owned())
}

/// Sets a key that must not be repeated: two parsers could use either value.
fn once<T>(key: &str, slot: &mut Option<T>, value: T) -> Result<(), String> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("{key}= is repeated")),
    }
}

/// Parses a `base=` value: a URL path that begins with `/`, contains no delimiter of a header, an element or a line,
/// and means the same folder to every server: no query, no dot segments, no empty ones.
///
/// # Errors
/// A sentence that repeats the text if it is not such a path.
pub fn parse_base(text: &str) -> Result<String, String> {
    let allowed = |b: u8| b.is_ascii_graphic() && !matches!(b, b',' | b';' | b'"' | b'#' | b'?' | b'\\' | b'<' | b'>');
    let decoded = Cow::from(percent_decode_str(text));
    let mut segments = decoded.split(|b| matches!(b, b'/' | b'\\')).skip(1).peekable();
    let mut clean = true;
    while let Some(segment) = segments.next() {
        // Some servers strip `;` parameters from a segment; only the last segment may be empty.
        let name = segment.split(|b| *b == b';').next().unwrap_or_default();
        clean &= !matches!(name, b"." | b"..") && (!segment.is_empty() || segments.peek().is_none());
    }
    let clean = clean && !decoded.iter().any(u8::is_ascii_control);
    if !text.starts_with('/') || text.len() > MAX_NAME || !text.bytes().all(allowed) || !clean {
        return Err(format!(
            "{text:?} is not a URL path without a query, `//`, `.` or `..`: write base=/ or base=/some/folder/"
        ));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_files_are_relative_to_the_configuration_folder() {
        for name in ["t", "site/origin", "..t", "a..b", ".t"] {
            assert_eq!(parse_token_file(name).as_deref(), Ok(name));
        }
        for name in ["/run/t", "../t", "a/../../t", "..", "//t", "/\u{1b}[2J"] {
            let why = Hop::parse_line(&format!("h 1 token-file={name}")).unwrap_err();
            assert!(why.contains("configuration folder") && !why.contains('\u{1b}'), "{why}");
        }
    }

    #[test]
    fn repeated_keys_are_rejected() {
        for twice in ["base=/;base=/x/", "protocol=http;protocol=legacy", "base=/;protocol=http;base=/"] {
            assert!(Hop::parse_element(&format!("h:1;{twice}")).unwrap_err().contains("repeated"), "{twice}");
            assert!(Hop::parse_line(&format!("h 1 {}", twice.replace(';', " "))).unwrap_err().contains("repeated"));
        }
        for twice in ["name=a name=b", "token-file=a token-file=a"] {
            assert!(Hop::parse_line(&format!("h 1 {twice}")).unwrap_err().contains("repeated"), "{twice}");
        }
    }

    #[test]
    fn a_base_is_a_canonical_url_path() {
        for base in ["/", "/a/b%20c", "/a/b.c/..d/", "/.well-known/", &format!("/{}", "x".repeat(MAX_NAME - 1))] {
            assert_eq!(parse_base(base).as_deref(), Ok(base));
        }
        for none in [
            "",
            "files/",
            "/a b",
            "/é",
            "/a,b",
            "/a;b",
            "/a\"b",
            "/a#b",
            "/a\\b",
            "/a?b=",
            "//",
            "/a//b/",
            "/a%2f/b",
            "/./",
            "/a/..",
            "/%2e%2E/a/",
            "/a%2f..%2fb/",
            "/a%5c..%5cb/",
            "/..%3bx/",
            "/a%0d%0ab/",
            &format!("/{}", "x".repeat(MAX_NAME)),
        ] {
            assert!(parse_base(none).unwrap_err().contains("write base=/"), "{none:?}");
        }
    }
}
