//! Hostile strings, and checks of output for them.

use std::fmt::Write as _;

/// Precedes the hostile part, so that it can be found again in terminal output.
const MARKER: &str = "q7";

/// More than 500 strings, as bytes: control characters of every kind and spelling, sequences that act on terminals,
/// characters that hide, reverse or cover others, and bytes that are not text.
#[expect(clippy::too_many_lines, reason = "one list")]
pub(crate) fn hostile() -> Vec<Vec<u8>> {
    let mut teeth: Vec<Vec<u8>> = Vec::new();
    // C0 without NUL, CR and LF, which no name has; DEL; C1 as text and as single bytes.
    teeth.extend((1..0x20).filter(|byte| !matches!(byte, b'\n' | b'\r')).map(|byte| vec![byte]));
    teeth.push(vec![0x7f]);
    teeth.extend(('\u{80}'..='\u{9f}').map(|c| c.to_string().into_bytes()));
    teeth.extend((0x80..=0x9f).map(|byte| vec![byte]));
    let sequences = [
        "\x1b[2J",
        "\x1b[H",
        "\x1b[31m",
        "\x1b[?1049l",
        "\x1b[?25h",
        "\x1b[6n",
        "\x1b[c",
        "\x1b[>c",
        "\x1b[21t",
        "\x1b[8;1;1t",
        "\x1b[5i",
        "\x1b[4i",
        "\x1b[?2004l",
        "\x1b[?1000h",
        "\x1b[!p",
        "\x1b[1;1r",
        "\x1b[3J",
        "\x1b[999b",
        "\x1bc",
        "\x1b7",
        "\x1b8",
        "\x1b(0",
        "\x1b#8",
        "\x1bM",
        "\x1bD",
        "\x1bE",
        "\x1bH",
        "\x1bZ",
        "\x1b=",
        "\x1b>",
        "\x1bN",
        "\x1bO",
        "\x1b]0;owned\x07",
        "\x1b]2;owned\x1b\\",
        "\x1b]52;c;b3duZWQ=\x07",
        "\x1b]8;;http://evil\x1b\\x\x1b]8;;\x1b\\",
        "\x1b]10;#ff0000\x07",
        "\x1b]11;?\x07",
        "\x1b]4;1;?\x07",
        "\x1b]7;file://evil/\x07",
        "\x1b]9;hello\x07",
        "\x1b]50;x\x07",
        "\x1b]104\x07",
        "\x1b]133;A\x07",
        "\x1b]1337;File=:x\x07",
        "\x1b]777;notify;a;b\x07",
        "\x1bP$q\"p\x1b\\",
        "\x1bP+q544e\x1b\\",
        "\x1bPq#0~\x1b\\",
        "\x1b_Ga=q\x1b\\",
        "\x1b^pm\x1b\\",
        "\x1bXsos\x1b\\",
        "\x1b[200~ls\x1b[201~",
        "\x1bk owned\x1b\\",
        "\u{9b}2J",
        "\u{9b}31m",
        "\u{9d}0;owned\u{9c}",
        "\u{90}$q\"p\u{9c}",
        "\u{9f}Ga=q\u{9c}",
        "\u{85}",
        "\u{8d}",
        "\x0e\x0f",
        "\x08\x08\x08",
        "a\tb",
        "\x05",
        "\x0b\x0c",
        "\x1a",
        "\x11\x13",
    ];
    teeth.extend(sequences.map(|text| text.as_bytes().to_vec()));
    // Hidden, reversing, covering.
    let unseen = [
        '\u{ad}',
        '\u{34f}',
        '\u{61c}',
        '\u{115f}',
        '\u{1160}',
        '\u{17b4}',
        '\u{180e}',
        '\u{200b}',
        '\u{200c}',
        '\u{200d}',
        '\u{200e}',
        '\u{200f}',
        '\u{2028}',
        '\u{2029}',
        '\u{202a}',
        '\u{202b}',
        '\u{202c}',
        '\u{202d}',
        '\u{202e}',
        '\u{2060}',
        '\u{2061}',
        '\u{2064}',
        '\u{2066}',
        '\u{2067}',
        '\u{2068}',
        '\u{2069}',
        '\u{206a}',
        '\u{206f}',
        '\u{3164}',
        '\u{fe0f}',
        '\u{feff}',
        '\u{ffa0}',
        '\u{fff9}',
        '\u{fffb}',
        '\u{13430}',
        '\u{1bca0}',
        '\u{1d173}',
        '\u{e0001}',
        '\u{e0041}',
        '\u{e0100}',
    ];
    teeth.extend(unseen.map(|c| c.to_string().into_bytes()));
    teeth.push("\u{301}".repeat(60).into_bytes());
    teeth.push("\u{489}\u{20dd}".repeat(20).into_bytes());
    // Overlong, truncated, out of range: not text, and read as a control character by lenient decoders.
    let bytes: [&[u8]; 14] = [
        b"\xc0\x9b2J",
        b"\xe0\x80\x9b2J",
        b"\xf0\x80\x80\x9b2J",
        b"\xc0\x8a",
        b"\xc1\x9b",
        b"\xc2",
        b"\xe2\x80",
        b"\xf0\x9f\x98",
        b"\xed\xa0\x80",
        b"\xed\xb0\x80",
        b"\xf4\x90\x80\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\xff\xfe",
        b"\x9b31m\xff",
    ];
    teeth.extend(bytes.map(<[u8]>::to_vec));
    let frames = |tooth: &Vec<u8>| {
        let with_marker = [MARKER.as_bytes(), tooth, MARKER.as_bytes()].concat();
        [with_marker.clone(), [tooth, &with_marker[..]].concat(), [b"a/", &with_marker[..], b".txt"].concat()]
    };
    teeth.iter().flat_map(frames).collect()
}

