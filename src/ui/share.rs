//! Commands and sentences about a transfer for use elsewhere: a shell, a chat, a bug report.

use std::path::Path;

use crate::route::{DEFAULT_BASE, FileName, Protocol, Route};
use crate::snapshot::{Phase, TransferSnapshot};
use crate::units::{Bytes, HumanDuration, Rate};
use crate::wire::http::encode_name;

/// Returns the command with which curl fetches this file, or unpacks this folder, over the same hops; `None` for a
/// first hop that speaks only the legacy protocol, and for a name that must not be pasted into a shell.
pub(crate) fn curl(route: &Route, file: &FileName) -> Option<String> {
    let (first, rest) = route.split_first();
    if first.protocol == Some(Protocol::Legacy) {
        return None;
    }
    let mut words = vec!["curl".to_owned()];
    if !rest.is_empty() {
        let elements: Vec<String> = rest.iter().map(crate::route::Hop::element).collect();
        words.extend(["-H".to_owned(), format!("Chain-Route: {}", elements.join(", "))]);
    }
    let name = text(file)?;
    let tail = if file.names_folder() {
        words.extend(["-H".to_owned(), "Accept: application/x-tar".to_owned()]);
        " | tar x"
    } else {
        let local = name.rsplit('/').next().unwrap_or(name);
        words.extend(["-o".to_owned(), local.to_owned()]);
        ""
    };
    let base = first.base.as_deref().unwrap_or(DEFAULT_BASE);
    // The root's name is `/`, with which the base ends already.
    let name = encode_name(file).to_string();
    words.push(format!("http://{}{base}{}", first.address, name.trim_start_matches('/')));
    quoted(&words).map(|command| command + tail)
}

/// Returns the command with which chainview fetches this file over the same hops.
pub(crate) fn fetch(route: &Route, input: &Path, file: &FileName) -> Option<String> {
    let mut words = vec!["chainview".to_owned(), "--fetch".to_owned(), input.to_str()?.to_owned()];
    if *file != route.file {
        words.push(format!("--file={}", text(file)?));
    }
    quoted(&words)
}

/// Returns a sentence about a transfer as Markdown: what it is, how far, and what limits it.
pub(crate) fn markdown(transfer: &TransferSnapshot, why: Option<&str>) -> String {
    let size = transfer.size.map_or_else(String::new, |size| format!(" of {}", Bytes(size)));
    let progress = match transfer.phase {
        Phase::Done => format!("{} in {}", Bytes(transfer.received), HumanDuration(transfer.elapsed)),
        phase => format!("{}, {}{size}", phase.label(), Bytes(transfer.received)),
    };
    let files = transfer.folder.as_ref().map_or_else(String::new, |folder| format!(", {}", folder.results()));
    let rate = if transfer.rate > 0 { format!(", {}", Rate(transfer.rate)) } else { String::new() };
    let why = match (&transfer.error, why) {
        (Some(error), _) => format!("; {}", code(error.as_str())),
        (None, Some(why)) => format!("; **{why}**"),
        (None, None) => String::new(),
    };
    format!("{}: {progress}{files}{rate}{why}", code(transfer.name.as_str()))
}

/// Returns a name as text, unless it has characters that act on a terminal or a shell's line.
fn text(file: &FileName) -> Option<&str> {
    std::str::from_utf8(file.as_bytes()).ok().filter(|text| file.shown().as_str() == *text)
}

fn quoted(words: &[String]) -> Option<String> {
    shlex::try_join(words.iter().map(String::as_str)).ok()
}

/// Returns a code span that the text cannot end.
fn code(text: &str) -> String {
    let ticks = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(ticks + 1);
    let space = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{fence}{space}{text}{space}{fence}")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn route(input: &str) -> Route {
        Route::parse(input.as_bytes()).unwrap()
    }

    /// Returns the words that a shell reads.
    fn words(command: &str) -> Vec<String> {
        let script = format!("show() {{ printf '%s\\n' \"$@\"; }}; show {command}");
        let output = Command::new("/bin/sh").args(["-c", &script]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn curl_gets_the_rest_of_the_route_as_a_header() {
        let route = route("a/b c.bin\n127.0.0.1 9101\n[::1]:9102 name=jump\n10.0.0.8 80 protocol=http base=/pub/\n");
        assert_eq!(
            words(&curl(&route, &route.file).unwrap()),
            [
                "curl",
                "-H",
                "Chain-Route: [::1]:9102, 10.0.0.8:80;protocol=http;base=/pub/",
                "-o",
                "b c.bin",
                "http://127.0.0.1:9101/files/a/b%20c.bin"
            ]
        );
    }

    #[test]
    fn a_folder_is_unpacked() {
        let route = route("pictures/2024 06/\n127.0.0.1 9101\n127.0.0.1 9102\n");
        let expected = "curl -H 'Chain-Route: 127.0.0.1:9102' -H 'Accept: application/x-tar' \
                        'http://127.0.0.1:9101/files/pictures/2024%2006/' | tar x";
        assert_eq!(curl(&route, &route.file).as_deref(), Some(expected));
        let root = curl(&route, &FileName::new(b"/").unwrap());
        assert!(root.is_some_and(|root| root.ends_with("http://127.0.0.1:9101/files/ | tar x")));
    }

    #[test]
    fn one_web_server_needs_no_header_and_a_legacy_hop_has_no_command() {
        let web = route("x\n10.0.0.8 80 base=/pub/\n");
        assert_eq!(curl(&web, &web.file).as_deref(), Some("curl -o x http://10.0.0.8:80/pub/x"));
        let legacy = route("x\n10.0.0.8 80 protocol=legacy\n");
        assert_eq!(curl(&legacy, &legacy.file), None);
    }

    #[test]
    fn commands_are_quoted_and_names_for_no_shell_left_out() {
        let route = route("x\nh 1\n");
        let name = |text: &str| FileName::new(text.as_bytes()).unwrap();
        assert_eq!(fetch(&route, Path::new("/in.txt"), &route.file).as_deref(), Some("chainview --fetch /in.txt"));
        let hostile = "-x; $(touch pwned) `id` 'a' \"b\" *.bin";
        let command = fetch(&route, Path::new("/my files/it's.txt"), &name(hostile)).unwrap();
        assert_eq!(words(&command), ["chainview", "--fetch", "/my files/it's.txt", &format!("--file={hostile}")]);
        for unfit in ["a\x1b[2Jb", "a\u{202e}b", "\u{9b}31m"] {
            assert_eq!(fetch(&route, Path::new("/in.txt"), &name(unfit)), None, "{unfit:?}");
            assert_eq!(curl(&route, &name(unfit)), None, "{unfit:?}");
        }
        assert_eq!(curl(&route, &FileName::new(b"caf\xe9").unwrap()), None);
    }

    #[test]
    fn code_spans_cannot_be_ended_by_their_text() {
        assert_eq!(code("a`b``c"), "```a`b``c```");
        assert_eq!(code("`a"), "`` `a ``");
        assert_eq!(code("a"), "`a`");
    }
}
