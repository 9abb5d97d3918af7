//! Number of connections that `--connections auto` uses, from the verdict and the measured gain of each step.
//!
//! Pure: samples in, steps out. A step doubles the connections where the verdict names a link whose round trip shows no
//! queue: it loses packets or is long, and is not full. After a step that has brought all of its ideal gain, the next
//! takes four times as many. A step is kept if it brings at least half of its ideal gain, and reversed otherwise.
//!
//! The rate of one connection over a link that loses packets varies by half from one second to the next and starts
//! higher. Three rules keep noise from deciding:
//!
//! - Gain beyond the ideal is transient: no rate counts as base that exceeds what the connections brought before, each.
//! - A step is kept as soon as one part of the trial shows its gain: a full link does not exceed its capacity.
//! - A first step without a clear gain stays while the verdict shows an empty queue and the rate is not flat.

mod evidence;
#[cfg(test)]
mod model;
mod pace;
mod reason;
mod refused;
mod sample;
mod series;

use evidence::{Evidence, Finding};
use pace::Pace;
pub use reason::{Gain, Reason};
use refused::Refused;
pub use sample::{LinkState, Sample};
use series::Series;

use crate::connections::ConnectionCount;

/// Periods after which a trial ends in any case.
const MAX_PERIODS: u64 = 3;
/// Multiple of the connections that a step tries: usually, and after one that has brought all of its ideal gain. Four
/// steps to 16 connections would take 1 s longer than three, at half of the rate.
const USUAL_MULTIPLE: usize = 2;
const CLEAR_MULTIPLE: usize = 4;
/// Share of its ideal gain that a step has to bring.
const KEPT_SHARE: f64 = 0.5;
/// Share of the rate that has to remain when connections are given back.
const REMAINING: f64 = 0.9;
/// Growth of the rate from one part to the next from which on the first connection is still in its slow start.
const STARTING: f64 = 1.4;
/// Part of the rate below which it has stalled.
const STALLED: f64 = 4.0;
/// Distance from the base, and variation, below which a rate counts as flat: that of a full link or a rate limit.
const FLAT: f64 = 0.15;
const FLAT_VARIATION: f64 = 0.15;
/// Periods after which a flat rate ends a trial: that of a few connections is flat between two losses, too.
const FLAT_PERIODS: u64 = 2;
/// Most connections from which a step is kept without a clear gain.
const UNPROVEN: usize = 2;
/// Pause after connections were given back and needed, in µs; it doubles each time, up to the longest.
const FIRST_PAUSE_US: u64 = 10_000_000;
const LAST_PAUSE_US: u64 = 80_000_000;
/// Time for which a queue has to stand before connections are given back, in µs: if the remaining ones brought as much
/// before, and otherwise, as the trial then costs its part of the rate.
const FULL_US: u64 = 3_000_000;
const FILLED_US: u64 = 20_000_000;
/// Verdicts that have to agree before connections are given back.
const AGREEING: u32 = 3;
/// Verdicts in a row that do not call for connections, after which they are asked for less often.
const UNHELPFUL: u32 = 8;
/// Time between two requests for a verdict, in µs: while a decision depends on it, and otherwise.
const DUE_US: u64 = 100_000;
const IDLE_US: u64 = 2_000_000;

/// A decision on the number of connections.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// How many connections the route uses from now on: as many as before, if a trial ended with its step kept.
    pub connections: usize,
    /// Why.
    pub reason: Reason,
}

/// Number of connections of one route.
#[derive(Clone, Debug)]
pub struct Growth {
    cap: usize,
    connections: usize,
    phase: Phase,
    series: Series,
    evidence: Option<Evidence>,
    /// Since when all connections deliver, in µs.
    settled_us: Option<u64>,
    /// Least bytes per second that one connection brought at any number of them.
    each: f64,
    /// Since when the client's rate limit has been in force, in µs.
    own_limit_us: Option<u64>,
    /// Multiple of the connections that the next step tries.
    multiple: usize,
    refused: Option<Refused>,
    /// Time before which no connections are given back on trial, in µs, and the pause after the next such trial.
    given_back: (u64, u64),
    /// Time of the last verdict, in µs, and how many in a row did not call for connections.
    verdicts: (u64, u32),
    /// Bytes left, as of the newest sample.
    left: u64,
    pace: Pace,
}

/// What is being tried.
#[derive(Clone, Copy, Debug)]
enum Phase {
    Steady,
    Trial(Trial),
}

