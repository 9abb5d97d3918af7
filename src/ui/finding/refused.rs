//! Refusals for a reason of access: what the request lacks, and who has to change what.

use super::Finding;
use crate::snapshot::{ChainSnapshot, Refused};
use crate::wire::{Lack, Reason};

/// Returns why the hop with this name refuses a transfer, from all of it to few words.
pub(super) fn refusals(refused: &Refused, name: &str) -> Vec<String> {
    let (long, short) = lack(refused);
    let number = refused.by;
    vec![
        format!("{name} refuses it: {long}"),
        format!("hop {number} refuses it: {short}"),
        format!("hop {number}: {short}"),
    ]
}

/// Returns what the request lacks, in a sentence and in few words.
fn lack(refused: &Refused) -> (String, &'static str) {
    let denial = refused.denial.unwrap_or_default();
    let key = match denial.key {
        Some(key) => format!("the key {}", key.short()),
        None => "an unsigned request".to_owned(),
    };
    let (long, short) = match (refused.reason, denial.lack) {
        (Reason::KeyRequired | Reason::Policy, Lack::Fetch) => {
            (format!("{key} has no right fetch for this name"), "no right fetch")
        }
        (Reason::KeyRequired | Reason::Policy, Lack::Relay) => {
            (format!("{key} has no right relay to the next hop"), "no right relay")
        }
        (Reason::KeyRequired, _) => ("it serves signed requests only".to_owned(), "key required"),
        (Reason::BadSignature, Lack::Time) => {
            ("by its clock, the request was signed at another time".to_owned(), "the clocks differ")
        }
        (Reason::BadSignature, Lack::NewId) => {
            ("it has served the same signed request before".to_owned(), "request repeated")
        }
        (Reason::BadSignature, Lack::Address) => {
            ("the request is signed for an address that is not its own".to_owned(), "signed for another address")
        }
        (Reason::BadSignature, _) => (format!("the signature of {key} does not hold"), "bad signature"),
        (Reason::TooManyTransfers, _) => {
            (format!("{key} has as many transfers there as it may have"), "too many transfers of the key")
        }
        (Reason::DailyLimit, _) => {
            (format!("{key} has moved as many bytes there as it may in a day"), "daily limit of the key")
        }
        (Reason::WrongKey, _) => ("its key is not that of the input file".to_owned(), "wrong key"),
        (Reason::Unauthorized, _) => ("the token is missing or wrong".to_owned(), "wrong token"),
        (reason, _) => (reason.as_str().to_owned(), reason.as_str()),
    };
    (long, short)
}

/// Returns who has to change what, for a finding about a refused transfer.
pub(crate) fn what_helps(finding: &Finding, chain: &ChainSnapshot) -> Option<String> {
    let (Finding::Failed { number, .. } | Finding::Retrying { number, .. }) = finding else { return None };
    let refused = chain.transfer(*number)?.refused.as_ref()?;
    let by = refused.by;
    let operator = format!("the operator of hop {by}");
    let denial = refused.denial.unwrap_or_default();
    let right = match denial.lack {
        Lack::Relay => {
            let next = chain.hop(by + 1).map(|next| next.address.to_string()).unwrap_or_default();
            format!("relay={next}")
        }
        _ => "fetch=/".to_owned(),
    };
    let line = "the line of the key in its --authorized-keys file, and sends SIGHUP";
    let add = |key: &str| format!("{operator} adds this right to {line}: {key} NAME {right}");
    Some(match (refused.reason, denial.lack, denial.key) {
        (Reason::KeyRequired | Reason::Policy, _, Some(key)) => add(&key.to_string()),
        (Reason::KeyRequired, ..) => format!(
            "sign with --identity FILE (--new-key FILE makes a key and prints its fingerprint); {}",
            add("FINGERPRINT")
        ),
        (Reason::BadSignature, Lack::Time, _) => {
            format!("set the clocks of this machine and of hop {by}: 2 min between them are accepted")
        }
        (Reason::BadSignature, Lack::NewId, _) => {
            format!(
                "fetch again, which signs another request; if it comes back, a hop before hop {by} repeats requests"
            )
        }
        (Reason::BadSignature, Lack::Address, _) => {
            let address = chain.hop(by).map(|hop| hop.address.to_string()).unwrap_or_default();
            format!("{operator} starts its node with --host-name {address}, as the input file names it")
        }
        (Reason::BadSignature, ..) => {
            format!(
                "compare key= of hop {by} in the input file with the key of its node; if they are \
                 equal, a hop before it changes requests"
            )
        }
        (Reason::TooManyTransfers, ..) => {
            format!("wait for the end of other transfers of the key, or {operator} raises transfers= on {line}")
        }
        (Reason::DailyLimit, ..) => {
            format!("wait for the next day (UTC), or {operator} raises per-day= on {line}")
        }
        (Reason::WrongKey, ..) => {
            format!(
                "compare key= of hop {by} in the input file with what --check prints; unless {operator} has \
                 changed the key of the node, another machine answers for it"
            )
        }
        (Reason::Unauthorized, ..) => {
            format!("token-file= of hop {by} in the input file has to name a file with its token")
        }
        _ => return None,
    })
}
