//! Which parts of a folder are requested: runs of the walk that contain what is missing, and nothing that is here.

use crate::route::{FileName, WalkRange};

/// What becomes of one entry of the walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A file or a folder that is received in a stream, with this many bytes.
    Stream(u64),
    /// A folder that is here: a stream may name it again.
    Existing,
    /// A folder that is needed for the files in it only.
    Parent,
    /// It is not in any stream: it is here, is not selected, or is requested by itself.
    Leave,
}

/// A part of the walk that is requested as one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) range: WalkRange,
    /// The sum of the sizes of its files.
    pub(super) bytes: u64,
}

/// Divides a walk, entry by entry, into the runs to be streamed.
///
/// A run contains nothing that is left: what is here already is not moved. So it ends before each such entry, however
/// small that is.
#[derive(Debug, Default)]
pub(super) struct Planner {
    runs: Vec<Run>,
    run: Option<Run>,
    /// Folders since the end of the current run that it may contain only if a file in them is streamed.
    parents: Vec<FileName>,
    /// The entry before the next one.
    last: Option<FileName>,
}

impl Planner {
    /// Returns a planner for the walk after this entry.
    pub(super) fn after(last: Option<FileName>) -> Self {
        Self { last, ..Self::default() }
    }

    /// Adds the next entry of the walk, by its path relative to the folder.
    pub(super) fn push(&mut self, path: FileName, part: Part) {
        match part {
            Part::Stream(bytes) => {
                if !self.parents.iter().all(|parent| is_below(&path, parent)) {
                    self.end_run();
                }
                self.parents.clear();
                let after = self.last.take();
                let begin = || Run { range: WalkRange { after, until: None }, bytes: 0 };
                let run = self.run.get_or_insert_with(begin);
                run.range.until = Some(path.clone());
                run.bytes = run.bytes.saturating_add(bytes);
            }
            Part::Existing => {}
            Part::Parent => self.parents.push(path.clone()),
            Part::Leave => self.end_run(),
        }
        self.last = Some(path);
    }

    /// Ends the current run and returns all since the last call; further entries belong to others.
    pub(super) fn take_runs(&mut self) -> Vec<Run> {
        self.end_run();
        std::mem::take(&mut self.runs)
    }

    fn end_run(&mut self) {
        self.parents.clear();
        self.runs.extend(self.run.take());
    }
}

