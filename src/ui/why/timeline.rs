//! What mattered over time: a strip with one letter per kind of finding, and the periods below it.

use std::time::Duration;

use super::line::{Span, WhyLine, span};
use crate::snapshot::verdict::Limit;
use crate::ui::finding::{Finding, Period, Place, Severity};
use crate::ui::history::History;
use crate::ui::theme::{StyleRole, Theme};

/// Widest strip: a minute in seconds.
const WIDEST: u16 = 60;
/// Most periods in the list.
const MAX_LISTED: usize = 40;
/// Time spans of the strip, with their labels; the shortest that covers all periods is used.
const SPANS: [(u64, &str); 4] = [(60, "60 s"), (600, "10 min"), (3600, "1 h"), (36_000, "10 h")];

/// Returns the strip and the periods, the newest first.
pub(super) fn lines(history: &History, theme: &Theme, room: u16) -> Vec<WhyLine> {
    let periods: Vec<&Period> = history.periods.iter().collect();
    let title = "What has mattered, newest first, in minutes and seconds since the start";
    let mut all = vec![vec![span(title, StyleRole::Title)]];
    let Some(first) = periods.first() else {
        all.push(vec![span("nothing so far", StyleRole::Dim)]);
        return all;
    };
    let age = history.now().saturating_sub(first.from).as_secs();
    let (seconds, label) = SPANS.into_iter().find(|(seconds, _)| age <= *seconds).unwrap_or(SPANS[SPANS.len() - 1]);
    let columns = room.saturating_sub(16).clamp(1, WIDEST);
    let letters = letters(&periods);
    let letter =
        |period: &Period| letters.iter().position(|kind| kind.is_same(&period.finding)).map_or('?', nth_letter);
    let mut strip = vec![span(format!("-{label} "), StyleRole::Dim)];
    for column in 0..columns {
        let back = Duration::from_secs_f64(seconds as f64 * f64::from(columns - 1 - column) / f64::from(columns));
        let period = history.now().checked_sub(back).and_then(|time| {
            // A period shorter than a column is shown in the column in which it begins.
            let width = Duration::from_secs_f64(seconds as f64 / f64::from(columns));
            history.periods.at(time).or_else(|| {
                let begins = |period: &&Period| time <= period.from + width && period.from <= time;
                history.periods.iter().rev().find(begins)
            })
        });
        strip.push(match period {
            Some(period) => span(letter(period).to_string(), color(&period.finding)),
            None => span(theme.glyphs.idle, StyleRole::Dim),
        });
    }
    strip.push(span(" now", StyleRole::Dim));
    all.push(strip);
    for period in periods.iter().rev().take(MAX_LISTED) {
        let times = format!("  {}-{}  ", clock(period.from), clock(period.until));
        let parts: [Span; 3] = [
            span(letter(period).to_string(), color(&period.finding)),
            span(times, StyleRole::Dim),
            span(period.text.clone(), StyleRole::Plain),
        ];
        all.push(parts.into());
    }
    if periods.len() > MAX_LISTED {
        all.push(vec![span(format!("{} older ones", periods.len() - MAX_LISTED), StyleRole::Dim)]);
    }
    all
}

/// Returns one finding of each kind, in the order of their first periods.
fn letters(periods: &[&Period]) -> Vec<Finding> {
    let mut kinds: Vec<Finding> = Vec::new();
    for period in periods {
        if !kinds.iter().any(|kind| kind.is_same(&period.finding)) {
            kinds.push(period.finding);
        }
    }
    kinds
}

fn nth_letter(at: usize) -> char {
    // More than 26 kinds share the last letter.
    char::from(b'a' + u8::try_from(at).unwrap_or(u8::MAX).min(25))
}

/// Returns the color of a finding: of what is broken, of a link, of an own limit, of a processor or a disk.
fn color(finding: &Finding) -> StyleRole {
    match finding {
        _ if finding.severity() == Severity::Bad => StyleRole::Bad,
        Finding::Verdict { verdict, .. } => match verdict.limit {
            Limit::Balanced | Limit::Measuring => StyleRole::Dim,
            Limit::RateLimit { .. } | Limit::KeyRate { .. } | Limit::Fault { .. } => StyleRole::Cause,
            _ if matches!(finding.place(), Some(Place::Link { .. })) => StyleRole::Flow,
            _ => StyleRole::Good,
        },
        _ => StyleRole::Warn,
    }
}

fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{:02}:{:02}", seconds / 60, seconds % 60)
}
