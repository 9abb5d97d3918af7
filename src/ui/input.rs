//! Parser of terminal input: keys, mouse gestures and pasted text, in bounded memory for any bytes.
//!
//! The terminal library has a parser of its own, which buffers a paste, or a sequence, until its end has come. There
//! may be none: the end of a paste can be lost on the way, and a file of any size can be pasted.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// Event from the terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A key was pressed, or repeats.
    Key(KeyEvent),
    /// Text was pasted.
    Paste(String),
    /// A mouse gesture, at this column and row.
    Mouse(Gesture, u16, u16),
    /// The terminal has another size, which the next frame reads.
    Resize,
    /// The terminal has hung up.
    HungUp,
}

/// Mouse gesture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gesture {
    /// The left button was pressed.
    Click,
    /// The wheel was turned away from the user.
    WheelUp,
    /// The wheel was turned toward the user.
    WheelDown,
}

const ESCAPE: u8 = 0x1b;
/// End of pasted text, where bracketed paste is on.
const PASTE_END: &[u8] = b"\x1b[201~";
/// Maximum length of a paste that is kept: a line being typed takes far fewer bytes, and nothing else takes any.
const MAX_PASTE: usize = 16 * 1024;
/// Maximum length of a sequence that can be a key or a gesture.
const MAX_SEQUENCE: usize = 64;

/// Incremental parser of terminal input.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    /// Incomplete input.
    pending: Vec<u8>,
    paste: Option<Paste>,
    /// Input belongs to a sequence that is too long and is skipped.
    skipping: bool,
}

/// Text that is being pasted.
#[derive(Debug, Default)]
struct Paste {
    text: Vec<u8>,
    /// Number of bytes of the end sequence that have arrived.
    ending: usize,
}

/// Result of parsing some bytes.
#[derive(Debug, PartialEq, Eq)]
enum ParsedInput {
    /// Incomplete.
    More,
    /// To be ignored.
    Nothing,
    /// An event.
    Event(Event),
    /// Pasted text follows.
    Paste,
}

impl Parser {
    /// Parses bytes as they arrive; `more` means that others follow, so that an escape at the end may begin a sequence.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], more: bool, mut found: impl FnMut(Event)) {
        while let Some((&byte, rest)) = bytes.split_first() {
            if let Some(paste) = &mut self.paste {
                let (used, ended) = paste.take(bytes);
                bytes = &bytes[used..];
                if ended {
                    self.end_paste(&mut found);
                }
                continue;
            }
            bytes = rest;
            if self.skipping {
                self.skipping = byte != ESCAPE && !is_final(byte);
                if byte == ESCAPE {
                    self.pending.push(byte);
                }
                continue;
            }
            if byte == ESCAPE && self.pending == [ESCAPE] {
                // The first was the Esc key; this one may begin a sequence.
                found(key(KeyCode::Esc));
                continue;
            }
            self.pending.push(byte);
            match read(&self.pending) {
                ParsedInput::More if self.pending.len() < MAX_SEQUENCE => continue,
                ParsedInput::More => self.skipping = true,
                ParsedInput::Nothing => {}
                ParsedInput::Event(event) => found(event),
                ParsedInput::Paste => self.paste = Some(Paste::default()),
            }
            self.pending.clear();
        }
        if !more && self.pending == [ESCAPE] {
            self.pending.clear();
            found(key(KeyCode::Esc));
        }
    }

    /// Returns whether the end of a paste is still to come.
    pub(crate) fn is_pasting(&self) -> bool {
        self.paste.is_some()
    }

    /// Ends the paste with the text so far.
    pub(crate) fn end_paste(&mut self, mut found: impl FnMut(Event)) {
        if let Some(paste) = self.paste.take() {
            found(Event::Paste(String::from_utf8_lossy(&paste.text).into_owned()));
        }
    }
}

