//! List of the origin's files: the highlighted match is taken, names are completed, many files and folders are marked.

use chainview::command::Command;
use chainview::route::FileName;
use chainview::snapshot::{ChainSnapshot, Listing, ListingEntry};
use chainview::ui::state::Mode;

use super::script::{Script, on_every_screen};
use super::snapshots::{busy, idle};

const LONG: &str = "a-very-long-name-of-a-release-that-does-not-fit-on-a-narrow-screen-of-sixty-columns-2.4.1.tar.gz";

fn named(name: &str) -> FileName {
    FileName::new(name.as_bytes()).unwrap()
}

fn entry(folder: &str, name: &str, is_folder: bool) -> ListingEntry {
    ListingEntry::new(name.into(), named(&format!("{folder}{name}")), 2_730_000, is_folder)
}

/// An idle chain whose origin offers a folder and four files.
fn offering() -> ChainSnapshot {
    let files = ["alpha.bin", "beta.bin", "gamma.txt", LONG].map(|name| entry("", name, false));
    let entries = [entry("", "docs", true)].into_iter().chain(files).collect();
    ChainSnapshot { listing: Some(Listing { entries, ..Listing::default() }), ..idle() }
}

fn last(script: &Script) -> Option<&Command> {
    script.sent.last()
}

#[test]
fn the_first_match_is_highlighted_and_enter_takes_it() {
    on_every_screen(&offering(), |script| {
        let screen = script.keys("n g a m").screen();
        assert!(screen.contains("▌ gamma.txt") && screen.contains("1 of 5"), "{screen}");
        script.keys("<enter>");
        assert_eq!(last(script), Some(&Command::FetchName(named("gamma.txt"))));
        let screen = script.keys("n b e t <tab>").screen();
        assert!(screen.contains("beta.bin"), "{screen}");
        script.keys("<enter>");
        assert_eq!(last(script), Some(&Command::FetchName(named("beta.bin"))));
    });
}

#[test]
fn many_files_are_marked_and_fetched_together() {
    on_every_screen(&offering(), |script| {
        // The blank marks before a name is typed; the selection moves to the next entry.
        let screen = script.keys("n <down> <space> <space>").screen();
        assert!(screen.contains("*alpha.bin") && screen.contains("*beta.bin"), "{screen}");
        assert!(screen.contains("2 marked   5 of 5") && screen.contains("▌ gamma.txt"), "{screen}");
        assert!(screen.contains("2 marked, fetch which files?"), "{screen}");
        // Any entry is marked with insert and ctrl-t, also while a name is typed.
        script.keys("t x t <ins> <ins> <c-t> <enter>");
        let files = ["alpha.bin", "beta.bin", "gamma.txt"].map(named).to_vec();
        assert_eq!(last(script), Some(&Command::FetchAll(files)));
        assert_eq!(script.state.mode, Mode::Browse);
    });
}

#[test]
fn all_listed_entries_are_marked_at_once() {
    on_every_screen(&offering(), |script| {
        script.keys("n . b i n <c-a> <enter>");
        let files = ["alpha.bin", "beta.bin"].map(named).to_vec();
        assert_eq!(last(script), Some(&Command::FetchAll(files)));
        let screen = script.keys("n <c-a>").screen();
        assert!(screen.contains("*docs/") && screen.contains("5 marked"), "{screen}");
        let screen = script.keys("<c-a>").screen();
        assert!(!screen.contains("marked"), "the second press removes the marks: {screen}");
    });
}

#[test]
fn a_folder_is_fetched_whole_or_opened() {
    on_every_screen(&offering(), |script| {
        script.keys("n <space> <space> <enter>");
        assert_eq!(last(script), Some(&Command::FetchAll(vec![named("docs/"), named("alpha.bin")])));
        script.keys("n <enter>");
        assert_eq!(last(script), Some(&Command::List(Some(named("docs")))));
        // The list of the folder above is not that of the folder: nothing of it can be taken meanwhile.
        let screen = script.screen();
        assert!(screen.contains("Files at the origin: docs") && screen.contains("requesting the list"), "{screen}");
        assert!(!screen.contains("alpha.bin"), "{screen}");
        let entries = vec![entry("docs/", "guide.md", false)];
        script.chain.listing = Some(Listing { folder: "docs".into(), entries, ..Listing::default() });
        let screen = script.screen();
        assert!(screen.contains("../") && screen.contains("▌ guide.md") && screen.contains("1 of 1"), "{screen}");
        script.keys("<up> <enter>");
        assert_eq!(last(script), Some(&Command::List(None)));
        script.keys("<esc>");
    });
}

#[test]
fn the_listed_folder_itself_is_fetched_by_its_first_row_or_by_a_slash() {
    on_every_screen(&offering(), |script| {
        let screen = script.keys("n <up>").screen();
        assert!(screen.contains("▌ ./  this whole folder, as one transfer"), "{screen}");
        assert!(screen.contains("5 of 5"), "it is no entry: {screen}");
        script.keys("<enter>");
        assert_eq!(last(script), Some(&Command::FetchName(named("/"))));
        assert_eq!(script.state.mode, Mode::Browse);
        script.keys("n <enter>");
        let entries = vec![entry("docs/", "guide.md", false)];
        script.chain.listing = Some(Listing { folder: "docs".into(), entries, ..Listing::default() });
        script.keys("<up> <up> <enter>");
        assert_eq!(last(script), Some(&Command::FetchName(named("docs/"))));
        script.chain = offering();
        let screen = script.keys("n d o c s /").screen();
        assert!(screen.contains("enter fetches the whole folder \"docs/\""), "{screen}");
        script.keys("<enter>");
        assert_eq!(last(script), Some(&Command::FetchName(named("docs/"))));
    });
}

#[test]
fn a_name_that_matches_nothing_is_announced() {
    on_every_screen(&offering(), |script| {
        let screen = script.keys("n n o n e").screen();
        assert!(screen.contains("enter fetches \"none\": not in the listing"), "{screen}");
        script.keys("<enter>");
        assert_eq!(last(script), Some(&Command::FetchName(named("none"))));
    });
    let mut partial = offering();
    partial.listing.as_mut().unwrap().omitted = 7;
    on_every_screen(&partial, |script| {
        let screen = script.keys("n n o n e").screen();
        assert!(screen.contains("enter fetches \"none\": not among the listed files"), "{screen}");
        assert!(screen.contains("0 of 5, 7 more not listed"), "{screen}");
    });
}

#[test]
fn blanks_can_be_typed_within_a_name() {
    on_every_screen(&offering(), |script| {
        script.keys("n a <space> b <home> x <enter>");
        assert_eq!(last(script), Some(&Command::FetchName(named("xa b"))));
    });
}

#[test]
fn both_ends_of_a_long_name_are_visible() {
    on_every_screen(&offering(), |script| {
        let screen = script.keys("n 2 . 4").screen();
        assert!(screen.contains("a-very-long") && screen.contains("2.4.1.tar.gz "), "{screen}");
    });
}

#[test]
fn a_filter_shows_the_names_of_its_fields() {
    on_every_screen(&busy(), |script| {
        let screen = script.keys("2 /").screen();
        assert!(screen.contains("hop: xfer: file: state:"), "{screen}");
        let screen = script.keys("<esc> 3 /").screen();
        assert!(screen.contains("xfer: file: state:") && !screen.contains("hop:"), "{screen}");
        let screen = script.keys("<esc> 5 /").screen();
        assert!(screen.contains("hop: text:"), "{screen}");
    });
}
