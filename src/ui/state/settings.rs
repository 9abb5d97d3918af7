//! The settings: how the screen looks and listens, each with the action that changes it.

use super::UiState;
use crate::snapshot::Level;
use crate::ui::action::ViewAction;
use crate::ui::history::ChartSpan;

/// One line of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Colours and weights.
    Theme,
    /// The mouse.
    Mouse,
    /// The time that charts show.
    Chart,
    /// The least level of the log.
    Level,
    /// Long lines of the log.
    Wrap,
}

/// All of them, in the order of the list.
pub const SETTINGS: [Setting; 5] = [Setting::Theme, Setting::Mouse, Setting::Chart, Setting::Level, Setting::Wrap];

impl Setting {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Theme => "theme",
            Self::Mouse => "mouse",
            Self::Chart => "charts",
            Self::Level => "log from",
            Self::Wrap => "long lines",
        }
    }

    /// How it stands.
    pub fn value(self, state: &UiState) -> &'static str {
        match self {
            Self::Theme => state.theme.name(),
            Self::Mouse if state.mouse => "listened to",
            Self::Mouse => "the terminal's",
            Self::Chart => state.span.name(),
            Self::Level => match state.level {
                Level::Info => "info",
                Level::Warn => "warnings",
                Level::Error => "errors",
            },
            Self::Wrap if state.wrap => "broken",
            Self::Wrap => "cut",
        }
    }

    /// What changes it, and has a key of its own.
    pub fn action(self) -> ViewAction {
        match self {
            Self::Theme => ViewAction::Theme,
            Self::Mouse => ViewAction::Mouse,
            Self::Chart => ViewAction::Span(1),
            Self::Level => ViewAction::Level,
            Self::Wrap => ViewAction::Wrap,
        }
    }
}

impl UiState {
    /// Takes the marked setting one step on; the list goes round.
    pub(super) fn turn_setting(&mut self, at: usize) -> Option<ViewAction> {
        let setting = SETTINGS.get(at)?;
        if *setting == Setting::Chart && self.span.by(1) == self.span {
            self.span = ChartSpan::Second;
            return None;
        }
        Some(setting.action())
    }
}