impl Paste {
    /// Takes bytes up to the end of the paste; returns how many, and whether the paste ended.
    fn take(&mut self, bytes: &[u8]) -> (usize, bool) {
        if self.ending == 0 {
            let text = memchr::memchr(ESCAPE, bytes).unwrap_or(bytes.len());
            if text > 0 {
                self.keep(&bytes[..text]);
                return (text, false);
            }
        }
        if bytes[0] == PASTE_END[self.ending] {
            self.ending += 1;
            return (1, self.ending == PASTE_END.len());
        }
        // It was text after all; the byte that does not fit is parsed again.
        let text = std::mem::take(&mut self.ending);
        self.keep(&PASTE_END[..text]);
        (0, false)
    }

    fn keep(&mut self, text: &[u8]) {
        let room = MAX_PASTE - self.text.len();
        self.text.extend_from_slice(&text[..text.len().min(room)]);
    }
}

/// Returns whether this byte ends a control sequence.
fn is_final(byte: u8) -> bool {
    (0x40..=0x7e).contains(&byte)
}

fn key(code: KeyCode) -> Event {
    Event::Key(code.into())
}

fn pressed(code: KeyCode, modifiers: KeyModifiers) -> ParsedInput {
    ParsedInput::Event(Event::Key(KeyEvent::new(code, modifiers)))
}

fn read(bytes: &[u8]) -> ParsedInput {
    match bytes {
        [ESCAPE] | [ESCAPE, b'O'] => ParsedInput::More,
        [ESCAPE, b'O', last] => plain_key(*last).map_or(ParsedInput::Nothing, |code| ParsedInput::Event(key(code))),
        [ESCAPE, b'[', rest @ ..] => sequence(rest),
        [ESCAPE, rest @ ..] => match character(rest) {
            ParsedInput::Event(Event::Key(key)) => pressed(key.code, key.modifiers | KeyModifiers::ALT),
            other => other,
        },
        _ => character(bytes),
    }
}

/// Parses a character, or a key that sends a single byte.
fn character(bytes: &[u8]) -> ParsedInput {
    let control = |c: u8| pressed(KeyCode::Char(c.into()), KeyModifiers::CONTROL);
    match bytes {
        [b'\r'] => ParsedInput::Event(key(KeyCode::Enter)),
        [b'\t'] => ParsedInput::Event(key(KeyCode::Tab)),
        [0x7f] => ParsedInput::Event(key(KeyCode::Backspace)),
        [0] => control(b' '),
        [c @ 0x01..=0x1a] => control(c - 1 + b'a'),
        [c @ 0x1c..=0x1f] => control(c - 0x1c + b'4'),
        _ => match std::str::from_utf8(bytes) {
            Ok(text) => text.chars().next().map_or(ParsedInput::Nothing, |c| {
                pressed(KeyCode::Char(c), if c.is_uppercase() { KeyModifiers::SHIFT } else { KeyModifiers::NONE })
            }),
            Err(error) if error.error_len().is_none() => ParsedInput::More,
            Err(_) => ParsedInput::Nothing,
        },
    }
}

