//! Errors that end a run, one variant per failed action, and their exit codes.

mod body_failure;
mod hop_error;
mod kept_bytes;

use std::fmt;
use std::time::Duration;

use crate::route::Route;
use crate::snapshot::Refused;
use crate::text::SafeText;
use crate::units::{Bytes, HumanDuration};
use crate::wire::{FailedAction, Problem, Reason};

pub use body_failure::BodyFailure;
pub use hop_error::HopError;
pub use kept_bytes::KeptBytes;

/// Exit code of success.
pub const OK: u8 = 0;

/// Error that ends a run; `Display` is the whole sentence for the user.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// Invalid command line, environment or `config.toml`.
    #[error("{0}")]
    Usage(String),
    /// An input file cannot be read, or is invalid.
    #[error("{path}{reason}")]
    Input {
        /// The file.
        path: SafeText,
        /// `:LINE: reason`, or `: reason` without a line.
        reason: String,
    },
    /// A hop failed, or reports that another one did.
    #[error("{0}")]
    Hop(Box<HopError>),
    /// The body ended before it was complete.
    #[error("hop {hop} ({address}): {how}: {received} of {size} bytes arrived{}{kept}{}", ReportedBy(*.reporter), how.advice())]
    Short {
        /// The hop that failed, if known; else the nearest.
        hop: usize,
        /// Its address.
        address: SafeText,
        /// How it failed.
        how: BodyFailure,
        /// The hop that reports it; 0 is this program.
        reporter: usize,
        /// Bytes that arrived.
        received: u64,
        /// Announced size, in bytes.
        size: u64,
        /// Where the bytes so far are.
        kept: KeptBytes,
    },
    /// All bytes arrived, but with another digest.
    #[error("{file}: altered in transit: received {arrived}, {source_of_truth} states {expected}{kept}")]
    Altered {
        /// The requested file.
        file: SafeText,
        /// The digest of the received bytes.
        arrived: String,
        /// The expected digest.
        expected: String,
        /// The source of the expected digest: `the origin` or `--expect`.
        source_of_truth: &'static str,
        /// Where the bytes are.
        kept: KeptBytes,
    },
    /// The file at the origin changed while it was fetched.
    #[error("{file}: changed at the origin while it was fetched{kept}: fetch it again")]
    Changed {
        /// The requested file.
        file: SafeText,
        /// Where the bytes of the older version are.
        kept: KeptBytes,
    },
    /// The body stalled for too long.
    #[error("hop {hop} ({address}): {}no byte for {} after {received} of {size} bytes{kept}{}",
            if *.silent { "does not respond: " } else { "" }, HumanDuration(*.waited),
            if *.silent { BodyFailure::Silent.advice() } else { ": is a hop upstream stuck?" })]
    Stalled {
        /// The hop that does not respond; the nearest if all do.
        hop: usize,
        /// Its address.
        address: SafeText,
        /// It does not respond to requests either.
        silent: bool,
        /// Time without a byte.
        waited: Duration,
        /// Bytes that arrived.
        received: u64,
        /// Announced size, in bytes.
        size: u64,
        /// Where the bytes so far are.
        kept: KeptBytes,
    },
    /// A hop sent an invalid archive of a folder.
    #[error("hop {hop} ({address}): sent an invalid archive of {folder}: {reason}")]
    Archive {
        /// The hop that made the archive.
        hop: usize,
        /// Its address.
        address: SafeText,
        /// The requested folder.
        folder: SafeText,
        /// The entry, and what is wrong with it.
        reason: String,
    },
    /// Files of a folder were not received; all others were.
    #[error("{folder}: {}: {first}", failed_files(*.failed))]
    Files {
        /// The requested folder.
        folder: SafeText,
        /// Number of files.
        failed: u64,
        /// The error of the first.
        first: Box<Error>,
    },
    /// A pipe or device was written to, and the rest of the file is not available.
    #[error("{file}: cannot be resumed after {written} bytes, which have been written already: {why}")]
    Unresumable {
        /// The requested file.
        file: SafeText,
        /// Bytes written.
        written: u64,
        /// The failure, and why the transfer cannot be resumed.
        why: String,
    },
    /// The reader of the output closed it.
    #[error("{path}: its reader closed it")]
    OutputClosed {
        /// The output.
        path: SafeText,
    },
    /// The local disk refused something.
    #[error("{path}: cannot {action}: {reason}")]
    Disk {
        /// The failed action.
        action: &'static str,
        /// The file or folder.
        path: SafeText,
        /// The system's error, and advice.
        reason: String,
    },
    /// The partial file was removed or replaced during the transfer.
    #[error("{path}: was removed or replaced while the file arrived{kept}{}", kept.advice())]
    Lost {
        /// The partial file.
        path: SafeText,
        /// Where the bytes so far are.
        kept: KeptBytes,
    },
    /// The file is larger than allowed.
    #[error("{file}: has {size} bytes, more than --max-size allows ({})", Bytes(*.most))]
    TooLarge {
        /// The requested file.
        file: SafeText,
        /// Its size.
        size: u64,
        /// What is allowed.
        most: u64,
    },
    /// Another file exists at the target path.
    #[error("{path}: a file {difference} exists already{kept}: --force replaces it")]
    Exists {
        /// The path.
        path: SafeText,
        /// How it differs, such as `with other content`.
        difference: String,
        /// Where the new bytes are.
        kept: KeptBytes,
    },
    /// No socket could be opened at an address.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The configured address.
        address: SafeText,
        /// The system's error, and advice.
        reason: String,
    },
    /// The user or a signal stopped it.
    #[error("interrupted{kept}{}", kept.advice())]
    Interrupted {
        /// Where the bytes so far are.
        kept: KeptBytes,
    },
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// Counts files that were not received.
fn failed_files(failed: u64) -> String {
    match failed {
        1 => "a file was not received".to_owned(),
        _ => format!("{failed} files were not received, the first"),
    }
}

