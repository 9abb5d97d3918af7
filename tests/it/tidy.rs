//! The source rules as a test: purpose lines, import directions, file sizes, the top level, the map.

use std::fs;
use std::path::{Path, PathBuf};

/// Columns of a comment, as rustfmt has them for code.
const MAX_WIDTH: usize = 120;
/// Longest string literal of a wider line that could be broken elsewhere; a longer one is the reason for the width.
const MAX_LITERAL: usize = 60;
/// Longest file, without the unit tests at its bottom.
const MAX_LINES: usize = 400;
/// Longest `mod.rs` and `main.rs`: they declare modules and do little else.
const MAX_MOD_LINES: usize = 100;
/// Required entries of the top level.
const TOP_LEVEL: &[&str] = &["Cargo.toml", "src", "src/ui", "src/net", "assets", "input.txt", "README.md"];
/// The modules where the kernel interface needs `unsafe` because no safe wrapper exists.
const UNSAFE_ALLOWED: &[&str] = &["src/net/os/kernel.rs", "src/net/os/sockopt.rs"];
/// The top layer: the files that join `net` and `ui`.
const APP: &[&str] =
    &["src/main.rs", "src/headless.rs", "src/dashboard.rs", "src/console.rs", "src/on_done.rs", "src/plan.rs"];

const RUNTIME: &[&str] = &["tokio", "tokio_util"];
const SOCKETS: &[&str] =
    &["TcpStream", "TcpListener", "TcpSocket", "UdpSocket", "UnixStream", "UnixListener", "socket2"];
const TERMINAL: &[&str] = &["ratatui", "crossterm"];
const CLOCK: &[&str] = &["Instant::now", "SystemTime::now"];
const SYSTEM: &[&str] = &["std::fs", "std::env"];
const LAYERS: &[&str] = &["crate::net", "crate::ui"];
/// The files of the core that read files and the environment, at the start of the program.
const START: &[&str] = &["src/cli/config.rs", "src/cli/environment.rs", "src/cli/key_file.rs"];

/// The layer of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layer {
    /// Core: no sockets, no terminal, no clock.
    Core,
    /// Core, except for the files and the environment that it reads at the start.
    Start,
    /// Joins `net` and `ui`.
    App,
    /// Joins `net` and `ui` and is the only one with a progress bar.
    Headless,
    /// Sockets.
    Net,
    /// The terminal.
    Ui,
    /// Tests and benches.
    Outside,
}

fn layer(path: &str) -> Layer {
    match path {
        // Unit tests in a file of their own, and code that is only compiled for tests.
        _ if path.ends_with("tests.rs") || path == "src/net/sim.rs" || path.starts_with("src/net/sim/") => {
            Layer::Outside
        }
        _ if START.contains(&path) => Layer::Start,
        _ if path == "src/headless.rs" || path.starts_with("src/headless/") => Layer::Headless,
        _ if APP.contains(&path) => Layer::App,
        _ if path.starts_with("src/dashboard/") || path.starts_with("src/console/") => Layer::App,
        _ if path == "src/net.rs" || path.starts_with("src/net/") => Layer::Net,
        _ if path.starts_with("src/ui/") => Layer::Ui,
        _ if path.starts_with("src/") => Layer::Core,
        _ => Layer::Outside,
    }
}

