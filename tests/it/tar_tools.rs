//! Programs that unpack tar streams of folders: every one gets the same tree, without a warning.
//! `CHAINVIEW_FAULTS=full` unpacks five times as many files.

use crate::support;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use support::process::Node;

/// Everything below a folder: path, and for files content and whether it can be executed.
type Tree = BTreeMap<Vec<u8>, Option<(Vec<u8>, bool)>>;

/// Programs that read an archive from standard input into the current folder.
const TOOLS: [(&str, &[&str]); 4] = [
    ("tar", &["x"]),
    ("bsdtar", &["xf", "-"]),
    ("busybox", &["tar", "x"]),
    (
        "python3",
        &[
            "-W",
            "error",
            "-c",
            "import sys, tarfile\nwith tarfile.open(fileobj=sys.stdin.buffer, mode='r|') as tar: tar.extractall(filter='data')",
        ],
    ),
];

fn tree(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let path = entry.path().strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                folders.push(entry.path());
                tree.insert(path, None);
            } else if kind.is_file() {
                let executable = entry.metadata().unwrap().permissions().mode() & 0o100 != 0;
                tree.insert(path, Some((fs::read(entry.path()).unwrap(), executable)));
            }
        }
    }
    tree
}

fn write(root: &Path, path: &[u8], content: &[u8]) {
    let path = root.join(OsStr::from_bytes(path));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// A folder of everything that a header has trouble with.
fn fill(root: &Path) {
    for size in [0, 1, 511, 512, 513, 1024, 10_239, 10_240, 10_241, 300_000, 3_000_000] {
        write(root, format!("d/size-{size}").as_bytes(), &support::content(size));
    }
    for length in [99, 100, 101, 155, 156, 255] {
        write(root, format!("d/{}", "n".repeat(length)).as_bytes(), b"name");
        write(root, format!("d/{}/{}", "p".repeat(length), "q".repeat(length)).as_bytes(), b"both");
    }
    write(root, format!("d/{}z", format!("{}/", "k".repeat(99)).repeat(8)).as_bytes(), b"deep");
    write(root, "d/ümlaut/日本語".as_bytes(), b"text");
    write(root, b"d/ leading and trailing ", b"blanks");
    write(root, b"d/back\\slash \"quotes\" $(x) *?[", b"signs");
    write(root, b"d/-rf", b"option");
    let many = if std::env::var("CHAINVIEW_FAULTS").is_ok_and(|value| value == "full") { 10_000 } else { 2000 };
    for number in 0..many {
        write(root, format!("d/many/{:02}/{number}", number % 100).as_bytes(), &vec![b'x'; number % 7]);
    }
    fs::create_dir_all(root.join("d/empty/too")).unwrap();
    write(root, b"d/tool", b"#!/bin/sh\n");
    fs::set_permissions(root.join("d/tool"), fs::Permissions::from_mode(0o700)).unwrap();
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    fs::File::options().write(true).open(root.join("d/tool")).unwrap().set_modified(old).unwrap();
}

fn curl(node: &Node, route: &str, path: &str) -> Option<Vec<u8>> {
    let url = format!("http://{}/files/{path}", node.address());
    let lines = ["-H", "Accept: application/x-tar", "-H", route];
    let output = Command::new("curl").args(["-sSfq", "--max-time", "60"]).args(lines).arg(url).output();
    match output {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("SKIPPED: curl is not installed");
            None
        }
        output => {
            let output = output.unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Some(output.stdout)
        }
    }
}

/// Unpacks a stream with each of these tools that is installed; returns the trees.
fn unpacked(stream: &[u8], tools: &[(&'static str, &[&str])]) -> Vec<(&'static str, Tree, tempfile::TempDir)> {
    let mut trees = Vec::new();
    let scratch = tempfile::tempdir().unwrap();
    let archive = scratch.path().join("stream.tar");
    fs::write(&archive, stream).unwrap();
    for (tool, args) in tools {
        let out = tempfile::tempdir().unwrap();
        let mut command = Command::new("timeout");
        command.args(["60", *tool]).args(*args).current_dir(out.path()).env("LC_ALL", "C.UTF-8");
        let output = command.stdin(fs::File::open(&archive).unwrap()).output().unwrap();
        if matches!(output.status.code(), Some(126 | 127)) {
            eprintln!("SKIPPED: {tool} is not installed");
            continue;
        }
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success() && said.is_empty(), "{tool}: {}", String::from_utf8_lossy(&said));
        trees.push((*tool, tree(out.path()), out));
    }
    trees
}

#[test]
fn every_tar_program_unpacks_a_folder_without_a_warning() {
    let root = tempfile::tempdir().unwrap();
    fill(root.path());
    let expected = tree(root.path());
    // What is left out, by every program alike.
    write(root.path(), b"d/.hidden/x", b"");
    write(root.path(), b"d/line\nbreak", b"");
    symlink("tool", root.path().join("d/link")).unwrap();
    let nodes =
        [Node::chainview(root.path(), &[]), Node::chainview(root.path(), &[]), Node::chainview(root.path(), &[])];
    let route = format!("Chain-Route: {}, {}", nodes[1].address(), nodes[2].address());
    let Some(relayed) = curl(&nodes[0], &route, "d/") else { return };
    let Some(direct) = curl(&nodes[2], "X: y", "d/") else { return };
    assert!(relayed == direct, "relays change nothing");
    for (tool, tree, out) in unpacked(&direct, &TOOLS) {
        assert!(tree == expected, "{tool}: {:?}", difference(&tree, &expected));
        let modified = fs::metadata(out.path().join("d/tool")).unwrap().modified().unwrap();
        assert_eq!(modified.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs(), 1_000_000_000, "{tool}");
    }
    // The content of the root has no folder of its own, of which an entry could follow the last digests for Python.
    let Some(whole) = curl(&nodes[2], "X: y", "") else { return };
    for (tool, tree, _) in unpacked(&whole, &TOOLS[..3]) {
        assert!(tree == expected, "{tool}: {:?}", difference(&tree, &expected));
    }
}

#[test]
fn names_of_any_bytes_are_unpacked_by_programs_that_keep_bytes() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), b"d/\xff\xfe", b"short");
    write(root.path(), &[&b"d/"[..], &[0xfe; 200]].concat(), b"long");
    write(root.path(), b"d/tab\t\x1b\x7f", b"control");
    let expected = tree(root.path());
    let node = Node::chainview(root.path(), &[]);
    let Some(stream) = curl(&node, "X: y", "d/") else { return };
    let scratch = tempfile::tempdir().unwrap();
    let archive = scratch.path().join("stream.tar");
    fs::write(&archive, stream).unwrap();
    let output = Command::new("tar").arg("xf").arg(&archive).current_dir(scratch.path()).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut got = tree(scratch.path());
    got.remove(&b"stream.tar"[..]);
    assert!(got == expected, "{:?}", difference(&got, &expected));
}

/// The first paths that are not in both.
fn difference(one: &Tree, other: &Tree) -> Vec<String> {
    let shown = |path: &&Vec<u8>| String::from_utf8_lossy(path).into_owned();
    let paths = one.keys().chain(other.keys()).filter(|path| one.get(*path) != other.get(*path));
    paths.take(5).map(|path| shown(&path)).collect()
}
