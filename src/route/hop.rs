//! One hop: a line of input.txt, an element of `Chain-Route`, a line of the legacy protocol.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

use super::address::{HostPort, parse_port};
use super::name::MAX_NAME;
use crate::text::SafeText;

/// A wire that a hop is said to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1 with a source route.
    Http,
    /// The original program's text dialogue.
    Legacy,
}

/// One hop of a route: an address and what was said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Where the node listens.
    pub address: HostPort,
    /// The wire it speaks; `None` asks it.
    pub protocol: Option<Protocol>,
    /// On the last hop: the URL path that the file name is put behind.
    pub base: Option<String>,
    /// A name for people; never sent.
    pub name: Option<String>,
    /// The file with this hop's read token, beneath the configuration folder; the client's own, never sent.
    pub token_file: Option<String>,
    /// Words that mean nothing to us; the original ignores and passes on what follows a port, and so do we.
    pub other: Vec<String>,
}

impl Protocol {
    /// `http` or `seed`.
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
            _ => Err(format!("{text:?} is not a wire: write protocol=http or protocol=legacy")),
        }
    }
}

impl Hop {
    /// A hop of which only the address is known.
    pub fn new(address: HostPort) -> Self {
        Self { address, protocol: None, base: None, name: None, token_file: None, other: Vec::new() }
    }

    /// Reads one hop line: `HOST PORT [key=value…]` or `HOST:PORT [key=value…]`.
    ///
    /// # Errors
    /// A sentence about the host, the port, or the first key that is repeated or has an invalid value.
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

    /// Reads one element of `Chain-Route`: `HOST:PORT[;protocol=…][;base=…]`.
    ///
    /// # Errors
    /// A sentence about the address, or the first key that is unknown, repeated or invalid.
    pub fn parse_element(element: &str) -> Result<Self, String> {
        // Most often there is nothing behind the address.
        let end = element.bytes().position(|byte| byte == b';').unwrap_or(element.len());
        let mut hop = Self::new(element[..end].trim_ascii().parse()?);
        for part in element[end..].split(';').skip(1) {
            match part.trim_ascii().split_once('=') {
                Some(("protocol", value)) => once("protocol", &mut hop.protocol, value.parse()?)?,
                Some(("base", value)) => once("base", &mut hop.base, parse_base(value)?)?,
                _ => return Err(format!("{part:?} is not a key of a route element: protocol= and base= are")),
            }
        }
        Ok(hop)
    }

    /// The hop as an element of `Chain-Route`: what others need to know of it, nothing of the client's own.
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
        element
    }

    /// The hop as a line of the legacy protocol: `HOST PORT`, then what the hops after us may want to know.
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

    /// What people call it: its name, or its address; made safe to show, for a name is whatever its line says.
    pub fn label(&self) -> SafeText {
        self.name.as_deref().map_or_else(|| self.address.to_string().into(), SafeText::new)
    }
}

impl fmt::Display for Hop {
    /// The hop as a line of input.txt.
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
        self.other.iter().try_for_each(|word| write!(f, " {word}"))
    }
}

/// Reads a `token-file=` value: input files come from others, so it must not even look as if it led elsewhere.
fn parse_token_file(text: &str) -> Result<String, String> {
    if text.starts_with('/') || text.split('/').any(|part| part == "..") {
        let shown = SafeText::new(text);
        return Err(format!(
            "token-file={shown} is no file of the configuration folder: write its name there, without / in front and .."
        ));
    }
    Ok(text.to_owned())
}

/// Sets what a key may say once only: of two values, two readers could take either.
fn once<T>(key: &str, place: &mut Option<T>, value: T) -> Result<(), String> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("{key}= is there twice")),
    }
}

/// Reads a `base=` value: a URL path that begins with `/`, holds nothing that would end a header, an element or a line,
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
        // What follows `;` is no part of a segment's name for some servers; only the last segment may be empty.
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
    fn a_token_file_has_a_name_in_the_configuration_folder() {
        for name in ["t", "site/origin", "..t", "a..b", ".t"] {
            assert_eq!(parse_token_file(name).as_deref(), Ok(name));
        }
        for name in ["/run/t", "../t", "a/../../t", "..", "//t", "/\u{1b}[2J"] {
            let why = Hop::parse_line(&format!("h 1 token-file={name}")).unwrap_err();
            assert!(why.contains("configuration folder") && !why.contains('\u{1b}'), "{why}");
        }
    }

    #[test]
    fn a_key_is_there_once() {
        for twice in ["base=/;base=/x/", "protocol=http;protocol=legacy", "base=/;protocol=http;base=/"] {
            assert!(Hop::parse_element(&format!("h:1;{twice}")).unwrap_err().contains("twice"), "{twice}");
            assert!(Hop::parse_line(&format!("h 1 {}", twice.replace(';', " "))).unwrap_err().contains("twice"));
        }
        for twice in ["name=a name=b", "token-file=a token-file=a"] {
            assert!(Hop::parse_line(&format!("h 1 {twice}")).unwrap_err().contains("twice"), "{twice}");
        }
    }

    #[test]
    fn a_base_is_a_url_path_that_ends_nothing_around_it() {
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
