//! Which files of a folder are fetched: those that a list names, and that patterns include and do not exclude.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use globset::{GlobBuilder, GlobMatcher};

use crate::route::{FileName, walk_order};

/// Most names in a list: their text needs about 100 MB.
pub const MAX_NAMES: usize = 1_000_000;

/// A pattern of file names, as rsync and `.gitignore` files have them.
///
/// `*` and `?` match within one segment, `**` any number of segments, `[ab]` and `{a,b}` alternatives. Without a slash
/// it matches the name of a file or folder at any depth; with one, the path from the top of the folder. A slash at the
/// end restricts it to folders. One that matches a folder matches everything below it.
///
/// ```
/// use chainview::selection::Pattern;
///
/// let pattern: Pattern = "*.log".parse()?;
/// assert!(pattern.matches(b"a/b.log") && pattern.matches(b"x.log/c") && !pattern.matches(b"log"));
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug)]
pub struct Pattern {
    matcher: GlobMatcher,
    folders_only: bool,
}

/// The files of a folder that are fetched; the default is all.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
    names: Option<Arc<[FileName]>>,
}

/// A line of a list that names no file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}: {reason}")]
pub struct InvalidName {
    /// The line, from 1.
    pub line: usize,
    /// The reason, and what to write.
    pub reason: String,
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = text.trim_end_matches('/');
        let relative = plain.trim_start_matches("./").trim_start_matches('/');
        if relative.is_empty() {
            return Err(format!("{text:?} matches no name: write a pattern such as *.log or docs/**"));
        }
        let anchored = relative.contains('/') || plain.starts_with('/') || plain.starts_with("./");
        let glob = if anchored { relative.to_owned() } else { format!("**/{relative}") };
        let glob = GlobBuilder::new(&glob).literal_separator(true).empty_alternates(true).build();
        let glob = glob.map_err(|error| format!("{text:?} is not a pattern: {}", error.kind()))?;
        Ok(Self { matcher: glob.compile_matcher(), folders_only: plain.len() < text.len() })
    }
}

impl Pattern {
    /// Returns true if it matches a file's path, relative to the folder, or a folder that the file is in.
    pub fn matches(&self, path: &[u8]) -> bool {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let is = |path: &[u8]| self.matcher.is_match(Path::new(OsStr::from_bytes(path)));
        ends.into_iter().any(|end| is(&path[..end])) || (!self.folders_only && is(path))
    }
}

impl Selection {
    /// Returns the selection of the files that match one of `include`, or of all if that is empty, without those that
    /// match one of `exclude`.
    pub fn matching(include: Vec<Pattern>, exclude: Vec<Pattern>) -> Self {
        Self { include, exclude, names: None }
    }

    /// Restricts it to the names of a sorted list.
    #[must_use]
    pub fn named(self, names: Vec<FileName>) -> Self {
        let names = names.into_iter().filter(|name| self.matches(name.as_bytes())).collect();
        Self { names: Some(names), ..self }
    }

    /// Returns true if all files are selected.
    pub fn is_everything(&self) -> bool {
        self.names.is_none() && self.include.is_empty() && self.exclude.is_empty()
    }

    /// Returns the selected names of the list, if there is one, in the order of a walk.
    pub fn names(&self) -> Option<&[FileName]> {
        self.names.as_deref()
    }

    /// Returns true if the patterns select the file of this path, relative to the folder.
    pub fn matches(&self, path: &[u8]) -> bool {
        let one_of = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(path));
        (self.include.is_empty() || one_of(&self.include)) && !one_of(&self.exclude)
    }

    /// Returns true if the file of this path, relative to the folder, is selected.
    pub fn contains(&self, path: &[u8]) -> bool {
        let listed = |names: &[FileName]| names.binary_search_by(|name| walk_order(name.as_bytes(), path)).is_ok();
        self.names.as_deref().is_none_or(listed) && self.matches(path)
    }
}

/// Parses a list of files: a name per line, relative to a folder. Blank lines and lines that begin with `#` are
/// skipped; a name that begins with `#` is written as `./#name`. Names are sorted in the order of a walk, without
/// repetitions.
///
/// # Errors
/// [`InvalidName`] for the first line that names no file below a folder, or is one too many.
pub fn parse_names(text: &[u8]) -> Result<Vec<FileName>, InvalidName> {
    let mut names = Vec::new();
    for (line, text) in (1..).zip(text.split(|byte| *byte == b'\n')) {
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if text.trim_ascii().is_empty() || text.starts_with(b"#") {
            continue;
        }
        if names.len() == MAX_NAMES {
            return Err(InvalidName { line, reason: format!("more than {MAX_NAMES} names: split the list") });
        }
        names.push(parse_name(text).map_err(|reason| InvalidName { line, reason })?);
    }
    names.sort_unstable_by(|left, right| walk_order(left.as_bytes(), right.as_bytes()));
    names.dedup();
    Ok(names)
}

