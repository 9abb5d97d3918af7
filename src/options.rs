//! Options that flags set and several layers read.

use std::path::PathBuf;

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

/// Colors of the dashboard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ColorScheme {
    /// The terminal's own palette.
    #[default]
    Terminal,
    /// Dark on white.
    Light,
    /// White on black, bright.
    Contrast,
    /// No color.
    Mono,
}

impl ColorScheme {
    /// All schemes, in the order in which a key cycles through them.
    pub const ALL: [Self; 4] = [Self::Terminal, Self::Light, Self::Contrast, Self::Mono];

    /// Returns the name for flags and screens.
    pub fn name(self) -> &'static str {
        match self {
            Self::Terminal => "terminal",
            Self::Light => "light",
            Self::Contrast => "contrast",
            Self::Mono => "mono",
        }
    }
}
