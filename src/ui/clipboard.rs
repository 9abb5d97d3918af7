//! Clipboard of the user's terminal, also over ssh, by an escape sequence (OSC 52).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Multiplexer between this program and the terminal, which passes on a sequence only where it is wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Multiplexer {
    /// None.
    None,
    /// tmux.
    Tmux,
    /// GNU screen.
    Screen,
}

/// Maximum length of a sequence that GNU screen passes on.
const MAX_PIECE: usize = 240;

impl Multiplexer {
    /// Detects the multiplexer by the environment.
    pub(crate) fn here() -> Self {
        match () {
            () if std::env::var_os("TMUX").is_some() => Self::Tmux,
            () if std::env::var_os("STY").is_some() => Self::Screen,
            () => Self::None,
        }
    }
}

/// Returns the bytes that copy this text to the clipboard.
pub(crate) fn copy(text: &str, multiplexer: Multiplexer) -> Vec<u8> {
    let sequence = format!("\x1b]52;c;{}\x07", STANDARD.encode(text));
    match multiplexer {
        Multiplexer::None => sequence.into_bytes(),
        // tmux requires that every escape inside is doubled.
        Multiplexer::Tmux => format!("\x1bPtmux;{}\x1b\\", sequence.replace('\x1b', "\x1b\x1b")).into_bytes(),
        Multiplexer::Screen => {
            let pieces = sequence.as_bytes().chunks(MAX_PIECE);
            pieces.flat_map(|piece| [b"\x1bP".as_slice(), piece, b"\x1b\\"].concat()).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_wrapped_for_multiplexers() {
        assert_eq!(copy("a\n", Multiplexer::None), b"\x1b]52;c;YQo=\x07");
        assert_eq!(copy("a\n", Multiplexer::Tmux), b"\x1bPtmux;\x1b\x1b]52;c;YQo=\x07\x1b\\");
        assert_eq!(copy("a\n", Multiplexer::Screen), b"\x1bP\x1b]52;c;YQo=\x07\x1b\\");
        let long = copy(&"x".repeat(600), Multiplexer::Screen);
        assert_eq!(long.windows(2).filter(|two| two == b"\x1bP").count(), 4);
    }
}
