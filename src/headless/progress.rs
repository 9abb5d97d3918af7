//! Progress of a transfer without a screen: a bar on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{folder, routes};
use crate::cli::OutputOptions;
use crate::console::{self, err_now};
use crate::error::Error;
use crate::snapshot::{FileOutcome, FileResult, Integrity, Phase, TransferSnapshot};
use crate::units::{Bytes, Eta, HumanDuration, Rate};

/// Time between two plain lines of one transfer.
const LINE_PERIOD: Duration = Duration::from_secs(1);
/// Template of a bar's line; it truncates a long name. All figures are in the message: the library rounds a percentage
/// up to 100, and sizes and times to units that they are not in.
const TEMPLATE: &str = "{prefix:24!} [{wide_bar}] {msg}";
/// Length of a bar: its steps, of which a terminal shows fewer.
const STEPS: u64 = 10_000;

/// Display of the progress and the result of transfers.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub(super) struct ProgressDisplay {
    mode: DisplayMode,
    ascii: bool,
    /// The result is a JSON document.
    json: bool,
    /// With `-v`: each change of the number of connections is printed, and each connection that fails.
    connections: bool,
    /// Stdout carries the file's bytes, so that the result goes to stderr.
    stdout_taken: bool,
    /// First failure to write the result.
    write_error: Arc<OnceLock<Error>>,
}

#[derive(Clone, Debug)]
enum DisplayMode {
    Bars(MultiProgress),
    Lines,
    Nothing,
}

impl ProgressDisplay {
    /// Chooses the display for this process's stderr and the output options.
    pub(super) fn new(options: &OutputOptions) -> Self {
        let way = match (options.quiet, std::io::stderr().is_terminal()) {
            (true, _) => DisplayMode::Nothing,
            (false, true) if std::env::var_os("TERM").is_none_or(|term| term != "dumb") => {
                DisplayMode::Bars(MultiProgress::new())
            }
            (false, _) => DisplayMode::Lines,
        };
        Self {
            mode: way,
            ascii: options.ascii,
            json: options.json,
            connections: options.verbose > 0,
            stdout_taken: false,
            write_error: Arc::default(),
        }
    }

    /// Moves the result to stderr, as stdout carries the bytes of a file.
    pub(super) fn beside_data(self) -> Self {
        Self { stdout_taken: true, ..self }
    }

    /// Returns whether the result is a JSON document.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// Returns whether progress is displayed.
    pub(super) fn is_verbose(&self) -> bool {
        !matches!(self.mode, DisplayMode::Nothing)
    }

    /// Shows one transfer until it ends. Cancel-safe: a dropped bar is removed from the terminal.
    pub(super) async fn follow(&self, mut news: watch::Receiver<TransferSnapshot>) {
        match &self.mode {
            DisplayMode::Bars(bars) => {
                let bar = bars.add(ProgressBar::new(STEPS));
                bar.set_style(style(self.ascii));
                let mut before = TransferSnapshot::default();
                while let Some(snapshot) = next(&mut news).await {
                    self.log_events(&snapshot, &before);
                    draw(&bar, &snapshot);
                    if snapshot.phase.is_over() {
                        break;
                    }
                    before = snapshot;
                }
                bar.finish_and_clear();
            }
            DisplayMode::Lines => self.lines(news).await,
            DisplayMode::Nothing => {}
        }
    }

    /// Prints a line at the start, one per second and one per event, and none at the end, which is the result.
    async fn lines(&self, mut news: watch::Receiver<TransferSnapshot>) {
        let mut begun = false;
        let mut before = TransferSnapshot::default();
        let mut due = Instant::now();
        while let Some(snapshot) = next(&mut news).await {
            if snapshot.phase.is_over() {
                return;
            }
            let name = &snapshot.name;
            if snapshot.phase == Phase::Connecting && !begun {
                begun = true;
                console::err(&format!("{name}: requested"));
                due = Instant::now() + LINE_PERIOD;
            }
            self.log_events(&snapshot, &before);
            let has_figures = snapshot.size.is_some() || snapshot.folder.is_some();
            if snapshot.phase == Phase::Streaming && has_figures && Instant::now() >= due {
                console::err(&format!("{name}: {}", plain_figures(&snapshot)));
                due = Instant::now() + LINE_PERIOD;
            }
            before = snapshot;
        }
    }

    fn log_events(&self, snapshot: &TransferSnapshot, before: &TransferSnapshot) {
        let details = if self.connections { snapshot.connection_events_since(before) } else { Vec::new() };
        let events = snapshot.log_events_since(before).into_iter().chain(details);
        events.for_each(|(_, text)| self.err(&format!("{}: {text}", snapshot.name)));
    }

