//! Evaluation of the conditions of bindings.

use super::{Refusal, UiState};
use crate::snapshot::{ChainSnapshot, TourSnapshot};
use crate::ui::keymap::binding::{Binding, Condition};
use crate::ui::keymap::search::matches;

impl UiState {
    /// Returns why a binding has no effect in the focused panel; `None` if it is active.
    pub fn refusal(&self, binding: &Binding, chain: &ChainSnapshot) -> Option<Refusal> {
        if binding.panels & self.focus().bit() == 0 {
            return Some(Refusal::OtherPanel(binding.panels));
        }
        self.unmet(binding.when, chain)
    }

    /// Returns the commands of the palette that match the typed text: those that can be run now first, then the others
    /// with the reason.
    pub(crate) fn commands(&self, typed: &str, chain: &ChainSnapshot) -> Vec<(&'static Binding, Option<Refusal>)> {
        let mut all: Vec<_> =
            matches(typed).into_iter().map(|binding| (binding, self.refusal(binding, chain))).collect();
        all.sort_by_key(|(_, refusal)| refusal.is_some());
        all
    }

    /// Returns why the condition of a binding does not hold; `None` if it does.
    fn unmet(&self, condition: Condition, chain: &ChainSnapshot) -> Option<Refusal> {
        let or = |holds: bool, refusal: Refusal| (!holds).then_some(refusal);
        match condition {
            Condition::Always => None,
            Condition::Fetchable if chain.exiting => Some(Refusal::ShuttingDown),
            Condition::Fetchable => or(!chain.hops.is_empty(), Refusal::NoHops),
            Condition::Cancellable => self.cancellable(chain).err(),
            Condition::Pausable => self.pausable(chain).err(),
            Condition::Retryable => self.retryable(chain).err(),
            Condition::Limitable => self.limitable(chain).err(),
            Condition::Limited => self.limited(chain).err(),
            Condition::Reorderable(by) => self.reorderable(chain, by).err(),
            Condition::Closable => self.closable(chain).err(),
            Condition::Startable => self.startable(chain).err(),
            Condition::Stoppable => self.stoppable(chain).err(),
            Condition::Restartable => self.restartable(chain).err(),
            Condition::Drainable => self.drainable(chain).err(),
            Condition::FaultsSettable => self.fault_settable(chain).err(),
            Condition::FaultSet => or(self.any_fault_set(chain), Refusal::FaultOff),
            Condition::HasTour => or(chain.tour.is_some() && !chain.exiting, Refusal::NoTour),
            Condition::TourShown if chain.tour.is_none() => Some(Refusal::NoTour),
            Condition::TourShown => or(chain.tour != Some(TourSnapshot::Stopped), Refusal::TourStopped),
            Condition::Attachable => or(!chain.exiting, Refusal::ShuttingDown),
            Condition::Detachable => self.detachable(chain).err(),
            Condition::OwnsNodes => or(chain.hops.iter().any(|hop| hop.ours), Refusal::NoOwnNodes),
            Condition::HasDetail => or(self.has_detail(chain), Refusal::NoDetail),
            Condition::CanGoBack => or(self.is_inside(), Refusal::NothingOpen),
            Condition::HasRows => or(self.rows(chain) > 1 || self.view_mode.is_page(), Refusal::OneRow),
            Condition::IsSorted if self.rows(chain) < 2 => Some(Refusal::OneRow),
            Condition::IsSorted => or(self.lists.sort().is_some(), Refusal::NotSorted),
            Condition::HasMatches => or(self.has_matches(), Refusal::NoMatch),
            Condition::HasPanels => or(self.panels().len() > 1, Refusal::OnePanel),
            Condition::HasStage(by) => or(self.next_stage(chain, by).is_some(), Refusal::NoStage),
            Condition::OnTab(tab) => or(self.tab == tab, Refusal::NoZoom),
            Condition::HasSpan(by) => or(self.span.by(by) != self.span, Refusal::LastSpan),
            Condition::Copyable(item) => or(self.can_copy(item, chain), Refusal::NothingToCopy),
            Condition::HasTyped => {
                or(self.mode.line().is_some_and(|line| !line.halves().0.is_empty()), Refusal::NothingTyped)
            }
            Condition::Markable => or(self.marks_by_blank(chain).is_some(), Refusal::NoEntries),
            Condition::MarkableByBlank => or(self.marks_by_blank(chain) == Some(true), Refusal::NoEntries),
            Condition::HasChoices => or(self.choices(chain) > 0, Refusal::NoEntries),
        }
    }
}
