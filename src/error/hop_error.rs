//! Failure of a hop, with its number, its address and advice.

use std::fmt;
use std::time::Duration;

use super::kept_bytes::KeptBytes;
use crate::route::Route;
use crate::snapshot::Refused;
use crate::text::SafeText;
use crate::units::HumanDuration;
use crate::wire::{Problem, Reason};

/// Failure of a hop: which one, how, and who reports it.
#[derive(Clone, Debug, PartialEq)]
pub struct HopError {
    /// Its number in the route, from 1; 0 is this program, `None` a number that the route does not have.
    pub hop: Option<usize>,
    /// Its address.
    pub address: SafeText,
    /// It is on this machine: its address is loopback, and so are those of all hops before it.
    pub is_local: bool,
    /// The hop that reports it; 0 is this program.
    pub reporter: usize,
    /// The requested file.
    pub file: SafeText,
    /// The reported problem.
    pub problem: Problem,
    /// Where the bytes so far are.
    pub kept: KeptBytes,
}

impl HopError {
    pub(super) fn new(problem: Problem, route: &Route) -> Self {
        let hops = route.hops();
        let reported = usize::try_from(problem.hop).unwrap_or(usize::MAX);
        let at = |number: usize| number.checked_sub(1).and_then(|index| hops.get(index));
        // Only the number is used: a node may know itself by an address that is another hop here.
        let number = (reported <= hops.len()).then_some(reported);
        let address = number.and_then(at).map_or_else(|| problem.address.clone(), |hop| hop.address.to_string().into());
        let way = hops.get(..number.unwrap_or_default()).unwrap_or_default();
        let is_local = !way.is_empty() && way.iter().all(|hop| hop.address.host.is_loopback());
        let reporter = usize::try_from(problem.reporter).unwrap_or(usize::MAX);
        Self { hop: number, address, is_local, reporter, file: route.file.shown(), problem, kept: KeptBytes::default() }
    }

    /// Returns why a hop refuses access, if that is the failure.
    pub(super) fn refused(&self) -> Option<Refused> {
        let is_access = match self.problem.reason {
            Reason::Unauthorized
            | Reason::KeyRequired
            | Reason::BadSignature
            | Reason::WrongKey
            | Reason::TooManyTransfers
            | Reason::DailyLimit => self.problem.server.is_none(),
            Reason::Policy => self.problem.denial.is_some(),
            _ => false,
        };
        // A relay that refuses to connect to the next hop reports a failure at that; a wrong key is that of the hop.
        let reporter = Some(self.reporter).filter(|by| *by > 0 && self.problem.reason != Reason::WrongKey);
        let by = reporter.or(self.hop);
        let denial = self.problem.denial.as_deref().copied();
        by.filter(|by| is_access && *by > 0).map(|by| Refused { by, reason: self.problem.reason, denial })
    }

    pub(super) fn exit_code(&self) -> u8 {
        match self.problem.reason {
            Reason::NotFound => 4,
            Reason::Refused
            | Reason::Unreachable
            | Reason::Unresolved
            | Reason::Closed
            | Reason::RouteIgnored
            | Reason::BadResponse
            | Reason::TooManyTransfers
            | Reason::DailyLimit
            | Reason::Busy
            | Reason::Draining
            | Reason::Fault
            | Reason::TooSlow
            | Reason::Policy
            | Reason::Unauthorized
            | Reason::KeyRequired
            | Reason::BadSignature
            | Reason::WrongKey
            | Reason::Unsupported
            | Reason::Loop => 5,
            Reason::Changed | Reason::Short => 6,
            Reason::TimedOut | Reason::HeadTimeout => 8,
            // A foreign server that rejects the request is a hop that cannot be used.
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
            Reason::Closed => "is it a chainview node, and did it crash?",
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
