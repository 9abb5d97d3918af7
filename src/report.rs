//! JSON document of `--json`: the run, its result, and each hop's part in it.
//!
//! Exactly one document per run. Its members:
//!
//! - `chainview` the version, `mode` (`fetch`, `check`, `demo`, `run`), `result` (`ok`, `failed`, `interrupted`),
//!   `exit_code` of the process, `error` if no transfer caused it (such as an input file that cannot be read).
//! - `transfers`, in the order of their start: `number`, `id` (grants read access to the hops' records), if it is
//!   encrypted and there are relays `tunnel` (the id of their records), `file`, `result`, `path`, `size`,
//!   `received`, `seconds`, `rate` (bytes per second), `already_present`, `attempts`,
//!   `resumed_from` (bytes that the last attempt resumed from), `started_over` (why a partial file was discarded),
//!   `integrity` (`verified`, `size-checked` or `pending`, with `digest` and `reason`), `here` and `origin` (`size` and
//!   `digest` at both ends, null if unknown; `key` of the origin, if the chain was encrypted), `flow` (this program's
//!   part: bytes, and µs spent waiting for hop 1 and for the disk), `hops`, `waterfall` (the set-up, and each stage's
//!   first and last byte, as bars: `stage`, `step`, `offset_ms`, `length_ms`, `own_ms`), `verdict` (the sentence and
//!   its parts), `stall` if it was stalled at its end, `error`; of a folder also `folder`: `total`, `fetched` and
//!   `bytes`, `present` (here already), `planned` and `planned_bytes` (`--dry-run`), `failed`, `left_out` (links and
//!   special files at the origin), `files` (`path` in the folder, `size`, `outcome`: `verified`, `size-checked`,
//!   `present`, `planned` or `failed`, `error`); of a file that can be received by several connections also
//!   `connections`: `most` (of `--connections`), `note` (why there was one only), `routes` (`route` from 1, `chain`,
//!   `state`: `checking`, `active`, `waiting`, `failed` or `refused`, `received`, `rate`, `verdict`, `error`,
//!   `failed_hop`), `connections` (`connection` from 1, `route`, `id` as its first digits, `state`: `connecting`,
//!   `receiving`, `waiting` or `ended`, `received`, of the last range `from`, `at` and `end`, `error`), `steps`
//!   (`seconds` since the start, `route`, number of connections `from` and `to`, `reason`).
//! - `hops`, in chain order: `hop` (from 1), `address`, `label`, `key` (of the input file: another one fails),
//!   `reported_key` (for `--check` only: the key that a hop without `key=` reports to have), `leg` (set-up of the leg
//!   that leads to this hop: resolve, connect and wait in ms; absent if not reported), `record` (the hop's own record
//!   of this transfer; absent if not reported).
//! - `error`: `message` (the whole sentence), `exit_code`, and if a hop failed `hop`, `address`, `reason` (that
//!   of a problem, or how the hop failed the body: `gone`, `restarted`, `closed`, `reset`, `silent`,
//!   `stopped`, `unreadable`, `unheard`), `reporter` (0 is this program), `denial` (what the
//!   request lacks at a node with authorized keys, `lack`, and the fingerprint of its `key`).
//! - `check`, for `--check` only: `file`, `size`, `protocol` of the first hop, `etag`, `last_modified`, `encrypted`
//!   (from end to end), `hops`, `waterfall`.

mod connections;
mod verdict;

use serde::Serialize;

use crate::error::{BodyFailure, Error};
use crate::fingerprint::Fingerprint;
use crate::route::{Protocol, Route};
use crate::snapshot::timing::WaterfallRow;
use crate::snapshot::{FileResult, Flow, Integrity, Phase, Stall, TransferRecord, TransferSnapshot};
use crate::text::SafeText;
use crate::waterfall;
use crate::wire::{Denial, Leg, Reason, TransferIds};

use connections::ConnectionsReport;
use verdict::VerdictReport;

/// The document.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    chainview: &'static str,
    mode: &'static str,
    result: RunOutcome,
    exit_code: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorReport>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    transfers: Vec<TransferReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<CheckReport>,
}

/// Result of a run or a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RunOutcome {
    /// Success.
    Ok,
    /// Failure.
    Failed,
    /// Stopped by the user or a signal.
    Interrupted,
}