/// A changed number of connections whose effect is being measured.
#[derive(Clone, Copy, Debug)]
struct Trial {
    /// Connections before it.
    from: usize,
    /// Bytes per second before it.
    base: f64,
    /// Since when that was measured, in µs.
    base_us: u64,
    /// Its time, in µs.
    began_us: u64,
    /// When all connections delivered, in µs.
    delivering_us: Option<u64>,
}

impl Growth {
    /// Begins with one connection, and uses at most this many.
    pub fn new(cap: ConnectionCount) -> Self {
        Self {
            cap: cap.get(),
            connections: 1,
            phase: Phase::Steady,
            series: Series::default(),
            evidence: None,
            settled_us: None,
            each: f64::INFINITY,
            own_limit_us: None,
            multiple: USUAL_MULTIPLE,
            refused: None,
            given_back: (0, FIRST_PAUSE_US),
            verdicts: (0, 0),
            left: 0,
            pace: Pace::default(),
        }
    }

    /// Returns the number of connections that the route should use now.
    pub fn connections(&self) -> usize {
        self.connections
    }

    /// Adds a sample, about ten a second from the first byte on; returns a step, if one is due.
    pub fn feed(&mut self, sample: &Sample) -> Option<Step> {
        (self.left, self.pace) = (sample.left, Pace { rtt_us: sample.rtt_us });
        self.series.add(sample.now_us, sample.bytes);
        self.evidence = Evidence::add(self.evidence, sample);
        if sample.limit.is_some() {
            let helps = self.evidence.is_some_and(|last| last.at_us == sample.now_us && last.finding == Finding::Helps);
            self.verdicts = (sample.now_us, if helps { 0 } else { self.verdicts.1.saturating_add(1) });
        }
        self.own_limit_us = sample.own_limit.then(|| self.own_limit_us.unwrap_or(sample.now_us));
        match self.phase {
            Phase::Steady => {
                if self.settled_us.is_none() && all_deliver(sample, self.connections) {
                    self.settled_us = Some(sample.now_us);
                }
                self.give_back(sample).or_else(|| self.grow(sample))
            }
            Phase::Trial(trial) if trial.from < self.connections => self.assess_growth(sample, trial),
            Phase::Trial(trial) => self.assess_reduction(sample, trial),
        }
    }

    /// Returns true when a decision depends on a verdict that is newer than the last one: otherwise the hops need not
    /// be asked for their figures.
    pub fn wants_verdict(&self, now_us: u64) -> bool {
        if self.cap == 1 || self.settled_us.is_none() && matches!(self.phase, Phase::Steady) {
            return false;
        }
        let (last_us, unhelpful) = self.verdicts;
        let rate = now_us.checked_sub(self.pace.period_us()).and_then(|from_us| self.series.rate(from_us, now_us));
        let may_grow = self.connections < self.cap
            && self.own_limit_us.is_none()
            && !self.pauses(now_us)
            && rate.is_none_or(|rate| self.is_worth_it(rate));
        let may_shrink = self.connections > 1 && unhelpful > 0;
        let due = matches!(self.phase, Phase::Trial(_)) || (may_grow || may_shrink) && unhelpful < UNHELPFUL;
        last_us == 0 || now_us.saturating_sub(last_us) >= if due { DUE_US } else { IDLE_US }
    }

    /// Multiplies the connections, if the verdict says that this helps.
    fn grow(&mut self, sample: &Sample) -> Option<Step> {
        let (now_us, part_us) = (sample.now_us, self.pace.part_us());
        if self.connections >= self.cap || sample.own_limit || !all_deliver(sample, self.connections) {
            return None;
        }
        let settled_us = self.settled_us?;
        let evidence = self.fresh(now_us).filter(|evidence| evidence.at_us >= settled_us)?;
        let helps = match evidence.finding {
            Finding::Helps => true,
            Finding::Open => evidence.count >= AGREEING,
            Finding::Full | Finding::Elsewhere => false,
        };
        let recent = self.series.rate(now_us.checked_sub(part_us)?.max(settled_us), now_us)?;
        // A single connection has just begun: its rate before counts only once its slow start is over.
        let begun_us = if self.connections == 1 { settled_us + part_us } else { settled_us };
        let starting = self.connections == 1 && {
            let before = self.series.rate(now_us.checked_sub(2 * part_us)?.max(settled_us), now_us - part_us)?;
            recent >= before * STARTING
        };
        let base_us = begun_us.max(now_us.saturating_sub(2 * self.pace.period_us()));
        let rate = self.series.rate(base_us, now_us)?;
        let latest = self.series.rate(base_us.max(now_us.saturating_sub(2 * part_us)), now_us)?;
        if recent * STALLED < rate {
            // Compared with a stall, everything is a gain.
            return None;
        }
        if !helps || starting || self.pauses(now_us) || !self.is_worth_it(rate) {
            return None;
        }
        let base = match evidence.finding {
            Finding::Helps => rate.min(latest).min(self.each * self.connections as f64),
            _ => rate,
        };
        self.each = self.each.min(base / self.connections as f64);
        let to = (self.connections * self.multiple).min(self.cap);
        Some(self.start_trial(to, (base, base_us), now_us, Reason::limit(&evidence, to)))
    }