/// Whether it acts on a terminal, or is invisible, or looks like something else.
fn is_raw(c: char) -> bool {
    let format = [
        0xad..=0xad,
        0x61c..=0x61c,
        0x180e..=0x180e,
        0x200b..=0x200f,
        0x2028..=0x202e,
        0x2060..=0x206f,
        0xfeff..=0xfeff,
        0xfff9..=0xfffb,
        0x13430..=0x1343f,
        0x1bca0..=0x1bca3,
        0x1d173..=0x1d17a,
        0xe0000..=0xe0fff,
    ];
    c.is_control() || format.iter().any(|range| range.contains(&u32::from(c)))
}

/// What is wrong with output that should be plain lines; `allowed` are the control characters of its format.
pub(crate) fn raw(output: &[u8], allowed: &str) -> Vec<String> {
    let mut found = Vec::new();
    let text = String::from_utf8_lossy(output);
    if let std::borrow::Cow::Owned(_) = text {
        found.push("bytes that are no text".to_owned());
    }
    let mut markers = 0;
    for (at, c) in text.char_indices() {
        markers = if ('\u{300}'..='\u{36f}').contains(&c) { markers + 1 } else { 0 };
        if (is_raw(c) && !allowed.contains(c)) || markers > 8 {
            let mut around = String::new();
            let _ = write!(around, "{:?}", text[at..].chars().take(12).collect::<String>());
            found.push(format!("{c:?} in {around}"));
        }
    }
    found
}

/// What is wrong with terminal output: everything raw but CR, LF and the CSI sequences of drawing, and any hostile
/// string that is still effective.
pub(crate) fn raw_on_a_terminal(sent: &[u8]) -> Vec<String> {
    let mut plain = Vec::new();
    let mut found = Vec::new();
    let mut rest = sent;
    while let Some((first, after)) = rest.split_first() {
        // Title and progress of the terminal's window: whole, with text that is checked like all other.
        let ours = [&b"\x1b]2;"[..], b"\x1b]9;4;"].into_iter().find_map(|start| rest.strip_prefix(start));
        if let Some((text, end)) = ours.and_then(|text| Some((text, text.windows(2).position(|two| two == b"\x1b\\")?)))
        {
            if text.starts_with(b"owned") {
                found.push("a title from outside".to_owned());
            }
            plain.extend(&text[..end]);
            rest = &text[end + 2..];
            continue;
        }
        if sent[..sent.len() - rest.len()].ends_with(MARKER.as_bytes())
            && first.is_ascii_control()
            && !matches!(first, b'\r' | b'\n')
        {
            // Drawing may move on here, but never as a hostile string requests.
            let bites = [&b"\x1b[2J"[..], b"\x1b[31m", b"\x1b]", b"\x1bc", b"\x1bP", b"\x1b_"];
            if *first != 0x1b || bites.iter().any(|bite| rest.starts_with(bite)) {
                found.push(format!("{:?}", String::from_utf8_lossy(&rest[..rest.len().min(12)])));
            }
        }
        if *first == 0x1b && after.first() == Some(&b'[') {
            let end =
                after[1..].iter().position(|byte| (0x40..=0x7e).contains(byte)).map_or(after.len(), |end| end + 2);
            rest = &after[end.min(after.len())..];
            continue;
        }
        plain.push(*first);
        rest = after;
    }
    // The program sends CAN on exit, which ends any truncated sequence.
    found.extend(raw(&plain, "\r\n\u{18}"));
    found
}
