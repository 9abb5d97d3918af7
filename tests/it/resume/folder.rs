//! Folders whose fetch is killed: the next one moves what is missing, and leaves nothing behind.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use super::scene::{Dice, is_full};
use crate::support::TIMEOUT;
use crate::support::process::{Node, chainview};

/// Every file in a folder, hidden ones too, by its path, with its content and inode.
fn files(folder: &Path) -> BTreeMap<String, (Vec<u8>, u64)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).into_iter().flatten().flatten() {
            let path = entry.path();
            // A file of the staging folder may be renamed meanwhile.
            let Ok(metadata) = path.symlink_metadata() else { continue };
            if metadata.is_dir() {
                folders.push(path);
            } else if let Ok(content) = fs::read(&path) {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.insert(name, (content, metadata.ino()));
            }
        }
    }
    found
}

/// Number of files that have their names, in the folders of a served tree.
fn published(root: &Path) -> usize {
    let folders = (0..10).filter_map(|folder| fs::read_dir(root.join(folder.to_string())).ok());
    folders.map(Iterator::count).sum()
}

/// Serves a folder `d` with small files in several folders, and one large file.
fn serve(count: usize) -> (tempfile::TempDir, Node) {
    let served = tempfile::tempdir().unwrap();
    // Times that differ from those of files that are written now.
    let old = SystemTime::now() - Duration::from_hours(1);
    for number in 0..count {
        let folder = served.path().join(format!("d/{}", number % 10));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{number:05}"));
        fs::write(&path, format!("{number} ").repeat(100)).unwrap();
        fs::File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
    }
    let large = served.path().join("d/5/large");
    fs::write(&large, crate::support::content(3 << 20)).unwrap();
    fs::File::options().write(true).open(large).unwrap().set_modified(old).unwrap();
    let node = Node::chainview(served.path(), &["--limit", if count > 5000 { "6M" } else { "3M" }]);
    (served, node)
}

#[test]
fn a_killed_fetch_of_a_folder_repeats_little_and_leaves_nothing() {
    let (count, kills) = if is_full() { (10_000, 20) } else { (1500, 3) };
    let (served, node) = serve(count);
    let expected = files(&served.path().join("d"));
    for seed in 0..kills {
        let output = tempfile::tempdir().unwrap();
        let input = output.path().join("input.txt");
        fs::write(&input, format!("d/\n127.0.0.1 {}\n", node.address().port())).unwrap();
        let fetch = || {
            let mut command = chainview();
            command.arg("--fetch").arg(&input).arg("-o").arg(output.path().join("out/")).arg("--json");
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            command
        };
        let root = output.path().join("out/d");
        let mut client = fetch().spawn().unwrap();
        let least = Dice::new(seed + 1).roll(0, count as u64 * 3 / 4) as usize;
        let begun = Instant::now();
        let is_published = |path: &str| !path.contains("chainview-staging") && !path.contains(".part");
        // One that has ended before is a run that was killed at its end.
        while published(&root) < least && client.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < TIMEOUT, "seed {seed}: {least} files are not published");
            sleep(Duration::from_millis(20));
        }
        let _ = client.kill();
        client.wait().unwrap();
        let mut before = files(&root);
        before.retain(|path, _| is_published(path));
        for (path, (content, _)) in &before {
            assert!(expected[path].0 == *content, "seed {seed}: {path} is published and not whole");
        }
        let ended = fetch().output().unwrap();
        let stderr = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success(), "seed {seed}: {stderr}");
        let after = files(&root);
        assert_eq!(after.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "seed {seed}");
        assert!(after.iter().all(|(path, (content, _))| expected[path].0 == *content), "seed {seed}");
        let document: Value = serde_json::from_slice(&ended.stdout).unwrap();
        let counts = &document["transfers"][0]["folder"];
        let again = counts["fetched"].as_u64().unwrap() + before.len() as u64 - expected.len() as u64;
        assert!(again * 100 <= before.len() as u64, "seed {seed}: {again} of {} again", before.len());
        let replaced = before.iter().filter(|(path, (_, inode))| after[*path].1 != *inode).count();
        assert_eq!(replaced, 0, "seed {seed}");
    }
}
