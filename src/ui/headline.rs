//! Headline: what matters most, as a sentence in several lengths, with the keys that help.

use super::action::{Action, NodeAction, TransferAction, ViewAction};
use super::dispatch::key_of;
use super::finding::{Finding, Place, sentences};
use super::focus::ViewMode;
use super::state::UiState;
use crate::snapshot::verdict::Limit;
use crate::snapshot::{Awaited, ChainSnapshot};

/// Most keys in a headline.
const MAX_HINTS: usize = 2;

/// The key that opens the page that explains the headline.
const WHY: (Action, &str) = (Action::View(ViewAction::Why), "why");

/// Headline of a screen.
pub(crate) struct Headline {
    /// What it is about.
    pub finding: Finding,
    /// Its sentence, from the longest form to the shortest; at least one.
    pub sentences: Vec<String>,
    /// The keys that help, the most useful first.
    pub hints: Vec<Hint>,
}

/// A key that acts now, and what it does.
pub(crate) struct Hint {
    /// Its action.
    pub action: Action,
    /// The name of the key.
    pub key: String,
    /// Its effect, in few words.
    pub label: &'static str,
}

/// Returns the headline of this screen.
pub(crate) fn of(state: &UiState, chain: &ChainSnapshot) -> Headline {
    let finding = Finding::of(chain);
    let mut hints = Vec::new();
    let helpful = helpful(&finding, state, chain);
    for (action, label) in helpful.into_iter().filter(|(action, _)| has_this_effect(*action, state)) {
        let key = key_of(state, chain, action).filter(|_| hints.len() < MAX_HINTS);
        hints.extend(key.map(|key| Hint { action, key, label }));
    }
    Headline { sentences: sentences(&finding, chain), finding, hints }
}

/// Returns whether an action has here the effect that a hint promises: in a page, the key of `why` and that of `back`
/// close it.
fn has_this_effect(action: Action, state: &UiState) -> bool {
    match action {
        Action::View(ViewAction::Why) => state.view_mode != ViewMode::Why,
        Action::View(ViewAction::Back) => {
            state.view_mode == ViewMode::Overview && state.lists.filter(state.focus()).is_empty()
        }
        _ => true,
    }
}

/// Returns the actions that help with a finding, the most useful first; only those that would act on what it is about.
fn helpful(finding: &Finding, state: &UiState, chain: &ChainSnapshot) -> Vec<(Action, &'static str)> {
    const CANCEL: (Action, &str) = (Action::Transfer(TransferAction::Cancel), "cancel");
    const SELECT: (Action, &str) = (Action::View(ViewAction::Back), "select it");
    let node = |action, label| (Action::Node(action), label);
    let selected = state.hop(chain).map(|hop| hop.number);
    // Keys for nodes act on the selected hop.
    let at = |hop: usize, hint| if selected == Some(hop) { hint } else { SELECT };
    let of = |number: u64, hint, acts: bool| {
        let is_selected = state.transfer(chain).is_some_and(|t| t.number == number);
        (is_selected && acts).then_some(hint)
    };
    let kept = |number| chain.transfer(number).is_some_and(|t| t.resumable.is_some());
    let is_delayed = |number| chain.transfer(number).and_then(|t| t.wait).is_some_and(|w| w.awaited == Awaited::Delay);
    match *finding {
        Finding::Down { hop, .. } => vec![at(hop, node(NodeAction::StartNode, "start it")), WHY],
        Finding::Silent { hop } => vec![at(hop, node(NodeAction::RestartNode, "restart it")), CANCEL, WHY],
        Finding::Draining { hop } => vec![at(hop, node(NodeAction::RestartNode, "restart it"))],
        Finding::Waiting { number, hop: Some(hop) } if is_delayed(number) => {
            vec![at(hop, node(NodeAction::Faults, "change it")), CANCEL]
        }
        Finding::Retrying { .. } | Finding::Waiting { .. } | Finding::Stalled { .. } | Finding::Locked { .. } => {
            vec![CANCEL, WHY]
        }
        Finding::Failed { number, .. } | Finding::Cancelled { number } => {
            let label = if kept(number) { "resume" } else { "fetch again" };
            let retry = (Action::Transfer(TransferAction::Retry), label);
            of(number, retry, state.retryable(chain).is_ok()).into_iter().chain([WHY]).collect()
        }
        Finding::Paused { number } => {
            let resume = (Action::Transfer(TransferAction::Pause), "resume");
            of(number, resume, state.pausable(chain).is_ok()).into_iter().collect()
        }
        Finding::Verdict { verdict, .. } => match (verdict.limit, finding.place()) {
            (Limit::Measuring, _) => vec![],
            (Limit::RateLimit { hop: 0, .. }, _) => {
                vec![WHY, (Action::Transfer(TransferAction::PromptLimit), "change it")]
            }
            (Limit::RateLimit { .. } | Limit::Fault { .. }, Some(Place::Stage(hop))) => {
                vec![WHY, at(hop, node(NodeAction::Faults, "change it"))]
            }
            (_, Some(Place::Stage(1..) | Place::Link { .. })) if finding.hop() != selected => vec![WHY, SELECT],
            _ => vec![WHY],
        },
        Finding::Idle => vec![
            (Action::Transfer(TransferAction::Fetch), "fetch"),
            (Action::Transfer(TransferAction::PromptName), "choose a file"),
        ],
        Finding::Finished { .. } => vec![WHY],
        Finding::Verifying { .. } | Finding::Starting { .. } => vec![],
    }
}
