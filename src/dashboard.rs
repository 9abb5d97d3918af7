//! Dashboard: the screen on this thread, the controller on others, and only channels between them.

mod commands;
mod controller;
mod export;
mod log;
mod memory;
mod publisher;
mod queue;
mod setup;
mod start;
mod tour;
mod tour_steps;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::cli::OutputOptions;
use crate::console::signals::Signals;
use crate::console::{self, flush, start_log};
use crate::error::{Error, KeptBytes, plain, shown};
use crate::on_done;
use crate::plan::ChainPlan;
use crate::snapshot::{ChainSnapshot, Phase, TransferSnapshot};
use crate::ui::{self, ExitReason, Keymap, Preferences, ScreenError, ScreenStop};
use crate::units::{Bytes, Rate};

pub use controller::{Controller, Leftovers};
use memory::Memory;
use setup::{SHUTDOWN_TIMEOUT, quit_on_signal, runtime, screen_options};
pub use start::{ChainOptions, plan};

/// Length of the command queue; the controller takes commands faster than the user types.
const COMMAND_QUEUE: usize = 64;

/// Runs the dashboard until the user quits.
///
/// # Errors
/// `Error::Usage` if the `[keys]` of the configuration are invalid; `Error::Disk` if the `--log` file cannot be opened;
/// `Error::Interrupted` if a signal or the end of the terminal stopped it; `Error::Other` if there is no terminal, it
/// fails, or the runtime cannot be started.
pub fn run(plan: ChainPlan, output: &OutputOptions) -> Result<(), Error> {
    let keymap = Keymap::with(&output.keys).map_err(|reason| Error::Usage(format!("config.toml: keys: {reason}")))?;
    if output.log.is_some() {
        start_log(output, tracing::Level::INFO)?;
    }
    // Earlier lines belong on the terminal before the screen takes it.
    flush();
    let runtime = runtime()?;
    let (screen, snapshots) = watch::channel(Arc::new(ChainSnapshot::default()));
    let (commands, wanted) = mpsc::channel(COMMAND_QUEUE);
    let (panics, reports) = mpsc::channel(COMMAND_QUEUE);
    ui::install_panic_hook(move |report| {
        // With a full queue, the log has enough reports already.
        let _ = panics.try_send(report);
    });
    let stop = ScreenStop::default();
    let quit = CancellationToken::new();
    let watching = runtime.enter();
    let signals = Signals::new()?;
    drop(watching);
    let is_demo = plan.demo.is_some();
    let memory = Memory::of_user();
    let (preferences, note) = memory.preferences();
    let opened = plan.input.as_deref().map(|input| memory.opened(input));
    let (options, invalid) = screen_options(output, keymap, preferences)?;
    let notes: Vec<String> = note.into_iter().chain(opened.and_then(Result::err)).chain(invalid).collect();
    let inside = runtime.enter();
    let mut controller = Controller::new(plan, screen, quit.clone());
    // What cannot be remembered is no reason to fail.
    for note in notes {
        controller.warn(note);
    }
    drop(inside);
    let on_done = controller.on_done();
    runtime.spawn(quit_on_signal(signals, stop.clone(), on_done.clone()));
    let controlling = runtime.spawn(controller.run(wanted, reports));
    let (exit, chosen) = ui::run(&options, snapshots.clone(), commands, &stop);
    quit.cancel();
    if let Err(why) = remember(&memory, &options.preferences, &chosen) {
        console::err(&format!("chainview: {why}"));
    }
    let ended = runtime.block_on(ended(controlling, on_done.is_some()));
    if let Some(on_done) = on_done {
        on_done.close();
    }
    runtime.shutdown_background();
    let leftovers = match ended {
        Some(Ok(leftovers)) => leftovers,
        Some(Err(error)) => {
            console::err(&format!("chainview: internal error in the chain: {error}"));
            Leftovers::default()
        }
        None => Leftovers::default(),
    };
    leftovers.output.iter().for_each(|line| console::err(line));
    let printed = summary(&snapshots.borrow(), is_demo, &leftovers);
    match exit {
        Ok(ExitReason::Quit | ExitReason::Ended) => printed,
        Ok(ExitReason::Stopped | ExitReason::HungUp) => Err(Error::Interrupted { kept: KeptBytes::default() }),
        Err(ScreenError::NoTerminal(error)) => Err(Error::Other(format!("no terminal: {}", plain(&error)))),
        Err(error) => Err(Error::Other(error.to_string())),
    }
}