    /// Prints the result of a successful transfer, on stdout unless that carries the JSON document.
    pub(super) fn done(&self, snapshot: &TransferSnapshot) {
        let line = match &snapshot.folder {
            Some(files) => folder::summary(snapshot, files),
            None => final_line(snapshot),
        };
        for line in std::iter::once(line).chain(routes::lines(snapshot)) {
            match &self.mode {
                DisplayMode::Nothing => {}
                _ if self.json => self.err(&line),
                DisplayMode::Bars(_) | DisplayMode::Lines => self.out(&line),
            }
        }
    }

    /// Prints results of the files of a folder: those that would be fetched on stdout, the first that failed on stderr.
    pub(super) fn files(&self, snapshot: &TransferSnapshot, files: &[FileResult]) {
        files
            .iter()
            .filter(|file| file.outcome == FileOutcome::Planned)
            .for_each(|file| self.note(&folder::line(file)));
        let failed = files.iter().filter(|file| file.outcome == FileOutcome::Failed);
        failed.take(folder::MAX_NAMED).for_each(|file| self.err(&format!("{}{}", snapshot.name, folder::line(file))));
        let count = snapshot.folder.as_ref().map_or(0, |folder| folder.failed);
        if let Some(more @ 1..) = count.checked_sub(folder::MAX_NAMED as u64) {
            self.err(&format!("{}: {more} more failed", snapshot.name));
        }
    }

    /// Prints what limited a transfer, if known.
    pub(super) fn print_verdict(&self, snapshot: &TransferSnapshot) {
        if let (Some(verdict), true) = (&snapshot.verdict, self.is_verbose()) {
            self.err(&format!("{}: {verdict}", snapshot.name));
        }
    }

    /// Prints a change during a transfer.
    pub(super) fn news(&self, line: &str) {
        if self.is_verbose() {
            self.err(line);
        }
    }

    /// Prints a part of the result on stdout, unless that carries the JSON document or `-q` was given.
    pub(super) fn note(&self, line: &str) {
        match &self.mode {
            DisplayMode::Nothing => {}
            _ if self.json => {}
            DisplayMode::Bars(_) | DisplayMode::Lines => self.out(line),
        }
    }

    /// Prints the JSON document, even with `-q`.
    pub(super) fn document(&self, text: &str) {
        self.out(text);
    }

    /// Returns the first failure to write the result.
    pub(super) fn written(&self) -> Result<(), Error> {
        self.write_error.get().cloned().map_or(Ok(()), Err)
    }

    /// Prints a part of the result to stdout, above the bars if there are any.
    fn out(&self, line: &str) {
        if self.stdout_taken {
            return self.err(line);
        }
        let written = match &self.mode {
            DisplayMode::Bars(bars) => bars.suspend(|| console::out(line)),
            DisplayMode::Lines | DisplayMode::Nothing => console::out(line),
        };
        if let Err(error) = written {
            // Only the first is reported: the others have the same cause.
            let _ = self.write_error.set(error);
        }
    }

    /// Prints a line to stderr, above the bars if there are any.
    pub(super) fn err(&self, line: &str) {
        match &self.mode {
            DisplayMode::Bars(bars) => bars.suspend(|| err_now(line)),
            DisplayMode::Lines | DisplayMode::Nothing => console::err(line),
        }
    }
}

/// Waits for the next snapshot; `None` when the transfer has ended.
async fn next(news: &mut watch::Receiver<TransferSnapshot>) -> Option<TransferSnapshot> {
    news.changed().await.ok()?;
    Some(news.borrow_and_update().clone())
}

fn style(ascii: bool) -> ProgressStyle {
    let style = ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars(if ascii { "#>-" } else { "█▉▊▋▌▍▎▏ " })
}

fn draw(bar: &ProgressBar, snapshot: &TransferSnapshot) {
    bar.set_prefix(folder::current_name(snapshot));
    bar.set_position(position(snapshot));
    bar.set_message(message(snapshot));
}

/// Returns the position of the bar: full only once the file is complete.
fn position(snapshot: &TransferSnapshot) -> u64 {
    match snapshot.phase {
        Phase::Done => STEPS,
        _ => ((snapshot.share() * STEPS as f64) as u64).min(STEPS - STEPS / 100),
    }
}

fn message(snapshot: &TransferSnapshot) -> String {
    let percent = snapshot.size.map_or_else(|| "   -".to_owned(), |_| format!("{:>3}%", snapshot.percent()));
    let text = match snapshot.phase {
        Phase::Streaming => format!("{percent} {}", figures(snapshot)),
        phase => format!("{percent} {:<35}", phase.label()),
    };
    match &snapshot.folder {
        Some(files) => format!("{text} {}", folder::counts(files)),
        None => text + &routes::count(snapshot),
    }
}

