//! Which files of a folder are moved: those that are missing, selected by patterns, or named in a list.

mod foreign;
mod scene;
mod token;

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::support::{TIMEOUT, content};
use scene::{Scene, files, write};

/// Most bytes of heads and of a listing of this many files.
fn listing(files: u64) -> u64 {
    4096 + 400 * files
}

#[test]
fn a_second_fetch_moves_nothing_and_a_third_what_has_changed() {
    let scene = Scene::new(300);
    fs::create_dir(scene.tree().join("empty")).unwrap();
    std::os::unix::fs::symlink("a", scene.tree().join("link")).unwrap();
    let (first, _) = scene.counted("");
    assert_eq!((first.code, first.count("fetched"), first.count("failed")), (0, 300, 0), "{}", first.err);
    assert_eq!(first.files("verified").len(), 300);
    fs::remove_file(scene.tree().join("link")).unwrap();
    scene.assert_same();
    std::os::unix::fs::symlink("a", scene.tree().join("link")).unwrap();
    let (second, moved) = scene.counted("");
    assert_eq!((second.code, second.count("fetched"), second.count("present")), (0, 0, 300), "{}", second.err);
    assert_eq!((second.count("total"), second.count("left_out")), (300, 1));
    assert!(moved < listing(300), "{moved} bytes");
    assert_eq!(second.json["transfers"][0]["flow"]["bytes_in"], 0);
    assert_eq!(second.json["transfers"][0]["already_present"], true);

    // One file has changed, one is new, one and a folder were removed here.
    write(&scene.tree().join("a/f0000"), &content(70_000));
    write(&scene.tree().join("c/new"), b"new");
    fs::remove_file(scene.out().join("b/f0002")).unwrap();
    fs::remove_dir(scene.out().join("empty")).unwrap();
    let refused = scene.fetch("");
    assert_eq!((refused.code, refused.count("fetched"), refused.count("failed")), (7, 2, 1), "{}", refused.err);
    assert_eq!((refused.files("failed"), refused.count("present")), (vec!["a/f0000"], 298));
    assert!(refused.err.contains("tree/a/f0000: ") && refused.err.contains("--force replaces it"), "{}", refused.err);
    let (forced, moved) = scene.counted("--force");
    assert_eq!((forced.code, forced.count("fetched"), forced.count("present")), (0, 1, 300), "{}", forced.err);
    assert!(moved > 70_000 && moved < 75_000 + listing(301), "{moved} bytes");
    fs::remove_file(scene.tree().join("link")).unwrap();
    scene.assert_same();
}

#[test]
fn another_time_with_the_same_content_is_present() {
    let scene = Scene::new(12);
    assert_eq!(scene.fetch("").code, 0);
    // The same size and another content, which only a digest can tell.
    let mut other = content(3001);
    other[5] ^= 1;
    write(&scene.out().join("a/deep/f0001"), &other);
    for path in ["a/f0000", "b/f0002", "a/deep/f0001"] {
        let file = fs::File::options().write(true).open(scene.out().join(path)).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(5)).unwrap();
    }
    for options in ["", "--no-times"] {
        let ended = scene.fetch(options);
        let counts = ["fetched", "present", "failed"].map(|name| ended.count(name));
        assert_eq!((ended.code, counts), (7, [0, 11, 1]), "{options}: {}", ended.err);
        assert_eq!(ended.files("failed"), ["a/deep/f0001"]);
    }
    assert_eq!(fs::read(scene.out().join("a/deep/f0001")).unwrap(), other, "it is left alone");
}

#[test]
fn patterns_select_files_and_nothing_else_is_moved_or_made() {
    let scene = Scene::new(60);
    let (planned, _) = scene.counted("--include *1 --include deep/ --exclude f003?  --dry-run");
    let expected: Vec<String> = files(&scene.tree())
        .into_iter()
        .filter(|(_, file)| file.is_some())
        .map(|(path, _)| path.to_str().unwrap().to_owned())
        .filter(|path| (path.ends_with('1') || path.contains("deep/")) && !path.contains("f003"))
        .collect();
    let mut named: Vec<String> = planned.files("planned").into_iter().map(str::to_owned).collect();
    named.sort();
    assert_eq!((planned.code, named), (0, expected.clone()), "{}", planned.err);
    assert!(!scene.folder.path().join("out").exists(), "nothing is written");
    let fetched = scene.fetch("--include *1 --include deep/ --exclude f003?");
    assert_eq!((fetched.code, fetched.count("fetched")), (0, expected.len() as u64), "{}", fetched.err);
    let here = files(&scene.out());
    let mut here: Vec<&str> =
        here.iter().filter(|(_, file)| file.is_some()).map(|(path, _)| path.to_str().unwrap()).collect();
    here.sort_unstable();
    assert_eq!(here, expected);
    let none = scene.fetch("-o none/ --include nothing");
    assert_eq!((none.code, none.count("fetched"), none.count("total")), (0, 0, 0), "{}", none.err);
}

