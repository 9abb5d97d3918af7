//! The matrix: every shape of chain, every size, every pace, several times each; the expected outcomes, and the table.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, thread};

use super::chain::{Chain, Shape};
use super::{Outcome, Pace, content};

/// The part of the matrix that is run.
pub(crate) struct Plan {
    /// The shapes of chains.
    pub(crate) shapes: Vec<Shape>,
    /// The sizes of files.
    pub(crate) sizes: Vec<usize>,
    /// The readers.
    pub(crate) paces: Vec<Pace>,
    /// How often each cell is run.
    pub(crate) times: usize,
    /// How many chains run in parallel.
    pub(crate) jobs: usize,
    /// The protocol of chainview programs: `legacy`, or `auto` to detect it.
    pub(crate) protocol: &'static str,
}

/// The expected outcome of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// The complete file, every time.
    Works,
    /// Depends on the faults of the legacy programs alone: only counted.
    Varies,
}

/// One cell: a shape, a size and a reader, with the results of its runs.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    shape: Shape,
    size: usize,
    pace: Pace,
    /// Runs with the complete file and a successful client.
    passed: usize,
    /// Runs with the complete file, whatever the client reported.
    whole: usize,
    /// How runs failed, and how often.
    failures: BTreeMap<String, usize>,
    /// The number of bytes before each reset.
    resets: Vec<u64>,
    /// What chainview nodes still held after the linger.
    ours: Vec<String>,
    /// What the legacy nodes held.
    legacy: Vec<String>,
    /// How long chainview nodes took to close everything.
    idle: Duration,
}

/// Every shape of a client, 0 to 3 relays and an origin.
pub(crate) fn every_shape() -> Vec<Shape> {
    (0..=3).flat_map(Shape::all).collect()
}

/// The outcomes that the faults of the legacy program allow.
///
/// A legacy node that reads the 11-byte go-ahead in a chunk of 4 closes with 7 bytes unread. The kernel then drops what
/// is still to be sent, and resets the connection under the client, which fails at its last `close` even where it has
/// every byte. That happens where a legacy client meets a legacy node whose own upstream ends by itself: the origin, or
/// the only relay. A chainview program anywhere in between forwards exactly 4 bytes, or keeps its end open until the
/// client had time to read. Behind two legacy relays nothing is closed at all, so the bytes arrive; those two hold
/// their sockets forever.
pub(crate) fn expected(shape: &Shape) -> Expected {
    if shape.is_all_legacy() && !shape.has_adjacent_legacy_relays() { Expected::Varies } else { Expected::Works }
}

/// Runs a plan, prints its table, and fails the test if a cell is not as expected.
pub(crate) fn run(plan: &Plan) {
    let start = Instant::now();
    let cells = all_cells(plan);
    print_table(plan, &cells);
    let fetches = cells.len() * plan.times;
    println!("{} cells, {fetches} fetches, {:.0} s", cells.len(), start.elapsed().as_secs_f64());
    let longest = cells.iter().map(|cell| cell.idle).max().unwrap_or_default();
    println!("our nodes had closed every socket of a client {:.1} s after a cell at the latest", longest.as_secs_f64());
    let wrong: Vec<String> = cells.iter().filter_map(|cell| cell.breach(plan.times)).collect();
    assert!(wrong.is_empty(), "{} of {} cells are wrong:\n{}", wrong.len(), cells.len(), wrong.join("\n"));
}

impl Cell {
    /// What is wrong with it, if anything.
    fn breach(&self, times: usize) -> Option<String> {
        let mut wrong = Vec::new();
        if expected(&self.shape) == Expected::Works && self.passed < times {
            wrong.push(format!("{} of {times} fetches passed ({})", self.passed, self.reasons()));
        }
        wrong.extend(self.ours.iter().map(|holding| format!("after the linger {holding}")));
        if !self.shape.has_adjacent_legacy_relays() {
            wrong.extend(self.legacy.iter().map(|holding| format!("a legacy node was not released: {holding}")));
        }
        let position = format!("{} {} bytes {:?}", self.shape, self.size, self.pace);
        (!wrong.is_empty()).then(|| format!("{position}: {}", wrong.join("; ")))
    }

    fn reasons(&self) -> String {
        let mut reasons: Vec<String> =
            self.failures.iter().map(|(reason, count)| format!("{count}x {reason}")).collect();
        if let (Some(least), Some(most)) = (self.resets.iter().min(), self.resets.iter().max()) {
            reasons.push(format!("{}x reset after {least} to {most} bytes", self.resets.len()));
        }
        reasons.join(", ")
    }
}

