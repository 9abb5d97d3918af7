//! Sentences of a finding, from the longest to the shortest: each still says where and why.

use std::time::Duration;

use super::Finding;
use super::refused::refusals;
use crate::snapshot::verdict::{Confidence, FaultKind, Limit, LinkCause, Resource, SetupStep, Verdict};
use crate::snapshot::{Awaited, ChainSnapshot, ConnState, DownReason, HopLink, HopSnapshot, Phase, TransferSnapshot};
use crate::text::SafeText;
use crate::ui::paint::cut_middle;
use crate::units::{Bytes, Grouped, HumanDuration, Rate, short_rate};

/// Maximum width of the name of a hop or a file in a sentence.
const NAME: u16 = 32;
/// Shortest duration that is named.
const MIN_NAMED: Duration = Duration::from_secs(1);

/// Returns the sentences of a finding, the longest first; at least one.
pub(crate) fn sentences(finding: &Finding, chain: &ChainSnapshot) -> Vec<String> {
    match *finding {
        Finding::Down { hop, .. } => down(chain, hop),
        Finding::Retrying { number, .. } => transfer(chain, number, |t| retrying(chain, t)),
        Finding::Silent { hop } => silent(chain, hop),
        Finding::Waiting { number, hop } => transfer(chain, number, |t| waiting(chain, t, hop)),
        Finding::Stalled { number, .. } => transfer(chain, number, stalled),
        Finding::Failed { number, .. } => transfer(chain, number, |t| match &refused(chain, t)[..] {
            [] => failed(t),
            refusals => refusals.iter().map(|why| format!("#{number} failed: {why}")).collect(),
        }),
        Finding::Locked { number } => transfer(chain, number, |t| {
            let why = t.error.as_ref().map_or("waiting for another fetch of this file", SafeText::as_str);
            vec![format!("#{number} is {why}"), format!("#{number} waits for another fetch")]
        }),
        Finding::Verifying { number } => transfer(chain, number, verifying),
        Finding::Paused { number } => transfer(chain, number, |t| vec![format!("#{number} paused{}", at_percent(t))]),
        Finding::Draining { hop } => draining(chain, hop),
        Finding::Verdict { verdict, others } => verdict_sentences(chain, &verdict, others),
        Finding::Starting { hop } => named(chain, hop, "is starting"),
        Finding::Finished { number } => transfer(chain, number, |t| finished(chain, t)),
        Finding::Cancelled { number } => transfer(chain, number, |t| {
            let kept = if t.resumable.is_some() { "; what has arrived is kept" } else { "" };
            vec![format!("#{number} cancelled{}{kept}", at_percent(t)), format!("#{number} cancelled")]
        }),
        Finding::Idle if chain.file.as_str().is_empty() => vec!["idle".to_owned()],
        Finding::Idle => {
            vec![format!("idle: ready to fetch {}", cut_middle(chain.file.as_str(), NAME)), "idle".to_owned()]
        }
    }
}

/// Returns the number of a hop with its name, if it has one.
pub(crate) fn hop_name(chain: &ChainSnapshot, hop: usize) -> String {
    let found = chain.hop(hop);
    let label = found.filter(|h| h.label != h.address).map_or("", |h| h.label.as_str());
    if label.is_empty() { format!("hop {hop}") } else { format!("hop {hop} ({})", cut_middle(label, NAME)) }
}