#[test]
fn a_dry_run_names_what_would_be_fetched_on_stdout() {
    let scene = Scene::new(9);
    let output = scene.client("--dry-run --exclude a").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..3], ["b/f0002 (3.0 KB)", "b/f0005 (3.0 KB)", "b/f0008 (3.0 KB)"], "{text}");
    assert_eq!(lines[3], "tree/: 3 files would be fetched, 9.0 KB, in out/tree");
}

#[test]
fn lists_are_relative_to_the_folder_or_whole_names() {
    let scene = Scene::new(30);
    fs::write(scene.folder.path().join("list"), "a/f0003\n# comment\n\nb/f0002\nb/none\n./a//f0003\na\n").unwrap();
    let listed = scene.fetch("--list-from list");
    assert_eq!((listed.code, listed.count("fetched"), listed.count("failed")), (4, 2, 2), "{}", listed.err);
    assert_eq!(listed.files("failed"), ["a", "b/none"]);
    assert!(listed.err.contains("tree/b/none: hop 3"), "{}", listed.err);
    let names: Vec<_> = files(&scene.out()).into_keys().collect();
    assert_eq!(names, ["a", "a/f0003", "b", "b/f0002"].map(std::path::PathBuf::from));

    scene.input("some/file");
    fs::write(scene.folder.path().join("list"), "tree/a/f0000\ntree/b/f0005\n").unwrap();
    let whole = scene.fetch("--list-from list -o whole");
    assert_eq!((whole.code, whole.count("fetched")), (0, 2), "{}", whole.err);
    let path = |name: &str| scene.folder.path().join("whole").join(name);
    assert_eq!(fs::read(path("tree/b/f0005")).unwrap(), content(3005));
    let again = scene.fetch("--list-from list -o whole");
    assert_eq!((again.code, again.count("present")), (0, 2), "{}", again.err);
}

#[test]
fn larger_files_than_allowed_fail_alone() {
    let scene = Scene::new(9);
    write(&scene.tree().join("large"), &content(5000));
    let ended = scene.fetch("--max-size 4000");
    assert_eq!((ended.code, ended.count("fetched"), ended.files("failed")), (7, 9, vec!["large"]), "{}", ended.err);
    assert!(ended.err.contains("--max-size"), "{}", ended.err);
}

#[test]
fn a_broken_stream_is_continued_after_the_last_published_file() {
    let scene = Scene::new(900);
    let sum: u64 = (0..900).map(|number| 3000 + number % 100).sum();
    scene.forwarder.break_after(sum / 2);
    let (ended, moved) = scene.counted("");
    assert_eq!((ended.code, ended.count("fetched"), ended.count("total")), (0, 900, 900), "{}", ended.err);
    assert!(ended.err.contains("retry"), "{}", ended.err);
    scene.assert_same();
    // Heads and padding of the stream, the listing, and what was not published when the stream broke.
    assert!(moved < sum * 3 / 2 + listing(900), "{moved} of {sum} bytes");
    // The same in a run of the plan.
    for number in (1..900).step_by(3) {
        fs::remove_file(scene.out().join(format!("a/deep/f{number:04}"))).unwrap();
    }
    scene.forwarder.break_after(listing(900) + 300_000);
    let again = scene.fetch("");
    assert_eq!((again.code, again.count("fetched"), again.count("present")), (0, 300, 600), "{}", again.err);
    scene.assert_same();
}

#[test]
fn a_large_file_is_fetched_by_itself_and_resumed() {
    let scene = Scene::new(30);
    let large = content(20 << 20);
    write(&scene.tree().join("a/large"), &large);
    write(&scene.out().join("b/f0002"), &content(3002));
    scene.forwarder.break_after(12 << 20);
    let (ended, moved) = scene.counted("");
    assert_eq!((ended.code, ended.count("failed")), (0, 0), "{}", ended.err);
    assert_eq!(fs::read(scene.out().join("a/large")).unwrap(), large);
    assert!(moved < (21 << 20) + listing(31), "{moved} bytes: it is resumed");
    assert!(!files(&scene.out()).keys().any(|path| path.to_str().unwrap().contains(".part")));
}