/// One transfer.
#[derive(Debug, Serialize)]
pub(crate) struct TransferReport {
    number: u64,
    id: String,
    /// The id of the tunnel that it ran through.
    #[serde(skip_serializing_if = "Option::is_none")]
    tunnel: Option<String>,
    file: SafeText,
    result: RunOutcome,
    path: SafeText,
    size: Option<u64>,
    received: u64,
    seconds: f64,
    rate: u64,
    already_present: bool,
    attempts: u32,
    resumed_from: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_over: Option<SafeText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    folder: Option<FolderReport>,
    #[serde(flatten)]
    integrity: Integrity,
    #[serde(skip_serializing_if = "Option::is_none")]
    connections: Option<ConnectionsReport>,
    here: FileEnd,
    origin: FileEnd,
    flow: Flow,
    waterfall: Vec<WaterfallRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stall: Option<Stall>,
    hops: Vec<HopReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<VerdictReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorReport>,
}

/// The files of a folder.
#[derive(Debug, Serialize)]
struct FolderReport {
    total: Option<u64>,
    fetched: u64,
    bytes: u64,
    present: u64,
    planned: u64,
    planned_bytes: u64,
    failed: u64,
    left_out: u64,
    files: Vec<FileResult>,
}

/// The file at one end of the chain.
#[derive(Debug, Serialize)]
struct FileEnd {
    size: Option<u64>,
    digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Fingerprint>,
}

/// One hop's part.
#[derive(Debug, Serialize)]
pub(crate) struct HopReport {
    hop: usize,
    address: SafeText,
    label: SafeText,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Fingerprint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reported_key: Option<Fingerprint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    leg: Option<Leg>,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<TransferRecord>,
}

/// An error.
#[derive(Debug, Serialize)]
pub(crate) struct ErrorReport {
    message: SafeText,
    exit_code: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    hop: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<SafeText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<HopCause>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reporter: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    denial: Option<Denial>,
}

/// How a hop failed: during set-up, or during the body.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum HopCause {
    Problem(Reason),
    BodyFailure(BodyFailure),
}

/// Result of a check: a file's metadata and the set-up times.
#[derive(Debug, Serialize)]
pub(crate) struct CheckReport {
    /// The requested file.
    pub file: SafeText,
    /// Its size.
    pub size: u64,
    /// The protocol of the first hop.
    pub protocol: &'static str,
    /// The validator.
    pub etag: Option<SafeText>,
    /// The modification time.
    pub last_modified: Option<SafeText>,
    /// Whether relays see a tunnel alone.
    pub encrypted: bool,
    /// The hops and their legs.
    pub hops: Vec<HopReport>,
    /// The same legs as bars.
    pub waterfall: Vec<WaterfallRow>,
}

impl Report {
    /// Creates the document of transfers; the first failed one determines the exit code.
    pub(crate) fn of_transfers(mode: &'static str, transfers: Vec<TransferReport>, error: Option<&Error>) -> Self {
        Self { transfers, ..Self::new(mode, error) }
    }

    /// Creates the document of a check.
    pub(crate) fn of_check(check: Option<CheckReport>, error: Option<&Error>) -> Self {
        Self { check, ..Self::new("check", error) }
    }

    fn new(mode: &'static str, error: Option<&Error>) -> Self {
        Self {
            chainview: env!("CARGO_PKG_VERSION"),
            mode,
            result: RunOutcome::of(error),
            exit_code: error.map_or(crate::error::OK, Error::exit_code),
            error: error.map(ErrorReport::new),
            transfers: Vec::new(),
            check: None,
        }
    }