/// Returns why the stage or link of a finding is the problem, in at most 16 columns.
pub(crate) fn cause_word(finding: &Finding, chain: &ChainSnapshot) -> String {
    match finding {
        Finding::Verdict { verdict, .. } => match verdict.limit {
            Limit::RateLimit { rate, .. } => format!("limit {}", short_rate(rate)),
            Limit::KeyRate { rate, .. } => format!("key {}", short_rate(rate)),
            Limit::Fault { fault: FaultKind::Fragment, .. } => "fragments".to_owned(),
            Limit::Client { resource } | Limit::Origin { resource, .. } => match resource {
                Resource::Either => "disk or cpu".to_owned(),
                Resource::Disk => "its disk".to_owned(),
                Resource::Processor => "its cpu".to_owned(),
            },
            Limit::Relay { .. } => "its cpu".to_owned(),
            Limit::Link { cause: LinkCause::Congestion, .. } => "link is full".to_owned(),
            limit => limit_word(&limit),
        },
        Finding::Down { hop, .. } => {
            let link = chain.hop(*hop).map(|h| h.link.label());
            link.unwrap_or("down").to_owned()
        }
        Finding::Silent { hop } => {
            let age = chain.hop(*hop).map_or(0, |h| h.age.as_secs());
            format!("silent {}", seconds(Duration::from_secs(age)))
        }
        Finding::Waiting { .. } => "no answer".to_owned(),
        Finding::Stalled { .. } => "stalled here".to_owned(),
        Finding::Retrying { number, .. } | Finding::Failed { number, .. } => {
            let is_refused = chain.transfer(*number).is_some_and(|t| t.refused.is_some());
            if is_refused { "refused" } else { "failed" }.to_owned()
        }
        Finding::Draining { .. } => "draining".to_owned(),
        _ => String::new(),
    }
}

/// Returns why a transfer was refused; empty if it was not.
fn refused(chain: &ChainSnapshot, t: &TransferSnapshot) -> Vec<String> {
    t.refused.as_ref().map_or_else(Vec::new, |refused| refusals(refused, &hop_name(chain, refused.by)))
}

/// Returns the cause of a limit in few words, without its place.
fn limit_word(limit: &Limit) -> String {
    match *limit {
        Limit::Measuring => "measuring".to_owned(),
        Limit::Balanced => "balanced".to_owned(),
        Limit::RateLimit { rate, .. } => format!("rate limit {}", Rate(rate)),
        Limit::KeyRate { rate, .. } => format!("the key's rate {}", Rate(rate)),
        Limit::Fault { fault: FaultKind::Delay, .. } | Limit::Setup { step: SetupStep::Delay, .. } => {
            "injected delay".to_owned()
        }
        Limit::Fault { fault: FaultKind::Stall, .. } => "fault: stall".to_owned(),
        Limit::Fault { fault: FaultKind::Fragment, .. } => "fault: fragments".to_owned(),
        Limit::Client { resource } | Limit::Origin { resource, .. } => match resource {
            Resource::Either => "its disk or processor".to_owned(),
            Resource::Disk => "its disk".to_owned(),
            Resource::Processor => "its processor".to_owned(),
        },
        Limit::Relay { .. } => "its processor".to_owned(),
        Limit::Link { cause, .. } => match cause {
            LinkCause::Unknown => "network".to_owned(),
            LinkCause::Congestion => "network at capacity".to_owned(),
            LinkCause::Loss => "packet loss".to_owned(),
            LinkCause::RoundTrip => "long round trip".to_owned(),
        },
        Limit::Receiver { .. } => "not reading".to_owned(),
        Limit::Setup { step: SetupStep::Resolve, .. } => "name lookup".to_owned(),
        Limit::Setup { step: SetupStep::Connect, .. } => "connecting".to_owned(),
        Limit::Unobserved { .. } => "no reports".to_owned(),
    }
}

fn transfer(chain: &ChainSnapshot, number: u64, say: impl Fn(&TransferSnapshot) -> Vec<String>) -> Vec<String> {
    chain.transfer(number).map_or_else(|| vec![format!("#{number}")], say)
}

/// Returns a statement about a hop, with its name and without.
fn named(chain: &ChainSnapshot, hop: usize, what: &str) -> Vec<String> {
    vec![format!("{} {what}", hop_name(chain, hop)), format!("hop {hop} {what}")]
}

fn down(chain: &ChainSnapshot, hop: usize) -> Vec<String> {
    let Some(HopSnapshot { link: HopLink::Down { reason }, .. }) = chain.hop(hop) else {
        return named(chain, hop, "is down");
    };
    let reasons = clauses(reason.as_str(), 1);
    let state = if *reason == DownReason::Silent { "is silent" } else { "is down" };
    let affected = chain.transfers.iter().rev().find_map(|t| match t.phase {
        Phase::Retrying => Some(retry(t)),
        Phase::Failed => Some(vec![format!("#{} failed{}", t.number, at_percent(t)), format!("#{} failed", t.number)]),
        _ => None,
    });
    let mut all = Vec::new();
    for reason in &reasons {
        let [long, short] =
            [hop_name(chain, hop), format!("hop {hop}")].map(|name| format!("{name} {state}: {reason}"));
        for affected in affected.iter().flatten() {
            all.extend([format!("{long}; {affected}"), format!("{short}; {affected}")]);
        }
        all.extend([long, short].into_iter().filter(|_| affected.is_none()));
    }
    all.extend(reasons.last().map(|reason| format!("hop {hop} {state}: {reason}")));
    all
}

