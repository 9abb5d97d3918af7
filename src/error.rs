//! What can go wrong, one variant for each action that failed, and the exit code that says so to scripts.

mod body_failure;

use std::fmt;
use std::time::Duration;

use crate::route::Route;
use crate::text::SafeText;
use crate::units::{Bytes, HumanDuration};
use crate::wire::{Problem, Reason};

pub use body_failure::BodyFailure;

/// The whole file is in its place, or what was asked for was done.
pub const OK: u8 = 0;

/// Everything that ends a run other than well; `Display` is the whole sentence a person reads.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// The command line, the environment or `config.toml` asks for something that is not possible.
    #[error("{0}")]
    Usage(String),
    /// An input file cannot be read, or does not say what it has to.
    #[error("{path}{reason}")]
    Input {
        /// The file.
        path: SafeText,
        /// `:LINE: reason`, or `: reason` where no line is to blame.
        reason: String,
    },
    /// A hop failed, or says that another did.
    #[error("{0}")]
    Hop(Box<HopError>),
    /// The body ended before it was whole.
    #[error("hop {hop} ({address}): {how}: {received} of {size} bytes arrived{}{kept}{}", ReportedBy(*.reporter), how.advice())]
    Short {
        /// The hop that broke it, as far as that is known; else the nearest.
        hop: usize,
        /// Its address.
        address: SafeText,
        /// What it did.
        how: BodyFailure,
        /// The hop that says so; 0 is this program.
        reporter: usize,
        /// Bytes that arrived.
        received: u64,
        /// Bytes that were promised.
        size: u64,
        /// Where the bytes so far are.
        kept: KeptBytes,
    },
    /// All bytes arrived, and they are not those of the file.
    #[error("{file}: altered on the way: what arrived is {arrived}, {source_of_truth} says {expected}{kept}")]
    Altered {
        /// The file asked for.
        file: SafeText,
        /// The digest of what arrived.
        arrived: String,
        /// The digest that was to be.
        expected: String,
        /// Who says so: `the origin` or `--expect`.
        source_of_truth: &'static str,
        /// Where the bytes are.
        kept: KeptBytes,
    },
    /// The file at the origin changed while it was fetched.
    #[error("{file}: changed at the origin while it was fetched{kept}: fetch it again")]
    Changed {
        /// The file asked for.
        file: SafeText,
        /// Where the bytes of the older state are.
        kept: KeptBytes,
    },
    /// No byte came for too long.
    #[error("hop {hop} ({address}): {}no byte for {} after {received} of {size} bytes{kept}{}",
            if *.silent { "does not answer: " } else { "" }, HumanDuration(*.waited),
            if *.silent { BodyFailure::Silent.advice() } else { ": is a hop behind it stuck?" })]
    Stalled {
        /// The hop that does not answer; the nearest where all do.
        hop: usize,
        /// Its address.
        address: SafeText,
        /// It does not answer any question either.
        silent: bool,
        /// How long nothing came.
        waited: Duration,
        /// Bytes that arrived.
        received: u64,
        /// Bytes that were promised.
        size: u64,
        /// Where the bytes so far are.
        kept: KeptBytes,
    },
    /// What was written to a pipe or a device cannot be taken back, and the rest of it cannot be had.
    #[error("{file}: cannot be resumed after {written} bytes, which have been written already: {why}")]
    Unresumable {
        /// The file asked for.
        file: SafeText,
        /// How much of it was written.
        written: u64,
        /// What broke it, and why the rest cannot be had.
        why: String,
    },
    /// Whoever read the output has gone away.
    #[error("{path}: its reader has gone away")]
    OutputClosed {
        /// The output.
        path: SafeText,
    },
    /// The local disk refused something.
    #[error("{path}: cannot {action}: {reason}")]
    Disk {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: SafeText,
        /// The system's answer, and what to do.
        reason: String,
    },
    /// The partial file was removed or replaced by somebody else.
    #[error("{path}: was removed or replaced while the file arrived{kept}{}", kept.advice())]
    Lost {
        /// The partial file.
        path: SafeText,
        /// Where the bytes so far are.
        kept: KeptBytes,
    },
    /// The file is larger than a person wants.
    #[error("{file}: has {size} bytes, more than --max-size allows ({})", Bytes(*.most))]
    TooLarge {
        /// The file asked for.
        file: SafeText,
        /// Its size.
        size: u64,
        /// What is allowed.
        most: u64,
    },
    /// Another file stands where this one is to go.
    #[error("{path}: a file {difference} is there already{kept}: --force replaces it")]
    Exists {
        /// Where.
        path: SafeText,
        /// How it differs, such as `with other content`.
        difference: String,
        /// Where the new bytes are.
        kept: KeptBytes,
    },
    /// No socket could be opened at an address.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The address as it was asked for.
        address: SafeText,
        /// The system's answer, and what to do.
        reason: String,
    },
    /// A person or a signal stopped it.
    #[error("interrupted{kept}{}", kept.advice())]
    Interrupted {
        /// Where the bytes so far are.
        kept: KeptBytes,
    },
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// Who says so, where that is not this program.
struct ReportedBy(usize);

