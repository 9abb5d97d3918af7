//! The fuzz targets without a fuzzer: every file of their corpora, and seeded mutations of each.

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

#[path = "../../fuzz/targets.rs"]
mod targets;

/// Mutations of each file; the fuzzer itself does millions.
const MUTATIONS: u64 = 150;
/// Largest input a mutation grows to; above every length limit except those of whole files.
const MAX_LENGTH: usize = 16 * 1024;
/// Tokens on which the grammars depend.
const TOKENS: &[&[u8]] = &[
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\0",
    b"%",
    b"%0A",
    b"%00",
    b" ",
    b",",
    b";",
    b":",
    b"=",
    b"-1",
    b"+1",
    b"0",
    b"/",
    b"18446744073709551615",
    b"18446744073709551616",
    b"65536",
    b"\"",
    b"\\u202e",
    b"\x1b[2J",
    b"\xff",
    b"\xef\xbb\xbf",
    b"Content-Length: 1\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Chain-Route: a:1\r\n",
    b"HTTP/1.1 ",
    b"id=",
    b"protocol=",
    b"base=/",
    b"{",
    b"}",
    b"[",
    b"null",
    b"1e308",
];

/// Xorshift: the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end.max(1) as u64) as usize
    }
}

#[test]
fn every_target_holds_on_its_corpus_and_mutations() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, target) in targets::ALL {
        let corpus = files(&folder.join(name));
        assert!(!corpus.is_empty(), "{name} has a corpus");
        for (path, bytes) in &corpus {
            run(*target, bytes, &format!("{}", path.display()));
            for seed in 1..=MUTATIONS {
                let mutation = mutated(bytes, &corpus, seed);
                run(*target, &mutation, &format!("mutation {seed} of {}", path.display()));
            }
        }
    }
}

fn run(target: targets::Target, bytes: &[u8], what: &str) {
    let shown = bytes[..bytes.len().min(400)].escape_ascii();
    assert!(catch_unwind(|| target(bytes)).is_ok(), "{what} breaks a promise: {shown}");
}

fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// A file changed in one to four positions.
fn mutated(bytes: &[u8], corpus: &[(PathBuf, Vec<u8>)], seed: u64) -> Vec<u8> {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let end = at + random.below(bytes.len() - at + 1);
        match random.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let chunk = bytes[at..end].to_vec();
                bytes.splice(at..at, chunk);
            }
            3 => {
                let other = &corpus[random.below(corpus.len())].1;
                let from = random.below(other.len() + 1);
                bytes.splice(at..end, other[from..].iter().copied());
            }
            4 => {
                let times = 1 + random.below(3000);
                let word = TOKENS[random.below(TOKENS.len())];
                bytes.splice(at..at, word.repeat(times.min(MAX_LENGTH / word.len())));
            }
            5 if at < bytes.len() => bytes[at] = random.below(256) as u8,
            _ => drop(bytes.splice(at..at, TOKENS[random.below(TOKENS.len())].iter().copied())),
        }
        bytes.truncate(MAX_LENGTH);
    }
    bytes
}
