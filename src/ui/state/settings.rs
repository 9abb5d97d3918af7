//! Settings of the screen, each with the action that changes it.

use super::UiState;
use crate::options::Alert;
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
    /// A sign of progress or of the end of transfers.
    Alert(Alert),
    /// Connections that only request admin endpoints.
    AdminConns,
}

/// All settings, in the order of the list.
pub const SETTINGS: [Setting; 9] = [
    Setting::Theme,
    Setting::Mouse,
    Setting::Chart,
    Setting::Level,
    Setting::Wrap,
    Setting::AdminConns,
    Setting::Alert(Alert::Title),
    Setting::Alert(Alert::Bell),
    Setting::Alert(Alert::Notify),
];

impl Setting {
    /// Returns its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Theme => "theme",
            Self::Mouse => "mouse",
            Self::Chart => "charts",
            Self::Level => "log from",
            Self::Wrap => "long lines",
            Self::AdminConns => "admin connections",
            Self::Alert(alert) => alert_name(alert),
        }
    }

    /// Returns its meaning, and its values.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Theme => "colors and weights of the screen",
            Self::Mouse => "clicks and the wheel act on the screen; shift and drag select text",
            Self::Chart => "time span of the throughput charts: 1 s, 10 s, 60 s or 10 min",
            Self::Level => "log lines below this level are hidden",
            Self::Wrap => "long lines of the log take several rows, or are cut",
            Self::AdminConns => "connections that only request reports or control, such as those of this screen",
            Self::Alert(Alert::Title) => "progress in the title of the window and on its icon",
            Self::Alert(Alert::Bell) => "the terminal's bell at the end of transfers",
            Self::Alert(Alert::Notify) => "a desktop notification at the end of transfers",
            Self::Alert(Alert::None) => "",
        }
    }

    /// Returns its current value.
    pub fn value(self, state: &UiState) -> &'static str {
        match self {
            Self::Theme => state.theme.name(),
            Self::Mouse => on_or_off(state.mouse),
            Self::Chart => state.span.name(),
            Self::Level => match state.level {
                Level::Info => "info",
                Level::Warn => "warnings",
                Level::Error => "errors",
            },
            Self::Wrap if state.wrap => "wrapped",
            Self::Wrap => "truncated",
            Self::AdminConns if state.lists.show_admin => "shown",
            Self::AdminConns => "hidden",
            Self::Alert(alert) => on_or_off(state.has_alert(alert)),
        }
    }

    /// Returns the action that changes it, which the palette lists, too.
    pub fn action(self) -> ViewAction {
        match self {
            Self::Theme => ViewAction::Theme,
            Self::Mouse => ViewAction::Mouse,
            Self::Chart => ViewAction::Span(1),
            Self::Level => ViewAction::Level,
            Self::Wrap => ViewAction::Wrap,
            Self::AdminConns => ViewAction::AdminConns,
            Self::Alert(alert) => ViewAction::Alert(alert),
        }
    }
}

fn on_or_off(is_on: bool) -> &'static str {
    if is_on { "on" } else { "off" }
}

fn alert_name(alert: Alert) -> &'static str {
    match alert {
        Alert::Title => "title",
        Alert::Bell => "bell",
        Alert::Notify => "notify",
        Alert::None => "none",
    }
}

impl UiState {
    fn has_alert(&self, alert: Alert) -> bool {
        match alert {
            Alert::Title => self.alerts.title,
            Alert::Bell => self.alerts.bell,
            Alert::Notify => self.alerts.notify,
            Alert::None => false,
        }
    }

    /// Turns a sign of progress or of the end of transfers on or off.
    pub(super) fn toggle_alert(&mut self, alert: Alert) {
        match alert {
            Alert::Title => self.alerts.title ^= true,
            Alert::Bell => self.alerts.bell ^= true,
            Alert::Notify => self.alerts.notify ^= true,
            Alert::None => {}
        }
        let now = on_or_off(self.has_alert(alert));
        self.notice = Some(format!("{} {now}", alert_name(alert)));
    }

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
