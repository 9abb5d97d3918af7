//! Phrases that standard terms have replaced, so that they do not come back. CONTRIBUTING.md has the style.

use std::fs;
use std::path::Path;

/// Each phrase with what to write in its place; it is found in text and in names, as whole words in any case.
const PHRASES: &[(&str, &str)] = &[
    ("a person", "the user"),
    ("anew", "again"),
    ("as far as it has come", "so far"),
    ("behaviour", "behavior"),
    ("colour", "color"),
    ("colours", "colors"),
    ("dialect", "protocol"),
    ("dialled", "connected to"),
    ("dialling", "connecting"),
    ("errand", "task"),
    ("for ever", "forever"),
    ("for want of", "without"),
    ("go on with", "resume"),
    ("goes on with", "resumes"),
    ("gone on with", "resumed"),
    ("going on with", "resuming"),
    ("in a box", "boxed"),
    ("in vain", "without success"),
    ("is told", "is notified"),
    ("are told", "are notified"),
    ("judge", "evaluate, classify or filter"),
    ("judged", "evaluated, classified or filtered"),
    ("let go of", "released"),
    ("lives on", "keeps running"),
    ("neighbour", "neighbor"),
    ("neighbours", "neighbors"),
    ("patience", "timeout or backoff"),
    ("said aloud", "logged"),
    ("seed wire", "legacy protocol"),
    ("so many", "N, or: that many"),
    ("somebody", "another process, a client"),
    ("stammer", "fragment"),
    ("stands still", "stalls"),
    ("the original program", "the legacy program"),
    ("the other way round", "reversed"),
    ("to be had", "available"),
    ("whoever", "the client, any peer"),
    ("wish", "command or request"),
    ("wishes", "commands or requests"),
];

/// Phrases in one text, as `path:line: "phrase": write "…"`.
fn found(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        // A table of texts before and after quotes the old ones.
        if path == "CONTRIBUTING.md" && line.starts_with('|') {
            continue;
        }
        let words = words(line);
        for (phrase, instead) in PHRASES.iter().filter(|(phrase, _)| words.contains(&format!(" {phrase} "))) {
            found.push(format!("{path}:{number}: {phrase:?}: write {instead:?}"));
        }
    }
    found
}

/// The words of a line in lower case, one blank between two and at both ends; names are split at their underscores.
fn words(line: &str) -> String {
    let letters = line.chars().map(|letter| if letter.is_alphanumeric() { letter.to_ascii_lowercase() } else { ' ' });
    let line: String = letters.collect();
    format!(" {} ", line.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn texts(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let kind = path.extension().and_then(|extension| extension.to_str());
        match (path.is_dir(), kind) {
            (true, _) => texts(&path, files),
            (false, Some("rs" | "md" | "sh" | "py" | "toml")) => files.push(path),
            _ => {}
        }
    }
}

#[test]
fn replaced_phrases_do_not_come_back() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "Cargo.toml"];
    let mut files: Vec<_> = pages.iter().map(|page| top.join(page)).collect();
    for folder in ["src", "tests", "benches", "docs", "fuzz", "assets", ".ci"] {
        texts(&top.join(folder), &mut files);
    }
    let this = Path::new("tests/it/wording.rs");
    let mut wrong = Vec::new();
    for file in files {
        let name = file.strip_prefix(top).unwrap();
        if name != this && !name.starts_with("fuzz/target") {
            wrong.extend(found(name.to_str().unwrap(), &fs::read_to_string(&file).unwrap()));
        }
    }
    assert!(wrong.is_empty(), "{} replaced phrases:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_phrase_is_found_in_text_and_in_names() {
    assert_eq!(found("a.rs", "fn it_goes_on_with_it() {}"), ["a.rs:1: \"goes on with\": write \"resumes\""]);
    assert_eq!(found("a.md", "x\nFor  Ever."), ["a.md:2: \"for ever\": write \"forever\""]);
    assert_eq!(found("a.md", "forever, wisher, boxed"), Vec::<String>::new());
    assert_eq!(found("CONTRIBUTING.md", "| \"whoever\" | the client |"), Vec::<String>::new());
}