/// Returns when a transfer is retried, from all of it to few words.
fn retry(t: &TransferSnapshot) -> Vec<String> {
    let plain = format!("#{} retries", t.number);
    let Some(retry) = t.retry else { return vec![plain] };
    let left = format!("{plain} in {} s", retry.left.as_secs_f64().ceil());
    vec![format!("{left}, retry {} of {}", retry.number, retry.of), left, plain]
}

fn retrying(chain: &ChainSnapshot, t: &TransferSnapshot) -> Vec<String> {
    let retry = retry(t);
    let Some(error) = &t.error else { return retry };
    let causes = clauses(error.as_str(), 2);
    let refused = refused(chain, t);
    let mut all: Vec<String> = refused.iter().chain(&causes).map(|cause| format!("{}: {cause}", retry[0])).collect();
    let shortest = causes.last().map_or_else(String::new, |cause| without_address(cause));
    all.extend(retry.iter().map(|retry| format!("{retry}: {shortest}")));
    all
}

fn silent(chain: &ChainSnapshot, hop: usize) -> Vec<String> {
    let seconds = chain.hop(hop).map_or(0, |h| h.age.as_secs());
    let mut all = named(chain, hop, &format!("is silent: no report for {seconds} s, and nothing arrives"));
    all.extend(named(chain, hop, &format!("is silent: no report for {seconds} s")));
    all.push(format!("hop {hop} is silent for {seconds} s"));
    all
}

fn waiting(chain: &ChainSnapshot, t: &TransferSnapshot, hop: Option<usize>) -> Vec<String> {
    let wait = t.wait.unwrap_or_default();
    let [long, short] = match hop {
        Some(hop) => [hop_name(chain, hop), format!("hop {hop}")],
        None => ["the next hop".to_owned(), "next hop".to_owned()],
    };
    let lasting = seconds(wait.lasting);
    let until = format!("gives up at {}", seconds(wait.limit));
    match wait.awaited {
        Awaited::Delay => vec![
            format!("#{}: the reply of {long} is delayed (fault: delay), for {lasting}", t.number),
            format!("{short} delays its reply (fault: delay)"),
        ],
        Awaited::Digest { done, size } => {
            let percent = hashed(done, size);
            vec![
                format!("#{} waits for the digest that the origin computes{percent}, for {lasting}", t.number),
                format!("#{} waits for the origin's digest{percent}", t.number),
            ]
        }
        awaited => {
            let what = if awaited == Awaited::Connection { "connecting to" } else { "waiting for" };
            vec![
                format!("{what} {long}: no answer for {lasting}, {until}"),
                format!("{what} {short}: no answer for {lasting}, {until}"),
                format!("{what} {short}: no answer for {lasting}"),
                format!("{short}: no answer for {lasting}"),
            ]
        }
    }
}

fn verifying(t: &TransferSnapshot) -> Vec<String> {
    let short = format!("#{} has arrived; verifying its digest", t.number);
    match t.wait.map(|wait| wait.awaited) {
        Some(Awaited::Digest { done, size }) => {
            let percent = hashed(done, size);
            vec![format!("#{} has arrived; waiting for the origin's digest{percent}", t.number), short]
        }
        _ => vec![short],
    }
}

/// Returns how much of a file the origin has hashed; empty while unknown.
fn hashed(done: u64, size: u64) -> String {
    let percent = (done as f64 / size as f64 * 100.0).floor().min(100.0);
    if size == 0 { String::new() } else { format!(": {percent}%") }
}

fn stalled(t: &TransferSnapshot) -> Vec<String> {
    let stall = t.stall.unwrap_or_default();
    let lasting = format!("#{} stalled for {:.1} s", t.number, stall.lasting.as_secs_f64());
    if let Some(hop) = t.wait.and_then(|wait| wait.hop) {
        return vec![format!("{lasting}: hop {hop} does not respond"), format!("{lasting}: hop {hop} is silent")];
    }
    let Some(hop) = stall.last_moved else { return vec![lasting] };
    vec![format!("{lasting}; hop {hop} moved data last"), format!("{lasting}; hop {hop} moved last")]
}