/// The words that a layer must not have in its code, and why.
fn forbidden(layer: Layer) -> Vec<(&'static str, &'static str)> {
    let because = |why, lists: &[&[&'static str]]| -> Vec<_> {
        lists.iter().flat_map(|list| list.iter().map(move |word| (*word, why))).collect()
    };
    let mut words = match layer {
        Layer::Core => because("the core is pure", &[RUNTIME, SOCKETS, TERMINAL, CLOCK, LAYERS, SYSTEM]),
        Layer::Start => because("the core is pure", &[RUNTIME, SOCKETS, TERMINAL, CLOCK, LAYERS]),
        Layer::Net => because("net/ is sockets", &[TERMINAL, &["crate::ui"]]),
        Layer::Ui => because("ui/ is the terminal", &[SOCKETS, &["crate::net", "std::fs", "tokio::net", "tokio::fs"]]),
        Layer::App | Layer::Headless | Layer::Outside => Vec::new(),
    };
    if !matches!(layer, Layer::Headless | Layer::Outside) {
        words.push(("indicatif", "only headless/ has a progress bar"));
    }
    words
}

/// What is wrong with one file, as `path:line: what`.
fn breaches(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut breach = |line: usize, what: &str| found.push(format!("{path}:{line}: {what}"));
    if !text.starts_with("//! ") {
        breach(1, "the file does not open with a //! line that states what it holds");
    }
    let long_mod = ["mod.rs", "main.rs"].contains(&path.rsplit('/').next().unwrap());
    let budget = if long_mod { MAX_MOD_LINES } else { MAX_LINES };
    let layer = layer(path);
    // Counting the unit tests at the bottom would split the code they test without need.
    let code_ends = if layer == Layer::Outside { usize::MAX } else { unit_tests_start(text) };
    let lines = text.lines().count().min(code_ends);
    if lines > budget {
        breach(budget + 1, &format!("the file has {lines} lines of code, more than {budget}"));
    }
    for (number, line) in (1..).zip(text.lines()) {
        // Unit tests may use clocks and unwrap; a file of unit tests is exempt as a whole.
        let in_tests = layer == Layer::Outside || number > code_ends;
        let code = code_of(line);
        for (word, why) in forbidden(layer).into_iter().filter(|_| !in_tests) {
            if has_word(&code, word) {
                breach(number, &format!("{word}: {why}"));
            }
        }
        if layer == Layer::Net && !in_tests && code.contains("sim::") {
            breach(number, "what tests replace is handed in: see net/os/machine.rs");
        }
        if !in_tests && code.contains(".unwrap()") {
            breach(number, ".unwrap() outside tests");
        }
        // rustfmt leaves comments as they are, and a statement whole in which it cannot break one part.
        if line.chars().count() > MAX_WIDTH && longest_literal(line) <= MAX_LITERAL {
            breach(number, "the line is wider than 120 columns");
        }
        if has_word(&code, "unsafe") && !UNSAFE_ALLOWED.contains(&path) {
            breach(number, "unsafe outside the modules that may have it");
        }
    }
    found
}

/// Number of lines before the module of unit tests at the bottom of a file.
fn unit_tests_start(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let is_start = |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{');
    lines.windows(2).position(is_start).unwrap_or(usize::MAX)
}

/// The line without its comment and without string literals.
fn code_of(line: &str) -> String {
    let mut code = String::new();
    let (mut quoted, mut escaped, mut before) = (false, false, ' ');
    for character in line.chars() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            // A quote as a character literal opens no string.
            '"' if before != '\'' => quoted = !quoted,
            '/' if !quoted && before == '/' => return code,
            _ if !quoted => code.push(character),
            _ => {}
        }
        before = character;
    }
    code
}

/// Columns of the longest string literal in a line; one that goes on in the next line counts to the end of this one.
fn longest_literal(line: &str) -> usize {
    let (mut longest, mut length, mut escaped) = (0, None, false);
    for character in line.chars() {
        length = match (character, length) {
            ('"', Some(columns)) if !escaped => {
                longest = longest.max(columns);
                None
            }
            ('"', None) => Some(0),
            (_, length) => length.map(|columns| columns + 1),
        };
        escaped = character == '\\' && !escaped;
    }
    longest.max(length.unwrap_or(0))
}

/// Whether the word occurs there by itself, not as a part of another.
fn has_word(code: &str, word: &str) -> bool {
    let part = |character: char| character.is_alphanumeric() || character == '_';
    code.match_indices(word).any(|(at, _)| {
        !code[..at].chars().next_back().is_some_and(part) && !code[at + word.len()..].chars().next().is_some_and(part)
    })
}

