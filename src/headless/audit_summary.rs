//! `--audit-summary`: what the lines of an audit file add up to.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use crate::audit::summary::{AuditSummary, MAX_LINE};
use crate::console;
use crate::error::{Error, plain, shown};

/// Reads an audit file, or standard input for `-`, line by line, and prints what its lines add up to.
///
/// # Errors
/// `Error::Input` if the file cannot be read, or contains no audit line; `Error::Disk` if the output cannot be written.
pub fn audit_summary(file: &Path) -> Result<(), Error> {
    let from_stdin = file == Path::new("-");
    let failed = |reason: String| Error::Input {
        path: if from_stdin { "standard input".into() } else { shown(file) },
        reason: format!(": {reason}"),
    };
    let read =
        if from_stdin { add_up(io::stdin().lock()) } else { File::open(file).map(BufReader::new).and_then(add_up) };
    let summary = read.map_err(|error| failed(plain(&error)))?;
    if summary.is_of_something_else() {
        return Err(failed("no line of it is of an audit: name a file that --audit has written".to_owned()));
    }
    console::out(&summary.to_string())
}

fn add_up(mut from: impl BufRead) -> io::Result<AuditSummary> {
    let mut summary = AuditSummary::default();
    let mut line = Vec::new();
    loop {
        if next_piece(&mut from, &mut line)? == 0 {
            return Ok(summary);
        }
        match line.strip_suffix(b"\n") {
            Some(line) => summary.add(line, true),
            None if (line.len() as u64) < MAX_LINE => summary.add(&line, false),
            None => {
                while !line.ends_with(b"\n") && next_piece(&mut from, &mut line)? > 0 {}
                summary.add_too_long();
            }
        }
    }
}

/// Reads to the end of the line, or at most as much as a line may have.
fn next_piece(from: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<usize> {
    line.clear();
    from.take(MAX_LINE).read_until(b'\n', line)
}
