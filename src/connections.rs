//! Value of `--connections`: how many connections carry one file.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Most connections of one client to one origin: as many as the tools that users compare with open, and few enough
/// that one client does not occupy a node.
pub const MAX_CONNECTIONS: usize = 16;

/// How many connections carry one file.
///
/// ```
/// use chainview::connections::Connections;
///
/// let fixed: Connections = "4".parse()?;
/// assert_eq!((fixed.most(), Connections::default().to_string()), (4, "auto".to_owned()));
/// # Ok::<(), chainview::connections::InvalidConnections>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Connections {
    /// One, and more while the verdict names a cause that further connections help against.
    #[default]
    Auto,
    /// This many.
    Fixed(ConnectionCount),
}

/// A number of connections: at least one, at most [`MAX_CONNECTIONS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionCount(usize);

/// A text that is no value of `--connections`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidConnections {
    /// It is neither `auto` nor a number.
    #[error("{text:?} is neither auto nor a number from 1 to {MAX_CONNECTIONS}")]
    NotANumber {
        /// The text.
        text: String,
        /// What is wrong with it as a number.
        source: ParseIntError,
    },
    /// The number is out of range.
    #[error("{0} is out of range: 1 to {MAX_CONNECTIONS} connections, or auto")]
    OutOfRange(usize),
}

impl ConnectionCount {
    /// A single connection.
    pub const ONE: Self = Self(1);

    /// Returns this number of connections, unless it is out of range.
    pub fn new(number: usize) -> Option<Self> {
        (1..=MAX_CONNECTIONS).contains(&number).then_some(Self(number))
    }

    /// Returns the number.
    pub fn get(self) -> usize {
        self.0
    }
}

impl Connections {
    /// Returns the most connections that may be open.
    pub fn most(self) -> usize {
        match self {
            Self::Auto => MAX_CONNECTIONS,
            Self::Fixed(count) => count.get(),
        }
    }
}

impl fmt::Display for ConnectionCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Display for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.pad("auto"),
            Self::Fixed(count) => fmt::Display::fmt(count, f),
        }
    }
}

impl FromStr for Connections {
    type Err = InvalidConnections;

    fn from_str(text: &str) -> Result<Self, InvalidConnections> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let number = text.parse().map_err(|source| InvalidConnections::NotANumber { text: text.to_owned(), source })?;
        ConnectionCount::new(number).map(Self::Fixed).ok_or(InvalidConnections::OutOfRange(number))
    }
}

impl From<Connections> for String {
    fn from(connections: Connections) -> Self {
        connections.to_string()
    }
}

impl TryFrom<String> for Connections {
    type Error = InvalidConnections;

    fn try_from(text: String) -> Result<Self, InvalidConnections> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_back_as_they_are_displayed() {
        for text in ["auto", "1", "4", "16"] {
            let connections: Connections = text.parse().unwrap();
            assert_eq!(connections.to_string(), text);
            let json = serde_json::to_string(&connections).unwrap();
            assert_eq!((json.as_str(), serde_json::from_str(&json).unwrap()), (&*format!("{text:?}"), connections));
        }
        assert_eq!("16".parse::<Connections>().unwrap().most(), 16);
        assert_eq!((Connections::Auto.most(), format!("{:>5}", Connections::Auto)), (16, " auto".to_owned()));
    }

    #[test]
    fn other_values_are_rejected_with_the_range() {
        let rejected = |text: &str| text.parse::<Connections>().unwrap_err().to_string();
        assert_eq!(rejected("0"), "0 is out of range: 1 to 16 connections, or auto");
        assert_eq!(rejected("17"), "17 is out of range: 1 to 16 connections, or auto");
        assert_eq!(rejected("many"), "\"many\" is neither auto nor a number from 1 to 16");
        assert!(rejected("-1").contains("neither auto nor a number") && rejected("").contains("neither"));
        assert!(serde_json::from_str::<Connections>("\"17\"").is_err());
    }
}