/// Formats `12.3 MB/41.2 MB  41.2 MB/s  0:35` at a constant width, so that the bar does not move.
fn figures(snapshot: &TransferSnapshot) -> String {
    let size = snapshot.size.map_or_else(|| "?".to_owned(), |size| Bytes(size).to_string());
    format!("{:>8}/{size:<8} {:>10} {:>6}", Bytes(snapshot.received), Rate(snapshot.rate), Eta(snapshot.eta))
}

/// Formats the figures of a plain line: `41% 12.3 MB of 41.2 MB, 41.2 MB/s, 0:35 left, 8 connections`.
fn plain_figures(snapshot: &TransferSnapshot) -> String {
    let received = Bytes(snapshot.received);
    let moved = match snapshot.size {
        Some(size) => format!("{}% {received} of {}", snapshot.percent(), Bytes(size)),
        None => received.to_string(),
    };
    let files = snapshot.folder.as_ref().map(|files| format!(", {}", folder::counts(files))).unwrap_or_default();
    let left = snapshot.eta.map(|eta| format!(", {} left", Eta(Some(eta)))).unwrap_or_default();
    format!("{moved}{files}, {}{left}{}", Rate(snapshot.rate), routes::count(snapshot))
}

/// Formats the result in one line: size, time, rate, integrity, path.
fn final_line(snapshot: &TransferSnapshot) -> String {
    let integrity = match &snapshot.integrity {
        Integrity::Verified { digest } => format!("verified ({digest}){}", snapshot.of_origin()),
        Integrity::SizeChecked { digest, reason } if digest.is_empty() => format!("size-checked: {reason}"),
        Integrity::SizeChecked { digest, reason } => format!("size-checked: {reason} (arrived as {digest})"),
        Integrity::Pending => "not verified".to_owned(),
    };
    let place = if snapshot.already_present { "already present as" } else { "in" };
    format!(
        "{}: {} bytes in {}, {}, {integrity}, {place} {}",
        snapshot.name,
        snapshot.size.unwrap_or_default(),
        HumanDuration(snapshot.elapsed),
        Rate(snapshot.rate),
        snapshot.path
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_final_line_has_size_time_rate_integrity_and_path() {
        let snapshot = TransferSnapshot {
            name: "a.bin".into(),
            path: "out/a.bin".into(),
            size: Some(41_200_000),
            rate: 41_200_000,
            elapsed: Duration::from_secs(1),
            integrity: Integrity::SizeChecked { digest: String::new(), reason: "--no-verify was given".into() },
            ..TransferSnapshot::default()
        };
        assert_eq!(
            final_line(&snapshot),
            "a.bin: 41200000 bytes in 1.0 s, 41.2 MB/s, size-checked: --no-verify was given, in out/a.bin"
        );
        let there = TransferSnapshot { already_present: true, ..snapshot };
        assert!(final_line(&there).ends_with("already present as out/a.bin"));
    }

    #[test]
    fn bars_are_full_at_the_end_only() {
        let at = |phase, received, size| TransferSnapshot {
            phase,
            received,
            size,
            rate: 1_048_575,
            eta: Some(Duration::from_secs(3570)),
            ..TransferSnapshot::default()
        };
        let almost = at(Phase::Streaming, 1_048_575, Some(1_048_576));
        assert_eq!(message(&almost), " 99%   1.0 MB/1.0 MB     1.0 MB/s  59:30");
        for (phase, received, size, begin, steps) in [
            (Phase::Streaming, 9_949, Some(10_000), " 99% ", 9_900),
            (Phase::Streaming, 9_950, Some(10_000), " 99% ", 9_900),
            (Phase::Streaming, 9_999, Some(10_000), " 99% ", 9_900),
            (Phase::Verifying, 10_000, Some(10_000), " 99% verifying", 9_900),
            (Phase::Streaming, 0, Some(0), "  0% ", 0),
            (Phase::Verifying, 0, Some(0), "  0% verifying", 0),
            (Phase::Streaming, 500, None, "   -    500 B/?  ", 0),
            (Phase::Waiting, 0, None, "   - waiting", 0),
            (Phase::Done, 0, Some(0), "100% done", STEPS),
        ] {
            let snapshot = at(phase, received, size);
            assert!(message(&snapshot).starts_with(begin), "{begin:?}: {:?}", message(&snapshot));
            assert_eq!(position(&snapshot), steps, "{snapshot:?}");
        }
        let hours = TransferSnapshot { eta: Some(Duration::from_mins(185)), ..almost };
        assert!(message(&hours).ends_with("  3h05"), "{}", message(&hours));
    }

    #[test]
    fn figures_keep_their_width() {
        let small = TransferSnapshot { size: Some(5), ..TransferSnapshot::default() };
        let large = TransferSnapshot {
            size: Some(999_900_000),
            received: 999_800_000,
            rate: 123_400_000,
            eta: Some(Duration::from_mins(185)),
            ..TransferSnapshot::default()
        };
        assert_eq!(figures(&small).chars().count(), figures(&large).chars().count());
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
    }
}
