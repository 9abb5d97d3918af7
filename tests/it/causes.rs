//! Bench of causes: one thing at a time is made slow in a chain of real processes, and the verdict has to name it.
//!
//! A short run injects each cause once, where it is strong and unambiguous. `CHAINVIEW_CAUSES=full` injects 200 of them
//! at random positions and strengths, adds 50 runs without one, and prints a confusion matrix; `CHAINVIEW_CAUSES_SEED`
//! repeats a run, `CHAINVIEW_CAUSES_KIND` selects one kind.

mod cause;
mod foreign;
mod reader;
mod scene;
use crate::support;

use std::collections::BTreeMap;
use std::time::Duration;

use cause::{Cause, Kind, Random};
use scene::verdict_on;

/// The share of trials in which the stage and the position have to be right.
const RIGHT: f64 = 0.95;
/// How long a cause may last before it has to be named.
const WITHIN: Duration = Duration::from_secs(5);
/// The same for unambiguous causes.
const SOON: Duration = Duration::from_secs(4);

/// Confusion matrix: how often each kind of cause was named correctly, and what else was named.
#[derive(Default)]
struct Table {
    rows: BTreeMap<String, BTreeMap<String, usize>>,
    right: usize,
    wrong: Vec<String>,
}

impl Table {
    fn note(&mut self, cause: &Cause, verdict: &serde_json::Value) {
        let right = cause.is(verdict);
        let named = verdict["limit"].as_str().unwrap_or("nothing");
        let named = if right { format!("{named}, right") } else { format!("{named}, wrong") };
        *self.rows.entry(cause.kind().to_string()).or_default().entry(named).or_default() += 1;
        if right {
            self.right += 1;
        } else {
            self.wrong.push(format!("{cause:?}: {verdict}"));
        }
    }

    fn trials(&self) -> usize {
        self.right + self.wrong.len()
    }

    fn print(&self) {
        for (kind, named) in &self.rows {
            println!("{kind:<16} {named:?}");
        }
        println!("{} of {} right", self.right, self.trials());
        for wrong in &self.wrong {
            println!("  {wrong}");
        }
    }
}

/// The selected kinds of causes that can be injected here; the others are printed.
fn makable() -> Vec<Kind> {
    let wanted = std::env::var("CHAINVIEW_CAUSES_KIND").ok();
    let wanted = Kind::ALL.into_iter().filter(|kind| wanted.as_ref().is_none_or(|wanted| *wanted == kind.to_string()));
    let (can, cannot): (Vec<Kind>, Vec<Kind>) = wanted.partition(|kind| kind.can_be_made());
    for kind in cannot {
        println!("SKIPPED: {kind}: {}", kind.needs());
    }
    can
}

#[test]
fn each_cause_is_named_and_none_where_there_is_none() {
    all_named(makable().into_iter().filter(|kind| *kind != Kind::Encrypted).chain([Kind::Nothing]));
}

#[test]
fn each_cause_is_named_in_an_encrypted_transfer() {
    all_named([Kind::Encrypted]);
}

fn all_named(kinds: impl IntoIterator<Item = Kind>) {
    let mut table = Table::default();
    // One after another: two chains in parallel would starve each other.
    for kind in kinds {
        for cause in Cause::clear(kind) {
            let mut verdict = verdict_on(&cause, SOON);
            if !cause.is(&verdict) {
                // Other load on the machine for some seconds is a cause of its own, once.
                println!("again, after {verdict}: {cause:?}");
                verdict = verdict_on(&cause, WITHIN);
            }
            table.note(&cause, &verdict);
        }
    }
    table.print();
    assert!(table.wrong.is_empty(), "{:#?}", table.wrong);
}

#[test]
fn random_causes_are_named() {
    if std::env::var("CHAINVIEW_CAUSES").as_deref() != Ok("full") {
        println!("SKIPPED: CHAINVIEW_CAUSES=full runs it, for half an hour");
        return;
    }
    let count = |name: &str, usual: usize| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual);
    let mut random = Random::seeded();
    let (mut table, mut untouched) = (Table::default(), Table::default());
    let kinds = makable();
    for trial in 0..count("CHAINVIEW_CAUSES_TRIALS", 200) {
        let cause = Cause::at_random(kinds[trial % kinds.len()], &mut random);
        let verdict = verdict_on(&cause, WITHIN);
        println!("{trial} {cause:?}: {verdict}");
        table.note(&cause, &verdict);
    }
    for _ in 0..count("CHAINVIEW_CAUSES_UNTOUCHED", 50) {
        let cause = Cause::at_random(Kind::Nothing, &mut random);
        let verdict = verdict_on(&cause, WITHIN);
        println!("{cause:?}: {verdict}");
        untouched.note(&cause, &verdict);
    }
    table.print();
    untouched.print();
    assert!(untouched.wrong.is_empty(), "accused without a cause");
    assert!(table.right as f64 >= table.trials() as f64 * RIGHT, "{} of {} right", table.right, table.trials());
}