/// Writes what the user chose, if it changed. Another run may have written meanwhile: the last one counts.
fn remember(memory: &Memory, before: &Preferences, chosen: &Preferences) -> Result<(), String> {
    if chosen == before { Ok(()) } else { memory.keep(chosen) }
}

/// Waits for the end of the chain, and for the user's commands at the ends of its transfers, if there are any; `None`
/// if that takes too long.
async fn ended(mut controlling: JoinHandle<Leftovers>, has_commands: bool) -> Option<Result<Leftovers, JoinError>> {
    let soon = tokio::time::timeout(SHUTDOWN_TIMEOUT, &mut controlling).await;
    match soon {
        Ok(ended) => Some(ended),
        Err(_) if has_commands => {
            console::err("chainview: waiting for the --on-done command; ctrl-c kills it");
            tokio::time::timeout(on_done::LIMIT, controlling).await.ok()
        }
        Err(_) => None,
    }
}

/// Prints the outcome of the run after the screen has closed.
fn summary(chain: &ChainSnapshot, is_demo: bool, leftovers: &Leftovers) -> Result<(), Error> {
    let of = |phase| chain.transfers.iter().filter(move |transfer| transfer.phase == phase);
    if !chain.transfers.is_empty() {
        let place = if is_demo && leftovers.folder.is_none() {
            "the demo's files are deleted".to_owned()
        } else {
            format!("files are in {}", chain.folder)
        };
        let counts = counts(&chain.transfers, &leftovers.cancelled, !is_demo);
        console::out(&format!("{counts}; {place}"))?;
    }
    if let Some(last) = of(Phase::Done).next_back() {
        let path = if is_demo { String::new() } else { format!(" as {}", last.path) };
        let rate = if last.was_up_to_date() { "already up to date".to_owned() } else { Rate(last.rate).to_string() };
        console::out(&format!("last: {}{path}, {rate}", last.name))?;
    }
    if let Some(error) = of(Phase::Failed).next_back().and_then(|transfer| transfer.error.as_ref()) {
        console::out(&format!("last failure: {error}"))?;
    }
    if !leftovers.nodes.is_empty() {
        let nodes: Vec<String> =
            leftovers.nodes.iter().map(|(address, pid)| format!("{address} (process {pid})")).collect();
        console::out(&format!("still running: {}; kill ends them", nodes.join(", ")))?;
    }
    if let Some(folder) = &leftovers.folder {
        console::out(&format!("they serve from {}, which is not removed", shown(folder)))?;
    }
    Ok(())
}

