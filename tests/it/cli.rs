//! The command line as a script sees it: help, exit codes, output streams, and precedence of settings.

mod keys;
mod lists;
mod spawn;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// Runs the program in a folder of its own, without the tester's environment.
fn chainview(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chainview"));
    command.env_clear().env("HOME", folder).current_dir(folder).stdin(Stdio::null());
    command
}

fn run(folder: &Path, line: &str) -> Output {
    chainview(folder).args(line.split_whitespace()).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A node that serves a folder until this is dropped.
struct Node {
    child: Child,
    address: String,
}

impl Node {
    fn start(folder: &Path, line: &str) -> Self {
        let mut command = chainview(folder);
        command.arg("--node").args(line.split_whitespace()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let address = first.trim_end().strip_prefix("listening ").expect("an address in the first line").to_owned();
        Self { child, address }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder with a file, an input that names it, and a chain of this many nodes.
fn chain(nodes: usize) -> (tempfile::TempDir, Vec<Node>) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("out")).unwrap();
    std::fs::write(folder.path().join("data.bin"), vec![7; 300_000]).unwrap();
    let nodes: Vec<Node> = (0..nodes).map(|_| Node::start(folder.path(), "")).collect();
    let hops: Vec<String> = nodes.iter().map(|node| node.address.clone()).collect();
    std::fs::write(folder.path().join("input.txt"), format!("data.bin\n{}\n", hops.join("\n"))).unwrap();
    (folder, nodes)
}

#[test]
fn help_is_formatted_and_names_every_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let help = run(folder.path(), "--help");
    assert_eq!(code(&help), 0);
    let text = out(&help);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for word in ["--node", "--fetch", "--check", "--demo", "--expect", "--allow-next", "130 interrupted", "config.toml"]
    {
        assert!(words.contains(word), "{word} is missing");
    }
    assert!(!text.contains('\x1b') && !text.contains("--until-stdin-closes"));
    assert!(text.lines().all(|line| line.chars().count() <= 120));
    assert!(out(&run(folder.path(), "--version")).starts_with("chainview "));
}

#[test]
fn usage_errors_are_code_2_with_a_correction() {
    let folder = tempfile::tempdir().unwrap();
    for (line, expected) in [
        ("--nonsense", "--nonsense"),
        ("--fetch --check", "cannot be used with"),
        ("--node 80", "write HOST:PORT"),
        ("--node --root /no/such/folder", "name a folder to serve"),
        ("--node -o x", "--output has no meaning for --node"),
        ("--fetch --expect md5:1", "use blake3 or sha-256"),
        ("--check --idle-timeout 5", "250ms"),
        ("--node --read-token-file /no/such/file", "/no/such/file"),
    ] {
        let output = run(folder.path(), line);
        assert_eq!((code(&output), out(&output).as_str()), (2, ""), "{line}");
        assert!(err(&output).contains(expected), "{line}: {}", err(&output));
        assert!(!err(&output).contains('\x1b'), "{line}");
    }
}

#[test]
fn input_errors_are_code_3_with_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let missing = run(folder.path(), "--fetch none.txt");
    assert_eq!(code(&missing), 3);
    assert!(err(&missing).starts_with("chainview: none.txt: no such file"), "{}", err(&missing));
    std::fs::write(folder.path().join("bad.txt"), "f\n# note\n127.0.0.1 9101\n127.0.0.1 99x\n").unwrap();
    for line in ["--fetch bad.txt", "--check bad.txt"] {
        let output = run(folder.path(), line);
        assert_eq!(code(&output), 3);
        assert!(err(&output).contains("bad.txt:4: port \"99x\" is not a number from 1 to 65535"), "{}", err(&output));
    }
    let json: serde_json::Value = serde_json::from_str(&out(&run(folder.path(), "--fetch bad.txt --json"))).unwrap();
    assert_eq!((json["result"].as_str(), json["exit_code"].as_u64()), (Some("failed"), Some(3)));
}