    fn assess_growth(&mut self, sample: &Sample, mut trial: Trial) -> Option<Step> {
        let now_us = sample.now_us;
        if sample.own_limit {
            return Some(self.refuse(trial, now_us, Reason::OwnLimit { connections: trial.from }));
        }
        let Some(delivering_us) = trial.delivering_us else {
            if all_deliver(sample, self.connections) {
                trial.delivering_us = Some(now_us);
                self.phase = Phase::Trial(trial);
            } else if now_us - trial.began_us >= self.pace.setup_us() {
                return Some(self.refuse(
                    trial,
                    now_us,
                    Reason::NotDelivering { tried: self.connections, back: trial.from },
                ));
            }
            return None;
        };
        let (part_us, period_us, since_us) = (self.pace.part_us(), self.pace.period_us(), now_us - delivering_us);
        let found = self.fresh(now_us).filter(|evidence| evidence.at_us > delivering_us);
        let finding = found.map(|evidence| evidence.finding);
        if let Some(found) = found.filter(|found| found.finding == Finding::Elsewhere && found.count >= AGREEING) {
            return Some(self.refuse(trial, now_us, Reason::limit(&found, trial.from)));
        }
        if since_us < part_us {
            return None;
        }
        let needed = needed_gain(trial.from, self.connections);
        let factor = |from_us| Some(self.series.rate(from_us, now_us)? / trial.base.max(1.0));
        let (recent, all) = (factor(now_us - part_us)?, factor(delivering_us)?);
        let gain = |factor| Gain { connections: self.connections, factor };
        if recent >= needed && matches!(finding, Some(Finding::Helps) | None) {
            let step = self.keep(delivering_us, Reason::Gained(gain(recent)));
            if recent >= self.connections as f64 / trial.from as f64 {
                self.multiple = CLEAR_MULTIPLE;
            }
            return Some(step);
        }
        if since_us < period_us {
            return None;
        }
        if all >= needed {
            return Some(self.keep(delivering_us, Reason::Gained(gain(all))));
        }
        let flat = (all - 1.0).abs() <= FLAT
            && self.series.variation(trial.base_us, now_us, part_us).is_none_or(|found| found <= FLAT_VARIATION);
        match finding {
            Some(Finding::Helps) if !flat && trial.from <= UNPROVEN => {
                Some(self.keep(delivering_us, Reason::Inconclusive(gain(all))))
            }
            Some(Finding::Helps) if flat && since_us < FLAT_PERIODS * period_us => None,
            Some(Finding::Helps) if !flat && since_us < MAX_PERIODS * period_us => None,
            None if since_us < 2 * period_us => None,
            _ => {
                // Half of the new ones may bring half of their ideal gain, where all of them do not.
                let halfway = trial.from + (self.connections - trial.from) / 2;
                let back = if all >= needed_gain(trial.from, halfway) { halfway } else { trial.from };
                let reason = Reason::LittleGain { gain: gain(all), back };
                let step = self.refuse(Trial { from: back, ..trial }, now_us, reason);
                if flat {
                    self.refused = self.refused.map(Refused::after_a_flat_rate);
                }
                Some(step)
            }
        }
    }