fn failed(t: &TransferSnapshot) -> Vec<String> {
    let failed = format!("#{} failed{}", t.number, at_percent(t));
    let Some(error) = &t.error else { return vec![failed] };
    let causes = clauses(error.as_str(), 2);
    let mut all: Vec<String> = causes.iter().map(|cause| format!("{failed}: {cause}")).collect();
    all.extend(causes.last().map(|cause| format!("#{} failed: {}", t.number, without_address(cause))));
    all
}

fn draining(chain: &ChainSnapshot, hop: usize) -> Vec<String> {
    let found = chain.hop(hop);
    let stops = found.is_some_and(|h| matches!(h.link, HopLink::Down { reason: DownReason::Stopping }));
    let what = if stops { "is shutting down" } else { "is draining" };
    let conns = found.and_then(|h| h.node.as_ref()).map_or(&[][..], |node| &node.connections);
    let left = conns.iter().filter(|conn| conn.state == ConnState::Streaming).count();
    let left = match left {
        0 => String::new(),
        1 => ": 1 transfer left".to_owned(),
        more => format!(": {more} transfers left"),
    };
    let mut all = named(chain, hop, &format!("{what}, no new requests{left}"));
    all.extend(named(chain, hop, &format!("{what}{left}")));
    all
}

/// Returns the stage or link that limits, with its name and without, and why in whole and in few words.
fn subject_and_cause(chain: &ChainSnapshot, verdict: &Verdict) -> ([String; 2], [String; 2]) {
    let percent = (verdict.share.clamp(0.0, 1.0) * 100.0).round();
    let word = limit_word(&verdict.limit);
    let stage = |stage: usize| match stage {
        0 => ["the client".to_owned(), "client".to_owned()],
        _ => [hop_name(chain, stage), format!("hop {stage}")],
    };
    let same = |cause: String| [cause.clone(), cause];
    match verdict.limit {
        Limit::Link { from, to, .. } => {
            let far = |to| if to == 0 { "the client".to_owned() } else { format!("hop {to}") };
            let long = format!("the link from hop {from} to {}", far(to));
            let short = if to == 0 { format!("link {from} to client") } else { format!("link {from} to {to}") };
            ([long, short], same(word))
        }
        Limit::Unobserved { after, before } => {
            let after = stage(after)[1].clone();
            let long = format!("a stage between {after} and hop {before}");
            ([long, format!("between {after} and hop {before}")], ["it sends no reports".to_owned(), word])
        }
        Limit::Origin { hop, .. } => {
            let [name, short] = stage(hop);
            ([format!("the origin, {name},"), format!("origin ({short})")], same(word))
        }
        Limit::Receiver { to, .. } => (stage(to), [format!("it does not read, {percent}% of the time"), word]),
        Limit::Setup { hop, .. } => (stage(hop), [format!("{word} took {percent}% of the time"), word]),
        Limit::Fault { fault: FaultKind::Delay, .. } => {
            (stage(verdict.limit.stage().unwrap_or(0)), [format!("{word}, {percent}% of the time"), word])
        }
        _ => (stage(verdict.limit.stage().unwrap_or(0)), same(word)),
    }
}

fn verdict_sentences(chain: &ChainSnapshot, verdict: &Verdict, others: bool) -> Vec<String> {
    let prefix = if others { "other clients: " } else { "" };
    let since = Duration::from_millis(verdict.since_ms);
    let lasting = if since < MIN_NAMED { String::new() } else { format!(", for {}", seconds(since)) };
    match verdict.limit {
        Limit::Measuring => vec![format!("{prefix}measuring what limits the transfer"), format!("{prefix}measuring")],
        Limit::Balanced => vec![
            format!("{prefix}balanced: no stage waits much more than the others{lasting}"),
            format!("{prefix}balanced: no stage waits most"),
            format!("{prefix}balanced"),
        ],
        Limit::Fault { hop, fault: FaultKind::Stall } => vec![
            format!("{prefix}stalled: hop {hop} (fault: stall){lasting}"),
            format!("{prefix}stalled: hop {hop} (fault: stall)"),
        ],
        _ => {
            let ([long, short], [why, word]) = subject_and_cause(chain, verdict);
            let confidence = confidence_word(verdict.confidence);
            vec![
                format!("{prefix}{long} is the bottleneck: {why}{lasting}, confidence {confidence}"),
                format!("{prefix}{long} is the bottleneck: {why}{lasting}"),
                format!("{prefix}{short} is the bottleneck: {word}{lasting}"),
                format!("{prefix}{short} is the bottleneck: {word}"),
                format!("{prefix}{short}: {word}"),
            ]
        }
    }
}