/// Modules of src that the crate's front page does not name.
fn missing_from_the_map(map: &str, paths: &[String]) -> Vec<String> {
    let prose: String = map.lines().filter(|line| line.starts_with("//!")).collect();
    let modules = paths.iter().filter_map(|path| path.strip_prefix("src/"));
    let named = |path: &str| {
        let stem = path.trim_end_matches(".rs").trim_end_matches("/mod");
        // A module two levels down is covered by its folder.
        let name = stem.split('/').take(2).last().unwrap_or(stem);
        has_word(&prose, name)
    };
    let missing = modules.filter(|path| *path != "lib.rs" && !named(path));
    missing.map(|path| format!("src/lib.rs:1: the map does not name {path}")).collect()
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn the_source_follows_the_rules() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let missing = TOP_LEVEL.iter().filter(|name| !top.join(name).exists());
    let mut wrong: Vec<String> = missing.map(|name| format!("{name}: is missing from the top level")).collect();
    let mut files = Vec::new();
    for folder in ["src", "tests", "benches"] {
        rust_files(&top.join(folder), &mut files);
    }
    files.sort();
    let names: Vec<String> =
        files.iter().map(|path| path.strip_prefix(top).unwrap().to_str().unwrap().to_owned()).collect();
    for (path, name) in files.iter().zip(&names) {
        wrong.extend(breaches(name, &fs::read_to_string(path).unwrap()));
    }
    wrong.extend(missing_from_the_map(&fs::read_to_string(top.join("src/lib.rs")).unwrap(), &names));
    assert!(wrong.is_empty(), "{} breaches of the source rules:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn each_rule_can_fail() {
    let cases = [
        ("src/route.rs", "use std::fmt;\n", "src/route.rs:1: the file does not open"),
        ("src/route.rs", "//! Routes.\nuse tokio::net;\n", "src/route.rs:2: tokio: the core is pure"),
        ("src/wire/legacy.rs", "//! Codec.\nuse std::net::TcpStream;\n", "src/wire/legacy.rs:2: TcpStream"),
        ("src/meter.rs", "//! Meters.\n\nlet now = Instant::now();\n", "src/meter.rs:3: Instant::now"),
        ("src/units.rs", "//! Units.\nuse ratatui::text::Span;\n", "src/units.rs:2: ratatui"),
        ("src/verdict.rs", "//! Verdict.\nuse crate::net::node;\n", "src/verdict.rs:2: crate::net"),
        (
            "src/meter.rs",
            "//! Meters.\nuse std::time::SystemTime;\nSystemTime::now();\n",
            "src/meter.rs:3: SystemTime::now",
        ),
        ("src/secret.rs", "//! Tokens.\nuse std::fs::File;\n", "src/secret.rs:2: std::fs"),
        ("src/units.rs", "//! Units.\nstd::env::var_os();\n", "src/units.rs:2: std::env"),
        ("src/cli.rs", "//! Flags.\nuse crate::net::access;\n", "src/cli.rs:2: crate::net"),
        ("src/cli/values.rs", "//! Values.\nstd::env::args();\n", "src/cli/values.rs:2: std::env"),
        ("src/cli/config.rs", "//! Config.\nuse crate::net::limits;\n", "src/cli/config.rs:2: crate::net"),
        ("src/cli/environment.rs", "//! Environment.\nInstant::now();\n", "src/cli/environment.rs:2: Instant::now"),
        ("src/net/relay.rs", "//! Relay.\nuse crate::ui::view;\n", "src/net/relay.rs:2: crate::ui"),
        ("src/net/relay.rs", "//! Relay.\nuse indicatif::ProgressBar;\n", "src/net/relay.rs:2: indicatif"),
        ("src/ui/view.rs", "//! View.\nuse std::fs;\n", "src/ui/view.rs:2: std::fs"),
        ("src/ui/view.rs", "//! View.\nuse crate::net::fetch;\n", "src/ui/view.rs:2: crate::net"),
        ("src/dashboard.rs", "//! App.\nuse indicatif::Bar;\n", "src/dashboard.rs:2: indicatif"),
        ("src/net/copy.rs", "//! Copy.\nread().unwrap();\n", "src/net/copy.rs:2: .unwrap() outside tests"),
        ("src/net/copy.rs", "//! Copy.\n#[cfg(test)]\nuse x;\nread().unwrap();\n", "src/net/copy.rs:4: .unwrap()"),
        ("src/net/load.rs", "//! Load.\n#[cfg(test)]\nsuper::sim::wait();\n", "src/net/load.rs:3: what tests replace"),
        ("src/net/copy.rs", "//! Copy.\nunsafe { now() }\n", "src/net/copy.rs:2: unsafe"),
        ("tests/chain.rs", "#[test]\n", "tests/chain.rs:1: the file does not open"),
        ("src/text.rs", &format!("//! Text.\nlet a = {};\n", "b + ".repeat(30)), "src/text.rs:2: the line is wider"),
        ("src/text.rs", &format!("//! {}\n", "x".repeat(117)), "src/text.rs:1: the line is wider"),
    ];
    for (path, text, expected) in cases {
        let found = breaches(path, text);
        assert_eq!(found.len(), 1, "{path}: {text:?}: {found:?}");
        assert!(found[0].starts_with(expected), "{}", found[0]);
    }
    let long = format!("//! Long.\n{}", "//\n".repeat(MAX_LINES));
    assert_eq!(breaches("src/route.rs", &long), ["src/route.rs:401: the file has 401 lines of code, more than 400"]);
    let tested = format!("//! Tested.\n{}#[cfg(test)]\nmod tests {{\n{}}}\n", "//\n".repeat(398), "//\n".repeat(100));
    assert_eq!(breaches("src/route.rs", &tested), Vec::<String>::new());
    let long_mod = format!("//! Module.\n{}", "//\n".repeat(MAX_MOD_LINES));
    assert_eq!(
        breaches("src/net/mod.rs", &long_mod),
        ["src/net/mod.rs:101: the file has 101 lines of code, more than 100"]
    );
    let files = ["src/lib.rs", "src/route.rs", "src/net/mod.rs", "src/net/copy.rs"].map(str::to_owned);
    let missing = missing_from_the_map("//! route.rs   routes\n//! net/   copy_x\npub mod copy;\n", &files);
    assert_eq!(missing, ["src/lib.rs:1: the map does not name net/copy.rs"]);
}

#[test]
fn allowed_source_passes() {
    let cases = [
        ("src/route.rs", "//! Routes; not a word of tokio.\nlet text = \"unsafe tokio\"; // ratatui\n"),
        ("src/route.rs", "//! Routes.\n#[cfg(test)]\nmod tests {\n    x.unwrap(); Instant::now();\n}\n"),
        ("src/cli/config.rs", "//! Config.\nuse std::fs::File;\nlet home = std::env::var_os();\n"),
        ("src/headless.rs", "//! App.\nuse indicatif::ProgressBar;\nuse crate::net::fetch;\n"),
        ("src/dashboard.rs", "//! App.\nuse crate::net::watch;\nuse crate::ui::view;\n"),
        ("src/net/relay.rs", "//! Relay.\nuse tokio::net::TcpStream;\nlet now = Instant::now();\n"),
        ("src/ui/mod.rs", "//! Terminal.\nuse ratatui::Frame;\nlet network = 1;\n"),
        ("tests/chain.rs", "//! Chains.\nx.unwrap();\n"),
        ("src/text.rs", &format!("//! Text.\nlet text = \"{}\";\n", "x".repeat(120))),
    ];
    for (path, text) in cases {
        assert_eq!(breaches(path, text), Vec::<String>::new(), "{path}");
    }
}
