//! The environment: errors that name the variable, and accepted words.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Output;

use rustix::fs::{CWD, Mode};

use super::{Node, Running, chainview, folder, input};

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn errors_name_the_variable_and_reject_unknown_words() {
    let folder = folder(1000, &[]);
    let node = Node::start(chainview(folder.path()), "-q");
    input(folder.path(), &[&node.address]);
    std::fs::write(folder.path().join("out/data.bin"), "mine").unwrap();
    let fetch = |variable: &str, value: &OsStr| {
        chainview(folder.path()).env(variable, value).args(["--fetch", "-o", "out"]).output().unwrap()
    };
    for (variable, value, expected) in [
        ("CHAINVIEW_JOBS", "abc", "CHAINVIEW_JOBS: invalid value 'abc'"),
        ("CHAINVIEW_RETRIES", "101", "CHAINVIEW_RETRIES: invalid value '101'"),
        ("CHAINVIEW_IDLE_TIMEOUT", "5", "CHAINVIEW_IDLE_TIMEOUT: invalid value '5'"),
        ("CHAINVIEW_COLOR", "red", "CHAINVIEW_COLOR: invalid value 'red' [possible values: auto, always, never]"),
        ("CHAINVIEW_VERBOSE", "much", "CHAINVIEW_VERBOSE: write a small number"),
        ("CHAINVIEW_FORCE", "banana", "CHAINVIEW_FORCE: write true, yes, on or 1"),
        ("CHAINVIEW_NO_VERIFY", "y", "CHAINVIEW_NO_VERIFY: write true"),
    ] {
        let output = fetch(variable, value.as_ref());
        assert_eq!(output.status.code(), Some(2), "{variable}");
        assert!(err(&output).contains(expected) && !err(&output).contains("--"), "{}", err(&output));
    }
    let latin1 = fetch("CHAINVIEW_READ_TOKEN", OsStr::from_bytes(b"t\xf6ken"));
    assert!(latin1.status.code() == Some(2) && err(&latin1).contains("CHAINVIEW_READ_TOKEN"), "{}", err(&latin1));
    assert_eq!(std::fs::read(folder.path().join("out/data.bin")).unwrap(), b"mine");
    assert_ne!(fetch("CHAINVIEW_FORCE", "no".as_ref()).status.code(), Some(0));
    assert!(fetch("CHAINVIEW_FORCE", "Yes".as_ref()).status.success());
    assert_eq!(std::fs::read(folder.path().join("out/data.bin")).unwrap().len(), 1000);
}

#[test]
fn empty_variables_are_unset_and_unknown_ones_reported() {
    let folder = folder(1000, &[]);
    let node = Node::start(chainview(folder.path()), "-q");
    input(folder.path(), &[&node.address]);
    let mut command = chainview(folder.path());
    for variable in ["JOBS", "OUTPUT", "FORCE", "LIMIT", "EXPECT", "LOG", "VERBOSE", "READ_TOKEN"] {
        command.env(format!("CHAINVIEW_{variable}"), "");
    }
    let output = command.env("CHAINVIEW_RETRYS", "5").args(["--fetch", "-o", "out"]).output().unwrap();
    assert!(output.status.success(), "{}", err(&output));
    assert!(err(&output).contains("chainview: CHAINVIEW_RETRYS is not a setting"), "{}", err(&output));
    let quiet = chainview(folder.path()).env("CHAINVIEW_RETRYS", "5").args(["--fetch", "-q", "--force"]).output();
    assert_eq!(err(&quiet.unwrap()), "");
}

#[test]
fn flags_override_the_environment_and_the_file() {
    let folder = folder(1000, &[]);
    let config = folder.path().join(".config/chainview");
    std::fs::create_dir_all(&config).unwrap();
    std::fs::write(config.join("config.toml"), "json = true\nlimit = \"1K\"\nno-verify = true\n").unwrap();
    let mut environment = chainview(folder.path());
    environment.env("CHAINVIEW_LIMIT", "5M,6M").env("CHAINVIEW_DELAY", "1ms");
    let node = Node::start(environment, "-q --delay 2ms");
    let reply = node.send_request("GET /v1/node HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(reply.contains("\"limit\":6000000") && reply.contains("\"delay_ms\":2"), "{reply}");
    input(folder.path(), &[&node.address]);
    let fetch = |variable: &str, value: &str, flags: &[&str]| {
        let output = chainview(folder.path()).env(variable, value).args(["--fetch", "-o", "out"]).args(flags).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    assert!(fetch("CHAINVIEW_JSON", "false", &[]).starts_with("data.bin: 1000 bytes"));
    assert!(fetch("CHAINVIEW_JSON", "", &[]).starts_with('{'));
    // A flag on the command line overrides conflicting settings.
    let other = format!("--expect=sha-256:{}", "0".repeat(64));
    let json = fetch("CHAINVIEW_NO_VERIFY", "true", &[&other, "--force"]);
    assert!(json.contains("\"exit_code\": 6") || json.contains("\"exit_code\":6"), "{json}");
}

#[test]
fn a_configuration_pipe_is_rejected_without_waiting() {
    let folder = folder(1000, &["127.0.0.1 1"]);
    let config = folder.path().join(".config/chainview");
    std::fs::create_dir_all(&config).unwrap();
    rustix::fs::mknodat(CWD, config.join("config.toml"), rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
    let mut run = Running::start(chainview(folder.path()).arg("--check"));
    assert_eq!(run.ends("a pipe without a writer").code(), Some(2));
    std::fs::rename(config.join("config.toml"), folder.path().join("pipe")).unwrap();
    let mut run = Running::start(chainview(folder.path()).args(["--check", "--log", "pipe"]));
    assert_eq!(run.ends("a log into a pipe without a reader").code(), Some(7));
}

#[test]
fn unusable_paths_are_named() {
    let folder = folder(10, &["fe80::1 9201"]);
    let demo = chainview(folder.path()).env("TMPDIR", "/no/such/folder").arg("--demo").output().unwrap();
    assert!(err(&demo).contains("/no/such/folder") && err(&demo).contains("TMPDIR"), "{}", err(&demo));
    let fetch = chainview(folder.path()).args(["--fetch", "-o", "out"]).output().unwrap();
    assert_eq!(fetch.status.code(), Some(5), "{}", err(&fetch));
    assert!(err(&fetch).contains("a link-local address needs its interface"), "{}", err(&fetch));
    let node = chainview(folder.path()).args(["--node", "[fe80::1]:0"]).output().unwrap();
    assert_eq!(node.status.code(), Some(9));
    assert!(err(&node).contains("a link-local address needs its interface"), "{}", err(&node));
}