fn parse_name(text: &[u8]) -> Result<FileName, String> {
    let name = FileName::new(text).map_err(|error| error.to_string())?;
    if name.has_parent_segment() {
        return Err("the file name contains a `..` segment: write it relative to the folder".to_owned());
    }
    if name.names_folder() || name.as_bytes().ends_with(b"/.") {
        return Err(format!("{} is a folder: a list names files", name.shown()));
    }
    let name = name.without_dots().into_owned();
    if !name.is_visible() {
        return Err(format!("{}: not usable as a local file name", name.shown()));
    }
    Ok(name)
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.matcher.glob(), if self.folders_only { "/" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().unwrap()
    }

    #[test]
    fn patterns_match_as_those_of_rsync() {
        for (text, matched, not_matched) in [
            ("*.log", &["a.log", "x/y/a.log", ".log", "d.log/x"][..], &["a.logs", "log", "a.log.gz"][..]),
            ("docs", &["docs", "docs/a", "x/docs/a/b"], &["docs2", "mydocs/a"]),
            ("docs/", &["docs/a", "x/docs/b"], &["docs", "x/docs"]),
            ("/docs", &["docs", "docs/a"], &["x/docs", "x/docs/a"]),
            ("./docs", &["docs/a"], &["x/docs/a"]),
            ("docs/*.md", &["docs/a.md", "docs/a.md/x"], &["docs/x/a.md", "x/docs/a.md"]),
            ("docs/**", &["docs/a", "docs/a/b"], &["docs", "x/docs/a"]),
            ("**/b/*.c", &["b/x.c", "a/b/x.c", "a/a/b/x.c"], &["x.c", "b/a/x.c"]),
            ("a{,b}", &["a", "ab", "x/a"], &["abb"]),
            ("*.{jpg,png}", &["x.jpg", "d/y.png"], &["x.gif"]),
            ("?", &["a", "x/b"], &["ab", "xy/cd"]),
            ("[a-c]x", &["ax", "d/cx"], &["dx"]),
            ("a b%,c", &["a b%,c"], &["a b%", "c"]),
        ] {
            let pattern = pattern(text);
            for path in matched {
                assert!(pattern.matches(path.as_bytes()), "{text} {path}");
            }
            for path in not_matched {
                assert!(!pattern.matches(path.as_bytes()), "{text} {path}");
            }
        }
        assert!(pattern("*.\u{e9}*").matches("a.\u{e9}".as_bytes()) && pattern("a*").matches(b"a\xff"));
        for wrong in ["", "/", "[", "{a", "a/[z-a]"] {
            assert!(wrong.parse::<Pattern>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn exclude_takes_precedence_over_include() {
        let all = Selection::default();
        assert!(all.is_everything() && all.contains(b"x"));
        let selection = Selection::matching(vec![pattern("*.c"), pattern("docs/")], vec![pattern("test*")]);
        for (path, selected) in
            [("a.c", true), ("x/a.c", true), ("docs/a", true), ("a.h", false), ("test.c", false), ("tests/a.c", false)]
        {
            assert_eq!(selection.contains(path.as_bytes()), selected, "{path}");
        }
        let names = parse_names(b"b.c\na.c\ntest.c\nz.h\n").unwrap();
        let listed = selection.named(names);
        assert!(listed.contains(b"a.c") && !listed.contains(b"c.c") && !listed.contains(b"test.c"));
        let names: Vec<_> = listed.names().unwrap().iter().map(|name| name.shown().to_string()).collect();
        assert_eq!(names, ["a.c", "b.c"]);
    }

    #[test]
    fn lists_have_a_name_per_line() {
        let names = |text: &[u8]| {
            parse_names(text).map(|names| names.iter().map(|name| name.shown().to_string()).collect::<Vec<_>>())
        };
        let text = b"# files\nb/x\r\n\n  \na.txt\n./#1\nb/x\n name with blanks \n./b//y\nb.txt\n\xff";
        let expected = [" name with blanks ", "#1", "a.txt", "b/x", "b/y", "b.txt", "\\xff"];
        assert_eq!(names(text).unwrap(), expected);
        assert_eq!(names(b""), Ok(Vec::new()));
        for (text, line, reason) in [
            (&b"a\n../b"[..], 2, "`..`"),
            (b"# c\n\nd/", 3, "is a folder"),
            (b"d/.", 1, "is a folder"),
            (b".netrc", 1, "not usable"),
            (b"a/.ssh/x", 1, "not usable"),
            (b"a\0b", 1, "NUL"),
            (b"\x1b[2J", 1, "not usable"),
        ] {
            let error = parse_names(text).unwrap_err();
            assert!(error.line == line && error.reason.contains(reason), "{error}");
            assert!(!error.to_string().contains('\x1b'));
        }
        let many = "a\n".repeat(MAX_NAMES + 1);
        assert_eq!(parse_names(many.as_bytes()).unwrap_err().line, MAX_NAMES + 1);
    }

    proptest! {
        #[test]
        fn each_listed_name_is_selected(list in proptest::collection::vec("[a-c#./ ]{1,6}", 0..20)) {
            if let Ok(names) = parse_names(list.join("\n").as_bytes()) {
                let selection = Selection::default().named(names.clone());
                prop_assert!(names.iter().all(|name| selection.contains(name.as_bytes())));
                prop_assert!(names.is_sorted_by(|left, right| walk_order(left.as_bytes(), right.as_bytes()).is_lt()));
                let written = list.iter().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
                for line in written {
                    let name = FileName::new(line.as_bytes()).unwrap().without_dots().into_owned();
                    prop_assert!(selection.contains(name.as_bytes()), "{line:?}");
                }
            }
        }

        /// A pattern that excludes a folder excludes all of it.
        #[test]
        fn what_is_below_a_matched_folder_is_matched(text in "[ab*?/]{1,4}", path in "[ab]{1,2}(/[ab]{1,2}){0,2}") {
            if let Ok(pattern) = text.parse::<Pattern>() && pattern.matches(path.as_bytes()) {
                let below = format!("{path}/x");
                prop_assert!(pattern.matches(below.as_bytes()));
            }
        }
    }
}
