//! Outputs other than a folder: pipes, devices, standard output; and the metadata that a fetched file keeps. Also input
//! files from standard input.

use std::fs::{self, File};
use std::process::{Output, Stdio};
use std::time::{Duration, SystemTime};

use crate::support;
use support::process::{Node, chainview, failing};
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
fn stdout_gets_the_bytes_and_stderr_all_else() {
    let (folder, _node, content) = scene();
    for name in ["-", "/dev/stdout"] {
        let output = run(&folder, &format!("--fetch -o {name}"), Stdio::piped());
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
        assert!(output.stdout == content, "{} bytes arrived", output.stdout.len());
        assert!(err(&output).contains("verified (blake3:") && err(&output).contains("in standard output"));
    }
    let json = run(&folder, "--fetch -q -o - --json", Stdio::piped());
    assert!(json.stdout == content);
    let document: serde_json::Value = serde_json::from_str(&err(&json)).unwrap();
    assert_eq!(document["transfers"][0]["integrity"], "verified");
    let both = run(&folder, "--fetch -q -o - input.txt input.txt", Stdio::piped());
    assert!(both.stdout == [&content[..], &content].concat(), "{}", err(&both));
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn a_failed_stdout_write_is_code_7_and_a_closed_reader_is_silent() {
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
fn stdout_takes_one_transfer_at_a_time_and_no_dashboard() {
    let (folder, _node, _) = scene();
    for (line, expected) in
        [("--fetch -o - -j 2", "remove -j"), ("--no-spawn -o -", "only --fetch without --spawn writes to")]
    {
        let output = run(&folder, line, Stdio::piped());
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
        assert!(err(&output).contains(expected), "{}", err(&output));
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
fn a_file_keeps_its_modification_time_unless_disabled() {
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
fn a_folder_is_reported_as_one() {
    let (folder, _node, _) = scene();
    for line in ["--fetch --file sub -o x", "--check --file sub"] {
        let output = run(&folder, line, Stdio::null());
        assert_eq!(output.status.code(), Some(4), "{}", err(&output));
        assert!(err(&output).contains("a folder has that name: add a slash"), "{line}: {}", err(&output));
    }
}

/// Fetches a small file and a larger one to a new path and over existing files; returns the files in the folder at the
/// end.
const WITHOUT_PROC: &str = r#"
mount -t tmpfs none /proc || exit 99
for file in sub/small data.bin; do
    "$1" --fetch -q --file "$file" -o out/ && "$1" --fetch -q --file "$file" -o out/ --force && echo "$file"
done
cd out && ls
"#;

#[test]
fn a_file_is_published_without_proc_and_hard_links() {
    let (folder, _node, content) = scene();
    fs::write(folder.path().join("root/sub/small"), &content[..1000]).unwrap();
    let arrived = |name: &str| fs::read(folder.path().join(name)).unwrap();
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_580_702_706);
    for file in ["sub/small", "data.bin"] {
        let origin = File::options().write(true).open(folder.path().join("root").join(file)).unwrap();
        origin.set_modified(then).unwrap();
    }
    let run_in = |unshare: &str| {
        let mut command = std::process::Command::new("unshare");
        command.args([unshare, "sh", "-c", WITHOUT_PROC, "sh"]).arg(chainview().get_program());
        command.current_dir(folder.path()).env("XDG_CONFIG_HOME", "/nonexistent").stdin(Stdio::null());
        command.output().ok().filter(|output| output.status.code() != Some(99) && !output.stdout.is_empty())
    };
    // As root, or with user namespaces.
    if let Some(output) = run_in("-m").or_else(|| run_in("-rm")) {
        let message = String::from_utf8_lossy(&output.stdout);
        assert_eq!(message, "sub/small\ndata.bin\ndata.bin\nsmall\n", "{}", err(&output));
        assert!(arrived("out/data.bin") == content && arrived("out/small") == content[..1000]);
    } else {
        eprintln!("SKIPPED: taking /proc away needs root, or user namespaces");
    }
    for error in ["EPERM", "EOPNOTSUPP"] {
        for (file, size) in [("sub/small", 1000), ("data.bin", SIZE)] {
            let Some(mut command) = failing(&format!("linkat:error={error}")) else { return };
            let folder_arg = format!("{error}{size}/");
            command.current_dir(folder.path()).args(["--fetch", "-q", "--file", file, "-o", &folder_arg]);
            let output = command.output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{error} {file}: {}", err(&output));
            let names: Vec<_> = fs::read_dir(folder.path().join(&folder_arg)).unwrap().flatten().collect();
            assert_eq!(names.len(), 1, "{names:?}");
            assert!(fs::read(names[0].path()).unwrap() == content[..size]);
            assert_eq!(names[0].metadata().unwrap().modified().unwrap(), then, "{error} {file}");
        }
    }
}

#[test]
fn json_numbers_are_rounded() {
    let (folder, _node, _) = scene();
    let output = run(&folder, "--fetch -q --json", Stdio::piped());
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut values = vec![&document];
    while let Some(value) = values.pop() {
        match value {
            serde_json::Value::Array(items) => values.extend(items),
            serde_json::Value::Object(items) => values.extend(items.values()),
            serde_json::Value::Number(number) => {
                let text = number.to_string();
                let digits = text.split_once('.').map_or(0, |(_, digits)| digits.len());
                assert!(digits <= 6, "{number} in {document}");
            }
            _ => {}
        }
    }
}

#[test]
fn an_input_named_dash_is_stdin() {
    let (folder, _node, content) = scene();
    let reading = |line: &str, input: &str| {
        let input = File::open(folder.path().join(input)).unwrap();
        let mut command = chainview();
        command.current_dir(folder.path()).args(line.split(' ')).stdin(input).output().unwrap()
    };
    let fetched = reading("--fetch - -o got", "input.txt");
    assert_eq!(fetched.status.code(), Some(0), "{}", err(&fetched));
    assert!(fs::read(folder.path().join("got")).unwrap() == content);
    assert_eq!(reading("--check -", "input.txt").status.code(), Some(0));
    fs::write(folder.path().join("bad.txt"), "f\n127.0.0.1 99x\n").unwrap();
    let bad = reading("--check -", "bad.txt");
    assert_eq!(bad.status.code(), Some(3));
    assert!(err(&bad).contains("standard input:2: port"), "{}", err(&bad));
}