#[test]
fn a_file_that_is_fetched_by_itself_keeps_its_executable_bit() {
    let scene = Scene::new(3);
    assert_eq!(scene.fetch("").code, 0);
    for (name, mode) in [("run", 0o755), ("data", 0o644)] {
        let path = scene.tree().join(name);
        write(&path, &vec![0; 16 << 20]);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let ended = scene.fetch("");
    assert_eq!((ended.code, ended.count("fetched")), (0, 2), "{}", ended.err);
    let mode = |name: &str| scene.out().join(name).metadata().unwrap().permissions().mode() & 0o777;
    // Who may read it may execute it, whatever the umask.
    assert_eq!((mode("run"), mode("data") & 0o111), (mode("data") | (mode("data") & 0o444) >> 2, 0));
}

/// Mounts a file system that does not distinguish case at `$2`, fetches to it, and shows what is there; 99 if it
/// cannot. `$1` is its image, `$3` the program.
const WITHOUT_CASE: &str = r#"
mount -o loop "$1" "$2" && mkdir "$2/out" && chattr +F "$2/out" || exit 99
"$3" --fetch -o "$2/out/" --json >"$1.plain"
"$3" --fetch -o "$2/out/" --json --force >"$1.forced"
cat "$2/out/tree/Name" >"$1.found" && ls "$2/out/tree" >>"$1.found"
"#;

#[test]
fn a_file_whose_name_differs_in_case_only_replaces_no_other() {
    let scene = Scene::new(0);
    write(&scene.tree().join("Name"), b"first");
    write(&scene.tree().join("name"), b"other");
    let (image, mounted) = (scene.folder.path().join("image"), scene.folder.path().join("mounted"));
    fs::create_dir(&mounted).unwrap();
    fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
    let mut make = Command::new("mkfs.ext4");
    make.args(["-q", "-O", "casefold", "-E", "encoding=utf8"]).arg(&image);
    let made = make.output().is_ok_and(|made| made.status.success());
    let fetched = made.then(|| {
        let mut script = Command::new("unshare");
        script
            .args(["-m", "sh", "-c", WITHOUT_CASE, "sh"])
            .args([&image, &mounted])
            .arg(env!("CARGO_BIN_EXE_chainview"));
        script.current_dir(scene.folder.path()).output().unwrap()
    });
    let Some(fetched) = fetched.filter(|fetched| fetched.status.success()) else {
        eprintln!("SKIPPED: a file system that does not distinguish case needs root, mkfs.ext4 and a kernel with it");
        return;
    };
    let read = |what: &str| fs::read_to_string(image.with_extension(what)).unwrap();
    for run in ["plain", "forced"] {
        let json: serde_json::Value = serde_json::from_str(&read(run)).unwrap();
        let folder = &json["transfers"][0]["folder"];
        assert_eq!(folder["failed"], 1, "{run}: {json} {fetched:?}");
        let failed = folder["files"].as_array().unwrap().iter().find(|file| file["outcome"] == "failed").unwrap();
        assert_eq!(failed["path"], "name", "{run}: {json}");
    }
    assert_eq!(read("found"), "firstName\n");
}

#[test]
fn an_interrupted_run_leaves_what_is_proven() {
    let scene = Scene::new(600);
    let mut client = scene.client("-q").stderr(Stdio::piped()).spawn().unwrap();
    wait_for(|| files_in(&scene.out()) > 0, &mut client);
    kill_process(Pid::from_child(&client), Signal::INT).unwrap();
    let status = client.wait().unwrap();
    let mut err = String::new();
    client.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    // It may have ended just before.
    assert!(status.success() || err.contains("interrupted"), "{status}: {err}");
    for (path, file) in files(&scene.out()) {
        let served = fs::read(scene.tree().join(&path)).ok();
        assert!(file.is_none() || file.map(|(content, _)| content) == served, "{}", path.display());
    }
    let rest = scene.fetch("");
    assert_eq!((rest.code, rest.count("fetched") + rest.count("present")), (0, 600), "{}", rest.err);
    scene.assert_same();
}

#[test]
fn killed_runs_are_continued_and_receive_nothing_twice() {
    let scene = Scene::new(1200);
    let mut published = 0;
    for round in 1..=4 {
        let mut client = scene.client("-q").stderr(Stdio::null()).spawn().unwrap();
        // Killed at some time after its first files.
        wait_for(|| files_in(&scene.out()) > published, &mut client);
        std::thread::sleep(Duration::from_millis(7 * round));
        client.kill().unwrap();
        client.wait().unwrap();
        let here = files_in(&scene.out());
        assert!(here >= published, "{here} of {published}");
        published = here;
    }
    for (path, file) in files(&scene.out()) {
        let served = fs::read(scene.tree().join(&path)).ok();
        assert!(
            is_staging(&path) || file.is_none() || file.map(|(content, _)| content) == served,
            "{}",
            path.display()
        );
    }
    let rest = scene.fetch("");
    assert_eq!((rest.code, rest.count("failed")), (0, 0), "{}", rest.err);
    assert_eq!(rest.count("fetched") + rest.count("present"), 1200);
    assert!(rest.count("present") as usize >= published * 99 / 100, "{published}: {}", rest.err);
    scene.assert_same();
}

fn is_staging(path: &Path) -> bool {
    path.to_str().is_some_and(|path| path.starts_with(".chainview-staging"))
}

/// Counts the files below a folder without those that are not published; it may change meanwhile.
fn files_in(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let counts = entries.map(|path| match path.file_name() {
        Some(name) if is_staging(Path::new(name)) => 0,
        _ if path.is_dir() => files_in(&path),
        _ => 1,
    });
    counts.sum()
}

/// Polls, as a folder that fills sends no event.
fn wait_for(mut met: impl FnMut() -> bool, client: &mut std::process::Child) {
    let end = Instant::now() + TIMEOUT;
    while !met() && client.try_wait().unwrap().is_none() {
        assert!(Instant::now() < end, "it takes too long");
        std::thread::sleep(Duration::from_millis(2));
    }
}