    /// Gives back connections, if something else has become the limit.
    fn give_back(&mut self, sample: &Sample) -> Option<Step> {
        let (now_us, period_us) = (sample.now_us, self.pace.period_us());
        if self.connections == 1 || now_us < self.given_back.0 {
            return None;
        }
        let base_us = now_us.checked_sub(period_us)?;
        let base = self.series.rate(base_us, now_us)?;
        let lasts = |since_us: u64, span_us: u64| now_us.saturating_sub(since_us) >= span_us;
        let to = self.connections.div_ceil(2);
        let reason = if self.own_limit_us.is_some_and(|since_us| lasts(since_us, period_us)) {
            Reason::OwnLimit { connections: to }
        } else {
            let found = self.fresh(now_us).filter(|found| found.count > AGREEING)?;
            let enough = self.each * to as f64 >= base * REMAINING;
            let span_us = match found.finding {
                Finding::Elsewhere => period_us,
                Finding::Full if enough => period_us.max(FULL_US),
                Finding::Full => period_us.max(FILLED_US),
                Finding::Helps | Finding::Open => return None,
            };
            lasts(found.since_us, span_us).then(|| Reason::limit(&found, to))?
        };
        Some(self.start_trial(to, (base, base_us), now_us, reason))
    }

    fn assess_reduction(&mut self, sample: &Sample, trial: Trial) -> Option<Step> {
        let (now_us, period_us) = (sample.now_us, self.pace.period_us());
        // What the given-back connections had under way arrives in the first part.
        let from_us = trial.began_us + self.pace.part_us();
        if now_us < from_us + period_us {
            return None;
        }
        let factor = self.series.rate(from_us, now_us)? / trial.base.max(1.0);
        self.phase = Phase::Steady;
        self.settled_us = None;
        if factor >= REMAINING || self.own_limit_us.is_some() {
            return None;
        }
        let (connections, pause_us) = (self.connections, self.given_back.1);
        self.connections = trial.from;
        self.given_back = (now_us + pause_us, (2 * pause_us).min(LAST_PAUSE_US));
        Some(Step {
            connections: trial.from,
            reason: Reason::Needed { gain: Gain { connections, factor }, back: trial.from },
        })
    }

    fn start_trial(&mut self, to: usize, (base, base_us): (f64, u64), now_us: u64, reason: Reason) -> Step {
        self.multiple = USUAL_MULTIPLE;
        let from = std::mem::replace(&mut self.connections, to);
        self.phase = Phase::Trial(Trial { from, base, base_us, began_us: now_us, delivering_us: None });
        Step { connections: to, reason }
    }

    /// Ends a trial with its step kept.
    fn keep(&mut self, delivering_us: u64, reason: Reason) -> Step {
        self.phase = Phase::Steady;
        self.settled_us = Some(delivering_us);
        self.refused = None;
        Step { connections: self.connections, reason }
    }

    /// Ends a trial with its step reversed.
    fn refuse(&mut self, trial: Trial, now_us: u64, reason: Reason) -> Step {
        let brought = trial.delivering_us.and_then(|since_us| self.series.rate(since_us, now_us)).unwrap_or_default();
        let needed = needed_gain(trial.from, self.connections);
        self.refused = Some(Refused::new(self.refused, now_us, self.evidence, brought / needed));
        (self.phase, self.settled_us, self.connections) = (Phase::Steady, None, trial.from);
        Step { connections: trial.from, reason }
    }

    /// Returns true while the last reversed step is not tried again.
    fn pauses(&self, now_us: u64) -> bool {
        let Some(refused) = &self.refused else { return false };
        let from_us = (refused.at_us + self.pace.part_us()).max(now_us.saturating_sub(2 * self.pace.period_us()));
        let rate = self.series.rate(from_us, now_us);
        now_us < refused.at_us + self.pace.part_us() + self.pace.period_us()
            || refused.pauses(now_us, self.evidence, rate)
    }

    /// Returns false if the rest arrives before a trial would be over and pay.
    fn is_worth_it(&self, rate: f64) -> bool {
        self.left as f64 > rate * 2.0 * self.pace.period_us() as f64 / 1e6
    }

    fn fresh(&self, now_us: u64) -> Option<Evidence> {
        let age_us = self.pace.period_us() * 3 / 2;
        self.evidence.filter(|evidence| now_us.saturating_sub(evidence.at_us) <= age_us)
    }
}

/// Returns the multiple of the rate that a step has to bring.
fn needed_gain(from: usize, to: usize) -> f64 {
    1.0 + (to as f64 / from as f64 - 1.0) * KEPT_SHARE
}

fn all_deliver(sample: &Sample, connections: usize) -> bool {
    sample.pending == 0 && sample.active >= connections
}

#[cfg(test)]
mod tests;