#[test]
fn a_name_above_its_folder_is_an_input_error_everywhere() {
    let (folder, nodes) = chain(2);
    std::fs::create_dir(folder.path().join("sub")).unwrap();
    for name in ["../data.bin", "sub/../data.bin", "..", "sub/..", "..\\data.bin", "..;x/data.bin"] {
        for hops in [&nodes[..1], &nodes[..]] {
            for protocol in ["auto", "http", "legacy"] {
                let lines: Vec<&str> = hops.iter().map(|node| node.address.as_str()).collect();
                std::fs::write(folder.path().join("up.txt"), format!("{name}\n{}\n", lines.join("\n"))).unwrap();
                for mode in ["--fetch -o out", "--fetch -o out/x", "--check", "--no-spawn -o out", "--check --json"] {
                    let output = run(folder.path(), &format!("{mode} --protocol {protocol} up.txt"));
                    let text = err(&output);
                    assert_eq!(code(&output), 3, "{name} {protocol} {mode}: {text}");
                    assert!(text.starts_with("chainview: up.txt:1: the file name contains a `..` segment"), "{text}");
                }
            }
        }
        let output = run(folder.path(), &format!("--fetch input.txt -o out --file {name}"));
        assert_eq!(code(&output), 2, "{name}: {}", err(&output));
    }
    // Another name than that of line 1; a name that only looks like a parent folder is a normal name.
    assert_eq!(code(&run(folder.path(), "--fetch up.txt -o out --file data.bin")), 0);
    assert_eq!(code(&run(folder.path(), "--check input.txt --file /data.bin")), 0);
    assert_eq!(code(&run(folder.path(), "--check input.txt --file ..data.bin")), 4);
    assert_eq!(std::fs::read_dir(folder.path().join("out")).unwrap().count(), 1);
}

