//! Where a fetched file goes besides a folder: pipes, devices, standard output; and what it keeps of the original.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::fs::{self, File};
use std::process::{Output, Stdio};
use std::time::{Duration, SystemTime};

mod support;
use support::process::{Node, chainview};
use tempfile::TempDir;

const SIZE: usize = 3_000_000;

fn scene() -> (TempDir, Node, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..SIZE).map(|at| (at * 31 / 7) as u8).collect();
    fs::create_dir_all(folder.path().join("root/sub")).unwrap();
    fs::write(folder.path().join("root/data.bin"), &content).unwrap();
    let node = Node::chainview(&folder.path().join("root"), &[]);
    fs::write(folder.path().join("input.txt"), format!("data.bin\n{}\n", node.address())).unwrap();
    (folder, node, content)
}

fn run(folder: &TempDir, line: &str, stdout: Stdio) -> Output {
    let mut command = chainview();
    command.current_dir(folder.path()).args(line.split(' ')).stdout(stdout).stderr(Stdio::piped());
    command.output().unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn standard_output_gets_the_bytes_and_stderr_all_else() {
    let (folder, _node, content) = scene();
    for name in ["-", "/dev/stdout"] {
        let output = run(&folder, &format!("--fetch -o {name}"), Stdio::piped());
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
        assert!(output.stdout == content, "{} bytes came", output.stdout.len());
        assert!(err(&output).contains("intact (blake3:") && err(&output).contains("in standard output"));
    }
    let json = run(&folder, "--fetch -q -o - --json", Stdio::piped());
    assert!(json.stdout == content);
    let document: serde_json::Value = serde_json::from_str(&err(&json)).unwrap();
    assert_eq!(document["transfers"][0]["proof"], "intact");
    let both = run(&folder, "--fetch -q -o - input.txt input.txt", Stdio::piped());
    assert!(both.stdout == [&content[..], &content].concat(), "{}", err(&both));
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn what_standard_output_does_not_take_is_code_7_and_a_reader_that_left_is_not_talked_about() {
    let (folder, _node, _) = scene();
    let full = run(&folder, "--fetch -q -o -", File::options().write(true).open("/dev/full").unwrap().into());
    assert_eq!(full.status.code(), Some(7));
    assert!(err(&full).contains("standard output: cannot write to it: no space left on device"), "{}", err(&full));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let left = run(&folder, "--fetch -q -o -", writer.into());
    assert_eq!((left.status.code(), err(&left).as_str()), (Some(7), ""));
    let nothing = run(&folder, "--fetch -q -o /dev/null", Stdio::piped());
    assert_eq!((nothing.status.code(), nothing.stdout.len()), (Some(0), 0), "{}", err(&nothing));
}

#[test]
fn an_output_is_for_one_transfer_after_the_other_and_not_for_the_screen() {
    let (folder, _node, _) = scene();
    for (line, says) in [("--fetch -o - -j 2", "leave out -j"), ("--no-spawn -o -", "only --fetch writes to")] {
        let output = run(&folder, line, Stdio::piped());
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
        assert!(err(&output).contains(says), "{}", err(&output));
    }
    fs::write(
        folder.path().join("none.txt"),
        fs::read_to_string(folder.path().join("input.txt")).unwrap().replace("data", "none"),
    )
    .unwrap();
    let output = run(&folder, "--fetch -q -o - none.txt input.txt", Stdio::piped());
    assert_eq!((output.status.code(), output.stdout.len()), (Some(4), 0), "a gap would not be seen");
}

#[test]
fn a_file_keeps_its_modification_time_unless_that_is_not_wanted() {
    let (folder, _node, _) = scene();
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_580_738_096);
    let served = File::options().write(true).open(folder.path().join("root/data.bin")).unwrap();
    served.set_modified(then).unwrap();
    let modified = |name: &str| fs::metadata(folder.path().join(name)).unwrap().modified().unwrap();
    for (line, kept) in [("--fetch -o a", true), ("--fetch -o b --no-times", false), ("--no-spawn -o c -q", true)] {
        let output = run(&folder, line, Stdio::null());
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));

        let name = line.split(' ').skip_while(|word| *word != "-o").nth(1).unwrap();
        assert_eq!(modified(name) == then, kept, "{line}");
    }
}

#[test]
fn a_folder_is_called_one() {
    let (folder, _node, _) = scene();
    for line in ["--fetch --file sub -o x", "--check --file sub", "--fetch --file sub/ -o x"] {
        let output = run(&folder, line, Stdio::null());
        assert_eq!(output.status.code(), Some(4), "{}", err(&output));
        assert!(err(&output).contains("a folder of that name is there"), "{line}: {}", err(&output));
    }
}