fn is_below(path: &FileName, folder: &FileName) -> bool {
    path.as_bytes().strip_prefix(folder.as_bytes()).is_some_and(|rest| rest.starts_with(b"/"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::route::walk_order;

    const STREAM: Part = Part::Stream(3);

    fn name(path: &str) -> FileName {
        FileName::new(path.as_bytes()).unwrap()
    }

    /// Returns the runs as `(after, until]`, a run per page end or entry that is left.
    fn plan(entries: &[(&str, Part)]) -> Vec<String> {
        let mut planner = Planner::default();
        for (path, part) in entries {
            planner.push(name(path), *part);
        }
        let shown = |name: Option<FileName>| name.map(|name| name.shown().to_string()).unwrap_or_default();
        let runs = planner.take_runs().into_iter().map(|run| run.range);
        runs.map(|run| format!("{} {}", shown(run.after), shown(run.until))).collect()
    }

    #[test]
    fn runs_end_before_what_is_left() {
        use Part::{Existing, Leave};
        assert_eq!(plan(&[]), [""; 0]);
        assert_eq!(plan(&[("a", STREAM), ("b", STREAM)]), [" b"]);
        assert_eq!(plan(&[("a", Leave), ("b", STREAM), ("c", STREAM), ("d", Leave), ("e", STREAM)]), ["a c", "d e"]);
        assert_eq!(plan(&[("a", Existing), ("a/x", STREAM), ("b", Existing), ("b/x", STREAM)]), ["a b/x"]);
        assert_eq!(plan(&[("a", STREAM), ("b", Existing), ("b/x", Leave)]), [" a"]);
    }

    #[test]
    fn folders_without_a_selected_file_are_in_no_run() {
        use Part::{Leave, Parent};
        let entries = [("a", STREAM), ("b", Parent), ("b/c", Parent), ("b/c/x", STREAM), ("d", Parent), ("e", STREAM)];
        assert_eq!(plan(&entries), [" b/c/x", "d e"]);
        // `b/c` is empty: the run ends before it, and the next begins after it, in `b`.
        assert_eq!(plan(&[("a", STREAM), ("b", Parent), ("b/c", Parent), ("b/x", STREAM)]), [" a", "b/c b/x"]);
        assert_eq!(plan(&[("a", STREAM), ("b", Parent), ("b/x", Leave), ("b/y", STREAM)]), [" a", "b/x b/y"]);
    }

    #[test]
    fn a_page_ends_its_last_run() {
        let mut planner = Planner::after(Some(name("a")));
        planner.push(name("b"), STREAM);
        let run =
            |after, until| Run { range: WalkRange { after: Some(name(after)), until: Some(name(until)) }, bytes: 3 };
        assert_eq!(planner.take_runs(), [run("a", "b")]);
        assert_eq!(planner.take_runs(), []);
        planner.push(name("c"), STREAM);
        assert_eq!(planner.take_runs(), [run("b", "c")]);
    }

    /// Returns the entries of a random tree in walk order, with a part for each.
    fn walk() -> impl Strategy<Value = Vec<(FileName, bool, Part)>> {
        let files = prop::collection::vec(("[ab.]{1,2}(/[ab.]{1,2}){0,3}", 0..3_u8), 0..40);
        files.prop_map(|files| {
            let mut all: BTreeMap<Vec<Vec<u8>>, (bool, Part)> = BTreeMap::new();
            for (path, part) in files {
                let segments: Vec<Vec<u8>> = path.split('/').map(|part| part.as_bytes().to_vec()).collect();
                let file = |known: &(bool, Part)| !known.0;
                if (1..segments.len()).any(|end| all.get(&segments[..end]).is_some_and(file)) {
                    continue;
                }
                for end in 1..segments.len() {
                    let parts = [Part::Existing, Part::Parent, STREAM];
                    all.entry(segments[..end].to_vec()).or_insert((true, parts[usize::from(part)]));
                }
                let parts = [Part::Leave, STREAM, STREAM];
                all.entry(segments).or_insert((false, parts[usize::from(part)]));
            }
            let entry = |(path, (folder, part)): (Vec<Vec<u8>>, (bool, Part))| {
                (FileName::new(&path.join(&b'/')).unwrap(), folder, part)
            };
            all.into_iter().map(entry).collect()
        })
    }

    proptest! {
        /// Every missing file is covered exactly once, and nothing that is here or not selected ever.
        #[test]
        fn runs_cover_what_is_missing_and_nothing_else(walk in walk(), page in 1..9_usize) {
            let mut planner = Planner::default();
            let mut runs = Vec::new();
            for entries in walk.chunks(page) {
                for (path, _, part) in entries {
                    planner.push(path.clone(), *part);
                }
                runs.extend(planner.take_runs().into_iter().map(|run| run.range));
            }
            for (path, _, part) in &walk {
                let covering: Vec<_> = runs.iter().filter(|run| run.contains(path.as_bytes())).collect();
                match part {
                    Part::Stream(_) => prop_assert_eq!(covering.len(), 1, "{:?}", path),
                    Part::Leave => prop_assert_eq!(covering.len(), 0, "{:?}", path),
                    Part::Existing => prop_assert!(covering.len() <= 1),
                    Part::Parent => for run in covering {
                        let below = |(file, _, part): &&(FileName, bool, Part)| {
                            *part == STREAM && is_below(file, path) && run.contains(file.as_bytes())
                        };
                        prop_assert!(walk.iter().any(|entry| below(&entry)), "{:?} {:?}", path, run);
                    },
                }
            }
            let ends = runs.iter().flat_map(|run| [&run.after, &run.until]).flatten();
            prop_assert!(ends.is_sorted_by(|left, right| walk_order(left.as_bytes(), right.as_bytes()).is_le()));
        }
    }
}
