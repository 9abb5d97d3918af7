//! Folded chain: neighbors in the same state as one range, the cause of the headline on its own.

use super::line::{Line, Span, short_name, span};
use crate::snapshot::{HopLink, HopSnapshot};
use crate::ui::columns::MainWait;
use crate::ui::finding::Place;
use crate::ui::theme::StyleRole;
use crate::ui::time_shares::TimeShares;
use crate::ui::widgets::header;
use crate::units::Rate;

/// Hops in the same state, or the cause.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Segment {
    first: usize,
    last: usize,
    /// The state in a word; of the cause, its own.
    word: String,
    name: String,
    is_cause: bool,
    is_bad: bool,
}

/// Returns the forms of a folded chain, from the longest to the shortest.
pub(super) fn forms<'a>(line: &'a Line<'_>) -> impl Iterator<Item = Vec<Span>> + 'a {
    let segments = segments(line);
    let merged = merged(&segments);
    let cause: Vec<_> = segments.iter().filter(|segment| segment.is_cause).cloned().collect();
    let rate = match line.state.history().client_rate(line.data) {
        0 => String::new(),
        rate => format!(" {} {}", line.state.theme.glyphs.arrow, Rate(rate)),
    };
    let glyphs = &line.state.theme.glyphs;
    let lock = if line.data.is_encrypted(1) { glyphs.lock } else { "" };
    let arrow = format!("{}{lock}", glyphs.arrow);
    let forms = [
        (format!("client{rate} {arrow} "), segments.clone(), true),
        (format!("client{rate} {arrow} "), segments.clone(), false),
        (format!("c {arrow} "), segments, false),
        (format!("client{rate} {arrow} "), merged.clone(), false),
        (format!("c {arrow} "), merged, false),
        (String::new(), cause, false),
    ];
    forms.into_iter().map(|(before, segments, named)| spans(line, before, &segments, named))
}

fn spans(line: &Line<'_>, before: String, segments: &[Segment], named: bool) -> Vec<Span> {
    let border = line.state.theme.glyphs.unfocused;
    let client = line.is_cause(0);
    let mut spans = vec![span(before, StyleRole::Title)];
    if client {
        spans.push(span(format!("{border}client {}{border} ", line.cause), StyleRole::Cause));
    }
    for (at, segment) in segments.iter().enumerate() {
        let Segment { first, last, word, .. } = segment;
        let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
        let range = if named && !segment.name.is_empty() { format!("{range} {}", segment.name) } else { range };
        let text = if word.is_empty() { range } else { format!("{range} {word}") };
        if segment.is_cause {
            let near = if *first == 0 { "client".to_owned() } else { first.to_string() };
            let text = if first == last { text } else { format!("link {last} to {near} {word}") };
            spans.push(span(format!("{border}{text}{border} "), StyleRole::Cause).of(*last));
        } else {
            let is_next_plain = segments.get(at + 1).is_some_and(|next| !next.is_cause);
            let after = if is_next_plain { ", " } else { " " };
            spans.push(span(text, if segment.is_bad { StyleRole::Bad } else { StyleRole::Plain }).of(*first));
            spans.push(span(after, StyleRole::Dim));
        }
    }
    spans
}

/// Returns the ranges of hops in the same state. A link that is the cause is between two of them.
fn segments(line: &Line<'_>) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    for hop in &line.hops {
        let number = hop.number;
        if let Some(Place::Link { from, to }) = line.place
            && to + 1 == number
        {
            segments.push(Segment { first: to, last: from, is_cause: true, ..segment(number, line.cause.clone()) });
        }
        let is_cause = line.is_cause(number);
        let word = if is_cause { line.cause.clone() } else { state_word(hop) };
        let is_bad = matches!(hop.link, HopLink::Down { .. });
        match segments.last_mut() {
            Some(last) if !is_cause && !last.is_cause && last.word == word => last.last = number,
            _ => {
                let name = if is_cause { short_name(hop) } else { String::new() };
                segments.push(Segment { name, is_cause, is_bad, ..segment(number, word) });
            }
        }
    }
    segments
}

fn segment(number: usize, word: String) -> Segment {
    Segment { first: number, last: number, word, name: String::new(), is_cause: false, is_bad: false }
}

/// Returns the segments with all neighbors other than the cause as one, without their states.
fn merged(segments: &[Segment]) -> Vec<Segment> {
    let mut all: Vec<Segment> = Vec::new();
    for next in segments {
        match all.last_mut() {
            Some(last) if !last.is_cause && !next.is_cause => last.last = next.last,
            _ if next.is_cause => all.push(next.clone()),
            _ => all.push(Segment { word: String::new(), is_bad: false, ..next.clone() }),
        }
    }
    all
}

/// Returns the state of a hop in a word.
fn state_word(hop: &HopSnapshot) -> String {
    match &hop.link {
        HopLink::Down { .. } => return "down".to_owned(),
        link if !link.is_up() => return link.label().to_owned(),
        _ if hop.node.is_none() => return "no reports".to_owned(),
        _ if header::is_stale(hop) => return "stale".to_owned(),
        _ => {}
    }
    let Some(shares) = TimeShares::of(hop.starved_share, hop.blocked_share, hop.limited_share) else {
        return "idle".to_owned();
    };
    match shares.main() {
        MainWait::Limited => "limited",
        MainWait::Blocked => "blocked",
        MainWait::Starved | MainWait::Disk => "starved",
        MainWait::Nothing => "busy",
    }
    .to_owned()
}