/// The reporting hop, unless it is this program.
struct ReportedBy(usize);

impl Error {
    /// Returns the exit code of the program.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Other(_) => 1,
            Self::Usage(_) => 2,
            Self::Input { .. } => 3,
            Self::Hop(fault) => fault.exit_code(),
            Self::Short { how: BodyFailure::Silent, .. } | Self::Stalled { .. } => 8,
            Self::Files { first, .. } => first.exit_code(),
            Self::Short { .. }
            | Self::Altered { .. }
            | Self::Changed { .. }
            | Self::Archive { .. }
            | Self::Unresumable { .. } => 6,
            Self::Disk { .. }
            | Self::Exists { .. }
            | Self::Lost { .. }
            | Self::TooLarge { .. }
            | Self::OutputClosed { .. } => 7,
            Self::Listen { .. } => 9,
            Self::Interrupted { .. } => 130,
        }
    }

    /// Returns true if nothing is printed: a reader that closes the output early, as `head` does, has what it needs.
    pub fn is_quiet(&self) -> bool {
        matches!(self, Self::OutputClosed { .. })
    }

    /// Returns the failed hop, from 1, if any.
    pub fn hop(&self) -> Option<usize> {
        match self {
            Self::Hop(fault) => fault.hop.filter(|hop| *hop > 0),
            Self::Short { hop, .. } | Self::Stalled { hop, .. } | Self::Archive { hop, .. } => Some(*hop),
            _ => None,
        }
    }

    /// Creates an error from a problem, numbered as the client counts (1 is the first hop).
    pub fn at_hop(problem: Problem, route: &Route) -> Self {
        Self::Hop(Box::new(HopError::new(problem, route)))
    }

    /// Returns why a hop refuses access, if that is the error.
    pub fn refused(&self) -> Option<Refused> {
        if let Self::Hop(fault) = self { fault.refused() } else { None }
    }

    /// Creates an error of the last hop, whose reply this program cannot use.
    pub fn at_origin(reason: Reason, action: FailedAction, detail: &str, route: &Route) -> Self {
        let hops = route.hops();
        let address = hops.last().map(|origin| origin.address.to_string()).unwrap_or_default();
        let problem = Problem::here(reason, action, address, detail);
        Self::at_hop(Problem { hop: u32::try_from(hops.len()).unwrap_or(u32::MAX), ..problem }, route)
    }

    /// Creates an error of the local disk.
    pub fn disk(action: &'static str, path: &std::path::Path, error: &std::io::Error) -> Self {
        let advice = match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                ": make room, or name another folder with -o"
            }
            std::io::ErrorKind::FileTooLarge => {
                ": raise the limit on file sizes (ulimit -f), or name another folder with -o"
            }
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                ": name another folder with -o"
            }
            std::io::ErrorKind::NotFound => ": create the folder first, or name another with -o",
            _ => "",
        };
        Self::Disk { action, path: shown(path), reason: format!("{}{advice}", plain(error)) }
    }

    /// Creates the error of another file in the place of a new one.
    pub fn exists(path: &std::path::Path, difference: impl Into<String>) -> Self {
        Self::Exists { path: shown(path), difference: difference.into(), kept: KeptBytes::default() }
    }

    /// Adds where the bytes so far are.
    #[must_use]
    pub fn with_kept(mut self, part: KeptBytes) -> Self {
        if let Self::Hop(fault) = &mut self {
            fault.kept = part;
        } else if let Self::Short { kept, .. }
        | Self::Altered { kept, .. }
        | Self::Changed { kept, .. }
        | Self::Stalled { kept, .. }
        | Self::Lost { kept, .. }
        | Self::Exists { kept, .. }
        | Self::Interrupted { kept } = &mut self
        {
            *kept = part;
        }
        self
    }
}