/// Where the bytes of a transfer that failed are; shows as nothing where there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptBytes {
    /// The partial file.
    pub file: Option<SafeText>,
    /// The same command resumes from there.
    pub resumable: bool,
}

/// A hop that failed: who, how, who says so.
#[derive(Clone, Debug, PartialEq)]
pub struct HopError {
    /// Its place in the route, from 1; 0 is this program, `None` a place the route does not have.
    pub hop: Option<usize>,
    /// Its address.
    pub address: SafeText,
    /// It is on this machine: its address is loopback, and so are those of all hops before it.
    pub is_local: bool,
    /// The hop that says so; 0 is this program.
    pub reporter: usize,
    /// The file asked for.
    pub file: SafeText,
    /// What it said.
    pub problem: Problem,
    /// Where the bytes so far are.
    pub kept: KeptBytes,
}

impl Error {
    /// The exit code of the program.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Other(_) => 1,
            Self::Usage(_) => 2,
            Self::Input { .. } => 3,
            Self::Hop(fault) => fault.exit_code(),
            Self::Short { how: BodyFailure::Silent, .. } | Self::Stalled { .. } => 8,
            Self::Short { .. } | Self::Altered { .. } | Self::Changed { .. } | Self::Unresumable { .. } => 6,
            Self::Disk { .. }
            | Self::Exists { .. }
            | Self::Lost { .. }
            | Self::TooLarge { .. }
            | Self::OutputClosed { .. } => 7,
            Self::Listen { .. } => 9,
            Self::Interrupted { .. } => 130,
        }
    }

    /// The exit code says it all: a reader that leaves early, as `head` does, has what it wanted.
    pub fn is_quiet(&self) -> bool {
        matches!(self, Self::OutputClosed { .. })
    }

    /// The hop that is to blame, from 1, where one is.
    pub fn hop(&self) -> Option<usize> {
        match self {
            Self::Hop(fault) => fault.hop.filter(|hop| *hop > 0),
            Self::Short { hop, .. } | Self::Stalled { hop, .. } => Some(*hop),
            _ => None,
        }
    }

    /// A problem as the asker numbers it (1 is the first hop), with the hop found in the route.
    pub fn at_hop(problem: Problem, route: &Route) -> Self {
        Self::Hop(Box::new(HopError::new(problem, route)))
    }

    /// An answer of the local disk.
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
            std::io::ErrorKind::NotFound => ": make the folder first, or name another with -o",
            _ => "",
        };
        Self::Disk { action, path: shown(path), reason: format!("{}{advice}", plain(error)) }
    }

    /// The same error, with the place where the bytes so far are.
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