    /// Formats the document on one line.
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl TransferReport {
    /// Combines a transfer's snapshot and the hops' records, in chain order.
    pub(crate) fn new(
        route: &Route,
        ids: TransferIds,
        snapshot: &TransferSnapshot,
        error: Option<&Error>,
        records: Vec<Option<TransferRecord>>,
    ) -> Self {
        let digest = match &snapshot.integrity {
            Integrity::Verified { digest } | Integrity::SizeChecked { digest, .. } => Some(digest.clone()),
            Integrity::Pending => None,
        };
        let here = digest.as_ref().map(|_| snapshot.received);
        let verdict = snapshot.verdict.map(VerdictReport::new);
        Self {
            number: snapshot.number,
            id: ids.file.to_string(),
            tunnel: ids.tunnel.map(|id| id.to_string()),
            file: route.file.shown(),
            result: if snapshot.phase == Phase::Done { RunOutcome::Ok } else { RunOutcome::of(error) },
            path: snapshot.path.clone(),
            size: snapshot.size,
            received: snapshot.received,
            seconds: (snapshot.elapsed.as_secs_f64() * 1e6).round() / 1e6,
            rate: snapshot.rate,
            already_present: snapshot.already_present,
            attempts: snapshot.attempt,
            resumed_from: snapshot.resumed_from,
            started_over: snapshot.started_over.clone(),
            folder: None,
            integrity: snapshot.integrity.clone(),
            connections: snapshot.connections.as_ref().map(ConnectionsReport::new),
            here: FileEnd { size: here, digest: digest.filter(|digest| !digest.is_empty()), key: None },
            origin: FileEnd { size: snapshot.size, digest: snapshot.origin_digest.clone(), key: snapshot.origin_key },
            flow: snapshot.flow,
            waterfall: waterfall::with_timestamps(&snapshot.legs, &records, &snapshot.waterfall),
            stall: snapshot.stall,
            hops: hops(route, &snapshot.legs, records),
            verdict,
            error: error.map(ErrorReport::new),
        }
    }

    /// Adds the results of the files of a folder.
    pub(crate) fn with_files(self, snapshot: &TransferSnapshot, files: Vec<FileResult>) -> Self {
        let folder = snapshot.folder.as_ref().map(|folder| FolderReport {
            total: folder.total,
            fetched: folder.done,
            bytes: folder.bytes,
            present: folder.present,
            planned: folder.planned,
            planned_bytes: folder.planned_bytes,
            failed: folder.failed,
            left_out: folder.omitted,
            files,
        });
        Self { folder, ..self }
    }
}

impl CheckReport {
    /// Combines the results of a check; `reported` has the keys that hops without `key=` report.
    pub(crate) fn new(
        route: &Route,
        size: u64,
        protocol: Protocol,
        legs: &[Leg],
        reported: &[Option<Fingerprint>],
    ) -> Self {
        let mut hops = hops(route, legs, Vec::new());
        hops.iter_mut().zip(reported).for_each(|(hop, key)| hop.reported_key = *key);
        Self {
            file: route.file.shown(),
            size,
            protocol: protocol.as_str(),
            etag: None,
            last_modified: None,
            encrypted: route.is_encrypted(),
            hops,
            waterfall: waterfall::rows(legs, &[], (None, None)),
        }
    }
}

/// Returns the hops in chain order; leg `n` leads to hop `n + 1`.
fn hops(route: &Route, legs: &[Leg], records: Vec<Option<TransferRecord>>) -> Vec<HopReport> {
    let mut records = records.into_iter();
    let report = |(index, hop): (usize, &crate::route::Hop)| HopReport {
        hop: index + 1,
        address: hop.address.to_string().into(),
        label: hop.label(),
        key: hop.key,
        reported_key: None,
        leg: legs.get(index).map(rounded),
        record: records.next().flatten(),
    };
    route.hops().iter().enumerate().map(report).collect()
}

/// Rounds a leg to whole µs: further digits are noise.
fn rounded(leg: &Leg) -> Leg {
    let round = |ms: f64| (ms * 1000.0).round() / 1000.0;
    Leg { resolve_ms: round(leg.resolve_ms), connect_ms: round(leg.connect_ms), wait_ms: round(leg.wait_ms) }
}

impl ErrorReport {
    fn new(error: &Error) -> Self {
        let (reason, reporter) = match error {
            Error::Hop(fault) => (Some(HopCause::Problem(fault.problem.reason)), Some(fault.reporter)),
            Error::Short { how, reporter, .. } => (Some(HopCause::BodyFailure(*how)), Some(*reporter)),
            Error::Stalled { silent: true, .. } => (Some(HopCause::BodyFailure(BodyFailure::Silent)), Some(0)),
            _ => (None, None),
        };
        let address = match error {
            Error::Hop(fault) => Some(fault.address.clone()),
            Error::Short { address, .. } | Error::Stalled { address, .. } => Some(address.clone()),
            _ => None,
        };
        Self {
            message: error.to_string().into(),
            exit_code: error.exit_code(),
            hop: error.hop(),
            address,
            reason,
            reporter,
            denial: error.refused().and_then(|refused| refused.denial),
        }
    }
}

impl RunOutcome {
    fn of(error: Option<&Error>) -> Self {
        match error {
            None => Self::Ok,
            Some(Error::Interrupted { .. }) => Self::Interrupted,
            Some(_) => Self::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{FileOutcome, FolderProgress};
    use crate::wire::{FailedAction, Problem, TransferId};

    #[test]
    fn known_size_and_digest_of_both_ends_are_reported() {
        let route = Route::parse(b"f\nh1 1\n").unwrap();
        let json = |integrity, origin_digest: Option<&str>| {
            let (size, origin_digest) = (Some(5), origin_digest.map(str::to_owned));
            let snapshot = TransferSnapshot { size, received: 5, integrity, origin_digest, ..Default::default() };
            let transfer = TransferReport::new(&route, TransferIds::of(TransferId(5)), &snapshot, None, Vec::new());
            let json = serde_json::to_value(transfer).unwrap();
            (json["here"].to_string(), json["origin"].to_string())
        };
        let end = |size: &str, digest: &str| format!("{{\"digest\":{digest},\"size\":{size}}}");
        let verified = json(Integrity::Verified { digest: "blake3:0".to_owned() }, Some("blake3:0"));
        assert_eq!(verified, (end("5", "\"blake3:0\""), end("5", "\"blake3:0\"")));
        let size_checked = |digest: &str| Integrity::SizeChecked { digest: digest.to_owned(), reason: "r".into() };
        assert_eq!(json(size_checked("blake3:0"), None), (end("5", "\"blake3:0\""), end("5", "null")));
        assert_eq!(json(size_checked(""), None), (end("5", "null"), end("5", "null")));
        assert_eq!(json(Integrity::Pending, None), (end("null", "null"), end("5", "null")));
    }

    #[test]
    fn the_files_of_a_folder_are_reported() {
        let route = Route::parse(b"d/\nh1 1\n").unwrap();
        let (mut folder, mut files) = (FolderProgress { omitted: 2, ..Default::default() }, Vec::new());
        for (path, outcome, error) in
            [("a", FileOutcome::Verified, None), ("b/c", FileOutcome::Failed, Some("why".into()))]
        {
            let result = FileResult { path: path.into(), size: 7, outcome, error };
            folder.record(result.clone());
            files.push(result);
        }
        let snapshot = TransferSnapshot { folder: Some(folder), ..Default::default() };
        let transfer = TransferReport::new(&route, TransferIds::of(TransferId(5)), &snapshot, None, Vec::new());
        let json = serde_json::to_value(transfer.with_files(&snapshot, files)).unwrap();
        let folder = &json["folder"];
        let count = |name: &str| folder[name].as_u64();
        assert_eq!(
            [count("fetched"), count("bytes"), count("failed"), count("left_out")],
            [Some(1), Some(7), Some(1), Some(2)]
        );
        assert_eq!(folder["files"][1].to_string(), r#"{"error":"why","outcome":"failed","path":"b/c","size":7}"#);
        let single =
            TransferReport::new(&route, TransferIds::of(TransferId(5)), &TransferSnapshot::default(), None, Vec::new());
        assert!(serde_json::to_value(single).unwrap().get("folder").is_none());
    }

    #[test]
    fn a_failure_names_the_hop_and_repeats_the_exit_code() {
        let route = Route::parse(b"f\nh1 1 name=near\nh2 2\n").unwrap();
        let problem = Problem::next(Reason::Refused, FailedAction::Connect, "h2:2", "", 0.5).relayed();
        let error = Error::at_hop(problem, &route);
        let snapshot = TransferSnapshot { phase: Phase::Failed, legs: vec![Leg::default()], ..Default::default() };
        let transfer = TransferReport::new(&route, TransferIds::of(TransferId(5)), &snapshot, Some(&error), Vec::new());
        let report = Report::of_transfers("fetch", vec![transfer], Some(&error));
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
        assert_eq!((json["result"].as_str(), json["exit_code"].as_u64()), (Some("failed"), Some(5)));
        let transfer = &json["transfers"][0];
        assert_eq!(transfer["error"]["hop"], 2);
        assert_eq!(
            (transfer["error"]["reporter"].as_u64(), transfer["error"]["reason"].as_str()),
            (Some(1), Some("refused"))
        );
        assert_eq!(
            (transfer["hops"][0]["label"].as_str(), transfer["integrity"].as_str()),
            (Some("near"), Some("pending"))
        );
        assert!(transfer["hops"][0]["leg"].is_object() && transfer["hops"][1]["leg"].is_null());
        assert_eq!(transfer["id"].as_str().map(str::len), Some(32));
    }
}
