//! The documentation: its links resolve, and the files and flags that it names exist.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Folders whose files the documentation names by their paths.
const FOLDERS: &[&str] = &["src/", "tests/", "benches/", "assets/", "fuzz/", "docs/", ".ci/"];

/// The Markdown files, as paths below the top level.
fn pages(top: &Path) -> Vec<String> {
    let mut pages: Vec<String> =
        ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "tests/README.md"].map(str::to_owned).into();
    for entry in fs::read_dir(top.join("docs")).unwrap().flatten() {
        pages.push(format!("docs/{}", entry.file_name().to_str().unwrap()));
    }
    pages
}

/// The anchors of a page's headings, as Git hosting sites generate them.
fn anchors(text: &str) -> Vec<String> {
    let mut fenced = false;
    let mut found = Vec::new();
    for line in text.lines() {
        fenced ^= line.starts_with("```");
        if let Some(heading) = line.strip_prefix('#').filter(|_| !fenced) {
            let heading = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            found.push(kept.map(|c| if c == ' ' { '-' } else { c }).collect());
        }
    }
    found
}

/// The broken links of a page.
fn broken_links(top: &Path, page: &str, text: &str) -> Vec<String> {
    let folder = top.join(page).parent().unwrap().to_path_buf();
    let mut broken = Vec::new();
    for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
        if link.contains("://") {
            continue;
        }
        let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
        let target = if path.is_empty() { Some(text.to_owned()) } else { fs::read_to_string(folder.join(path)).ok() };
        // The target of a link without an anchor need not be text.
        let exists = anchor.is_empty() && folder.join(path).exists();
        if !exists && !target.is_some_and(|target| has(&anchors(&target), anchor)) {
            broken.push(format!("{page}: {link}"));
        }
    }
    broken
}

fn has(list: &[String], item: &str) -> bool {
    list.iter().any(|each| each == item)
}

/// The paths below the top level that a page names and that do not exist.
fn missing_files(top: &Path, page: &str, text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_alphanumeric() && !"/._-".contains(c));
    let paths = words.map(|word| word.trim_end_matches('.')).filter(|word| FOLDERS.iter().any(|f| word.starts_with(f)));
    paths.filter(|path| !top.join(path).exists()).map(|path| format!("{page}: {path}")).collect()
}

/// The flags that a page names in code spans, and in examples that run chainview.
fn flags(text: &str) -> Vec<String> {
    let mut fenced = false;
    let mut found = Vec::new();
    for line in text.lines() {
        fenced ^= line.starts_with("```");
        let code: Vec<&str> = if fenced {
            // Other programs of this project take its name as a value.
            let line = if line.contains("benches/") { "" } else { line };
            // The command only: what follows it in a pipe, and the comment after it, are other programs' or text.
            let command = line.split_once("chainview ").map(|(_, rest)| rest);
            command.and_then(|rest| rest.split(['|', '#']).next()).into_iter().collect()
        } else {
            line.split('`').skip(1).step_by(2).filter(|span| span.starts_with("--")).collect()
        };
        for word in code.iter().flat_map(|code| code.split([' ', ',', '='])).filter(|word| word.starts_with("--")) {
            found.push(word.trim_end_matches('\\').to_owned());
        }
    }
    found
}

#[test]
fn links_and_named_files_exist() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut wrong = Vec::new();
    for page in pages(top) {
        let text = fs::read_to_string(top.join(&page)).unwrap();
        wrong.extend(broken_links(top, &page, &text));
        wrong.extend(missing_files(top, &page, &text));
    }
    assert!(wrong.is_empty(), "these do not exist:\n{}", wrong.join("\n"));
}

#[test]
fn flags_in_the_documentation_exist() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let help = Command::new(env!("CARGO_BIN_EXE_chainview")).arg("--help").output().unwrap().stdout;
    let help = String::from_utf8(help).unwrap();
    let known: Vec<String> =
        help.split([' ', ',', '\n']).filter(|word| word.starts_with("--")).map(|w| w.replace("...", "")).collect();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for page in pages(top).iter().filter(|page| *page == "README.md" || page.starts_with("docs/")) {
        let flags = flags(&fs::read_to_string(top.join(page)).unwrap());
        seen += flags.len();
        wrong.extend(flags.into_iter().filter(|flag| !has(&known, flag)).map(|flag| format!("{page}: {flag}")));
    }
    assert!(wrong.is_empty() && seen > 100, "of {seen} flags these do not exist:\n{}", wrong.join("\n"));
}

#[test]
fn each_check_can_fail() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = "# One, two\n\n[a](#one-two) [b](#three) [c](docs/none.md) [d](Cargo.toml) `src/none.rs`. src/lib.rs\n";
    assert_eq!(broken_links(top, "README.md", text), ["README.md: #three", "README.md: docs/none.md"]);
    assert_eq!(missing_files(top, "README.md", text), ["README.md: docs/none.md", "README.md: src/none.rs"]);
    let text =
        "`--node`, `curl --no` and `--limit 4=1M`\n```sh\nchainview --fetch -o - | tar --extract  # --not\n```\n";
    assert_eq!(flags(text), ["--node", "--limit", "--fetch"]);
}
