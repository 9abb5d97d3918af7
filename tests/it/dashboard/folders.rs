//! The transfer of a folder: its row, its details, and the files in them.

use chainview::options::ColorScheme;
use chainview::snapshot::{FolderProgress, Phase};
use chainview::ui::input::Gesture;
use chainview::ui::state::Effect;

use super::script::{Script, on_every_screen};
use super::snapshots::folders;

#[test]
fn a_row_counts_the_files_and_the_failed_ones() {
    for (columns, rows, wanted) in [
        (80, 24, "60% 1,204/2,000 3 failed  41.2 MB/s ETA 0:35"),
        (120, 40, "60% 1,204/2,000 3 failed  41.2 MB/s ETA 0:35"),
        (200, 60, "1,204/2,000 3 failed   60%    4.9 MB / 8.2 MB    41.2 MB/s ETA 0:35"),
        (60, 15, "60%  41.2 MB/s ETA 0:35"),
    ] {
        let screen = Script::new(columns, rows, folders()).keys("3").screen();
        assert!(screen.contains(wanted), "{screen}");
        assert!(screen.contains("1 running · 1,204 of 2,000 files · 80%"), "{screen}");
    }
    let mut calm = folders();
    calm.transfers[0].folder.as_mut().unwrap().failed = 0;
    let screen = Script::new(80, 24, calm).keys("3").screen();
    assert!(screen.contains("60%    1,204/2,000 files  41.2 MB/s"), "{screen}");
}

#[test]
fn an_ended_folder_states_the_results_of_its_files() {
    let screen = Script::new(200, 60, folders()).keys("3").screen();
    let done = "8.2 MB in  32.0 s at  41.2 MB/s  1,996 files verified, 4 here already, 2 left out  /tmp/demo/pictures/";
    assert!(screen.contains(done), "{screen}");
    let failed = "3 files of pictures/ were not received; 1,993 files verified, 4 here already, 3 failed, 2 left out";
    assert!(screen.contains(failed), "{screen}");
    let mut cancelled = folders();
    cancelled.transfers[2].phase = Phase::Cancelled;
    let screen = Script::new(200, 60, cancelled.clone()).keys("3").screen();
    assert!(screen.contains("1,993 files verified, 4 here already, 3 failed, 2 left out, kept"), "{screen}");
    cancelled.transfers[2].folder = Some(FolderProgress::default());
    let screen = Script::new(200, 60, cancelled).keys("3").screen();
    assert!(screen.contains("cancelled  nothing received"), "{screen}");
}

#[test]
fn details_list_failed_files_first_and_scroll_to_the_selected_one() {
    on_every_screen(&folders(), |script| {
        let screen = script.keys("3 g <enter>").screen();
        assert!(screen.contains("1,204 of 2,000") && screen.contains("2024-06/IMG_1304.jpg"), "{screen}");
        let screen = script.keys("j").screen();
        assert!(screen.contains("▌ ✗ ") && screen.contains("Files ─") && screen.contains(" 64 of 1,207"), "{screen}");
        let words: String = screen.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            words.contains("cannot write 2024-06/IMG_0007.jpg: no space left on device"),
            "the whole error: {words}"
        );
        let last = script.keys("G").screen();
        assert!(last.lines().any(|line| line.contains("▌ ✓ ")), "{last}");
        let top = script.keys("g").screen();
        assert!(top.contains("1,204 of 2,000"), "{top}");
        assert!(script.keys("<esc>").screen().contains("Finished"), "{}", script.screen());
    });
}

#[test]
fn the_wheel_moves_along_the_files() {
    let mut script = Script::new(80, 24, folders());
    script.keys("3 g <enter>");
    script.mouse(Gesture::WheelDown, 10, 10).mouse(Gesture::WheelDown, 10, 10);
    let screen = script.screen();
    assert!(screen.contains("▌ = here already"), "the sixth: {screen}");
    script.mouse(Gesture::WheelUp, 10, 10).mouse(Gesture::WheelUp, 10, 10);
    assert!(!script.screen().contains("▌ ✗"), "none: {}", script.screen());
}

#[test]
fn files_are_filtered_and_copied() {
    let mut script = Script::new(120, 40, folders());
    let screen = script.keys("3 g <enter> / s t a t e : h e r e <enter>").screen();
    assert!(screen.contains("filter state:here   4 of 1,207") && !screen.contains("✗"), "{screen}");
    let screen = script.keys("<esc>").screen();
    assert!(screen.contains("64 of 1,207") && !screen.contains("filter state"), "the filter first: {screen}");
    script.keys("j j y p");
    let path = "/tmp/demo/pictures/2024-06/IMG_0008.jpg";
    assert_eq!(script.state.next_effect(), Some(Effect::Copy(path.to_owned())));
    script.keys("y x");
    let error = "cannot write 2024-06/IMG_0007.jpg: no space left on device";
    assert_eq!(script.state.next_effect(), Some(Effect::Copy(error.to_owned())));
    let screen = script.keys("y").screen();
    assert!(screen.contains("failed files") && screen.contains("IMG_0007.jpg: cannot"), "{screen}");
    script.keys("d");
    let Some(Effect::Copy(text)) = script.state.next_effect() else { panic!("nothing copied") };
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(text.starts_with(&format!("2024-06/IMG_0007.jpg: {error}")), "{text}");
}

#[test]
fn the_details_of_a_folder_keep_the_keys_of_transfers() {
    use chainview::command::Command;
    let mut script = Script::new(120, 40, folders());
    script.keys("3 g <enter> j p x");
    assert_eq!(script.sent, [Command::Pause(1), Command::Cancel(1)]);
}

#[test]
fn outcomes_differ_in_ascii_without_color() {
    let mut script = Script::new(120, 40, folders()).themed(true, ColorScheme::Mono);
    let screen = script.keys("3 g <enter> j j").screen();
    assert!(screen.is_ascii(), "{screen}");
    for wanted in ["> x failed", "= here already", "+ verified"] {
        assert!(screen.contains(wanted), "{wanted}: {screen}");
    }
}