/// Parses what follows `ESC [`.
fn sequence(bytes: &[u8]) -> ParsedInput {
    match bytes {
        [] | [b'[' | b'M'] | [b'M', _] | [b'M', _, _] => return ParsedInput::More,
        // The Linux console's first function keys.
        [b'[', last @ b'A'..=b'E'] => return ParsedInput::Event(key(KeyCode::F(last - b'A' + 1))),
        [b'M', button, column, row] => {
            let at = |byte: u8| byte.checked_sub(32).map(u16::from);
            return button.checked_sub(32).map_or(ParsedInput::Nothing, |button| mouse(button, at(*column), at(*row)));
        }
        _ => {}
    }
    let Some((&last, parameters)) = bytes.split_last() else { return ParsedInput::More };
    if !is_final(last) {
        // Anything other than parameters ends the sequence, and is dropped with it.
        return if (0x20..=0x3f).contains(&last) { ParsedInput::More } else { ParsedInput::Nothing };
    }
    let Ok(parameters) = std::str::from_utf8(parameters) else { return ParsedInput::Nothing };
    let mut numbers = parameters.trim_start_matches('<').split(';');
    let mut next = || numbers.next().unwrap_or_default();
    let (first, second, third) = (next(), next(), next());
    match last {
        b'M' | b'm' => {
            let extended = parameters.starts_with('<');
            let button = first.parse::<u8>().ok();
            let button = if extended { button } else { button.and_then(|button| button.checked_sub(32)) };
            // The lowercase letter is the release of the button.
            let button = button.filter(|_| last == b'M');
            button.map_or(ParsedInput::Nothing, |button| mouse(button, second.parse().ok(), third.parse().ok()))
        }
        b'~' if parameters == "200" => ParsedInput::Paste,
        b'~' => with_modifiers(first.parse().ok().and_then(numbered_key), second),
        b'u' => {
            let code = first.split(':').next().and_then(|code| code.parse().ok()).and_then(char::from_u32);
            with_modifiers(code.and_then(coded_key), second)
        }
        b'Z' => pressed(KeyCode::BackTab, KeyModifiers::SHIFT),
        // The reply to a cursor position request.
        b'R' => ParsedInput::Nothing,
        _ => {
            // Some terminals send the modifiers where others send a 1.
            let modifiers = if second.is_empty() { first } else { second };
            with_modifiers(plain_key(last), modifiers)
        }
    }
}

/// Returns a key that is pressed, or repeats, with its modifiers: their bits plus one, then optionally a colon and the
/// kind of event.
fn with_modifiers(code: Option<KeyCode>, text: &str) -> ParsedInput {
    let (mask, kind) = text.split_once(':').unwrap_or((text, ""));
    let bits = mask.parse::<u8>().unwrap_or(1).saturating_sub(1);
    let Some(code) = code.filter(|_| kind != "3") else { return ParsedInput::Nothing };
    let mut modifiers = KeyModifiers::NONE;
    for (bit, modifier) in [
        (1, KeyModifiers::SHIFT),
        (2, KeyModifiers::ALT),
        (4, KeyModifiers::CONTROL),
        (8, KeyModifiers::SUPER),
        (16, KeyModifiers::HYPER),
        (32, KeyModifiers::META),
    ] {
        if bits & bit != 0 {
            modifiers |= modifier;
        }
    }
    let back = code == KeyCode::Tab && modifiers.contains(KeyModifiers::SHIFT);
    pressed(if back { KeyCode::BackTab } else { code }, modifiers)
}

/// Returns the key whose sequence ends with this letter.
fn plain_key(last: u8) -> Option<KeyCode> {
    Some(match last {
        b'A' => KeyCode::Up,
        b'B' => KeyCode::Down,
        b'C' => KeyCode::Right,
        b'D' => KeyCode::Left,
        b'F' => KeyCode::End,
        b'H' => KeyCode::Home,
        b'P'..=b'S' => KeyCode::F(last - b'P' + 1),
        _ => return None,
    })
}

/// Returns the key with this number, whose sequence ends with `~`.
fn numbered_key(number: u8) -> Option<KeyCode> {
    Some(match number {
        1 | 7 => KeyCode::Home,
        2 => KeyCode::Insert,
        3 => KeyCode::Delete,
        4 | 8 => KeyCode::End,
        5 => KeyCode::PageUp,
        6 => KeyCode::PageDown,
        11..=15 => KeyCode::F(number - 10),
        17..=21 => KeyCode::F(number - 11),
        23..=26 => KeyCode::F(number - 12),
        28..=29 => KeyCode::F(number - 15),
        31..=34 => KeyCode::F(number - 17),
        _ => return None,
    })
}

/// Returns the key sent as a code point; keys without a character are in the private use area.
fn coded_key(c: char) -> Option<KeyCode> {
    Some(match c {
        '\r' => KeyCode::Enter,
        '\t' => KeyCode::Tab,
        '\x1b' => KeyCode::Esc,
        '\x7f' => KeyCode::Backspace,
        '\u{e000}'..='\u{f8ff}' => return None,
        c => KeyCode::Char(c),
    })
}

