//! Evaluation of the conditions of bindings.

use super::UiState;
use crate::snapshot::ChainSnapshot;
use crate::ui::geometry;
use crate::ui::keymap::binding::Condition;
use crate::ui::keymap::help;

impl UiState {
    /// Returns whether the condition of a binding holds.
    pub fn meets(&self, condition: Condition, chain: &ChainSnapshot) -> bool {
        match condition {
            Condition::Always => true,
            Condition::Fetchable => !chain.exiting && !chain.hops.is_empty(),
            Condition::Cancellable => self.cancellable(chain).is_some(),
            Condition::Pausable => self.pausable(chain).is_some(),
            Condition::Retryable => self.retryable(chain).is_some(),
            Condition::Limitable => self.limitable(chain).is_some(),
            Condition::Limited => self.limited(chain).is_some(),
            Condition::Reorderable(by) => self.reorderable(chain, by).is_some(),
            Condition::Closable => self.closable(chain).is_some(),
            Condition::Startable => self.startable(chain).is_some(),
            Condition::Stoppable => self.stoppable(chain).is_some(),
            Condition::Restartable => self.restartable(chain).is_some(),
            Condition::Drainable => self.drainable(chain).is_some(),
            Condition::FaultsSettable => self.fault_settable(chain).is_some(),
            Condition::FaultSet => self.any_fault_set(chain),
            Condition::Attachable => !chain.exiting,
            Condition::Detachable => self.detachable(chain).is_some(),
            Condition::OwnsNodes => chain.hops.iter().any(|hop| hop.ours),
            Condition::HasDetail => self.has_detail(chain),
            Condition::CanGoBack => self.is_inside(),
            Condition::HasRows => self.rows(chain) > 1,
            Condition::IsSorted => self.rows(chain) > 1 && self.lists.sort().is_some(),
            Condition::HasMatches => self.has_matches(),
            Condition::HasPanels => self.panels().len() > 1,
            Condition::HasStage(by) => self.next_stage(chain, by).is_some(),
            Condition::OnTab(tab) => self.tab == tab,
            Condition::OnOtherTab(tab) => self.tab != tab,
            Condition::HasSpan(by) => self.span.by(by) != self.span,
            Condition::Copyable => self.copyable(chain).is_some(),
            Condition::HasTyped => self.mode.line().is_some_and(|line| !line.halves().0.is_empty()),
            Condition::HasChoices => self.choices(chain) > 0,
            Condition::Scrollable => help::max_scroll(&self.keymap, geometry::popup_area(self.area)) > 0,
        }
    }
}