#[test]
fn a_fetch_that_waits_for_another_logs_it() {
    let (folder, nodes) = chain(1);
    std::fs::write(folder.path().join("data.bin"), vec![7; 3 << 20]).unwrap();
    drop(nodes);
    let slow = Node::start(folder.path(), "--limit 2M");
    std::fs::write(folder.path().join("input.txt"), format!("data.bin\n{}\n", slow.address)).unwrap();
    let fetch = || {
        let mut command = chainview(folder.path());
        command.args(["--fetch", "-o", "out"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let mut first = fetch();
    while !folder.path().join("out/data.bin.part").exists() {
        assert!(first.try_wait().unwrap().is_none(), "it has ended");
        std::thread::yield_now();
    }
    let second = fetch().wait_with_output().unwrap();
    assert!(first.wait_with_output().unwrap().status.success());
    assert_eq!(code(&second), 0, "{}", err(&second));
    assert!(err(&second).contains("data.bin: waiting for another fetch of data.bin\n"), "{}", err(&second));
    assert!(out(&second).contains("already present as out/data.bin"), "{}", out(&second));
}

#[test]
fn a_fetch_through_two_relays_is_complete_with_plain_output() {
    let (folder, nodes) = chain(3);
    let output = run(folder.path(), "--fetch -o out");
    assert_eq!(code(&output), 0, "{}", err(&output));
    let line = out(&output);
    assert!(line.starts_with("data.bin: 300000 bytes in ") && line.ends_with("in out/data.bin\n"), "{line}");
    assert!(line.contains("verified (blake3:") && !line.contains('\x1b') && !err(&output).contains('\x1b'));
    assert_eq!(std::fs::read(folder.path().join("out/data.bin")).unwrap(), vec![7; 300_000]);
    let again = run(folder.path(), "--fetch -o out -n 2 -q");
    assert_eq!((code(&again), out(&again).as_str(), err(&again).as_str()), (0, "", ""));
    let json = run(folder.path(), "--fetch -o out -n 2 --json");
    let json: serde_json::Value = serde_json::from_str(&out(&json)).unwrap();
    assert_eq!(json["transfers"].as_array().map(Vec::len), Some(2));
    assert_eq!(json["transfers"][1]["already_present"], true);
    assert_eq!(json["transfers"][0]["integrity"], "verified");
    let hops = &json["transfers"][0]["hops"];
    assert_eq!(hops[2]["address"].as_str(), Some(nodes[2].address.as_str()));
    for (hop, role) in ["relay", "relay", "origin"].into_iter().enumerate() {
        let record = &hops[hop]["record"];
        assert_eq!((record["role"].as_str(), record["flow"]["bytes_out"].as_u64()), (Some(role), Some(300_000)));
    }
    for line in ["--fetch -o out --json", "--fetch -o out --json --force", "--no-spawn -o out --json"] {
        let equal = run(folder.path(), line);
        let equal: serde_json::Value = serde_json::from_str(&out(&equal)).unwrap();
        let transfer = &equal["transfers"][0];
        let moved = (transfer["flow"]["bytes_in"].as_u64(), transfer["received"].as_u64());
        assert_eq!((moved, transfer["already_present"].as_bool()), ((Some(0), Some(300_000)), Some(true)), "{line}");
        assert_eq!(
            (transfer["integrity"].as_str(), transfer["here"]["size"].as_u64()),
            (Some("verified"), Some(300_000))
        );
    }
}

#[test]
fn check_shows_every_leg_and_writes_nothing() {
    let (folder, _nodes) = chain(2);
    let output = run(folder.path(), "--check");
    assert_eq!(code(&output), 0, "{}", err(&output));
    let text = out(&output);
    assert!(text.starts_with("data.bin: 300000 bytes (300.0 KB)\n"), "{text}");
    // The time of connecting and waiting, and a bar of it.
    let second = text.lines().find(|line| line.starts_with("hop 2 (")).expect("a line for hop 2");
    assert!(second.matches(" ms ").count() == 2 && second.ends_with('#'), "{text}");
    let json: serde_json::Value = serde_json::from_str(&out(&run(folder.path(), "--check --json"))).unwrap();
    assert_eq!((json["check"]["size"].as_u64(), json["check"]["protocol"].as_str()), (Some(300_000), Some("http")));
}

#[test]
fn failures_have_their_exit_codes_and_publish_no_file() {
    let (folder, nodes) = chain(2);
    let missing = run(folder.path(), "--fetch --file nope -o out");
    assert_eq!(code(&missing), 4);
    assert!(err(&missing).contains(&format!("hop 2 ({}): no such file: nope", nodes[1].address)), "{}", err(&missing));
    // Port 1 of loopback: nothing listens there by default.
    let down = format!("data.bin\n{}\n127.0.0.1:1\n", nodes[0].address);
    std::fs::write(folder.path().join("down.txt"), down).unwrap();
    for args in ["--fetch down.txt -o out", "--check down.txt"] {
        let down = run(folder.path(), args);
        assert_eq!(code(&down), 5);
        assert!(err(&down).contains("hop 2 (127.0.0.1:1): connection refused, reported by hop 1"), "{}", err(&down));
        assert!(err(&down).contains("start it with \"chainview --node 127.0.0.1:1\", or "), "{}", err(&down));
    }
    let altered = run(folder.path(), &format!("--fetch -o out/x --expect blake3:{}", "0".repeat(64)));
    assert_eq!(code(&altered), 6);
    let nowhere = run(folder.path(), "--fetch -o data.bin/folder/");
    assert!(code(&nowhere) == 7 && err(&nowhere).contains("cannot create this folder"), "{}", err(&nowhere));
    let large = run(folder.path(), "--fetch --max-size 299999 -o new/folder/");
    assert!(code(&large) == 7 && err(&large).contains("--max-size"), "{}", err(&large));
    assert_eq!(std::fs::read_dir(folder.path().join("new/folder")).unwrap().count(), 0);
    let left: Vec<_> = std::fs::read_dir(folder.path().join("out")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.len() == 2 && left.iter().all(|name| name.to_string_lossy().starts_with("x.part")), "{left:?}");
}

#[test]
fn a_port_in_use_is_code_9() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(folder.path(), "");
    let output = run(folder.path(), &format!("--node {}", node.address));
    assert_eq!((code(&output), out(&output).as_str()), (9, ""));
    assert!(err(&output).contains(&format!("cannot listen on {}: address already in use", node.address)));
}

#[test]
fn a_node_exits_on_a_signal_and_at_end_of_stdin() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::start(folder.path(), "");
    node.signal(rustix::process::Signal::TERM);
    assert!(node.child.wait().unwrap().success());
    let mut command = chainview(folder.path());
    command.args(["--node", "--until-stdin-closes"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_node_exits_while_it_computes_a_digest() {
    let folder = tempfile::tempdir().unwrap();
    // A sparse file uses no disk space, and takes minutes to hash.
    std::fs::File::create(folder.path().join("holes")).unwrap().set_len(64 << 30).unwrap();
    let mut node = Node::start(folder.path(), "");
    let mut client = std::net::TcpStream::connect(&node.address).unwrap();
    let request = "HEAD /files/holes HTTP/1.1\r\nHost: 127.0.0.1\r\nWant-Repr-Digest: sha-256=10\r\n\r\n";
    client.write_all(request.as_bytes()).unwrap();
    // It logs that after 5 s of work.
    client.read_exact(&mut [0; 12]).unwrap();
    drop(client);
    node.signal(rustix::process::Signal::TERM);
    let (ended, waiting) = std::sync::mpsc::channel();
    let pid = rustix::process::Pid::from_child(&node.child);
    std::thread::scope(|scope| {
        scope.spawn(|| ended.send(node.child.wait()));
        let in_time = waiting.recv_timeout(std::time::Duration::from_secs(5));
        if in_time.is_err() {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        assert!(in_time.is_ok_and(|status| status.is_ok_and(|status| status.success())), "it exits");
    });
}

#[test]
fn flags_override_the_environment_which_overrides_the_file() {
    let (folder, _nodes) = chain(1);
    let config = folder.path().join(".config/chainview");
    std::fs::create_dir_all(&config).unwrap();
    let write = |text: &str| std::fs::write(config.join("config.toml"), text).unwrap();
    let fetched = |command: &mut Command| {
        let output = command.output().unwrap();
        assert_eq!(code(&output), 0, "{}", err(&output));
        out(&output).trim_end().rsplit(' ').next().unwrap_or_default().to_owned()
    };
    write("output = \"from-file\"\nidle-timeout = \"9s\"\n");
    assert_eq!(fetched(chainview(folder.path()).arg("--fetch")), "from-file");
    assert_eq!(fetched(chainview(folder.path()).arg("--fetch").env("CHAINVIEW_OUTPUT", "from-env")), "from-env");
    let flag = ["--fetch", "-o", "from-flag"];
    assert_eq!(fetched(chainview(folder.path()).args(flag).env("CHAINVIEW_OUTPUT", "from-env")), "from-flag");
    write("quiet = true\n");
    assert_eq!(out(&run(folder.path(), "--fetch -o quiet")), "");
    for (text, expected) in [
        ("colors = \"never\"\n", "\"colors\" is not a setting"),
        ("fetch = true\n", "\"fetch\" is not a setting"),
        ("idle-timeout = \"soon\"\n", "idle-timeout: invalid value 'soon'"),
        ("number = [1, 2]\n", "number: write one value"),
        ("output = \n", "line 1"),
    ] {
        write(text);
        let output = run(folder.path(), "--fetch");
        assert_eq!(code(&output), 2, "{text}");
        assert!(err(&output).contains("config.toml: ") && err(&output).contains(expected), "{text}: {}", err(&output));
    }
}

#[test]
fn an_interrupted_fetch_ends_by_the_signal() {
    let (folder, nodes) = chain(1);
    let slow = Node::start(folder.path(), "--limit 10K");
    std::fs::write(folder.path().join("slow.txt"), format!("data.bin\n{}\n{}\n", nodes[0].address, slow.address))
        .unwrap();
    let mut command = chainview(folder.path());
    command.args(["--fetch", "slow.txt", "-o", "out"]).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    assert_eq!(line, "data.bin: requested\n");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(2));
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut stderr, &mut rest).unwrap();
    assert!(rest.lines().last().unwrap().starts_with("chainview: interrupted"), "{rest}");
    assert!(!folder.path().join("out/data.bin").exists());
}

#[test]
fn a_closed_output_pipe_does_not_panic() {
    let folder = tempfile::tempdir().unwrap();
    for line in ["--help", "--check none.txt --json"] {
        let mut command = chainview(folder.path());
        let mut child = command.args(line.split(' ')).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(!err(&output).contains("panicked"), "{}", err(&output));
        assert!(matches!(code(&output), 0 | 3), "{line}");
    }
}

#[test]
fn a_full_stdout_is_code_7_and_a_closed_one_is_not() {
    let (folder, nodes) = chain(1);
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    let lines = [
        "--help",
        "--version",
        "--check",
        "--check --json",
        "--fetch -o out",
        "--fetch -o out --json",
        "--fetch none.txt --json",
        "--no-spawn -o out",
        "--no-spawn -o out --json",
        "--node",
    ];
    for line in lines {
        let mut command = chainview(folder.path());
        let output = command.args(line.split_whitespace()).stdout(full()).output().unwrap();
        let expected = if line.contains("none.txt") { 3 } else { 7 };
        assert_eq!(code(&output), expected, "{line}: {}", err(&output));
        let expected = "standard output: cannot write the result to it: no space left on device";
        assert!(err(&output).contains(expected), "{line}: {}", err(&output));
    }
    drop(nodes);
    for line in ["--help", "--version"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = chainview(folder.path()).arg(line).stdout(writer).output().unwrap();
        assert_eq!((code(&output), err(&output).as_str()), (0, ""), "{line}");
    }
}