/// Returns the confidence in a word.
fn confidence_word(confidence: Confidence) -> &'static str {
    match confidence {
        Confidence::Low => "low",
        Confidence::Fair => "fair",
        Confidence::High => "high",
    }
}

fn finished(chain: &ChainSnapshot, t: &TransferSnapshot) -> Vec<String> {
    let number = t.number;
    if t.was_up_to_date() {
        return vec![format!("#{number} was already up to date"), format!("#{number} up to date")];
    }
    let files = match t.folder.as_ref().map(|folder| folder.done) {
        None => String::new(),
        Some(1) => "1 file, ".to_owned(),
        Some(files) => format!("{} files, ", Grouped(files)),
    };
    let mean = format!("{files}{} in {} at {}", Bytes(t.received), HumanDuration(t.elapsed), Rate(t.rate));
    let plain = [format!("#{number} finished: {mean}"), format!("#{number} finished")];
    let limits = |verdict: &&Verdict| !matches!(verdict.limit, Limit::Measuring | Limit::Balanced);
    let Some(verdict) = t.verdict.as_ref().filter(limits) else { return plain.to_vec() };
    let ([long, short], [why, word]) = subject_and_cause(chain, verdict);
    let [mean, finished] = plain;
    vec![
        format!("{mean}; {long} was the bottleneck: {why}"),
        format!("{mean}; {short} was the bottleneck: {word}"),
        format!("{finished} at {}; {short} was the bottleneck: {word}", Rate(t.rate)),
        format!("{finished} at {}; bottleneck {short}: {word}", Rate(t.rate)),
        format!("{finished}; bottleneck {short}: {word}"),
        format!("#{number}: {short}, {word}"),
    ]
}

/// Returns a text, then the same without its last clauses, down to `least` of them.
fn clauses(text: &str, least: usize) -> Vec<String> {
    let ends: Vec<usize> =
        [": ", ", ", "; "].iter().flat_map(|end| text.match_indices(end)).map(|(at, _)| at).collect();
    let mut ends: Vec<usize> = ends.into_iter().chain([text.len()]).collect();
    ends.sort_unstable();
    ends.iter().skip(least.saturating_sub(1).min(ends.len() - 1)).rev().map(|end| text[..*end].to_owned()).collect()
}

/// Returns a sentence about a hop without the hop's address, which is in parentheses.
fn without_address(text: &str) -> String {
    match text.split_once(" (").and_then(|(before, rest)| Some((before, rest.split_once(')')?.1))) {
        Some((before, after)) => format!("{before}{after}"),
        None => text.to_owned(),
    }
}

/// Returns how much of a transfer has arrived; empty before its size is known.
fn at_percent(t: &TransferSnapshot) -> String {
    if t.size.is_some() { format!(" at {}%", t.percent()) } else { String::new() }
}

/// Returns a duration in whole seconds, or in minutes and seconds.
fn seconds(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds => HumanDuration(Duration::from_secs(seconds)).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_lose_their_last_clauses_first() {
        let text = "hop 2 (127.0.0.1:7002): connection refused, reported by hop 1: is a node running there?";
        let all = clauses(text, 2);
        assert_eq!(all.first().map(String::as_str), Some(text));
        assert_eq!(all.last().map(String::as_str), Some("hop 2 (127.0.0.1:7002): connection refused"));
        assert_eq!(without_address(&all[all.len() - 1]), "hop 2: connection refused");
        assert_eq!(
            (clauses("killed", 1), clauses("killed", 2)),
            (vec!["killed".to_owned()], vec!["killed".to_owned()])
        );
        assert_eq!(without_address("no (end"), "no (end");
    }
}