impl fmt::Display for ReportedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 > 0 { write!(f, ", reported by hop {}", self.0) } else { Ok(()) }
    }
}

/// Returns a path for display, sanitized.
pub fn shown(path: &std::path::Path) -> SafeText {
    SafeText::from_bytes(path.as_os_str().as_encoded_bytes())
}

/// Returns the system's message of an error, without its number.
pub fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = words.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::problem::ForeignServer;

    fn route() -> Route {
        Route::parse(b"data.bin\n10.0.0.6 1000\n10.0.0.7 1000\n10.0.0.8 1000\n").unwrap()
    }

    #[test]
    fn a_failed_hop_has_number_address_and_advice() {
        let problem = Problem::next(Reason::Refused, FailedAction::Connect, "10.0.0.7:1000", "", 0.8).relayed();
        let error = Error::at_hop(problem, &route());
        assert_eq!(
            error.to_string(),
            "hop 2 (10.0.0.7:1000): connection refused, reported by hop 1 after 0.80 ms: is a node running there?"
        );
        assert_eq!((error.exit_code(), error.hop()), (5, Some(2)));
        let own = Problem::next(Reason::Refused, FailedAction::Connect, "10.0.0.6:1000", "", 0.0);
        assert_eq!(
            Error::at_hop(own, &route()).to_string(),
            "hop 1 (10.0.0.6:1000): connection refused: is a node running there?"
        );
    }

    #[test]
    fn a_refusal_is_of_the_relay_that_reports_it_and_a_wrong_key_of_the_hop_that_has_it() {
        let by = |reason| {
            let problem = Problem::next(reason, FailedAction::Connect, "10.0.0.7:1000", "", 0.0).relayed();
            Error::at_hop(problem, &route()).refused().map(|refused| refused.by)
        };
        assert_eq!([by(Reason::KeyRequired), by(Reason::WrongKey), by(Reason::Refused)], [Some(1), Some(2), None]);
    }

    #[test]
    fn a_refused_local_hop_has_the_start_command() {
        let message = |input: &str, hop: u32| {
            let mut problem = Problem::next(Reason::Refused, FailedAction::Connect, "h:1", "", 0.0);
            problem.hop = hop;
            Error::at_hop(problem, &Route::parse(input.as_bytes()).unwrap()).to_string()
        };
        assert_eq!(
            message("f\nlocalhost 9101\n127.0.0.1 9102\n", 2),
            "hop 2 (127.0.0.1:9102): connection refused: is a node running there? start it with \"chainview --node \
             127.0.0.1:9102\", or a whole chain with \"--fetch --spawn\""
        );
        // Loopback of the machine of hop 1, and no hop of the route at all.
        assert!(message("f\n10.0.0.1 9101\n127.0.0.1 9102\n", 2).ends_with("is a node running there?"));
        assert!(message("f\n127.0.0.1 9101\n", 2).ends_with("is a node running there?"));
    }

    #[test]
    fn the_hop_number_takes_precedence_over_the_address() {
        let problem = Problem::here(Reason::Draining, FailedAction::Request, "10.0.0.8:1000", "").relayed();
        let error = Error::at_hop(problem, &route());
        assert_eq!(error.hop(), Some(1));
        assert!(error.to_string().starts_with("hop 1 (10.0.0.6:1000): shutting down"), "{error}");
    }

    #[test]
    fn a_missing_file_has_its_own_exit_code() {
        let problem =
            Problem::here(Reason::NotFound, FailedAction::Open, "10.0.0.8:1000", "").relayed().relayed().relayed();
        let error = Error::at_hop(problem, &route());
        assert!(error.to_string().starts_with("hop 3 (10.0.0.8:1000): no such file: data.bin: is the name"), "{error}");
        assert_eq!(error.exit_code(), 4);
    }

    #[test]
    fn errors_of_foreign_servers_are_explained() {
        let failure = |reason, status| {
            let problem = Problem::next(reason, FailedAction::Reply, "10.0.0.6:1000", format!("status {status}"), 0.0);
            let error = Error::at_hop(
                Problem { server: Some(Box::new(ForeignServer { status, ..ForeignServer::default() })), ..problem },
                &route(),
            );
            (error.to_string(), error.exit_code())
        };
        for (reason, status, words, code) in [
            (Reason::NotFound, 404, "base=/", 4),
            (Reason::Unauthorized, 401, "requires a login", 5),
            (Reason::Policy, 403, "does not allow it", 5),
            (Reason::Busy, 429, "is busy", 5),
            (Reason::Malformed, 400, "not understood", 5),
            (Reason::Internal, 500, "internal error", 5),
            (Reason::BadResponse, 302, "redirects", 5),
        ] {
            let (text, exit_code) = failure(reason, status);
            assert!(text.contains(words), "{text}");
            assert!(!text.contains("--root") && !text.contains("token"), "{text}");
            assert_eq!(exit_code, code, "{text}");
        }
    }

    #[test]
    fn out_of_range_numbers_are_handled() {
        let mut problem = Problem::here(Reason::Internal, FailedAction::Body, "", "");
        (problem.hop, problem.reporter, problem.ms) = (u32::MAX, u32::MAX, f64::MAX);
        let error = Error::at_hop(problem, &route());
        assert_eq!(error.hop(), None);
        assert!(error.to_string().starts_with("a hop that the route does not name: "));
    }

    #[test]
    fn the_partial_file_is_named() {
        let short = Error::Short {
            hop: 1,
            address: "h:1".into(),
            received: 1,
            size: 2,
            how: BodyFailure::Reset,
            reporter: 2,
            kept: KeptBytes::default(),
        };
        let kept = short.with_kept(KeptBytes { file: Some("x.part".into()), resumable: true });
        assert_eq!(
            kept.to_string(),
            "hop 1 (h:1): reset the connection: 1 of 2 bytes arrived, reported by hop 2; the received bytes are in x.part: \
             see that hop's log"
        );
        assert_eq!(plain(&std::io::Error::from_raw_os_error(28)), "no space left on device");
        let message =
            |resumable| Error::Interrupted { kept: KeptBytes { file: Some("x.part".into()), resumable } }.to_string();
        assert_eq!(message(false), "interrupted; the received bytes are in x.part");
        assert_eq!(message(true), message(false) + ": run the same command again to resume");
    }
}
