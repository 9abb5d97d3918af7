//! Lines of the page that explains the headline: the rule, the evidence of every stage, and what mattered before.

mod evidence_table;
mod line;
mod timeline;

use super::finding::{Finding, Severity, confidence, remedy, rule, sentences, what_helps};
use super::history::History;
use super::theme::{StyleRole, Theme};
use crate::snapshot::ChainSnapshot;
use crate::snapshot::verdict::{Limit, Verdict};
pub(crate) use line::WhyLine;
use line::{paragraph, span};

/// What the lines are made from.
pub(crate) struct Source<'a> {
    /// The snapshot.
    pub chain: &'a ChainSnapshot,
    /// The data of the snapshots so far.
    pub history: &'a History,
    /// Colors and glyphs.
    pub theme: &'a Theme,
}

/// Returns the lines of the page at this width; `keys` are those that help.
pub(crate) fn lines(source: &Source<'_>, keys: &[(String, &str)], width: u16) -> Vec<WhyLine> {
    let Source { chain, history, theme } = source;
    let finding = Finding::of(chain);
    let verdict = verdict(&finding, chain);
    let role = match finding.severity() {
        Severity::Calm => StyleRole::Title,
        Severity::Warn => StyleRole::Cause,
        Severity::Bad => StyleRole::Bad,
    };
    let mut all = Vec::new();
    let sentence = sentences(&finding, chain).into_iter().next().unwrap_or_default();
    paragraph(&mut all, "", &sentence, role, width);
    let why = match (&finding, verdict) {
        (Finding::Finished { .. }, Some(verdict)) => rule(&Finding::Verdict { verdict, others: false }),
        _ => rule(&finding),
    };
    paragraph(&mut all, "Rule        ", why, StyleRole::Plain, width);
    if let Some(verdict) = verdict.filter(|verdict| verdict.limit != Limit::Measuring) {
        let share = (verdict.share.clamp(0.0, 1.0) * 100.0).round();
        // A balanced chain has no wait that explains it.
        let covers = if share > 0.0 { format!("; it covers {share}% of the time") } else { String::new() };
        let confidence = format!("{}{covers}", confidence(verdict.confidence));
        paragraph(&mut all, "Confidence  ", &confidence, StyleRole::Plain, width);
        paragraph(&mut all, "What helps  ", remedy(&verdict.limit), StyleRole::Plain, width);
    }
    if let Some(help) = what_helps(&finding, chain) {
        paragraph(&mut all, "What helps  ", &help, StyleRole::Plain, width);
    }
    all.extend(keys_line(keys));
    all.push(Vec::new());
    all.extend(evidence_table::lines(chain, history, theme, &finding, width));
    all.push(Vec::new());
    all.extend(timeline::lines(history, theme, width));
    all.push(Vec::new());
    all.extend(evidence_table::legend(width));
    all
}

/// Returns the verdict that the page explains: the current one, or that of a finished transfer.
fn verdict(finding: &Finding, chain: &ChainSnapshot) -> Option<Verdict> {
    match finding {
        Finding::Verdict { verdict, .. } => Some(*verdict),
        Finding::Finished { number } => chain.transfer(*number)?.verdict,
        _ => None,
    }
}

/// Returns the keys that help, in one line; none without any.
fn keys_line(keys: &[(String, &str)]) -> Option<WhyLine> {
    if keys.is_empty() {
        return None;
    }
    let keys = keys
        .iter()
        .flat_map(|(key, label)| [span(key.clone(), StyleRole::Key), span(format!(" {label}   "), StyleRole::Plain)]);
    Some([span("Keys        ", StyleRole::Dim)].into_iter().chain(keys).collect())
}