/// Counts transfers by outcome; the numbers add up to all of them. `cancelled` are those that the user cancelled, and
/// `kept` tells whether partial files remain.
fn counts(transfers: &[TransferSnapshot], cancelled: &BTreeSet<u64>, kept: bool) -> String {
    let count = |phase| transfers.iter().filter(move |transfer| transfer.phase == phase).count();
    // The shutdown cancels running and waiting transfers alike; only those that ran have made an attempt.
    let rest = || transfers.iter().filter(|transfer| !matches!(transfer.phase, Phase::Done | Phase::Failed));
    let by_user = |transfer: &&TransferSnapshot| cancelled.contains(&transfer.number);
    let interrupted = rest().filter(|transfer| transfer.attempt > 0 && !by_user(transfer)).count();
    let by_user = rest().filter(by_user).count();
    let cancelled = if by_user > 0 { format!("{by_user} cancelled, ") } else { String::new() };
    // Transfers of one name share a partial file, which is gone once one of them is done. Of a folder, complete files
    // stay, and the next transfer fetches others.
    let mut partial: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for transfer in rest() {
        let (bytes, files) = partial.entry(transfer.path.as_str()).or_default();
        match &transfer.folder {
            Some(folder) => *files += folder.done,
            None => *bytes = transfer.received.max(*bytes),
        }
    }
    let done = || transfers.iter().filter(|transfer| transfer.phase == Phase::Done);
    for done in done() {
        partial.remove(done.path.as_str());
    }
    let bytes = partial.values().map(|(bytes, _)| bytes).sum();
    let files: u64 = partial.values().map(|(_, files)| files).sum();
    let bytes = (bytes > 0).then(|| Bytes(bytes).to_string());
    let files = (files > 0).then(|| format!("{files} {}", if files == 1 { "file" } else { "files" }));
    let parts: Vec<String> = bytes.into_iter().chain(files).collect();
    let parts = match &parts[..] {
        [_, ..] if kept => format!(" ({} kept, run the same command to resume)", parts.join(" and ")),
        _ => String::new(),
    };
    let done = match done().filter(|transfer| !transfer.was_up_to_date()).map(|transfer| transfer.received).sum() {
        0 => String::new(),
        bytes => format!(" ({})", Bytes(bytes)),
    };
    format!(
        "{} done{done}, {} failed, {cancelled}{interrupted} interrupted{parts}, {} not started",
        count(Phase::Done),
        count(Phase::Failed),
        rest().count() - interrupted - by_user
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::FolderProgress;

    fn counts(transfers: &[TransferSnapshot], kept: bool) -> String {
        super::counts(transfers, &BTreeSet::new(), kept)
    }

    fn transfer(phase: Phase, attempt: u32, received: u64) -> TransferSnapshot {
        TransferSnapshot { phase, received, attempt, ..TransferSnapshot::default() }
    }

    #[test]
    fn the_summary_counts_every_transfer() {
        let named = |number: u64, transfer: TransferSnapshot| TransferSnapshot {
            path: format!("out/{number}").as_str().into(),
            ..transfer
        };
        let interrupted = (1..=4).map(|number| named(number, transfer(Phase::Cancelled, 1, 2_075_000)));
        let waiting = transfer(Phase::Cancelled, 0, 0);
        let list = [interrupted.collect(), vec![waiting; 8]].concat();
        assert_eq!(
            counts(&list, true),
            "0 done, 0 failed, 4 interrupted (8.3 MB kept, run the same command to resume), 8 not started"
        );
        assert_eq!(counts(&list, false), "0 done, 0 failed, 4 interrupted, 8 not started");
        let same = [named(1, transfer(Phase::Cancelled, 1, 6)), named(1, transfer(Phase::Cancelled, 1, 22))];
        assert!(counts(&same, true).contains("2 interrupted (22 B kept"), "one partial file");
        let again = [&same[..], &[named(1, transfer(Phase::Done, 1, 30))]].concat();
        assert!(!counts(&again, true).contains("kept"), "it was completed");
        let folder = |number, done| TransferSnapshot {
            folder: Some(FolderProgress { done, ..FolderProgress::default() }),
            ..named(number, transfer(Phase::Cancelled, 1, 500))
        };
        let none = counts(&[folder(1, 0)], true);
        assert_eq!(none, "0 done, 0 failed, 1 interrupted, 0 not started", "no file was complete");
        let folders = [folder(1, 3), folder(2, 4), named(3, transfer(Phase::Cancelled, 1, 5))];
        assert!(counts(&folders, true).contains("3 interrupted (5 B and 7 files kept, "), "{}", counts(&folders, true));
        let retried = counts(&[folder(1, 3), folder(1, 4)], true);
        assert!(retried.contains("2 interrupted (7 files kept, "), "the second fetched what was missing: {retried}");
        let present = TransferSnapshot { already_present: true, ..transfer(Phase::Done, 1, 1000) };
        let list = [transfer(Phase::Done, 1, 30), present];
        assert!(counts(&list, true).starts_with("2 done (30 B), "), "what was there was not received");
        let mixed = [
            transfer(Phase::Done, 1, 1000),
            transfer(Phase::Failed, 2, 10),
            transfer(Phase::Streaming, 1, 0),
            transfer(Phase::Paused, 0, 0),
        ];
        let mut two = [transfer(Phase::Cancelled, 1, 5), transfer(Phase::Cancelled, 0, 0)];
        (two[0].number, two[1].number) = (7, 8);
        let list = [&mixed[..], &two].concat();
        let wanted = "1 done (1.0 KB), 1 failed, 2 cancelled, 1 interrupted, 1 not started";
        assert_eq!(super::counts(&list, &[7, 8].into(), true), wanted, "before the user quit");
        assert_eq!(counts(&mixed, true), "1 done (1.0 KB), 1 failed, 1 interrupted, 1 not started");
    }
}