/// Runs chains in parallel, and the cells of one chain one after another over the same nodes.
fn all_cells(plan: &Plan) -> Vec<Cell> {
    let folder = tempfile::tempdir().unwrap();
    let files: Vec<(String, Vec<u8>)> =
        plan.sizes.iter().map(|&size| (format!("file-{size}"), content(size))).collect();
    for (name, bytes) in &files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    let next = AtomicUsize::new(0);
    let cells = Mutex::new(Vec::new());
    let work = || {
        while let Some(shape) = plan.shapes.get(next.fetch_add(1, Ordering::Relaxed)) {
            let found = cells_of_one_chain(plan, shape, folder.path(), &files);
            cells.lock().unwrap_or_else(PoisonError::into_inner).extend(found);
        }
    };
    thread::scope(|scope| {
        for _ in 0..plan.jobs {
            scope.spawn(work);
        }
    });
    cells.into_inner().unwrap()
}

fn cells_of_one_chain(plan: &Plan, shape: &Shape, root: &Path, files: &[(String, Vec<u8>)]) -> Vec<Cell> {
    let chain = Chain::start(shape, root, plan.protocol);
    let mut cells = Vec::new();
    for (name, bytes) in files {
        for &pace in &plan.paces {
            let (mut passed, mut whole) = (0, 0);
            let mut failures = BTreeMap::new();
            let mut resets = Vec::new();
            for _ in 0..plan.times {
                let (outcome, verified) = chain.fetch(name, bytes, pace);
                whole += usize::from(verified);
                let reason = match (outcome, verified) {
                    (Outcome::Done, true) => {
                        passed += 1;
                        continue;
                    }
                    (Outcome::Reset(at), false) => {
                        resets.push(at);
                        continue;
                    }
                    (outcome, true) => format!("{outcome}, with the complete file"),
                    (outcome, false) => outcome.to_string(),
                };
                *failures.entry(reason).or_default() += 1;
            }
            let idle = chain.wait_idle();
            cells.push(Cell {
                shape: shape.clone(),
                size: bytes.len(),
                pace,
                passed,
                whole,
                failures,
                resets,
                ours: idle.ours,
                legacy: idle.legacy,
                idle: idle.longest,
            });
        }
    }
    cells
}

fn print_table(plan: &Plan, cells: &[Cell]) {
    println!("\nPassed of {} fetches, by shape (client-relays-origin; o = legacy, C = chainview),", plan.times);
    println!("size in bytes and reader (s = slow); protocol of chainview programs: {}.", plan.protocol);
    println!(
        "* = only legacy programs, whose faults decide (passed/complete files); + = two adjacent legacy relays deadlock."
    );
    print!("{:<11}", "");
    for (size, pace) in columns(plan) {
        print!("{:>9}", format!("{size}{}", if pace == Pace::Slow { "s" } else { "" }));
    }
    println!();
    for shape in &plan.shapes {
        let suffix = if shape.has_adjacent_legacy_relays() { "+" } else { "" };
        print!("{:<11}", format!("{shape}{suffix}"));
        for (size, pace) in columns(plan) {
            let cell = cells.iter().find(|cell| cell.shape == *shape && cell.size == size && cell.pace == pace);
            let text = cell.map_or("-".to_owned(), |cell| match expected(shape) {
                Expected::Works => cell.passed.to_string(),
                Expected::Varies => format!("{}/{}*", cell.passed, cell.whole),
            });
            print!("{text:>9}");
        }
        println!();
    }
    for cell in cells.iter().filter(|cell| !cell.failures.is_empty() || !cell.resets.is_empty()) {
        println!("{} {} bytes {:?}: {}", cell.shape, cell.size, cell.pace, cell.reasons());
    }
    for shape in &plan.shapes {
        // Legacy nodes hold their sockets forever, so the last cell of a chain covers all before it.
        if let Some(cell) = cells.iter().rfind(|cell| cell.shape == *shape && !cell.legacy.is_empty()) {
            println!("{shape}: held by legacy nodes: {}", cell.legacy.join("; "));
        }
    }
}

fn columns(plan: &Plan) -> Vec<(usize, Pace)> {
    plan.sizes.iter().flat_map(|&size| plan.paces.iter().map(move |&pace| (size, pace))).collect()
}
