//! Settings of the screen, each with the action that changes it.

use super::UiState;
use crate::snapshot::Level;
use crate::ui::action::ViewAction;
use crate::ui::history::ChartSpan;

/// One setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Colors and weights.
    Theme,
    /// The mouse.
    Mouse,
    /// Time span of the charts.
    Chart,
    /// Minimum level of the log.
    Level,
    /// Long lines of the log.
    Wrap,
}

/// All settings, in the order of the list.
pub const SETTINGS: [Setting; 5] = [Setting::Theme, Setting::Mouse, Setting::Chart, Setting::Level, Setting::Wrap];

impl Setting {
    /// Returns its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Theme => "theme",
            Self::Mouse => "mouse",
            Self::Chart => "charts",
            Self::Level => "log from",
            Self::Wrap => "long lines",
        }
    }

    /// Returns its current value.
    pub fn value(self, state: &UiState) -> &'static str {
        match self {
            Self::Theme => state.theme.name(),
            Self::Mouse if state.mouse => "on",
            Self::Mouse => "off",
            Self::Chart => state.span.name(),
            Self::Level => match state.level {
                Level::Info => "info",
                Level::Warn => "warnings",
                Level::Error => "errors",
            },
            Self::Wrap if state.wrap => "wrapped",
            Self::Wrap => "truncated",
        }
    }

    /// Returns the action that changes it, which has a key of its own.
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
    /// Returns the action that steps the selected setting to its next value; values wrap around.
    pub(super) fn next_setting(&mut self, at: usize) -> Option<ViewAction> {
        let setting = SETTINGS.get(at)?;
        if *setting == Setting::Chart && self.span.by(1) == self.span {
            self.span = ChartSpan::Second;
            return None;
        }
        Some(setting.action())
    }
}