impl HopError {
    fn new(problem: Problem, route: &Route) -> Self {
        let hops = route.hops();
        let told = usize::try_from(problem.hop).unwrap_or(usize::MAX);
        let at = |number: usize| number.checked_sub(1).and_then(|index| hops.get(index));
        // Only the number counts: a node may well call itself by an address that means another hop here.
        let number = (told <= hops.len()).then_some(told);
        let address = number.and_then(at).map_or_else(|| problem.address.clone(), |hop| hop.address.to_string().into());
        let way = hops.get(..number.unwrap_or_default()).unwrap_or_default();
        let is_local = !way.is_empty() && way.iter().all(|hop| hop.address.host.is_loopback());
        let reporter = usize::try_from(problem.reporter).unwrap_or(usize::MAX);
        Self { hop: number, address, is_local, reporter, file: route.file.shown(), problem, kept: KeptBytes::default() }
    }

    fn exit_code(&self) -> u8 {
        match self.problem.reason {
            Reason::NotFound => 4,
            Reason::Refused
            | Reason::Unreachable
            | Reason::Unresolved
            | Reason::Closed
            | Reason::RouteIgnored
            | Reason::BadResponse
            | Reason::Busy
            | Reason::Draining
            | Reason::Fault
            | Reason::TooSlow
            | Reason::Policy
            | Reason::Unauthorized
            | Reason::Unsupported
            | Reason::Loop => 5,
            Reason::Changed | Reason::Short => 6,
            Reason::TimedOut | Reason::HeadTimeout => 8,
            // Whatever that server does not understand, it is a hop that cannot be used.
            Reason::Malformed | Reason::HeadTooLarge | Reason::Internal if self.problem.server.is_some() => 5,
            Reason::Malformed
            | Reason::Method
            | Reason::Version
            | Reason::Range
            | Reason::HeadTooLarge
            | Reason::Internal => 1,
        }
    }

    fn advice(&self) -> &'static str {
        match self.problem.reason {
            Reason::NotFound if self.problem.server.is_some() => {
                "is the name right? a plain web server most often needs base=/ on its line"
            }
            Reason::NotFound => "is the name right, and below that node's --root?",
            Reason::Loop => "name each hop once",
            Reason::BadResponse if self.problem.server.is_some() => "",
            Reason::BadResponse => "what is listening there?",
            Reason::Closed => "is it a node, and is it well?",
            _ => self.problem.advice(),
        }
    }
}

impl fmt::Display for HopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.hop {
            Some(0) => write!(f, "this program: ")?,
            Some(hop) => write!(f, "hop {hop} ({}): ", self.address)?,
            None if self.address.as_str().is_empty() => write!(f, "a hop that the route does not name: ")?,
            None => write!(f, "{}, which the route does not name: ", self.address)?,
        }
        write!(f, "{}", self.problem)?;
        if self.problem.reason == Reason::NotFound {
            write!(f, ": {}", self.file)?;
        }
        if self.reporter > 0 && Some(self.reporter) != self.hop {
            write!(f, ", reported by hop {}", self.reporter)?;
        }
        if self.problem.ms > 0.0 {
            let ms = self.problem.ms.clamp(0.0, 1e9);
            write!(f, " after {}", HumanDuration(Duration::from_secs_f64(ms / 1000.0)))?;
        }
        write!(f, "{}", self.kept)?;
        match self.advice() {
            "" => Ok(()),
            advice => write!(f, ": {advice}"),
        }?;
        if self.is_local && self.problem.reason == Reason::Refused {
            let command = format!("chainview --node {}", self.address);
            write!(f, " start it with \"{command}\", or a whole chain with \"--fetch --spawn\"")?;
        }
        Ok(())
    }
}

impl fmt::Display for ReportedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 > 0 { write!(f, ", reported by hop {}", self.0) } else { Ok(()) }
    }
}

impl KeptBytes {
    /// What to do about it.
    fn advice(&self) -> &'static str {
        if self.resumable { ": run the same command again to resume" } else { "" }
    }
}

impl fmt::Display for KeptBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(path) => write!(f, "; what arrived is in {path}"),
            None => Ok(()),
        }
    }
}

