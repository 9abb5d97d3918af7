//! Options that flags set and several layers read.

use crate::wire::{Algorithm, Digest};

/// What the bytes are to be compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VerifyMode {
    /// The origin's digest, where it offers one.
    #[default]
    Origin,
    /// This digest, whatever the chain says.
    Expect(Digest),
    /// Nothing but the length.
    Skip,
}

impl VerifyMode {
    /// The digest to compute.
    pub fn algorithm(self) -> Option<Algorithm> {
        match self {
            Self::Origin => Some(Algorithm::Blake3),
            Self::Expect(digest) => Some(digest.algorithm),
            Self::Skip => None,
        }
    }
}

/// Who may use a node over loopback.
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
    /// All of them, in the order in which a key goes through them.
    pub const ALL: [Self; 4] = [Self::Terminal, Self::Light, Self::Contrast, Self::Mono];

    /// Its name, for flags and screens.
    pub fn name(self) -> &'static str {
        match self {
            Self::Terminal => "terminal",
            Self::Light => "light",
            Self::Contrast => "contrast",
            Self::Mono => "mono",
        }
    }
}