/// Returns a click or a turn of the wheel; columns and rows count from 1.
fn mouse(button: u8, column: Option<u16>, row: Option<u16>) -> ParsedInput {
    // Shift, Alt and Ctrl make no difference.
    let gesture = match button & !0b0001_1100 {
        0 => Gesture::Click,
        64 => Gesture::WheelUp,
        65 => Gesture::WheelDown,
        _ => return ParsedInput::Nothing,
    };
    let at = |position: Option<u16>| position.and_then(|position| position.checked_sub(1));
    match (at(column), at(row)) {
        (Some(column), Some(row)) => ParsedInput::Event(Event::Mouse(gesture, column, row)),
        _ => ParsedInput::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns the events of bytes that arrive in pieces of this size.
    fn read_in(bytes: &[u8], size: usize) -> Vec<Event> {
        let (mut parser, mut events) = (Parser::default(), Vec::new());
        let pieces = bytes.chunks(size).count();
        for (at, piece) in bytes.chunks(size).enumerate() {
            parser.feed(piece, at + 1 < pieces, |event| events.push(event));
        }
        events
    }

    fn events(bytes: &[u8]) -> Vec<Event> {
        let whole = read_in(bytes, bytes.len());
        assert_eq!(read_in(bytes, 1), whole, "{bytes:?} in single bytes");
        whole
    }

    #[test]
    fn sequences_of_common_terminals_parse_as_keys() {
        const NONE: KeyModifiers = KeyModifiers::NONE;
        const SHIFT: KeyModifiers = KeyModifiers::SHIFT;
        const ALT: KeyModifiers = KeyModifiers::ALT;
        const CONTROL: KeyModifiers = KeyModifiers::CONTROL;
        let char = KeyCode::Char;
        for (bytes, code, modifiers) in [
            (&b"q"[..], char('q'), NONE),
            (b"Q", char('Q'), SHIFT),
            ("\u{fc}".as_bytes(), char('\u{fc}'), NONE),
            ("\u{1f9ed}".as_bytes(), char('\u{1f9ed}'), NONE),
            (b"\r", KeyCode::Enter, NONE),
            (b"\n", char('j'), CONTROL),
            (b"\t", KeyCode::Tab, NONE),
            (b"\x7f", KeyCode::Backspace, NONE),
            (b"\x03", char('c'), CONTROL),
            (b"\x1c", char('4'), CONTROL),
            (b"\0", char(' '), CONTROL),
            (b"\x1b", KeyCode::Esc, NONE),
            (b"\x1bx", char('x'), ALT),
            (b"\x1bX", char('X'), ALT.union(SHIFT)),
            (b"\x1b\r", KeyCode::Enter, ALT),
            (b"\x1bOA", KeyCode::Up, NONE),
            (b"\x1bOP", KeyCode::F(1), NONE),
            (b"\x1b[A", KeyCode::Up, NONE),
            (b"\x1b[1;5D", KeyCode::Left, CONTROL),
            (b"\x1b[5C", KeyCode::Right, CONTROL),
            (b"\x1b[1;2:1F", KeyCode::End, SHIFT),
            (b"\x1b[H", KeyCode::Home, NONE),
            (b"\x1b[1~", KeyCode::Home, NONE),
            (b"\x1b[3;5~", KeyCode::Delete, CONTROL),
            (b"\x1b[5~", KeyCode::PageUp, NONE),
            (b"\x1b[6~", KeyCode::PageDown, NONE),
            (b"\x1b[15~", KeyCode::F(5), NONE),
            (b"\x1b[24;2~", KeyCode::F(12), SHIFT),
            (b"\x1b[[C", KeyCode::F(3), NONE),
            (b"\x1b[Z", KeyCode::BackTab, SHIFT),
            (b"\x1b[97;5u", char('a'), CONTROL),
            (b"\x1b[9;2u", KeyCode::BackTab, SHIFT),
            (b"\x1b[27u", KeyCode::Esc, NONE),
        ] {
            assert_eq!(events(bytes), [Event::Key(KeyEvent::new(code, modifiers))], "{bytes:?}");
        }
    }

    #[test]
    fn unknown_sequences_do_not_affect_the_next_key() {
        for nothing in [
            &b"\x1b[I"[..],
            b"\x1b[12;40R",
            b"\x1b[?62;4c",
            b"\x1b[1;5:3D",
            b"\x1b[99~",
            b"\x1b[57358u",
            b"\x1b[1\x07",
            b"\x1bOz",
            b"\xff",
            b"\x1b[<0;1m",
            b"\x1b[<35;7;9M",
            b"\x1b[<0;7;9m",
            b"\x1b[M#!!",
        ] {
            assert_eq!(events(&[nothing, b"q"].concat()), [key(char_key('q'))], "{nothing:?}");
        }
        assert_eq!(events(b"\x1b\x1b[A"), [key(KeyCode::Esc), key(KeyCode::Up)]);
        assert_eq!(events(b"\x1b\x1b"), [key(KeyCode::Esc), key(KeyCode::Esc)]);
    }

    fn char_key(c: char) -> KeyCode {
        KeyCode::Char(c)
    }

    #[test]
    fn mouse_gestures_parse_in_every_encoding() {
        for (bytes, gesture) in [
            (&b"\x1b[<0;7;9M"[..], Gesture::Click),
            (b"\x1b[<4;7;9M", Gesture::Click),
            (b"\x1b[<64;7;9M", Gesture::WheelUp),
            (b"\x1b[<65;7;9M", Gesture::WheelDown),
            (b"\x1b[32;7;9M", Gesture::Click),
            (b"\x1b[M \x27\x29", Gesture::Click),
            (b"\x1b[M`\x27\x29", Gesture::WheelUp),
        ] {
            assert_eq!(events(bytes), [Event::Mouse(gesture, 6, 8)], "{bytes:?}");
        }
    }

    #[test]
    fn pasted_text_is_one_event_without_keys() {
        let pasted = |text: &str| Event::Paste(text.to_owned());
        assert_eq!(
            events(b"\x1b[200~q\x1b[2D\x1b[201x\x1b\x1b[201~q"),
            [pasted("q\u{1b}[2D\u{1b}[201x\u{1b}"), key(char_key('q'))]
        );
        assert_eq!(events(b"\x1b[200~\x1b[201~"), [pasted("")]);
    }

    #[test]
    fn input_without_an_end_is_bounded() {
        let (mut parser, mut events) = (Parser::default(), Vec::new());
        parser.feed(b"\x1b[200~", true, |event| events.push(event));
        for _ in 0..100 {
            parser.feed(&[b'x'; 4096], true, |event| events.push(event));
        }
        assert!(events.is_empty() && parser.is_pasting());
        parser.end_paste(|event| events.push(event));
        assert!(matches!(&events[..], [Event::Paste(text)] if text.len() == MAX_PASTE));
        parser.feed(b"\x1b[", true, |event| events.push(event));
        for _ in 0..100 {
            parser.feed(b"1;1;1;1;1;1;1;1;", true, |event| events.push(event));
        }
        assert!(parser.pending.capacity() <= 2 * MAX_SEQUENCE);
        // The letter that ends the sequence is skipped with it.
        parser.feed(b"Aq", false, |event| events.push(event));
        assert_eq!(events[1..], [key(char_key('q'))]);
    }

    proptest! {
        #[test]
        fn events_do_not_depend_on_how_bytes_are_split(
            bytes in proptest::collection::vec(
                prop_oneof![any::<u8>(), Just(ESCAPE), Just(b'['), Just(b'2'), Just(b'~')],
                0..80,
            ),
            size in 1usize..20,
        ) {
            let whole = read_in(&bytes, bytes.len().max(1));
            prop_assert_eq!(read_in(&bytes, size), whole);
        }
    }
}
