//! The clipboard of whoever sits at the terminal, also over ssh: an escape sequence that the terminal obeys (OSC 52).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What stands between this program and the terminal, and must be told to pass the sequence on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Multiplexer {
    /// Nothing.
    Nothing,
    /// tmux.
    Tmux,
    /// GNU screen.
    Screen,
}

/// GNU screen passes no longer piece than this at once.
const PIECE: usize = 240;

impl Multiplexer {
    /// What this environment says.
    pub(crate) fn here() -> Self {
        match () {
            () if std::env::var_os("TMUX").is_some() => Self::Tmux,
            () if std::env::var_os("STY").is_some() => Self::Screen,
            () => Self::Nothing,
        }
    }
}

/// The bytes that put this text on the clipboard.
pub(crate) fn copy(text: &str, between: Multiplexer) -> Vec<u8> {
    let sequence = format!("\x1b]52;c;{}\x07", STANDARD.encode(text));
    match between {
        Multiplexer::Nothing => sequence.into_bytes(),
        // Inside, every escape is doubled.
        Multiplexer::Tmux => format!("\x1bPtmux;{}\x1b\\", sequence.replace('\x1b', "\x1b\x1b")).into_bytes(),
        Multiplexer::Screen => {
            let pieces = sequence.as_bytes().chunks(PIECE);
            pieces.flat_map(|piece| [b"\x1bP".as_slice(), piece, b"\x1b\\"].concat()).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_between_is_told_to_pass_it_on() {
        assert_eq!(copy("a\n", Multiplexer::Nothing), b"\x1b]52;c;YQo=\x07");
        assert_eq!(copy("a\n", Multiplexer::Tmux), b"\x1bPtmux;\x1b\x1b]52;c;YQo=\x07\x1b\\");
        assert_eq!(copy("a\n", Multiplexer::Screen), b"\x1bP\x1b]52;c;YQo=\x07\x1b\\");
        let long = copy(&"x".repeat(600), Multiplexer::Screen);
        assert_eq!(long.windows(2).filter(|two| two == b"\x1bP").count(), 4);
    }
}
