//! Options that flags set and several layers read.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::route::{Host, HostPort};
use crate::text::SafeText;
use crate::wire::{Algorithm, Digest};

/// What a fetched file is compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VerifyMode {
    /// The origin's digest, if it sends one.
    #[default]
    Origin,
    /// This digest, independent of the origin's.
    Expect(Digest),
    /// The size only.
    Skip,
}

impl VerifyMode {
    /// Returns the digest algorithm to compute.
    pub fn algorithm(self) -> Option<Algorithm> {
        match self {
            Self::Origin => Some(Algorithm::Blake3),
            Self::Expect(digest) => Some(digest.algorithm),
            Self::Skip => None,
        }
    }
}

/// Users that a node serves on loopback.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LocalUsers {
    /// The user that it runs as, and root.
    #[default]
    Own,
    /// Every user of this machine.
    Any,
}

/// A name by which a node is reached: a host, with or without a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName {
    /// As it was given.
    text: String,
    host: String,
    port: Option<u16>,
}

impl HostName {
    /// Returns whether this is its host.
    pub fn is_of(&self, host: &str) -> bool {
        self.host.eq_ignore_ascii_case(host)
    }

    /// Returns the port, if it names one.
    pub fn port(&self) -> Option<u16> {
        self.port
    }
}

impl FromStr for HostName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let with_port = text.parse::<HostPort>().map(|address| (address.host, Some(address.port)));
        let (host, port) = with_port.or_else(|_| text.parse::<Host>().map(|host| (host, None)))?;
        Ok(Self { text: text.to_owned(), host: host.to_string(), port })
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Where audit lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditTarget {
    /// To standard output.
    Stdout,
    /// To a file.
    File(PathBuf),
}

/// When the screen uses colors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ColorMode {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Sign outside the screen that shows the progress or the end of transfers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Alert {
    /// Progress in the title of the window and on its icon.
    Title,
    /// The bell, at the end of a long transfer.
    Bell,
    /// A desktop notification, at the end of a long transfer.
    Notify,
    /// None of them.
    None,
}

/// Signs that are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alerts {
    /// Progress in the title of the window and on its icon.
    pub title: bool,
    /// The bell.
    pub bell: bool,
    /// Desktop notifications.
    pub notify: bool,
}

impl Alerts {
    /// Returns these signs as a set.
    pub fn of(alerts: &[Alert]) -> Self {
        let has = |alert| alerts.contains(&alert);
        Self { title: has(Alert::Title), bell: has(Alert::Bell), notify: has(Alert::Notify) }
    }
}

impl Default for Alerts {
    fn default() -> Self {
        Self { title: true, bell: true, notify: true }
    }
}

/// Command that runs when a transfer ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoneCommand {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
}

/// Theme of the dashboard that is part of the program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColorScheme {
    /// The terminal's own palette.
    #[default]
    Terminal,
    /// Light on dark gray.
    Dark,
    /// Dark on white.
    Light,
    /// White on black, bright.
    Contrast,
    /// No color.
    Mono,
    /// Pale blues on a blue gray.
    Frost,
    /// Cream and orange on a dark brown.
    Ember,
    /// Violet and rose on a dark blue.
    Dusk,
}

impl ColorScheme {
    /// All of them, in the order in which a key cycles through them.
    pub const ALL: [Self; 8] =
        [Self::Terminal, Self::Dark, Self::Light, Self::Contrast, Self::Mono, Self::Frost, Self::Ember, Self::Dusk];

    /// Returns the name for flags and screens.
    pub fn name(self) -> &'static str {
        match self {
            Self::Terminal => "terminal",
            Self::Dark => "dark",
            Self::Light => "light",
            Self::Contrast => "contrast",
            Self::Mono => "mono",
            Self::Frost => "frost",
            Self::Ember => "ember",
            Self::Dusk => "dusk",
        }
    }
}

/// Theme file of the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThemeFile {
    /// Name of the theme: that of the file, without its extension.
    pub name: String,
    /// The file.
    pub path: SafeText,
    /// Its content, or why it cannot be read.
    pub text: Result<String, String>,
}
