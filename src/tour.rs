//! Tour of the demo: four acts, each of which slows the chain down, or breaks it, in one way. A script on given times
//! and snapshots; the dashboard executes its steps.

mod act;
mod script;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::command::{Command, TourCommand};
use crate::snapshot::{ActCaption, ActOutcome, ChainSnapshot, TourSnapshot};
use act::Act;
use script::ACTS;
pub use script::{DUTY, FILE_SIZE, LINK_DELAY, LINK_RATE, Pace, RETRIES, TourStep};

/// The tour.
#[derive(Debug)]
pub struct Tour {
    pace: Pace,
    state: State,
    outcomes: Vec<ActOutcome>,
    /// Transfer of the act before, which may still run.
    previous: Option<u64>,
}

#[derive(Debug)]
enum State {
    Stopped,
    Act(Act),
    Over,
}

impl Tour {
    /// Creates a tour that has not started.
    pub fn new(pace: Pace) -> Self {
        Self { pace, state: State::Stopped, outcomes: Vec::new(), previous: None }
    }

    /// Returns whether an act is running.
    pub fn is_running(&self) -> bool {
        matches!(self.state, State::Act(_))
    }

    /// Executes a command of the user: starts the tour or the next act, or stops it.
    pub fn command(&mut self, command: TourCommand, now: Duration, chain: &ChainSnapshot) -> Vec<TourStep> {
        match (command, &self.state) {
            (TourCommand::Next, State::Act(_)) => self.end_act(true, now, chain),
            (TourCommand::Next, _) => {
                self.outcomes.clear();
                self.state = State::Act(Act::new(0, now));
                Vec::new()
            }
            (TourCommand::Stop, State::Act(act)) => {
                let steps = act.undo(chain);
                self.previous = act.transfer;
                self.state = State::Stopped;
                steps
            }
            (TourCommand::Stop, _) => {
                self.state = State::Stopped;
                Vec::new()
            }
        }
    }

    /// Records the number of the transfer that the last step has started.
    pub fn fetching(&mut self, number: u64) {
        if let State::Act(act) = &mut self.state {
            act.transfer = Some(number);
        }
    }

    /// Advances the tour to this time; returns what to do now.
    pub fn step(&mut self, now: Duration, chain: &ChainSnapshot) -> Vec<TourStep> {
        let State::Act(act) = &mut self.state else { return Vec::new() };
        let elapsed = now.saturating_sub(act.since);
        let is_over = act.verified.is_some_and(|time| now.saturating_sub(time) >= self.pace.settle);
        if elapsed >= self.pace.act || is_over {
            return self.end_act(false, now, chain);
        }
        if act.fetched.is_none() {
            let before = self.previous.and_then(|number| chain.transfer(number));
            if before.is_some_and(|transfer| !transfer.phase.is_over()) {
                if elapsed < self.pace.settle {
                    return Vec::new();
                }
                return self
                    .previous
                    .take()
                    .map(|number| TourStep::Command(Command::Cancel(number)))
                    .into_iter()
                    .collect();
            }
            return act.prepare(now, elapsed < 2 * self.pace.settle, chain);
        }
        act.observe(now, chain);
        act.proceed(now, self.pace, chain)
    }

    /// Ends the act and begins the next one, or the summary.
    fn end_act(&mut self, skipped: bool, now: Duration, chain: &ChainSnapshot) -> Vec<TourStep> {
        let State::Act(act) = &self.state else { return Vec::new() };
        let steps = act.undo(chain);
        let (index, title) = (act.index, act.title());
        let named = act.outcome(chain);
        self.previous = act.transfer;
        self.outcomes.push(ActOutcome { title, named, skipped });
        self.state = if index + 1 < ACTS.len() { State::Act(Act::new(index + 1, now)) } else { State::Over };
        steps
    }

    /// Returns the state for the screen.
    pub fn snapshot(&self, now: Duration, chain: &ChainSnapshot) -> TourSnapshot {
        match &self.state {
            State::Stopped => TourSnapshot::Stopped,
            State::Over => TourSnapshot::Over(self.outcomes.clone()),
            State::Act(act) => {
                let (text, hint) = act.caption(chain);
                let left = self.pace.act.saturating_sub(now.saturating_sub(act.since));
                TourSnapshot::Act(ActCaption {
                    number: act.index + 1,
                    acts: ACTS.len(),
                    title: act.title(),
                    text,
                    hint,
                    // Rounded up, so that it is 0 only at the end.
                    left: Duration::from_secs((left + Duration::from_millis(999)).as_secs()),
                    named: act.named.as_ref().map(|(_, after)| *after),
                })
            }
        }
    }
}