/// A path made safe to show.
pub fn shown(path: &std::path::Path) -> SafeText {
    SafeText::from_bytes(path.as_os_str().as_encoded_bytes())
}

/// The system's words for an error, without the number that follows them.
pub fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = words.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::FailedAction;
    use crate::wire::problem::ForeignServer;

    fn route() -> Route {
        Route::parse(b"data.bin\n10.0.0.6 1000\n10.0.0.7 1000\n10.0.0.8 1000\n").unwrap()
    }

    #[test]
    fn a_hop_is_named_with_number_address_and_advice() {
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
    fn a_refused_hop_of_this_machine_has_the_commands_that_start_it() {
        let told = |input: &str, hop: u32| {
            let mut problem = Problem::next(Reason::Refused, FailedAction::Connect, "h:1", "", 0.0);
            problem.hop = hop;
            Error::at_hop(problem, &Route::parse(input.as_bytes()).unwrap()).to_string()
        };
        assert_eq!(
            told("f\nlocalhost 9101\n127.0.0.1 9102\n", 2),
            "hop 2 (127.0.0.1:9102): connection refused: is a node running there? start it with \"chainview --node \
             127.0.0.1:9102\", or a whole chain with \"--fetch --spawn\""
        );
        // Loopback of the machine of hop 1, and no hop of the route at all.
        assert!(told("f\n10.0.0.1 9101\n127.0.0.1 9102\n", 2).ends_with("is a node running there?"));
        assert!(told("f\n127.0.0.1 9101\n", 2).ends_with("is a node running there?"));
    }

    #[test]
    fn a_hop_that_calls_itself_by_the_address_of_another_keeps_its_number() {
        let problem = Problem::here(Reason::Draining, FailedAction::Request, "10.0.0.8:1000", "").relayed();
        let error = Error::at_hop(problem, &route());
        assert_eq!(error.hop(), Some(1));
        assert!(error.to_string().starts_with("hop 1 (10.0.0.6:1000): shutting down"), "{error}");
    }

    #[test]
    fn a_missing_file_is_named_and_has_its_own_code() {
        let problem =
            Problem::here(Reason::NotFound, FailedAction::Open, "10.0.0.8:1000", "").relayed().relayed().relayed();
        let error = Error::at_hop(problem, &route());
        assert!(error.to_string().starts_with("hop 3 (10.0.0.8:1000): no such file: data.bin: is the name"), "{error}");
        assert_eq!(error.exit_code(), 4);
    }

    #[test]
    fn what_a_plain_web_server_refuses_is_explained_as_such() {
        let said = |reason, status| {
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
            let (text, exit_code) = said(reason, status);
            assert!(text.contains(words), "{text}");
            assert!(!text.contains("--root") && !text.contains("token"), "{text}");
            assert_eq!(exit_code, code, "{text}");
        }
    }

    #[test]
    fn hostile_numbers_do_no_harm() {
        let mut problem = Problem::here(Reason::Internal, FailedAction::Body, "", "");
        (problem.hop, problem.reporter, problem.ms) = (u32::MAX, u32::MAX, f64::MAX);
        let error = Error::at_hop(problem, &route());
        assert_eq!(error.hop(), None);
        assert!(error.to_string().starts_with("a hop that the route does not name: "));
    }

    #[test]
    fn the_place_of_the_part_is_said_where_there_is_one() {
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
            "hop 1 (h:1): reset the connection: 1 of 2 bytes arrived, reported by hop 2; what arrived is in x.part: \
             see that hop's log"
        );
        assert_eq!(plain(&std::io::Error::from_raw_os_error(28)), "no space left on device");
        let says =
            |resumable| Error::Interrupted { kept: KeptBytes { file: Some("x.part".into()), resumable } }.to_string();
        assert_eq!(says(false), "interrupted; what arrived is in x.part");
        assert_eq!(says(true), says(false) + ": run the same command again to resume");
    }
}
