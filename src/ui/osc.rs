//! Escape sequences beyond drawing: clipboard, window title, notification and progress of the task bar. Terminals that
//! support none of these ignore them; no sequence requests a reply.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Saves the window title on the terminal's stack.
pub(crate) const PUSH_TITLE: &str = "\x1b[22;2t";
/// Restores the saved window title.
pub(crate) const POP_TITLE: &str = "\x1b[23;2t";
/// Rings the bell.
pub(crate) const BELL: &str = "\x07";

/// Maximum length of a title or a notification, in characters: longer ones are truncated by windows anyway.
const MAX_TEXT: usize = 200;

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

/// Form of a desktop notification. A terminal that knows both would show two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotificationForm {
    /// OSC 9: iTerm2, kitty, `WezTerm`, Ghostty, Windows Terminal and others.
    Osc9,
    /// OSC 777: urxvt, foot and terminals based on VTE.
    Osc777,
}

/// Progress on the icon of the window (OSC 9;4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum TaskbarProgress {
    /// None.
    #[default]
    Clear,
    /// This many percent.
    Percent(u8),
    /// Under way, with an unknown end.
    Unknown,
    /// Failed, after this many percent.
    Failed(u8),
}

impl Multiplexer {
    /// Detects the multiplexer by the environment.
    pub(crate) fn here() -> Self {
        match () {
            () if std::env::var_os("TMUX").is_some() => Self::Tmux,
            () if std::env::var_os("STY").is_some() => Self::Screen,
            () => Self::None,
        }
    }

    /// Wraps a sequence so that it reaches the terminal.
    fn wrap(self, sequence: &str) -> Vec<u8> {
        match self {
            Self::None => sequence.as_bytes().to_vec(),
            // tmux requires that every escape inside is doubled.
            Self::Tmux => format!("\x1bPtmux;{}\x1b\\", sequence.replace('\x1b', "\x1b\x1b")).into_bytes(),
            Self::Screen => {
                let pieces = sequence.as_bytes().chunks(MAX_PIECE);
                pieces.flat_map(|piece| [b"\x1bP".as_slice(), piece, b"\x1b\\"].concat()).collect()
            }
        }
    }
}

impl NotificationForm {
    /// Chooses the form by the environment of the terminal.
    pub(crate) fn here() -> Self {
        let term = std::env::var("TERM").unwrap_or_default();
        let known = term.starts_with("rxvt") || term.starts_with("foot") || std::env::var_os("VTE_VERSION").is_some();
        if known { Self::Osc777 } else { Self::Osc9 }
    }
}

/// Returns the bytes that copy this text to the clipboard.
pub(crate) fn copy(text: &str, multiplexer: Multiplexer) -> Vec<u8> {
    multiplexer.wrap(&format!("\x1b]52;c;{}\x07", STANDARD.encode(text)))
}

/// Returns the sequence that sets the window title, which multiplexers keep for each of their windows.
pub(crate) fn title(text: &str) -> String {
    format!("\x1b]2;{}\x1b\\", printable(text))
}

/// Returns the bytes that show a desktop notification.
pub(crate) fn notification(text: &str, form: NotificationForm, multiplexer: Multiplexer) -> Vec<u8> {
    let text = printable(text);
    // The name in front also keeps a text such as `4;...` from being read as another command of OSC 9.
    multiplexer.wrap(&match form {
        NotificationForm::Osc9 => format!("\x1b]9;chainview: {text}\x1b\\"),
        NotificationForm::Osc777 => format!("\x1b]777;notify;chainview;{text}\x1b\\"),
    })
}

/// Returns the sequence that shows progress. It is not wrapped: a multiplexer shows several programs in one window.
pub(crate) fn progress(progress: TaskbarProgress) -> String {
    match progress {
        TaskbarProgress::Clear => "\x1b]9;4;0\x1b\\".to_owned(),
        TaskbarProgress::Percent(percent) => format!("\x1b]9;4;1;{percent}\x1b\\"),
        TaskbarProgress::Failed(percent) => format!("\x1b]9;4;2;{percent}\x1b\\"),
        TaskbarProgress::Unknown => "\x1b]9;4;3\x1b\\".to_owned(),
    }
}

/// Returns the text without characters that would end the sequence, truncated.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect()
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

    #[test]
    fn text_cannot_end_its_sequence_or_become_another() {
        let hostile = "4;1;99\x07\x1b]0;x\u{9c}\n";
        assert_eq!(title(hostile), "\x1b]2;4;1;99]0;x\x1b\\");
        let plain = |form| String::from_utf8(notification(hostile, form, Multiplexer::None)).unwrap();
        assert_eq!(plain(NotificationForm::Osc9), "\x1b]9;chainview: 4;1;99]0;x\x1b\\");
        assert_eq!(plain(NotificationForm::Osc777), "\x1b]777;notify;chainview;4;1;99]0;x\x1b\\");
        assert_eq!(title(&"é".repeat(999)).chars().filter(|c| *c == 'é').count(), MAX_TEXT);
    }
}
